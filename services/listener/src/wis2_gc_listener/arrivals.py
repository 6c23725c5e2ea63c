"""What the network thread hands to the forwarder thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

#: More than any length: nobody waits.
_NOBODY = 1 << 62


class Arrival(NamedTuple):
    """One notification as the broker delivered it; a tuple, because there are many."""

    topic: str
    payload: bytes
    arrived_ms: int
    """Milliseconds since 1970."""
    generation: int
    """Number of the connection that delivered it: a packet id belongs to one connection only."""
    packet_id: int
    qos: int


class Inbox:
    """Arrivals in order, from one network thread to one forwarder thread.

    The broker's window bounds it; `is_full` bounds it where a broker has no window.
    """

    def __init__(self, *, capacity: int) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        # How many arrivals the forwarder waits for. It is set before the length is looked at, and
        # read after an append: one of the two threads always sees the other.
        self._waited_for = _NOBODY

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def is_full(self) -> bool:
        """Whether the network thread is to stop reading."""
        return len(self._arrivals) >= self._capacity

    def put(self, arrival: Arrival) -> None:
        """Append; called for every message, so it takes the lock only to wake a waiting reader."""
        self._arrivals.append(arrival)
        if len(self._arrivals) >= self._waited_for:
            self.wake()

    def wake(self) -> None:
        """Make a waiting `take` look again."""
        with self._changed:
            self._waited_for = _NOBODY
            self._changed.notify()

    def take(
        self, limit: int, *, enough: int, linger_s: float, timeout_s: float, busy_until: float
    ) -> list[Arrival]:
        """Return up to `limit` arrivals, in order; empty after `timeout_s` or a `wake`.

        If there is one before `busy_until` (`time.monotonic()`), waits at most `linger_s` for
        `enough` of them.
        """
        with self._changed:
            self._wait_for(1, timeout_s)
            if self._arrivals and time.monotonic() < busy_until:
                self._wait_for(enough, linger_s)
            return [self._arrivals.popleft() for _ in range(min(limit, len(self._arrivals)))]

    def discard_redelivered(self, generation: int) -> int:
        """Forget what the broker delivers again after resuming the session; return how many.

        These are the arrivals of connections before `generation` that may be acknowledged (QoS 1
        and up). Called by the network thread before anything of `generation` arrives.
        """
        with self._changed:
            kept = [a for a in self._arrivals if a.generation >= generation or a.qos == 0]
            discarded = len(self._arrivals) - len(kept)
            self._arrivals.clear()
            self._arrivals.extend(kept)
        return discarded

    def _wait_for(self, count: int, timeout_s: float) -> None:
        self._waited_for = count
        if len(self._arrivals) < count:
            self._changed.wait(timeout_s)
        self._waited_for = _NOBODY
