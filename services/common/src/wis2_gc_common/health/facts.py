"""What is judged, and the verdict: value types. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from wis2_gc_common import metrics
from wis2_gc_common.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wis2_gc_common.errors import Unavailable
    from wis2_gc_common.ports.queue import Depth
    from wis2_gc_common.ports.registry import Snapshot

#: The sensor centres count what is announced within this time (wis2-rules.md M18).
IN_TIME_S = 120.0
_BUCKETS_IN_TIME = metrics.DELAY_BUCKETS_S.index(IN_TIME_S) + 1


class State(StrEnum):
    """How the cache is, the best first."""

    WELL = "well"
    DEGRADED = "degraded"
    DOWN = "down"

    @property
    def level(self) -> int:
        """0 well, 1 degraded, 2 down."""
        return list(State).index(self)


class Code(StrEnum):
    """Why the cache is not well; causes before what they lead to."""

    REGISTRY_AWAY = "registry_away"
    QUEUE_AWAY = "queue_away"
    STORE_AWAY = "store_away"
    BROKER_AWAY = "broker_away"
    PUBLIC_URL_FAILS = "public_url_fails"
    NO_LISTENER = "no_listener"
    NO_MANAGER = "no_manager"
    LISTENER_MISSING = "listener_missing"
    BROKER_SILENT = "broker_silent"
    NOTHING_RECEIVED = "nothing_received"
    ANNOUNCED_NOTHING = "announced_nothing"
    MANY_FAILURES = "many_failures"
    CENTRE_FAILS = "centre_fails"
    OLD_ITEMS = "old_items"
    SLOW = "slow"
    GIVEN_UP = "given_up"

    @property
    def runbook(self) -> str:
        """The section that says what to do."""
        return f"docs/operations.md#{self.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class HealthReason:
    """One thing that is wrong."""

    code: Code
    state: State
    words: str
    """For everybody: names brokers, centres and managers, and no address."""
    subject: str = ""
    """The broker, centre or manager that it is about; "" if it is about the whole cache."""
    detail: str = ""
    """For the operator only: what a part or a process says."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict."""

    state: State
    reasons: Sequence[HealthReason]
    """The worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the registry has counted: up to a moment, or from one moment to a later one."""

    received: Mapping[str, int] = field(default_factory=dict)
    """By Global Broker."""
    queued: int = 0
    dropped: int = 0
    """What managers dropped: queued, and not to be announced."""
    announced: int = 0
    cached: Mapping[str, int] = field(default_factory=dict)
    """By centre."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Notifications whose data failed, by centre."""
    causes: Mapping[str, int] = field(default_factory=dict)
    """Failed attempts, by reason."""
    given_up_by_us: int = 0
    """Given up, or made a dead letter, because of a fault of ours."""
    delays: int = 0
    delays_in_time: int = 0
    """Those of at most `IN_TIME_S`."""

    def since(self, before: Tally) -> Tally:
        """Return what was counted after `before`; what has gone backwards is 0."""
        return Tally(
            received=_less(self.received, before.received),
            queued=max(0, self.queued - before.queued),
            dropped=max(0, self.dropped - before.dropped),
            announced=max(0, self.announced - before.announced),
            cached=_less(self.cached, before.cached),
            failed=_less(self.failed, before.failed),
            causes=_less(self.causes, before.causes),
            given_up_by_us=max(0, self.given_up_by_us - before.given_up_by_us),
            delays=max(0, self.delays - before.delays),
            delays_in_time=max(0, self.delays_in_time - before.delays_in_time),
        )


def _less(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Return by how much each grew; without those that did not."""
    return {
        name: grown for name, value in after.items() if (grown := value - before.get(name, 0)) > 0
    }


def count(snapshot: Snapshot) -> Tally:
    """Return what a snapshot says, in one pass over its counters."""
    sums: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    for text, value in snapshot.counters.items():
        name, labels = metrics.split_field(text)
        if name in sums and labels:
            sums[name][labels[0]] += value
    failed = sums[metrics.DOWNLOADED_ERRORS.name] + sums[metrics.INTEGRITY_FAILED.name]
    return Tally(
        received=sums[metrics.RECEIVED.name],
        queued=sums[metrics.QUEUED.name].total(),
        dropped=sums[metrics.ITEMS_DROPPED.name].total(),
        announced=sums[metrics.ITEMS.name].total(),
        cached=sums[metrics.DOWNLOADED.name],
        failed=failed,
        causes=sums[metrics.SOURCE_FAILURES.name],
        given_up_by_us=sums[metrics.GIVEN_UP.name][Reason.UNEXPECTED]
        + sums[metrics.DEAD_LETTERS.name].total(),
        delays=sum(snapshot.delay_buckets),
        delays_in_time=sum(snapshot.delay_buckets[:_BUCKETS_IN_TIME]),
    )


_COUNTED = [
    metric.name
    for metric in (
        metrics.RECEIVED,
        metrics.QUEUED,
        metrics.ITEMS_DROPPED,
        metrics.ITEMS,
        metrics.DOWNLOADED,
        metrics.DOWNLOADED_ERRORS,
        metrics.INTEGRITY_FAILED,
        metrics.SOURCE_FAILURES,
        metrics.GIVEN_UP,
        metrics.DEAD_LETTERS,
    )
]


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in the last minutes."""

    seconds: float
    counts: Tally
    due: Tally
    """What was counted early enough to have come out at its end."""
    ready_brokers: frozenset[str]
    """Global Brokers whose listeners were ready when it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is judged."""

    registry: Snapshot | Unavailable
    depth: Depth | Unavailable
    window: Window | None = None
    """None: not known. What requires it is then not judged."""
    quiet_s: float = 0.0
    """For how long no Global Broker has brought anything, as far as we know."""
    expected_brokers: Sequence[str] = ()
    """Empty: those whose listeners report, or were ready when the window began."""


def ready_brokers(snapshot: Snapshot) -> frozenset[str]:
    """Return the Global Brokers whose listeners are subscribed."""
    return frozenset(p.name for p in snapshot.processes if p.kind == "listener" and p.is_ready)
