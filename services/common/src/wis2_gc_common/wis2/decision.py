"""What to do with a notification, given what we hold (the table of wis2-rules.md 8).

Pure. `redis/lua/registry/order.lua` takes the same decision atomically; a property test compares
the two.

Everything here is about one key, (centre-id of the topic, data_id): what another centre announces
under the same data_id is another item (wis2-rules.md 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from wis2_gc_common.wis2.pubtime import NS_PER_MS

#: What the one decisive link of a notification says: new, newer, or deleted.
Rel = Literal["canonical", "update", "deletion"]


class Decision(StrEnum):
    """The answer of the decision table; the values of refusals are metric labels."""

    NEW = "new"
    UPDATE = "update"
    DELETE = "delete"
    DUPLICATE = "duplicate"
    """Done at this very pubtime, or deleted at it."""
    STALE = "stale"
    """Older than what is done or deleted."""
    REPEAT = "repeat"
    """Newer than what was done a short while ago, but without an update link (GST)."""
    BUSY = "busy"
    """In progress elsewhere, same pubtime: a fall-back source."""
    WAIT = "wait"
    """In progress elsewhere at another pubtime: decided after that."""
    DUPLICATE_ID = "duplicate_id"
    """Another data item was processed under this message id (wis2-rules.md 10)."""
    OVER_QUOTA = "over_quota"
    """Its centre holds as many items as it may: it is announced, and no record is made of it."""

    @property
    def is_granted(self) -> bool:
        """Whether the notification is to be processed now."""
        return self in _GRANTED

    @property
    def is_dropped(self) -> bool:
        """Whether nothing more is to be done with the notification."""
        return self in _DROPPED


_GRANTED = frozenset({Decision.NEW, Decision.UPDATE, Decision.DELETE})
_DROPPED = frozenset({Decision.DUPLICATE, Decision.STALE, Decision.REPEAT, Decision.DUPLICATE_ID})


#: A pubtime this far ahead of our clock, in milliseconds, is no order to trust (wis2-rules.md 6).
FUTURE_TOLERANCE_MS = 5 * 60 * 1000
#: Two pubtimes of the future, of which the first was ahead by less than this, are taken for those
#: of one publisher whose clock, or time zone, is wrong: they are in order among themselves.
WRONG_CLOCK_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry holds for a key.

    `state` and `pubtime_ns` are of the last finished version, `finished_ms` is when that was, by
    the registry's clock; None, 0 and 0 when nothing is finished, or it is forgotten.
    `running_pubtime_ns` is of the version on which somebody holds a live lease. `deleting_ns` is
    the pubtime, as far as it is to be trusted, of a deletion that has come and is not finished,
    whether or not anybody works on it.
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
    """Return a pubtime, or `at_ms` in nanoseconds in place of one of the future."""
    return at_ms * NS_PER_MS if is_in_future(pubtime_ns, at_ms) else pubtime_ns


def decide(
    held: Held | None, *, rel: Rel, pubtime_ns: int, now_ms: int, repeat_window_ms: int
) -> Decision:
    """Return what to do with a notification. Source: wis2-rules.md 6, 8 and 14.

    `now_ms`: the registry's clock, milliseconds since 1970. `repeat_window_ms`: how long after a
    version is done a newer one without an update link is a repeat of it.
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
        # What is being deleted is as good as deleted: nothing repeats it.
        and not (held.deleting_ns is not None and held.deleting_ns < trusted_ns(pubtime_ns, now_ms))
    )
    return Decision.REPEAT if is_repeat else Decision.NEW


def _is_later(pubtime_ns: int, now_ms: int, held: Held) -> bool:
    """Return whether a pubtime that is not the finished version's comes after it."""
    if (
        is_in_future(pubtime_ns, now_ms)
        and is_in_future(held.pubtime_ns, held.finished_ms)
        and held.pubtime_ns <= (held.finished_ms + WRONG_CLOCK_MS) * NS_PER_MS
    ):
        # Otherwise a late copy of the version before would come after what replaced it.
        return pubtime_ns > held.pubtime_ns
    return trusted_ns(pubtime_ns, now_ms) > trusted_ns(held.pubtime_ns, held.finished_ms)
