"""Bounds the bytes of all large objects that wait for their parts to be full."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class PartMemory:
    """`total` bytes for all, first come, first served.

    S3 takes no small parts, so a full memory of half-full parts would stay full for ever. So one
    holder at a time may exceed the total, until it gives back what it holds: `total` is exceeded
    by at most one part.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._held: dict[Hashable, int] = {}
        self._waiting: deque[tuple[Hashable, int, asyncio.Future[None]]] = deque()
        self._exceeding: Hashable | None = None

    @property
    def free_bytes(self) -> int:
        """What is left; negative while one holder exceeds the total."""
        return self._free

    def take_now(self, holder: Hashable, size: int) -> bool:
        """Take `size` bytes if nobody has to wait for that."""
        if holder is not self._exceeding and (self._waiting or size > self._free):
            return False
        self._take(holder, size)
        return True

    async def take(self, holder: Hashable, size: int) -> None:
        """Take `size` bytes; waits until they are there, or this holder may exceed the total."""
        if self.take_now(holder, size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((holder, size, turn))
        self._advance()
        try:
            await turn
        except asyncio.CancelledError:
            # One that was cancelled in time is left out of the line.
            self._advance()
            raise

    def give_back(self, holder: Hashable) -> None:
        """Return all that `holder` has taken, also for a `take` that was cancelled."""
        self._free += self._held.pop(holder, 0)
        if self._exceeding is holder:
            self._exceeding = None
        self._advance()

    def _take(self, holder: Hashable, size: int) -> None:
        self._free -= size
        self._held[holder] = self._held.get(holder, 0) + size

    def _advance(self) -> None:
        while self._waiting:
            holder, size, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if size > self._free:
                if self._exceeding is not None:
                    return
                self._exceeding = holder
            self._waiting.popleft()
            self._take(holder, size)
            turn.set_result(None)
