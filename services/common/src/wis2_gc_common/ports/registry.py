"""The contract of the registry (wis2-rules.md 6 to 10, 14, M11, M14).

Each (centre-id of the topic, data_id) has one record: the last finished version and the running
attempt. A claim gives an attempt a lease; only the newest attempt may commit or release. The script
that makes a transition also moves its counters, so they are exact under crashes, resends and
redelivery: every mutating call may be repeated with the same arguments and counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from wis2_gc_common.wis2.pubtime import format_pubtime, format_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from wis2_gc_common.errors import Cause
    from wis2_gc_common.wis2.decision import Decision, Held, Rel


#: What a centre without a quota may hold: more than any centre can, and still exact as a double.
UNBOUNDED = 2**53


class ItemKey(NamedTuple):
    """What a record is about (wis2-rules.md 6)."""

    centre_id: str
    """4th level of the topic."""
    data_id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """The parts of a notification that the registry decides on."""

    data_id: str
    pubtime_ns: int
    rel: Rel
    centre_id: str
    """4th level of the topic."""
    message_id: str
    """The incoming notification's `id`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to finish one attempt."""

    notice: Notice
    attempt: int
    """The number that its claim was given."""
    record: str
    """Name of the claimed record."""
    quota: str = ""
    """Label of the quota that the item counts in."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to `claim`.

    `lease` is set when `decision.is_granted`. `hour` (`YYYY-MM-DD/HH`) is the folder of the object:
    an item whose first attempt began less than an hour ago keeps its folder, so that its object is
    overwritten and not stored twice. `object_key` is the key of the finished version that is now
    replaced or deleted. `retry_after_s` is set with WAIT. `parked` is the number of fall-back
    sources that wait with the item. `items_left` and `bytes_left` are what the centre of the topic
    may still hold, without this item; a further attempt at the same item counts no item.
    """

    decision: Decision
    lease: Lease | None = None
    hour: str = ""
    object_key: str | None = None
    retry_after_s: float = 0.0
    parked: int = 0
    items_left: int = UNBOUNDED
    bytes_left: int = UNBOUNDED


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to `look`."""

    now_ms: int
    """The registry's clock."""
    held: Sequence[Held | None]
    """One for each item, in order."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that failed, as the WMO metrics count it.

    `kind`: "download" → downloaded_errors_total, "integrity" → integrity_failed_total. Each
    `message_id` of the item counts once, in the one that comes first. The data server's flag, if
    one is named, goes to 0 each time.
    """

    kind: Literal["download", "integrity"]
    message_id: str
    """Id of the notification whose source failed: that of the lease or of a parked source."""
    centre_id: str
    """`Notification.source_centre_id`."""
    dataserver: str
    """Host name of the link; "" if it has none, or the failure says nothing of that server."""
    reason: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What was done, as the WMO metrics count it.

    `outcome`:
    "cached"    object stored and announced → downloaded_total, timestamps, flag 1, delay
    "uncached"  `cache: false` → no_cache_total only
    "override"  we decided not to cache → cache_override_total only
    "deleted"   deletion republished → no WMO counter; the item is remembered as deleted
    """

    outcome: Literal["cached", "uncached", "override", "deleted"]
    centre_id: str
    """`Notification.source_centre_id`."""
    is_metadata: bool
    dataserver: str = ""
    object_key: str | None = None
    size_bytes: int = 0
    delay_s: float = 0.0
    """Seconds from pubtime to the PUBACK of our notification; more than a day counts as a day."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The answer to `renew`: whether the lease is still ours, and how many sources are parked."""

    is_held: bool
    parked: int


