"""Delays between attempts: doubling, bounded, with jitter so that clients do not retry together."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Further doubling changes no delay; it only makes the number larger.
_MAX_DOUBLINGS = 16
_JITTER = random.SystemRandom()


class Backoff:
    """Gives delays in seconds, each between half and all of a bound that doubles each time."""

    def __init__(
        self,
        *,
        first_s: float,
        longest_s: float,
        jitter: Callable[[], float] = _JITTER.random,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._failures = 0

    def next_s(self) -> float:
        """Return how long to wait before the next attempt."""
        bound = min(self._longest_s, self._first_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
        return bound * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        """Start again with the shortest delay, after an attempt that succeeded."""
        self._failures = 0
