"""How many slots bulk may hold, so that what is not bulk stays quick. Pure; the clock is given."""

from __future__ import annotations

#: Bulk never gets one slot in so many.
RESERVED = 8
#: For so long after a message that was not bulk, another one is expected.
FLOWING_S = 2.0
#: A longer turn of the event loop delays every item noticeably: an item takes a dozen turns.
LONG_TURN_S = 0.010
#: While turns are shorter, bulk gets more slots.
SHORT_TURN_S = 0.003
#: Fewer slots do not make turns shorter, and each call to Redis carries less.
LEAST = 16


class BulkShare:
    """Gives bulk nearly all slots while nothing else comes, and few otherwise: others stay quick.

    A flood that is bound by the processor makes the turns of the event loop long; it gets fewer
    slots until they are short again. A flood that waits for distant servers keeps its slots.
    """

    def __init__(self, slots: int) -> None:
        self._most = max(1, slots - slots // RESERVED)
        self._limit = self._most
        self._others_at_s = float("-inf")

    def saw_others(self, now_s: float) -> None:
        """Note that a message that is not bulk has come."""
        self._others_at_s = now_s

    def limit(self, now_s: float, *, turn_s: float) -> int:
        """Return how many slots bulk may hold now. `turn_s`: how long a turn of the loop takes."""
        if now_s - self._others_at_s > FLOWING_S:
            self._limit = self._most
        elif turn_s > LONG_TURN_S:
            self._limit = max(self._limit // 2, min(LEAST, self._most))
        elif turn_s < SHORT_TURN_S:
            self._limit = min(self._limit + 1, self._most)
        return self._limit
