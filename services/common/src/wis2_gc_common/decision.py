"""What to do with a notification, given what we hold (the table of SPEC.md 8).

Pure. `registry/claim.lua` takes the same decision atomically; a property test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from wis2_gc_common.notification import Rel


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
    """Newer than what is done, but without an update link (GST)."""
    BUSY = "busy"
    """In progress elsewhere, same pubtime and centre: a fall-back source."""
    WAIT = "wait"
    """In progress elsewhere at another pubtime, or for another centre: decided after that."""
    DUPLICATE_ID = "duplicate_id"
    """Another data item was processed under this message id (SPEC.md 10)."""

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


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry holds for a data_id.

    `state`, `pubtime_ns` and `centre_id` (4th topic level) are of the last finished version;
    None, 0 and "" when nothing is finished. `running_pubtime_ns` and `running_centre_id` are of
    the version on which somebody holds a live lease. `deleting_ns` is the pubtime of a deletion
    that has come and is not finished, whether or not anybody works on it.
    """

    state: Literal["done", "deleted"] | None
    pubtime_ns: int = 0
    centre_id: str = ""
    running_pubtime_ns: int | None = None
    running_centre_id: str = ""
    deleting_ns: int | None = None


def is_foreign_deletion(held: Held | None, *, rel: Rel, centre_id: str) -> bool:
    """Whether a centre announces the deletion of what another centre published.

    Such a deletion is announced (SPEC.md 14), but touches neither the object nor the record: it
    is decided and remembered on a record of its own.
    """
    return (
        rel == "deletion"
        and held is not None
        and held.state == "done"
        and held.centre_id != centre_id
    )


def decide(held: Held | None, *, rel: Rel, pubtime_ns: int, centre_id: str) -> Decision:
    """Return what to do with a notification of `centre_id`. Source: SPEC.md 8 and 14.

    `held` is the record that `is_foreign_deletion` points to. What one centre deleted does not
    stand in the way of what another centre publishes.
    """
    if held is None:
        return Decision.DELETE if rel == "deletion" else Decision.NEW
    finished = _against_finished(held, rel, pubtime_ns, centre_id)
    if finished.is_dropped or held.running_pubtime_ns is None:
        return finished
    # What another centre announces under the same data_id is no other source of the same item.
    is_same = held.running_pubtime_ns == pubtime_ns and held.running_centre_id == centre_id
    return Decision.BUSY if is_same else Decision.WAIT


def _against_finished(held: Held, rel: Rel, pubtime_ns: int, centre_id: str) -> Decision:
    state = held.state
    if state == "deleted" and held.centre_id != centre_id:
        state = None
    if state is not None and pubtime_ns <= held.pubtime_ns:
        return Decision.DUPLICATE if pubtime_ns == held.pubtime_ns else Decision.STALE
    if rel == "deletion":
        return Decision.DELETE
    if state != "done":
        return Decision.NEW
    if rel == "update":
        return Decision.UPDATE
    # What is done is as good as deleted: this is no repeat of it.
    is_being_deleted = held.deleting_ns is not None and held.deleting_ns < pubtime_ns
    return Decision.NEW if is_being_deleted else Decision.REPEAT
