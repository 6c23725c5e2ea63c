"""Which centres send above their rate, so that others would have to wait."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Most centres with a rate of their own. WIS2 has a few hundred; strangers can invent more.
MAX_CENTRES = 4096


@dataclass(kw_only=True, slots=True, eq=False)
class CentreRates:
    """A token bucket for each centre.

    Bounded: a bucket that is full again is forgotten. If too many centres are active at once, new
    ones share a bucket.
    """

    rate_per_s: float
    burst: int
    clock: Callable[[], float]
    """Monotonic seconds."""
    max_centres: int = MAX_CENTRES
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, init=False)
    """By centre: what was left, and at what time; the longest unused first."""

    def is_above(self, centre_id: str) -> bool:
        """Count one notification of a centre; return whether it is above the centre's rate."""
        now_s = self.clock()
        if centre_id not in self._buckets and not self._has_room(now_s):
            centre_id = ""
        left, at_s = self._buckets.pop(centre_id, (float(self.burst), now_s))
        left = self._refilled(left, at_s, now_s)
        is_above = left < 1
        self._buckets[centre_id] = (left if is_above else left - 1, now_s)
        return is_above

    def _has_room(self, now_s: float) -> bool:
        if len(self._buckets) < self.max_centres:
            return True
        longest_unused, (left, at_s) = next(iter(self._buckets.items()))
        if self._refilled(left, at_s, now_s) < self.burst:
            return False
        del self._buckets[longest_unused]
        return True

    def _refilled(self, left: float, at_s: float, now_s: float) -> float:
        return min(self.burst, left + (now_s - at_s) * self.rate_per_s)
