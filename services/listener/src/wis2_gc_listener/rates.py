"""Which centres send above their rate, so that others would have to wait."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Most centres with a rate of their own. WIS2 has a few hundred; strangers can invent more.
MAX_CENTRES = 4096


class CentreRates:
    """A token bucket for each centre.

    Bounded: a bucket that is full again is forgotten. If too many centres are active at once, new
    ones share a bucket.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float],
        max_centres: int = MAX_CENTRES,
    ) -> None:
        """`clock`: monotonic seconds."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._max_centres = max_centres
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By centre: what was left, and at what time; the longest unused first."""

    def is_above(self, centre_id: str) -> bool:
        """Count one notification of a centre; return whether it is above the centre's rate."""
        now_s = self._clock()
        if centre_id not in self._buckets and not self._has_room(now_s):
            centre_id = ""
        left, at_s = self._buckets.pop(centre_id, (float(self._burst), now_s))
        left = self._refilled(left, at_s, now_s)
        is_above = left < 1
        self._buckets[centre_id] = (left if is_above else left - 1, now_s)
        return is_above

    def _has_room(self, now_s: float) -> bool:
        if len(self._buckets) < self._max_centres:
            return True
        longest_unused, (left, at_s) = next(iter(self._buckets.items()))
        if self._refilled(left, at_s, now_s) < self._burst:
            return False
        del self._buckets[longest_unused]
        return True

    def _refilled(self, left: float, at_s: float, now_s: float) -> float:
        return min(self._burst, left + (now_s - at_s) * self._rate_per_s)
