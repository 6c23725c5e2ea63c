"""Who may hold how many bytes of bodies in memory. Pure: nobody waits here.

A body takes memory for what has arrived, never for what it may become. What finds no memory is not
held up: it streams into the store from there on (`Body`). So a slow source, or many large ones,
make nobody wait.
"""

from __future__ import annotations

from collections import Counter

#: What a body may hold however much others hold, while there is any memory: nearly all items are
#: smaller. With 256 slots this is half of the memory, and the larger bodies share the other half.
SMALL_BYTES = 128 * 1024
#: What keeping one more piece costs besides its bytes: a server may send them one by one.
PIECE_BYTES = 64
#: Of all memory: what the large bodies of everybody, of one centre, and of one host may bring it
#: to.
LARGE_SHARE, CENTRE_SHARE, HOST_SHARE = 2, 4, 8


class Memory:
    """`total_bytes` for all bodies."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._used = 0
        self._large_of: Counter[tuple[str, str]] = Counter()
        """What is held beyond SMALL_BYTES, by centre and by host."""

    @property
    def used_bytes(self) -> int:
        """What is held now."""
        return self._used

    @property
    def is_clean(self) -> bool:
        """Whether nothing is held, and nobody is remembered."""
        return not self._used and not self._large_of

    def holding(self, centre_id: str, host: str) -> Holding:
        """Return an empty holding of one body."""
        return Holding(self, centre_id, host)

    def grow(self, holding: Holding, size: int) -> bool:
        """See `Holding.take`."""
        used = self._used + size
        if used > self._total:
            return False
        after = holding.held + size
        if after > SMALL_BYTES:
            centre, host = ("centre", holding.centre_id), ("host", holding.host)
            large = after - max(holding.held, SMALL_BYTES)
            if (
                used > self._total // LARGE_SHARE
                or self._large_of[centre] + large > self._total // CENTRE_SHARE
                or self._large_of[host] + large > self._total // HOST_SHARE
            ):
                self._forget(centre, host)
                return False
            self._large_of[centre] += large
            self._large_of[host] += large
        self._used = used
        holding.held = after
        return True

    def shrink(self, holding: Holding, size: int) -> None:
        """See `Holding.give_back`."""
        size = min(size, holding.held)
        large = holding.held - max(holding.held - size, SMALL_BYTES)
        self._used -= size
        holding.held -= size
        if large > 0:
            centre, host = ("centre", holding.centre_id), ("host", holding.host)
            self._large_of[centre] -= large
            self._large_of[host] -= large
            self._forget(centre, host)

    def _forget(self, *names: tuple[str, str]) -> None:
        """Strangers name centres and hosts: none is remembered that holds nothing."""
        for name in names:
            if not self._large_of[name]:
                del self._large_of[name]


class Holding:
    """What one body holds; whoever has it gives it back."""

    __slots__ = ("_memory", "centre_id", "held", "host")

    def __init__(self, memory: Memory, centre_id: str, host: str) -> None:
        self._memory = memory
        self.centre_id = centre_id
        self.host = host
        self.held = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes more; False, and nothing taken, where there are none for this body."""
        return self._memory.grow(self, size)

    def give_back(self, size: int) -> None:
        """Return `size` bytes."""
        self._memory.shrink(self, size)

    def give_back_all(self) -> None:
        """Return everything."""
        if self.held:
            self._memory.shrink(self, self.held)
