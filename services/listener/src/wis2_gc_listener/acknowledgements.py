"""When a batch is acknowledged: in the order of arrival, not in the order of the work. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_listener.arrivals import Arrival


class Acknowledgements:
    """A batch of arrivals; only its longest settled prefix is released."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals = arrivals
        self._is_settled = [False] * len(arrivals)
        self._released = 0

    @property
    def unreleased(self) -> int:
        """How many are not released yet."""
        return len(self._arrivals) - self._released

    def settle(self, index: int) -> None:
        """Mark this one as ready to acknowledge: queued, or dropped for good."""
        self._is_settled[index] = True

    def release(self) -> Sequence[Arrival]:
        """Return the arrivals to acknowledge now; each once, in order."""
        start = end = self._released
        while end < len(self._is_settled) and self._is_settled[end]:
            end += 1
        self._released = end
        return self._arrivals[start:end]
