"""What the network thread hands to the forwarder thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


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

    The broker's window bounds it; `is_full` bounds it if a broker has no window.
    """

    def __init__(self, *, capacity: int) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def is_full(self) -> bool:
        """Whether the network thread must stop reading."""
        return len(self._arrivals) >= self._capacity

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Append the arrivals of one read; in a batch, because waking a thread costs the most."""
        with self._changed:
            self._arrivals.extend(arrivals)
            self._changed.notify()

    def wake(self) -> None:
        """Make a waiting `take` return."""
        with self._changed:
            self._changed.notify()

    def take(self, limit: int, *, timeout_s: float) -> list[Arrival]:
        """Return up to `limit` arrivals, in order; empty after `timeout_s` or a `wake`."""
        with self._changed:
            if not self._arrivals:
                self._changed.wait(timeout_s)
            return [self._arrivals.popleft() for _ in range(min(limit, len(self._arrivals)))]

    def discard_redelivered(self, generation: int) -> int:
        """Forget what the broker delivers again after it resumes the session; return how many.

        These are the arrivals of connections before `generation` that require acknowledgement (QoS
        1 and 2). The network thread calls it before anything of `generation` arrives.
        """
        with self._changed:
            kept = [a for a in self._arrivals if a.generation >= generation or a.qos == 0]
            discarded = len(self._arrivals) - len(kept)
            self._arrivals.clear()
            self._arrivals.extend(kept)
        return discarded
