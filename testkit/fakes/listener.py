"""In-memory stand-ins for what the listener talks to; they keep the contracts of `ports`."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable, Unsendable
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.ports.queue import Sent
from wis2_gc_common.ports.registry import Looked
from wis2_gc_listener.broker import BrokerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import ItemKey, ProcessStatus, Refusal
    from wis2_gc_common.wis2.decision import Held
    from wis2_gc_listener.arrivals import Arrival


MAX_ENTRY_BYTES = 64 * 1024
NOW_MS = 1_772_366_400_000
"""The registry's clock."""


def wait_until(condition: Callable[[], object], *, timeout_s: float = 60.0, what: str = "") -> None:
    """Return once `condition` is true; fail the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout_s} s: {what or condition}")
        time.sleep(0.005)


class FakeSender:
    """A queue in memory. `is_away`: Unavailable; `answer`: what becomes of one envelope."""

    def __init__(self, *, max_batch: int = 10) -> None:
        self.max_batch = max_batch
        self.accepted: list[Envelope] = []
        self.calls: list[list[Envelope]] = []
        self.is_away = False
        self.is_closed = False
        self.answer: Callable[[Envelope], Sent] = _accepted_if_sendable
        self.failure: Exception | None = None
        """Raised once, then forgotten."""

    @property
    def payloads(self) -> list[bytes]:
        return [envelope.payload for envelope in self.accepted]

    def check(self) -> None:
        if self.is_away:
            raise Unavailable("queue", "switched off by the test")

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        if len(batch) > self.max_batch:
            raise ValueError(f"a batch of {len(batch)} envelopes")
        self.calls.append(list(batch))
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if self.is_away:
            raise Unavailable("queue", "switched off by the test")
        answers = [self.answer(envelope) for envelope in batch]
        self.accepted += [
            envelope
            for envelope, answer in zip(batch, answers, strict=True)
            if answer is Sent.ACCEPTED
        ]
        return answers

    def close(self) -> None:
        self.is_closed = True


def _accepted_if_sendable(envelope: Envelope) -> Sent:
    try:
        entry = encode_envelope(envelope)
    except Unsendable:
        return Sent.POISON
    return Sent.ACCEPTED if len(entry) <= MAX_ENTRY_BYTES else Sent.POISON


class FakeListenerRegistry:
    """A registry in memory; `held` says what `look` finds."""

    def __init__(self) -> None:
        self.held: dict[ItemKey, Held] = {}
        self.counters: dict[str, int] = {}
        self.statuses: list[ProcessStatus] = []
        self.refusals: list[Refusal] = []
        self.looks: list[list[ItemKey]] = []
        self.deletions: list[dict[ItemKey, int]] = []
        """Those noted with each look."""
        self.fault: Exception | None = None
        """Raised by each look."""
        self.is_away = False
        self.is_closed = False
        self.holders: dict[str, str] = {}
        """By the name of a Global Broker: whose session it is."""

    def look(self, items: Sequence[ItemKey], *, deletions: Mapping[ItemKey, int]) -> Looked:
        self.looks.append(list(items))
        self._refuse_when_away()
        if self.fault is not None:
            raise self.fault
        self.deletions.append(dict(deletions))
        return Looked(NOW_MS, [self.held.get(item) for item in items])

    def count(self, counts: Mapping[str, int]) -> None:
        self._refuse_when_away()
        for name, number in counts.items():
            self.counters[name] = self.counters.get(name, 0) + number

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        self._refuse_when_away()
        self.refusals += refusals

    def heartbeat(self, status: ProcessStatus) -> None:
        self._refuse_when_away()
        self.statuses.append(status)

    def hold_session(self, broker_name: str, holder: str, *, lease_s: float) -> bool:
        self._refuse_when_away()
        return self.holders.setdefault(broker_name, holder) == holder

    def leave_session(self, broker_name: str, holder: str) -> None:
        self._refuse_when_away()
        if self.holders.get(broker_name) == holder:
            del self.holders[broker_name]

    def close(self) -> None:
        self.is_closed = True

    def _refuse_when_away(self) -> None:
        if self.is_away:
            raise Unavailable("registry", "switched off by the test")


class FakeBroker:
    """Remembers what was acknowledged, in order."""

    def __init__(self) -> None:
        self.state = BrokerState(is_connected=True, is_subscribed=True, problem="")
        self.acknowledged: list[Arrival] = []
        self.lets: list[bool | None] = []
        """What it was told about its session, without repetitions."""
        self._lock = threading.Lock()

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        with self._lock:
            self.acknowledged.extend(arrivals)

    def let(self, is_ours: bool | None, *, lease_s: float) -> None:
        assert lease_s > 0
        if self.lets[-1:] != [is_ours]:
            self.lets.append(is_ours)

    @property
    def packet_ids(self) -> list[int]:
        return [arrival.packet_id for arrival in self.acknowledged]
