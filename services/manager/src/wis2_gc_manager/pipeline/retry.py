"""What becomes of an item that is not finished (architecture.md#three-kinds-of-failure). No I/O.

The functions are pure; `Retries` adds the policy, the clock and the items that wait.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import CacheError, Cause, Reason
from wis2_gc_common.runtime.causes import BUG
from wis2_gc_manager.pipeline.endings import Buried, GivenUp, HandedBack, PutBack
from wis2_gc_manager.pipeline.source import read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_common.wis2.notification import Notification
    from wis2_gc_manager.pipeline.delayed_items import DelayedItems
    from wis2_gc_manager.pipeline.in_flight import Item

#: A delay is drawn from [delay, delay * (1 + JITTER)): items that failed together do not come
#: back together.
JITTER = 0.25
#: Shortest and longest wait for a host that is busy, or that said when to come back.
MIN_BUSY_S = 0.5
MAX_RETRY_AFTER_S = 3600.0
#: Waits while another version of the item is in work: shortest, longest first, longest of all. Such
#: work mostly ends long before its lease would.
MIN_FIRST_WAIT_S, MAX_FIRST_WAIT_S, MAX_WAITING_S = 0.05, 1.0, 60.0
#: An item whose centre holds too many slots comes back after one to one and a half times this; an
#: old one after a share of its age, up to the longest.
CROWDED_S, MAX_CROWDED_S = 20.0, 600.0
_CROWDED_SHARE = 0.25
#: Between attempts at an item that meets a bug of ours.
UNEXPECTED_DELAYS_S = (5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
#: After this many attempts that meet a bug, the message is a dead letter.
MAX_ATTEMPTS = 8
#: A message that was delivered more often than the first may be what kills its workers, so the
#: `Receiver` works on it alone. After more than the second it is a dead letter. Both come before
#: the `maxReceiveCount` (8) of SQS, which gives no reason and also moves the messages beside it.
SUSPECT_DELIVERIES = 4
MAX_DELIVERIES = 7
#: How long an item waits for a host that only ever asks to wait (429).
BUSY_LIFE_S = 2 * 3600.0
#: An item that a part of ours refuses, though it is there, comes back after this.
REFUSED_BY_PART_S = 60.0
#: Why an item is given up untried: it waited as long as it was of use, or its centre had too many
#: others waiting. Labels of `items_dropped_total`.
CROWDED, WAITING = "crowded_out", "waited_in_vain"
_TOLD = {
    CROWDED: "its centre's slow sources held its share of the slots",
    WAITING: "other versions of it were in work",
}

#: With these reasons a notification fails every time. Another source is another notification.
HOPELESS = frozenset(
    {
        Reason.UNSUPPORTED_SCHEME,
        Reason.INVALID_URL,
        Reason.FORBIDDEN_ADDRESS,
        Reason.FORBIDDEN_PORT,
        Reason.INVALID_INTEGRITY,
    }
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and until when."""

    delays_s: tuple[float, ...]
    """Seconds before each retry."""
    useful_life_s: float
    """Since its arrival; later it would expire soon after its announcement."""
    quick_delay_s: float = 0.0
    """Before one quick retry that comes before these; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No known source gave the data."""

    reasons: tuple[Reason, ...]
    """Of those that failed."""
    retry_after_s: float | None
    """The longest wait a failed source asked for."""
    busy_s: float | None
    """Seconds until the first busy source (HostBusy) can be tried; None: all failed."""
    is_in_line: bool = False
    """The host of a busy source works, and this item waits in its line."""
    is_fleeting: bool = False
    """A source failed for the first time, for a reason that is often gone a second later."""


@dataclass(frozen=True, slots=True)
class Return:
    """Hand the message back."""

    delay_s: float
    attempts: int
    is_quick: bool = False
    """It is soon, so the message does not become bulk: the quick retry, which does not count as an
    attempt, or a first short wait."""