#: Why a valid notification is refused: its centre sends too many.
OVER_QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused notification, of which we tell its centre (wis2-rules.md E1)."""

    centre_id: str
    """4th level of the topic."""
    topic: str
    arrived_ms: int
    """Milliseconds since 1970."""
    problem: str
    """A `Reason` or `OVER_QUOTA`, perhaps with details."""

    @property
    def title(self) -> str:
        """The title of its monitoring event."""
        is_over_quota = self.problem.startswith(OVER_QUOTA)
        return "Notification over quota" if is_over_quota else "Invalid notification"


class Registry(Protocol):
    """The manager's side.

    All methods raise Unavailable("registry") on an outage, and PartError("registry") when the
    registry answers this call with an error: a bug of ours.
    """

    async def claim(
        self, notice: Notice, *, owner: str, worker: str, attempt: int, source: bytes
    ) -> Claimed:
        """Decide on `notice` atomically, and take the item if it is granted.

        `owner`: `Envelope.uid`. `attempt`: a random number from [0, 2**63). A repeat of a call
        whose answer was lost uses the same number and gets the same lease. The same owner and
        worker with another attempt takes over the item from itself, as after a restart. The same
        owner from another worker gets WAIT while the lease lives: it never parks with itself. BUSY
        has parked `source` (an encoded Envelope; at most 16 and 32 KiB per item) for the holder,
        and the queue message may be deleted. OVER_QUOTA has changed nothing.
        """

    async def renew(self, leases: Sequence[Lease]) -> list[Renewed]:
        """Restart these leases; return one answer for each."""

    async def parked(self, lease: Lease) -> list[bytes]:
        """Return the fall-back sources that wait with the item; they stay until it is finished."""

    async def fail(self, lease: Lease, failure: Failure) -> bool:
        """Count a failed source; return whether it is the first failure of its notification.

        The item stays claimed.
        """

    async def commit(self, lease: Lease, commit: Commit) -> bool:
        """Record the item as finished and count it; return False if the lease is lost.

        A repeat by the same lease returns True and counts nothing.
        """

    async def release(
        self, lease: Lease, *, cause: Cause | None, parked_seen: int, is_final: bool
    ) -> Literal["released", "more", "lost"]:
        """Give the item up: after failed sources, or untouched (`cause` None) on a drain.

        "more": more sources are parked than the `parked_seen` that the holder has tried; the item
        stays claimed and the holder tries them. Never the answer without a `cause`.
        `is_final`: no retry follows; parked sources are forgotten, and the item is listed and
        counted as given up, once, however many of its notifications end here.
        """

    async def look(self, items: Sequence[ItemKey]) -> Looked:
        """Return what is held of each item, in one round trip. Changes nothing."""

    async def count(self, counts: Mapping[str, int]) -> None:
        """Add to operational counters; made with `metrics.field`."""

    async def keep_labels(self, known: Collection[str] | None) -> int:
        """Remove metric labels that were not used for days; return how many.

        `known`: centre-ids that always have labels of their own, however many others strangers
        invent; None keeps the present list. A centre that comes back continues its counters.
        """

    async def keep_quotas(self, *, items: int | None, bytes_: int | None) -> None:
        """Limit each centre to this many items and bytes (None: no limit) from now on.

        Also forgets what is no longer held: call it several times an hour.
        """

    async def memory_bytes(self) -> int:
        """Return how much memory the registry may use, in bytes; 0 if no limit is set."""

    async def admit_event(self, centre_id: str, *, interval_s: float) -> bool:
        """Return whether a monitoring event about this centre may be sent now.

        All callers together may send one event per centre and interval. An event whose answer is
        lost counts as sent.
        """

    async def refusals(self, limit: int) -> list[Refusal]:
        """Take up to `limit` of the listeners' refusals, oldest first.

        The refusals of a call that does not return are lost: events are useful, not vital.
        """

    async def heartbeat(self, status: ProcessStatus) -> None:
        """Report that a process is alive; forgotten unless repeated."""

    async def ping(self) -> None:
        """Return once the registry answers and accepts writes."""

    async def close(self) -> None:
        """Release connections. Never raises."""


class ListenerRegistry(Protocol):
    """The listener's side; blocking, used by one thread. Raises as `Registry` does."""

    def look(self, items: Sequence[ItemKey], *, deletions: Mapping[ItemKey, int]) -> Looked:
        """Return what is held of each item, in one round trip.

        `deletions`: pubtimes of deletions that go to the queue. They are recorded with their items
        before the look: an item that is published again after its deletion may overtake it in the
        queue, and must not look like a repeat of the version that is deleted.
        """

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to operational counters; made with `metrics.field`."""

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Leave these to the managers, which can publish; the oldest go if nobody takes them."""

    def heartbeat(self, status: ProcessStatus) -> None:
        """Report that this listener is alive; forgotten unless repeated."""

    def hold_session(self, broker_name: str, holder: str, *, lease_s: float) -> bool:
        """Return whether `holder` has the session at a Global Broker, for `lease_s` from now on.

        The first caller gets it, until it leaves the session or does not ask for `lease_s`.
        """

    def leave_session(self, broker_name: str, holder: str) -> None:
        """Release the session if `holder` has it."""

    def close(self) -> None:
        """Release connections. Never raises."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as the metrics service shows it; `facts` are plain JSON values."""

    kind: Literal["listener", "manager"]
    name: str
    """Unique in its kind: the Global Broker's name, or the manager's instance name."""
    is_ready: bool
    at_s: float = 0.0
    """Seconds since 1970; set by the registry's reader."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> dict[str, str]:
        """The parts of ours that a manager waits for, each with its problem."""
        problems = self.facts.get("problems")
        if not isinstance(problems, dict):
            return {}
        return {str(part): str(problem) for part, problem in problems.items()}

    @property
    def last_problem(self) -> str:
        """What a listener says is wrong; "" if nothing is."""
        return str(self.facts.get("last_problem") or "")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a scrape needs, read in one round trip."""

    counters: Mapping[str, int]
    """By `metrics.field`."""
    gauges: Mapping[str, float]
    """By `metrics.field`."""
    delay_buckets: Sequence[int]
    """One count per `DELAY_BUCKETS_S`, not cumulative, and a last one for all above."""
    delay_sum_s: float
    processes: Sequence[ProcessStatus]
    """Those that reported within the last 15 seconds."""
    held: Mapping[str, int] = field(default_factory=dict)
    """What centres hold and may hold: by `metrics.field`."""


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """The history of one item, for the operator."""

    state: Literal["done", "deleted", "running", "failed"]
    """State of the last attempt."""
    held: Held
    object_key: str | None
    attempts: int
    last_error: str
    parked: int
    """Fall-back sources that wait with it."""

    def facts(self, key: ItemKey) -> dict[str, Any]:
        """Return what people read of the item `key`: plain JSON values, times as text."""
        held = self.held
        running_ns = held.running_pubtime_ns
        return {
            **key._asdict(),
            "state": self.state,
            "finished_state": held.state,
            "finished_at": None if held.state is None else format_seconds(held.finished_ms / 1000),
            "pubtime": None if held.state is None else format_pubtime(held.pubtime_ns),
            "running_pubtime": None if running_ns is None else format_pubtime(running_ns),
            "object_key": self.object_key,
            "attempts": self.attempts,
            "last_error": self.last_error,
            "parked": self.parked,
        }


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """An item that was given up."""

    at_s: float
    data_id: str
    centre_id: str
    pubtime_ns: int
    error: str
    attempts: int

    def facts(self) -> dict[str, Any]:
        """Return what people read of it: plain JSON values, times as text."""
        return {
            "at": format_seconds(self.at_s),
            "centre_id": self.centre_id,
            "data_id": self.data_id,
            "pubtime": format_pubtime(self.pubtime_ns),
            "error": self.error,
            "attempts": self.attempts,
        }


class RegistryReader(Protocol):
    """The metrics service's and the operator's side; raises Unavailable("registry")."""

    async def snapshot(self) -> Snapshot:
        """Return all counters, gauges and live processes, in one round trip."""

    async def item(self, key: ItemKey) -> ItemRecord | None:
        """Return what managers know of one item."""

    async def failures(self, limit: int) -> list[FailureRecord]:
        """Return the newest given-up items, newest first."""

    async def close(self) -> None:
        """Release connections. Never raises."""
