"""How the work on an item can end: a closed set of values. Pure.

A step of the pipeline returns one of these, and only `Settling` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from wis2_gc_common.errors import Cause, Poison, Unannounceable
    from wis2_gc_common.ports.registry import Commit
    from wis2_gc_common.wis2.notification import Notification

#: More than can be parked: the release does not ask whether there are more.
ALL_PARKED = 1 << 30


class LeaseLost(Exception):
    """Another manager has taken the item over.

    We leave the message alone. It comes again when its visibility ends; the registry then knows
    the result of the other manager.
    """


@dataclass(frozen=True, slots=True)
class Finished:
    """Announced; the commit records and counts it, and the message is deleted."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Announced and counted, but not recorded: its centre holds too many items."""

    outcome: Literal["uncached", "override", "deleted"]
    centre_id: str
    """`Notification.source_centre_id`."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The notification requires no work: it is counted, and the message is deleted."""

    reason: str
    """Label of `items_dropped_total`."""
    problem: Poison | Unannounceable | None = None
    """What is wrong with it; its centre is told of a Poison."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The manager that works on the item has it as a fall-back source; the message is deleted."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The message comes again; the lease, if there is one, is released."""

    delay_s: float
    attempts: int
    is_bulk: bool | None = True
    """None: as it came."""
    is_second_try: bool = False
    """It is the quick retry, which does not count as an attempt."""
    cause: Cause | None = None
    """For the record; None: the item is as if it had not been touched."""
    parked_seen: int = ALL_PARKED
    """How many parked sources were tried; if there are more, the work goes on instead."""


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The message comes again, as if it had not been touched.

    This is tried once. If a part is away, lease and visibility end by themselves.
    """

    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Not cached: this is recorded, its centre is told, and the message is deleted."""

    notification: Notification
    cause: Cause
    """For the record."""
    told: str = ""
    """For its centre; "": the cause."""
    parked_seen: int = ALL_PARKED
    """As in `PutBack`."""
    dropped_as: str = ""
    """Label of `items_dropped_total`; "": its sources failed, which is already counted."""
    invalid_of: str = ""
    """Its centre-id if the notification is invalid, otherwise ""."""


@dataclass(frozen=True, slots=True)
class Buried:
    """The message is a dead letter."""

    cause: Cause
    """For the record."""
    told: str = ""
    """On the dead letter; "": the cause."""


Ending = Finished | PassedOn | Dropped | Parked | PutBack | HandedBack | GivenUp | Buried