def after_exhausted(
    exhausted: Exhausted, policy: RetryPolicy, *, attempts: int, age_s: float, draw: float
) -> Return | None:
    """Return what becomes of an item; None: it is given up.

    `attempts`: how often its sources have failed before; `age_s`: since its arrival; `draw`:
    from [0, 1).

    A busy host does not count as an attempt. While a source has not been tried, only the age of
    the item ends the waiting: a host that works is waited for as long as the item is of use, a host
    that sends us away for BUSY_LIFE_S. The quick retry does not count as an attempt: only a first
    failure is fleeting, so each source has one.
    """
    busy_s = exhausted.busy_s
    failed = bool(exhausted.reasons)
    hopeless = failed and all(reason in HOPELESS for reason in exhausted.reasons)
    can_retry = failed and not hopeless and attempts < len(policy.delays_s)
    is_quick = exhausted.is_fleeting and attempts == 0 and policy.quick_delay_s > 0
    if is_quick:
        # Here jitter makes it shorter: SQS rounds up to whole seconds.
        delay_s, draw = policy.quick_delay_s, -draw
    elif can_retry:
        wait_s = min(exhausted.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        delay_s = max(policy.delays_s[attempts], wait_s)
        attempts += 1
    elif busy_s is not None and (exhausted.is_in_line or age_s <= BUSY_LIFE_S):
        delay_s = min(max(busy_s, MIN_BUSY_S), MAX_RETRY_AFTER_S)
    else:
        return None
    delay_s *= 1 + JITTER * draw
    if age_s + delay_s > policy.useful_life_s:
        return None
    return Return(delay_s, attempts, is_quick)


def waiting_s(age_s: float, retry_after_s: float, *, draw: float) -> float:
    """Return the delay of an item that waits for another version of it.

    The delay is as long as the item has already waited. So it comes back only a few times, and at
    most twice as late as it could. `retry_after_s`: until the lease of the other version ends.
    """
    first_s = min(max(retry_after_s, MIN_FIRST_WAIT_S), MAX_FIRST_WAIT_S)
    if age_s <= first_s:
        return first_s
    return min(age_s, MAX_WAITING_S) * (1 + JITTER * draw)


def crowded_s(age_s: float, *, draw: float) -> float:
    """Return the delay of an item whose centre holds too many slots."""
    return min(max(CROWDED_S, age_s * _CROWDED_SHARE), MAX_CROWDED_S) * (1 + draw / 2)


class QuickTries:
    """The items that this process has put back for their quick retry; a bounded number."""

    _MAX = 10_000

    def __init__(self) -> None:
        self._uids: OrderedDict[str, None] = OrderedDict()

    def add(self, uid: str) -> None:
        """Note an item."""
        self._uids[uid] = None
        if len(self._uids) > self._MAX:
            self._uids.popitem(last=False)

    def take(self, uid: str) -> bool:
        """Return whether the item was noted, and forget it."""
        return self._uids.pop(uid, self) is None


def after_unexpected(attempts: int) -> Return | None:
    """Return what becomes of an item that met a bug; None: a dead letter."""
    if attempts + 1 >= MAX_ATTEMPTS:
        return None
    delay_s = UNEXPECTED_DELAYS_S[min(attempts, len(UNEXPECTED_DELAYS_S) - 1)]
    return Return(delay_s, attempts + 1)


@dataclass(kw_only=True, slots=True, eq=False)
class Retries:
    """Decides when an item comes back, and when it does not."""

    policy: RetryPolicy
    delayed: DelayedItems
    now_ns: Callable[[], int] = time.time_ns
    draw: Callable[[], float] = random.random
    """From [0, 1)."""

    def crowded(self, item: Item, notification: Notification) -> PutBack | GivenUp:
        """Return what becomes of an item whose centre holds too many slots."""
        delay_s = crowded_s(self._age_s(item), draw=self.draw())
        return self._put_off(item, notification, delay_s, CROWDED)

    def waiting(
        self, item: Item, notification: Notification, retry_after_s: float
    ) -> PutBack | GivenUp:
        """Return what becomes of an item of which another version is in work."""
        delay_s = waiting_s(self._age_s(item), retry_after_s, draw=self.draw())
        return self._put_off(item, notification, delay_s, WAITING)

    def preempted(self, item: Item) -> HandedBack | GivenUp:
        """Return what becomes of an item that had to leave its slot to others."""
        delay_s = crowded_s(self._age_s(item), draw=self.draw())
        if self._may_wait(item, delay_s, CROWDED):
            return HandedBack(delay_s)
        return _untried(read_source(item.received.envelope).notification, CROWDED)

    def exhausted(self, item: Item, exhausted: Exhausted) -> Return | None:
        """Return what becomes of an item whose sources have all failed; None: it is given up."""
        envelope = item.received.envelope
        verdict = after_exhausted(
            exhausted,
            self.policy,
            attempts=envelope.attempts,
            age_s=self._age_s(item),
            draw=self.draw(),
        )
        if verdict is not None and not self.delayed.admit(
            item.centre_id,
            envelope.uid,
            verdict.delay_s,
            size=envelope.size,
            is_untried=not exhausted.reasons,
        ):
            return None
        return verdict

    def refused(self, item: Item, error: CacheError) -> HandedBack | Buried:
        """Return what becomes of an item that a part of ours refuses, though it is there."""
        if self._age_s(item) > self.policy.useful_life_s:
            return Buried(_unexpected(error))
        return HandedBack(REFUSED_BY_PART_S)

    def failed_by_us(self, item: Item, error: Exception) -> PutBack | Buried:
        """Return what becomes of an item that met a bug: later each time, then a dead letter."""
        verdict = after_unexpected(item.received.envelope.attempts)
        cause = _unexpected(error)
        if verdict is None:
            return Buried(cause)
        return PutBack(verdict.delay_s, verdict.attempts, cause=cause)

    def _put_off(
        self, item: Item, notification: Notification, delay_s: float, why: str
    ) -> PutBack | GivenUp:
        """Put back an item that was not tried; as bulk, except for a first short wait."""
        if not self._may_wait(item, delay_s, why):
            return _untried(notification, why)
        is_bulk = None if delay_s <= MAX_FIRST_WAIT_S else True
        return PutBack(delay_s, item.received.envelope.attempts, is_bulk=is_bulk)

    def _may_wait(self, item: Item, delay_s: float, why: str) -> bool:
        """Whether the item will still be of use, and its centre has few others waiting."""
        envelope = item.received.envelope
        return self._age_s(item) + delay_s <= self.policy.useful_life_s and self.delayed.admit(
            item.centre_id, envelope.uid, delay_s, size=envelope.size, is_untried=why == CROWDED
        )

    def _age_s(self, item: Item) -> float:
        return self.now_ns() / 1e9 - item.received.envelope.arrived_ms / 1e3


def _untried(notification: Notification, why: str) -> GivenUp:
    cause = Cause(Reason.HOST_QUEUE, why)
    return GivenUp(notification, cause, _TOLD[why], dropped_as=why)


def _unexpected(error: Exception) -> Cause:
    return Cause(Reason.UNEXPECTED, str(error) if isinstance(error, CacheError) else BUG)
