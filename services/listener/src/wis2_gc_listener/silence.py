"""When to reconnect to a broker that is connected and delivers nothing. Pure.

Seen at Global Brokers (wis2-rules.md W21): the connection is open, pings are answered, and nothing
arrives for minutes, until the client reconnects. Which silence is too long depends on the broker's
past: its longest pause of the last hours.
"""

from __future__ import annotations

from wis2_gc_common.runtime.backoff import grown_s

#: A silence is too long if it is this many times the longest pause of the past.
_OUT_OF_PROPORTION = 3.0
#: Pauses are remembered for at least this long, and at most twice as long.
_MEMORY_S = 6 * 3600.0
#: A message this soon after a reconnection was waiting for it: the broker had stopped delivering.
_EFFECT_WITHIN_S = 30.0
#: The longest wait between two reconnections without effect, unless the past requires a longer one.
_LONGEST_S = 3600.0
#: If two looks are further apart than this, the process was suspended or asleep in between.
_LONGEST_STEP_S = 5.0


def is_due(
    *, timeout_s: float, past_s: float, longest_pause_s: float, waited_s: float, fruitless: int
) -> bool:
    """Return whether to reconnect.

    `timeout_s`: GC_SILENCE_TIMEOUT, 0 for never. `past_s`: from the first message to the last one.
    `longest_pause_s`: between two messages of the past. `waited_s`: since the last message or the
    last connection, the later of the two. `fruitless`: reconnections during this silence so far. A
    past shorter than the silence that it would call too long proves nothing.
    """
    limit_s = max(timeout_s, _OUT_OF_PROPORTION * longest_pause_s)
    if timeout_s <= 0 or past_s < limit_s:
        return False
    return waited_s >= grown_s(fruitless, first_s=limit_s, longest_s=max(limit_s, _LONGEST_S))


class Silence:
    """What we know of a broker's pauses, over all its connections.

    Only the time in which a message could arrive counts: connected, subscribed, reading, and the
    broker does not wait for us.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._looked_at_s: float | None = None
        self._has_heard = False
        self._past_s = 0.0
        self.silent_s = 0.0
        """Seconds in which nothing has arrived although it could."""
        self._connected_for_s = 0.0
        self._fruitless = 0
        self._longest_s = self._longest_before_s = 0.0
        self._memory_s = 0.0

    def connected(self) -> None:
        """Record that a connection begins."""
        self._looked_at_s = None
        self._connected_for_s = 0.0

    def look(self, now_s: float, *, is_heard: bool, is_listening: bool) -> bool:
        """Return whether to reconnect; call it about once a second.

        `now_s`: a monotonic clock. `is_heard`: a message has arrived since the last look; retained
        ones do not count, because they are not published now. `is_listening`: messages could
        arrive; ignored if one has arrived.
        """
        step_s = 0.0
        if (is_listening or is_heard) and self._looked_at_s is not None:
            step_s = min(now_s - self._looked_at_s, _LONGEST_STEP_S)
        self._looked_at_s = now_s
        self.silent_s += step_s
        self._connected_for_s += step_s
        if is_heard:
            self._end_silence()
            return False
        is_now = is_listening and is_due(
            timeout_s=self._timeout_s,
            past_s=self._past_s,
            longest_pause_s=max(self._longest_s, self._longest_before_s),
            waited_s=min(self.silent_s, self._connected_for_s),
            fruitless=self._fruitless,
        )
        if is_now:
            self._fruitless += 1
        return is_now

    def _end_silence(self) -> None:
        """Remember this pause, unless a new connection ended it."""
        is_cured = self._connected_for_s < min(self.silent_s, _EFFECT_WITHIN_S)
        if self._has_heard and not is_cured:
            self._past_s += self.silent_s
            self._memory_s += self.silent_s
            if self._memory_s > _MEMORY_S:
                self._longest_before_s, self._longest_s = self._longest_s, 0.0
                self._memory_s = 0.0
            self._longest_s = max(self._longest_s, self.silent_s)
        self._has_heard = True
        self._fruitless = 0
        self.silent_s = 0.0
