"""Keeps one centre's slow sources from holding all slots of a manager (wis2-rules.md 20).

The limits of a host do not bound a centre: it may name any number of hosts and ports. So while
slots are scarce, slow work of a centre may hold only a share of them. Items above the share go back
to the queue, the youngest first, and the centre's next items wait. Quick work is not limited: a
burst of one centre may use every slot.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wis2_gc_manager.pipeline.in_flight import InFlight, Item

#: Work that takes longer is slow; nearly all items take less than a second.
SLOW_AFTER_S = 5.0
#: A centre may hold one slot in so many with slow work …
SHARE = 8
#: … while less than one slot in so many is free.
SCARCE = 4


def crowding(
    items: Iterable[Item], *, slots: int, free: int, now_s: float
) -> tuple[frozenset[str], list[Item]]:
    """Return the centres that hold their full share of slow work, and the items above it.

    Both are empty while enough slots are free. Pure. `now_s`: the clock of `Item.since_s`.
    """
    if free * SCARCE >= slots:
        return frozenset(), []
    slow: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.centre_id and not item.is_settling and now_s - item.since_s > SLOW_AFTER_S:
            slow[item.centre_id].append(item)
    share = max(1, slots // SHARE)
    crowded = frozenset(centre_id for centre_id, held in slow.items() if len(held) >= share)
    excess: list[Item] = []
    for centre_id in crowded:
        oldest_first = sorted(slow[centre_id], key=lambda item: item.since_s)
        excess += oldest_first[share:]
    return crowded, excess


class Fairness:
    """Looks for crowding centres when told to; remembers them until the next look."""

    def __init__(self, in_flight: InFlight, *, monotonic_s: Callable[[], float]) -> None:
        """`monotonic_s`: the clock of `Item.since_s`."""
        self._in_flight = in_flight
        self._monotonic_s = monotonic_s
        self._crowded: frozenset[str] = frozenset()

    def is_crowding(self, centre_id: str) -> bool:
        """Whether the next items of this centre have to wait."""
        return centre_id in self._crowded

    def look(self) -> int:
        """Hand back the items above a share; return their number."""
        in_flight = self._in_flight
        self._crowded, excess = crowding(
            in_flight.items, slots=in_flight.slots, free=in_flight.free, now_s=self._monotonic_s()
        )
        for item in excess:
            item.preempt()
        return len(excess)
