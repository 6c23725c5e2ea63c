"""From the inbox to the queue: judge, look, send, and only then acknowledge.

Source: architecture.md#listener.

One thread, the only one that uses the sender and the registry. It finishes a batch before it begins
the next, so that acknowledgements leave strictly in the order of arrival.

Who retries: this thread retries a batch until the queue accepts it or the listener stops. Meanwhile
it acknowledges nothing, and the broker's window bounds what waits in memory.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wis2_gc_common.errors import PartError, Unavailable
from wis2_gc_common.metrics import (
    DROPPED,
    INVALID,
    OVER_QUOTA,
    QUEUED,
    RECEIVED,
    SESSIONS_TAKEN_OVER,
    SILENCE_RECONNECTS,
    field,
    field_of_centre,
)
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.ports.registry import ItemKey, Looked, ProcessStatus, Refusal
from wis2_gc_common.runtime.backoff import Backoff
from wis2_gc_common.runtime.causes import BUG
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.monitoring_event import EventLimiter
from wis2_gc_common.wis2.topic import centre_in
from wis2_gc_listener.acknowledgements import Acknowledgements
from wis2_gc_listener.triage import Drop, DropReason, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.queue import Sender
    from wis2_gc_common.ports.registry import ListenerRegistry
    from wis2_gc_common.wis2.notification import Notification
    from wis2_gc_listener.arrivals import Arrival, Inbox
    from wis2_gc_listener.broker import BrokerState
    from wis2_gc_listener.rates import CentreRates
    from wis2_gc_listener.triage import Triage

_log = get_logger(__name__)

#: Up to this many waiting arrivals go into one look at the registry.
MAX_BATCH = 100
#: At most one log line about the same outage in this time.
_OUTAGE_LOG_EVERY_S = 30.0
#: Refused notifications to tell their centres of, kept while the registry is away.
_MAX_REFUSALS = 100
#: A stranger's topic has up to 64 kB; Redis keeps a thousand of these.
_MAX_TEXT_CHARS = 500
#: How many refused notifications are logged in full between two reports; all are counted.
_REFUSALS_LOGGED_PER_REPORT = 5


class Broker(Protocol):
    """What the forwarder requires of the Global Broker."""

    @property
    def state(self) -> BrokerState:
        """The connection as it is now."""

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Acknowledge these, in this order."""

    def let(self, is_ours: bool | None, *, lease_s: float) -> None:
        """Set whether the session is ours; None: unchanged, the registry cannot say."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a listener reports about itself and never changes."""

    broker_name: str
    broker_address: str
    """Without user and password."""
    topics: tuple[str, ...]
    process: str
    """Identifies this listener among those of the same Global Broker."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    report_every_s: float = 1.0
    heartbeat_every_s: float = 3.0
    session_lease_s: float = 5.0
    """Longer than a report takes, also to a slow registry."""
    registry_first_s: float = 1.0
    registry_longest_s: float = 5.0
    queue_first_s: float = 0.1
    queue_longest_s: float = 5.0


@dataclass(kw_only=True, eq=False)
class Forwarder:
    """Runs until stopped. `stop` lets it finish what has arrived, unless the queue is away."""

    identity: Identity
    inbox: Inbox
    triage: Triage
    sender: Sender
    registry: ListenerRegistry
    broker: Broker
    rates: CentreRates
    on_crash: Callable[[], None]
    repeat_window_hours: int
    queue_problem: str
    """Why the queue is not reached; "" if it is."""
    timing: Timing

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._beat_at = time.monotonic()

        self._received = self._queued = self._dropped = 0
        self._last_message_ms = 0
        self._silence_reconnects = self._taken_over = 0
        self._in_hand = Acknowledgements([])
        self._queue_logged_at = 0.0
        self._queue_backoff = Backoff(
            first_s=self.timing.queue_first_s, longest_s=self.timing.queue_longest_s
        )
        self._registry_problem = ""
        self._registry_again_at = 0.0
        self._is_ours: bool | None = None
        self._assume_ours_at = self._beat_at + self.timing.session_lease_s
        self._registry_backoff = Backoff(
            first_s=self.timing.registry_first_s, longest_s=self.timing.registry_longest_s
        )
        self._unreported: Counter[str] = Counter()
        self._report_due_at = 0.0
        self._heartbeat_due_at = 0.0
        self._is_reported_ready = False
        self._refusals_to_log = _REFUSALS_LOGGED_PER_REPORT
        self._refusals: list[Refusal] = []
        self._told = EventLimiter()
        self._told_of_quota = EventLimiter()
        self._received_field = field(RECEIVED, self.identity.broker_name)
        self._queued_field = field(QUEUED, self.identity.broker_name)
        self._dropped_fields: dict[str, str] = {}

    @property
    def is_alive(self) -> bool:
        """Whether the forwarder thread runs."""
        return self._thread.is_alive()

    @property
    def stalled_s(self) -> float:
        """Seconds without progress; 0 while we know that the queue is away."""
        return 0.0 if self.queue_problem else time.monotonic() - self._beat_at

    @property
    def problem(self) -> str:
        """What is wrong on our side; "" if nothing is."""
        if self._is_ours is None:
            return self._registry_problem or "the registry has not answered yet"
        return self.queue_problem or self._registry_problem

    def start(self) -> None:
        """Begin, in its own thread."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Finish what has arrived and report it; return whether it ended in time."""
        self._stopping.set()
        self.inbox.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def leave_session(self) -> None:
        """Let a successor connect at once; call it after `stop` has ended the thread.

        Never raises: without it, the session is free when its lease ends.
        """
        try:
            self.registry.leave_session(self.identity.broker_name, self.identity.process)
        except Exception as error:  # noqa: BLE001 - nothing can be done about it
            _log.warning("session_not_let_go", problem=repr(error)[:200])

    def _run(self) -> None:
        try:
            self._forward_until_stopped()
        except Exception:  # noqa: BLE001 - a thread must not die silently
            # No unacknowledged message is lost: the broker sends it again to our successor.
            _log.exception("forwarder_crashed")
            self.on_crash()

    def _forward_until_stopped(self) -> None:
        self._report()
        self._reach_queue()
        while True:
            self._beat_at = time.monotonic()
            batch = self.inbox.take(MAX_BATCH, timeout_s=min(0.5, self.timing.report_every_s))
            if batch:
                if not self._forward(batch):
                    break
            elif self._stopping.is_set():
                break
            self._report()
        self._report(is_last=True)

    def _reach_queue(self) -> None:
        """Return once the queue has answered, or the listener must stop."""
        while self.queue_problem and not self._stopping.is_set():
            try:
                self.sender.check()
            except Unavailable as error:
                self._queue_failed(str(error))
                self._pause(self._queue_backoff.next_s())
            else:
                self._queue_answered()

    def _forward(self, batch: list[Arrival]) -> bool:
        """Finish one batch; return False if the listener stops before the queue took it."""
        self._in_hand = progress = Acknowledgements(batch)
        self._received += len(batch)
        self._last_message_ms = batch[-1].arrived_ms
        self._unreported[self._received_field] += len(batch)
        passed = self._sort_out(batch, progress)
        self.broker.acknowledge(progress.release())
        return self._send(batch, passed, progress)

    def _sort_out(self, batch: Sequence[Arrival], progress: Acknowledgements) -> list[int]:
        """Settle the dropped arrivals; return the indices of those for the queue."""
        to_look_up: list[tuple[int, Notification]] = []
        passed: list[int] = []
        for index, arrival in enumerate(batch):
            try:
                verdict = self.triage.judge(arrival.topic, arrival.payload)
            except Exception:  # noqa: BLE001 - strangers' input must not stop the others
                # It may be useful, so it passes; the manager has dead letters for such messages.
                self._log_bug(arrival)
                passed.append(index)
                continue
            if isinstance(verdict, Drop):
                self._drop(arrival, verdict)
                progress.settle(index)
            else:
                to_look_up.append((index, verdict))
        looked = self._look([notification for _, notification in to_look_up])
        for (index, notification), record in zip(to_look_up, looked.held, strict=True):
            try:
                decision = refusal(
                    record,
                    notification,
                    now_ms=looked.now_ms,
                    repeat_window_ms=self.repeat_window_hours * 3_600_000,
                )
            except Exception:  # noqa: BLE001 - as above
                self._log_bug(batch[index])
                decision = None
            if decision is None:
                passed.append(index)
            else:
                self._count_dropped(decision)
                progress.settle(index)
        passed.sort()
        return passed

    def _look(self, notifications: list[Notification]) -> Looked:
        """Ask the registry; while it is away every notification passes, as if nothing were held."""
        nothing = Looked(0, [None] * len(notifications))
        if not notifications or time.monotonic() < self._registry_again_at:
            return nothing
        items = [ItemKey(each.topic.centre_id, each.data_id) for each in notifications]
        deletions: dict[ItemKey, int] = {}
        for item, notification in zip(items, notifications, strict=True):
            if notification.rel == "deletion":
                deletions[item] = max(notification.pubtime_ns, deletions.get(item, 0))
        try:
            looked = self.registry.look(items, deletions=deletions)
        except Unavailable as error:
            self._registry_failed(str(error))
        except PartError as error:
            # This batch may be the cause: the next one asks again.
            _log.error("look_failed", detail=error.detail)
        except Exception:  # noqa: BLE001 - an adapter's bug is an outage to us
            _log.exception("registry_failed_unexpectedly")
            self._registry_failed(f"registry: {BUG}")
        else:
            self._registry_answered()
            return looked
        return nothing

    def _send(
        self, batch: Sequence[Arrival], passed: list[int], progress: Acknowledgements
    ) -> bool:
        """Send until the queue has answered for each; return False if stopped before that."""
        envelopes = {
            index: Envelope(
                topic=batch[index].topic,
                payload=batch[index].payload,
                broker=self.identity.broker_name,
                arrived_ms=batch[index].arrived_ms,
                is_bulk=self.rates.is_above(centre_in(batch[index].topic)),
            )
            for index in passed
        }
        left = passed
        while left:
            chunk = left[: self.sender.max_batch]
            refused = chunk
            try:
                answers = self.sender.send([envelopes[index] for index in chunk])
                refused = self._settle(batch, chunk, answers, progress)
                problem = "the queue refuses, it is full or throttled" if refused else ""
            except Unavailable as error:
                problem = str(error)
            except Exception:  # noqa: BLE001 - an adapter's bug is an outage to us
                _log.exception("queue_failed_unexpectedly")
                problem = f"queue: {BUG}"
            self.broker.acknowledge(progress.release())
            left = refused + left[len(chunk) :]
            if not problem:
                self._queue_answered()
                continue
            self._queue_failed(problem)
            if self._stopping.is_set():
                return False
            self._pause(self._queue_backoff.next_s())
        return True

    def _settle(
        self,
        batch: Sequence[Arrival],
        chunk: list[int],
        answers: Sequence[Sent],
        progress: Acknowledgements,
    ) -> list[int]:
        """Record the result of each; return those to send again."""
        refused = []
        for index, answer in zip(chunk, answers, strict=True):
            if answer is Sent.REFUSED:
                refused.append(index)
                continue
            if answer is Sent.ACCEPTED:
                self._queued += 1
                self._unreported[self._queued_field] += 1
            elif answer is Sent.OVER_QUOTA:
                self._drop_over_quota(batch[index])
            else:
                self._drop(batch[index], Drop(DropReason.NOT_QUEUEABLE))
            progress.settle(index)
        return refused

    def _drop(self, arrival: Arrival, drop: Drop) -> None:
        self._count_dropped(drop.reason)
        if drop.centre_id:
            self._count_of_centre(INVALID, drop.centre_id)
            self._tell(arrival, drop, self._told)
        if drop.reason in _QUIET or self._refusals_to_log <= 0:
            return
        self._refusals_to_log -= 1
        _log.warning(
            "notification_refused",
            topic=arrival.topic[:200],
            reason=drop.reason,
            detail=drop.detail,
        )

    def _drop_over_quota(self, arrival: Arrival) -> None:
        centre_id = centre_in(arrival.topic)
        drop = Drop(DropReason.QUOTA, "too many of this centre wait", centre_id)
        self._count_dropped(drop.reason)
        self._count_of_centre(OVER_QUOTA, centre_id)
        if self._tell(arrival, drop, self._told_of_quota):
            _log.warning("queue_share_full", centre_id=centre_id, topic=arrival.topic[:200])

    def _log_bug(self, arrival: Arrival) -> None:
        if self._refusals_to_log > 0:
            self._refusals_to_log -= 1
            _log.exception("triage_failed", topic=arrival.topic[:200])

    def _tell(self, arrival: Arrival, drop: Drop, limiter: EventLimiter) -> bool:
        """Arrange that the refusal's centre is told, at a limited rate (wis2-rules.md E1)."""
        if len(self._refusals) >= _MAX_REFUSALS or not limiter.admit(
            drop.centre_id, time.monotonic()
        ):
            return False
        problem = f"{drop.reason}: {drop.detail}" if drop.detail else drop.reason
        self._refusals.append(
            Refusal(
                drop.centre_id,
                arrival.topic[:_MAX_TEXT_CHARS],
                arrival.arrived_ms,
                problem[:_MAX_TEXT_CHARS],
            )
        )
        return True

    def _count_dropped(self, reason: str) -> None:
        self._dropped += 1
        name = self._dropped_fields.get(reason)
        if name is None:
            name = field(DROPPED, self.identity.broker_name, reason)
            self._dropped_fields[reason] = name
        self._unreported[name] += 1

    def _count_of_centre(self, metric: Metric, centre_id: str) -> None:
        self._unreported[field_of_centre(metric, centre_id, self._unreported)] += 1

    def _pause(self, delay_s: float) -> None:
        """Wait for the queue to come back; meanwhile, report."""
        deadline = time.monotonic() + delay_s
        while (left_s := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            self._beat_at = time.monotonic()
            self._report()
            self._stopping.wait(min(left_s, 0.5))

    def _report(self, *, is_last: bool = False) -> None:
        """Add our counts to the registry's and send the heartbeat, each at its interval."""
        now = time.monotonic()
        if is_last:
            self._heartbeat_due_at = now
        elif now < self._report_due_at:
            return
        self._refusals_to_log = _REFUSALS_LOGGED_PER_REPORT
        self._report_due_at = now + self.timing.report_every_s
        self._hold_session(now)
        self._count_connections()
        if now < self._registry_again_at:
            return
        try:
            if self._unreported:
                self.registry.count(dict(self._unreported))
                self._unreported.clear()
            if self._refusals:
                self.registry.refuse(self._refusals)
                self._refusals = []
            status = self._status(is_last=is_last)
            is_due = now >= self._heartbeat_due_at or status.is_ready != self._is_reported_ready
            # While another listener has the session, that one reports on the broker.
            if self._is_ours and is_due:
                self._heartbeat_due_at = now + self.timing.heartbeat_every_s
                self.registry.heartbeat(status)
                self._is_reported_ready = status.is_ready
        except Unavailable as error:
            self._registry_failed(str(error))
        except PartError as error:
            # It would fail for ever, and part of it may already be counted.
            _log.error("report_refused", detail=error.detail, counts=dict(self._unreported))
            self._unreported.clear()
            self._refusals = []
        except Exception:  # noqa: BLE001 - an adapter's bug is an outage to us
            _log.exception("registry_failed_unexpectedly")
            self._registry_failed(f"registry: {BUG}")
        else:
            self._registry_answered()

    def _hold_session(self, now: float) -> None:
        """Ask the registry whether the session is ours, and tell the broker object."""
        lease_s, is_ours = self.timing.session_lease_s, None
        if now >= self._registry_again_at:
            try:
                is_ours = self.registry.hold_session(
                    self.identity.broker_name, self.identity.process, lease_s=lease_s
                )
            except Unavailable as error:
                self._registry_failed(str(error))
            except Exception:  # noqa: BLE001 - an adapter's bug is an outage to us
                _log.exception("registry_failed_unexpectedly")
                self._registry_failed(f"registry: {BUG}")
        if is_ours is None and self._is_ours is None and now >= self._assume_ours_at:
            # For a whole lease nobody was seen to hold it: feed a queue that works without the
            # registry.
            self._is_ours = True
        if is_ours is not None:
            if self._is_ours is not is_ours:
                _log.info("session_held" if is_ours else "session_held_by_another_listener")
            self._is_ours = is_ours
        if self._is_ours or is_ours is not None:
            self.broker.let(is_ours, lease_s=lease_s)

    def _count_connections(self) -> None:
        state, broker_name = self.broker.state, self.identity.broker_name
        if made := state.silence_reconnects - self._silence_reconnects:
            self._unreported[field(SILENCE_RECONNECTS, broker_name)] += made
        if taken := state.taken_over - self._taken_over:
            self._unreported[field(SESSIONS_TAKEN_OVER, broker_name)] += taken
        self._silence_reconnects, self._taken_over = state.silence_reconnects, state.taken_over

    def _status(self, *, is_last: bool) -> ProcessStatus:
        state = self.broker.state
        return ProcessStatus(
            kind="listener",
            name=self.identity.broker_name,
            is_ready=state.is_ready and not is_last,
            facts={
                "broker": self.identity.broker_address,
                "connected": state.is_connected and not is_last,
                "topics": list(self.identity.topics),
                "received": self._received,
                "dropped": self._dropped,
                "queued": self._queued,
                "last_message_s": self._last_message_ms / 1000,
                "silence_reconnects": state.silence_reconnects,
                "unacknowledged": len(self.inbox) + self._in_hand.unreleased,
                "last_problem": "stopped" if is_last else state.problem or self.problem,
            },
        )

    def _queue_failed(self, problem: str) -> None:
        now = time.monotonic()
        if not self.queue_problem or now - self._queue_logged_at >= _OUTAGE_LOG_EVERY_S:
            self._queue_logged_at = now
            _log.error("queue_away", problem=problem, waiting=len(self.inbox))
        self.queue_problem = problem

    def _queue_answered(self) -> None:
        if self.queue_problem:
            _log.info("queue_back")
            self.queue_problem = ""
            self._queue_backoff.reset()

    def _registry_failed(self, problem: str) -> None:
        if not self._registry_problem:
            _log.error("registry_away", problem=problem)
        self._registry_problem = problem
        self._registry_again_at = time.monotonic() + self._registry_backoff.next_s()

    def _registry_answered(self) -> None:
        if self._registry_problem:
            _log.info("registry_back")
            self._registry_problem = ""
            self._registry_backoff.reset()


#: Expected in large numbers: counted, never logged one by one.
_QUIET = frozenset(
    {DropReason.RECOMMENDED, DropReason.OWN, DropReason.NOT_SUBSCRIBED, DropReason.EMPTY}
)
