"""How many bytes in memory each body may hold. Pure: nothing waits here.

A body takes memory for what has arrived, never for what may still come. A body that finds no memory
does not wait: it streams into the store from there on (`Body`). So neither a slow source nor many
large ones make others wait.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

#: A body may hold this much while there is any memory, regardless of the others: nearly all items
#: are smaller. With 256 slots this is half of the memory; the larger bodies share the other half.
SMALL_BYTES = 128 * 1024
#: What one more piece costs besides its bytes: a server may send its bytes one by one.
PIECE_BYTES = 64
#: Fractions of all memory: large bodies grow only below the first; those of one centre, and of one
#: host, together hold at most the second and the third.
LARGE_SHARE, CENTRE_SHARE, HOST_SHARE = 2, 4, 8


class BodyMemory:
    """`total_bytes` for all bodies."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self.used_bytes = 0
        """Held now."""
        self.large_of: Counter[tuple[str, str]] = Counter()
        """What is held above SMALL_BYTES, by centre and by host."""

    def grow(self, holding: Holding, size: int) -> bool:
        """See `Holding.take`."""
        used = self.used_bytes + size
        if used > self._total:
            return False
        after = holding.held + size
        if after > SMALL_BYTES:
            centre, host = ("centre", holding.centre_id), ("host", holding.host)
            large = after - max(holding.held, SMALL_BYTES)
            if (
                used > self._total // LARGE_SHARE
                or self.large_of[centre] + large > self._total // CENTRE_SHARE
                or self.large_of[host] + large > self._total // HOST_SHARE
            ):
                self._forget(centre, host)
                return False
            self.large_of[centre] += large
            self.large_of[host] += large
        self.used_bytes = used
        holding.held = after
        return True

    def shrink(self, holding: Holding, size: int) -> None:
        """See `Holding.give_back`."""
        size = min(size, holding.held)
        large = holding.held - max(holding.held - size, SMALL_BYTES)
        self.used_bytes -= size
        holding.held -= size
        if large > 0:
            centre, host = ("centre", holding.centre_id), ("host", holding.host)
            self.large_of[centre] -= large
            self.large_of[host] -= large
            self._forget(centre, host)

    def _forget(self, *names: tuple[str, str]) -> None:
        """Forget each that holds nothing: strangers name centres and hosts."""
        for name in names:
            if not self.large_of[name]:
                del self.large_of[name]


@dataclass(slots=True, eq=False)
class Holding:
    """What one body holds; its owner gives it back."""

    memory: BodyMemory
    centre_id: str
    host: str
    held: int = 0

    def take(self, size: int) -> bool:
        """Take `size` more bytes; False, and nothing taken, if there are none for this body."""
        return self.memory.grow(self, size)

    def give_back(self, size: int) -> None:
        """Return `size` bytes."""
        self.memory.shrink(self, size)

    def give_back_all(self) -> None:
        """Return everything."""
        if self.held:
            self.memory.shrink(self, self.held)
