"""Delays between attempts: growing, bounded, with jitter so that clients do not retry together."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Further growth changes no delay; it only makes the number larger.
_MAX_TIMES = 16
_JITTER = random.SystemRandom()


def grown_s(times: int, *, first_s: float, longest_s: float, growth: float = 2.0) -> float:
    """Return `first_s`, `growth` times as long for each of `times`, and at most `longest_s`."""
    return min(longest_s, first_s * growth ** min(times, _MAX_TIMES))


@dataclass(kw_only=True, slots=True, eq=False)
class Backoff:
    """Gives delays in seconds; each is a random share of a bound that grows each time."""

    first_s: float
    longest_s: float
    growth: float = 2.0
    shares: tuple[float, float] = (0.5, 1.0)
    """The smallest and the largest."""
    jitter: Callable[[], float] = _JITTER.random
    """From [0, 1)."""
    _failures: int = field(default=0, init=False)

    def next_s(self) -> float:
        """Return how long to wait before the next attempt."""
        bound = grown_s(
            self._failures, first_s=self.first_s, longest_s=self.longest_s, growth=self.growth
        )
        self._failures += 1
        return self.share_of(bound)

    def share_of(self, bound_s: float) -> float:
        """Return a random share of `bound_s`."""
        least, most = self.shares
        return bound_s * (least + (most - least) * self.jitter())

    def reset(self) -> None:
        """Start again with the shortest delay, after an attempt that succeeded."""
        self._failures = 0
