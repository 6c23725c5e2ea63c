"""Bounds what waits for retries: a centre whose server is down must not fill the queue's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Items of one centre that wait, put back by one manager.
MAX_DELAYED_PER_CENTRE = 10_000
#: Waits are counted in steps of this, so that a centre costs little memory.
_STEP_S = 10.0


class DelayedItems:
    """Counts, per centre, the items this process has put back and whose delay is not over.

    `monotonic_s`: the clock. What another manager put back is counted there.
    """

    def __init__(
        self, *, monotonic_s: Callable[[], float], limit: int = MAX_DELAYED_PER_CENTRE
    ) -> None:
        self._monotonic_s = monotonic_s
        self._limit = limit
        self._waiting: dict[str, dict[int, int]] = {}
        """Per centre: in which step how many become due."""

    def admit(self, centre_id: str, delay_s: float) -> bool:
        """Count one more and return True, or False when the centre has too many waiting."""
        now_s = self._monotonic_s()
        current = int(now_s / _STEP_S)
        waiting = self._waiting.get(centre_id, {})
        waiting = {step: count for step, count in waiting.items() if step >= current}
        self._waiting[centre_id] = waiting
        if sum(waiting.values()) >= self._limit:
            return False
        due = int((now_s + delay_s) / _STEP_S)
        waiting[due] = waiting.get(due, 0) + 1
        return True
