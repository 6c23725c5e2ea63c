"""How the work on an item can end: a closed set of values. Pure.

A step of the pipeline returns one of these; `Settling` carries it out, nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from wis2_gc_common.errors import Cause, Poison, Unannounceable
    from wis2_gc_common.ports.registry import Commit
    from wis2_gc_common.wis2.notification import Notification

#: More sources than can be parked: a release that asks for none of them.
ALL_PARKED = 1 << 30


class LeaseLost(Exception):
    """Somebody else has taken the item over.

    Its message is left alone: when its visibility ends it comes again, to learn what the other
    has made of the item.
    """


@dataclass(frozen=True, slots=True)
class Finished:
    """Announced; the commit records and counts it, the message is deleted."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Announced and counted, but not recorded: its centre holds too many items."""

    outcome: Literal["uncached", "override", "deleted"]
    centre_id: str
    """`Notification.source_centre_id`."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing is to be done with the notification: counted, the message is deleted."""

    reason: str
    """Label of `items_dropped_total`."""
    problem: Poison | Unannounceable | None = None
    """What is wrong with it; of a Poison its centre hears."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The manager that works on the item has it as a fall-back source; the message is deleted."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The message comes again; a lease is released."""

    delay_s: float
    attempts: int
    is_bulk: bool | None = True
    """None: as it came."""
    is_second_try: bool = False
    """It is the quick one, which costs no attempt."""
    cause: Cause | None = None
    """For the record; None where the item is as if never touched."""
    parked_seen: int = ALL_PARKED
    """How many parked sources were tried; where there are more, the work goes on instead."""


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The message comes again, as if never touched.

    Asked for once, also if a part is away: then lease and visibility end by themselves.
    """

    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Never cached: on record, its centre hears of it, the message is deleted."""

    notification: Notification
    cause: Cause
    """For the record."""
    told: str = ""
    """For its centre; "": the cause."""
    parked_seen: int = ALL_PARKED
    """As in `PutBack`."""
    dropped_as: str = ""
    """Label of `items_dropped_total`; "" where its sources failed, which is counted already."""
    invalid_of: str = ""
    """Centre-id, where the notification is invalid."""


@dataclass(frozen=True, slots=True)
class Buried:
    """The message is a dead letter."""

    cause: Cause
    """For the record."""
    told: str = ""
    """On the dead letter; "": the cause."""


Ending = Finished | PassedOn | Dropped | Parked | PutBack | HandedBack | GivenUp | Buried
