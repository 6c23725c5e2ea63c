"""How many slots bulk may hold, so that what is not bulk stays quick. Pure; the clock is given."""

from __future__ import annotations

#: One slot in so many is never bulk's.
RESERVED = 8
#: So long after the last message that was not bulk, the next one may come at any time.
FLOWING_S = 2.0
#: One turn of the event loop that takes longer is felt by everybody: an item takes a dozen turns.
LONG_TURN_S = 0.010
#: In shorter ones there is room for more.
SHORT_TURN_S = 0.003
#: Less in work makes no turn shorter, and every call of Redis carry less.
LEAST = 16


class BulkShare:
    """While nothing else comes, bulk may have nearly all slots; otherwise as many as nobody feels.

    A flood that is bound by the processor fills the event loop's turns, and is cut back until they
    are short. One that waits for far servers leaves them short, and is not cut back.
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
