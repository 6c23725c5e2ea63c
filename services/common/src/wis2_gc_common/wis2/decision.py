"""What to do with a notification, given what we hold (the table of wis2-rules.md 8).

Pure. `redis/lua/registry/shared/order.lua` takes the same decision atomically; a property test
compares the two.

Everything here is about one key, (centre-id of the topic, data_id): the same data_id from another
centre is another item (wis2-rules.md 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from wis2_gc_common.wis2.pubtime import NS_PER_MS

#: What the deciding link of a notification says: new, newer, or deleted.
Rel = Literal["canonical", "update", "deletion"]


class Decision(StrEnum):
    """The answer of the decision table; the values of refusals are metric labels."""

    NEW = "new"
    UPDATE = "update"
    DELETE = "delete"
    DUPLICATE = "duplicate"
    """Done or deleted at the same pubtime."""
    STALE = "stale"
    """Older than the version that is done or deleted."""
    REPEAT = "repeat"
    """Newer than a version done a short time ago, but without an update link (GST)."""
    BUSY = "busy"
    """Another worker has the same pubtime in work: a fall-back source."""
    WAIT = "wait"
    """Another worker has another pubtime in work: decide after that."""
    DUPLICATE_ID = "duplicate_id"
    """Another data item was processed under this message id (wis2-rules.md 10)."""
    OVER_QUOTA = "over_quota"
    """Its centre holds as many items as it may: announce it, make no record."""

    @property
    def is_granted(self) -> bool:
        """Whether to process the notification now."""
        return self in _GRANTED

    @property
    def is_dropped(self) -> bool:
        """Whether nothing more happens with the notification."""
        return self in _DROPPED


_GRANTED = frozenset({Decision.NEW, Decision.UPDATE, Decision.DELETE})
_DROPPED = frozenset({Decision.DUPLICATE, Decision.STALE, Decision.REPEAT, Decision.DUPLICATE_ID})


#: A pubtime this many milliseconds ahead of our clock gives no reliable order (wis2-rules.md 6).
FUTURE_TOLERANCE_MS = 5 * 60 * 1000
#: If two pubtimes are in the future, and the first by less than this, we assume one publisher with
#: a wrong clock or time zone: the order between the two is right.
WRONG_CLOCK_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry holds for a key.

    `state`, `pubtime_ns` and `finished_ms` (when it finished, by the registry's clock) are of the
    last finished version; None, 0 and 0 if none is finished or it is forgotten.
    `running_pubtime_ns` is the pubtime of the version under a live lease. `deleting_ns` is the
    trusted pubtime (`trusted_ns`) of a deletion that has arrived and is not finished, whether or
    not anybody works on it.
    """

    state: Literal["done", "deleted"] | None
    pubtime_ns: int = 0
    finished_ms: int = 0
    running_pubtime_ns: int | None = None
    deleting_ns: int | None = None


def is_in_future(pubtime_ns: int, at_ms: int) -> bool:
    """Return whether a pubtime is more than a few minutes after `at_ms` (wis2-rules.md 6)."""
    return pubtime_ns > (at_ms + FUTURE_TOLERANCE_MS) * NS_PER_MS


def trusted_ns(pubtime_ns: int, at_ms: int) -> int:
    """Return the pubtime or, if it is in the future, `at_ms` in nanoseconds."""
    return at_ms * NS_PER_MS if is_in_future(pubtime_ns, at_ms) else pubtime_ns


def decide(
    held: Held | None, *, rel: Rel, pubtime_ns: int, now_ms: int, repeat_window_ms: int
) -> Decision:
    """Return what to do with a notification. Source: wis2-rules.md 6, 8 and 14.

    `now_ms`: the registry's clock, milliseconds since 1970. `repeat_window_ms`: for this time after
    a version is done, a newer one without an update link is a repeat of it.
    """
    if held is None:
        return Decision.DELETE if rel == "deletion" else Decision.NEW
    finished = _against_finished(held, rel, pubtime_ns, now_ms, repeat_window_ms)
    if finished.is_dropped or held.running_pubtime_ns is None:
        return finished
    return Decision.BUSY if held.running_pubtime_ns == pubtime_ns else Decision.WAIT


def _against_finished(
    held: Held, rel: Rel, pubtime_ns: int, now_ms: int, repeat_window_ms: int
) -> Decision:
    if held.state is not None:
        if pubtime_ns == held.pubtime_ns:
            return Decision.DUPLICATE
        if not _is_later(pubtime_ns, now_ms, held):
            return Decision.STALE
    if rel == "deletion":
        return Decision.DELETE
    if held.state != "done":
        return Decision.NEW
    if rel == "update":
        return Decision.UPDATE
    is_repeat = (
        now_ms - held.finished_ms < repeat_window_ms
        # A version with a deletion on the way counts as deleted: nothing repeats it.
        and not (held.deleting_ns is not None and held.deleting_ns < trusted_ns(pubtime_ns, now_ms))
    )
    return Decision.REPEAT if is_repeat else Decision.NEW


def _is_later(pubtime_ns: int, now_ms: int, held: Held) -> bool:
    """Return whether a pubtime is later than that of the finished version (never equal)."""
    if (
        is_in_future(pubtime_ns, now_ms)
        and is_in_future(held.pubtime_ns, held.finished_ms)
        and held.pubtime_ns <= (held.finished_ms + WRONG_CLOCK_MS) * NS_PER_MS
    ):
        # Otherwise a late copy of the previous version would replace the newer one.
        return pubtime_ns > held.pubtime_ns
    return trusted_ns(pubtime_ns, now_ms) > trusted_ns(held.pubtime_ns, held.finished_ms)
