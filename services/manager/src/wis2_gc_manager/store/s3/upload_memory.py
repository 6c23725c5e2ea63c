"""Bounds the bytes of all large objects that wait for their parts to be full.

S3 takes no small parts, so what a slow source has sent is kept here until there is more of it. So
an upload may have to wait, which a download never does (`BodyMemory`): two budgets, two rules. A
memory full of half-full parts would stay full for ever, and a memory full of slow ones nearly so.
Therefore:

- the last quarter is for objects that are small so far;
- one upload at a time may exceed the total, by one part, so that it finishes and frees memory;
- an upload that waits takes the memory of an upload that is far slower, and far from a full part:
  the slower one is handed back (`HostBusy`); of several, the one that has the least to lose;
- no upload waits longer than MAX_WAIT_S for a piece, or than MAX_WAITS_S in all.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import HostBusy, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

#: The largest small object; and the fraction of the total that only small ones may use.
SMALL_BYTES = 2 * 1024 * 1024
RESERVE = 4
#: Longest wait for one piece, and of one upload in all; and how often an upload that waits looks
#: for slower ones.
MAX_WAIT_S = 30.0
MAX_WAITS_S = 300.0
_LOOK_S = 0.25
#: Far slower: at most this fraction of the speed, and more than so long until its part is full.
SLOWER = 4
SOON_S = 10.0
#: The assumed speed of a source that is not known yet.
UNKNOWN_BYTES_PER_S = 512 * 1024
#: An upload counts as slow only if it was measured for so long; and the shortest time that a rate
#: is computed from: data comes in bursts.
MEASURED_S = 2.5
_MIN_AGE_S = 0.1
#: When an item that is handed back should come again.
_RETRY_S = 10.0


@dataclass(slots=True, eq=False)
class Share:
    """What one upload holds of the part it collects. Made by `UploadMemory.share`."""

    on_lost: Callable[[], None]
    held: int = 0
    total: int = 0
    """All bytes that it has ever taken."""
    since_s: float = 0.0
    """When the measurement of its source began; time in which it waits for us does not count."""
    base: int = 0
    """The part of what it holds that came before the measurement."""
    paused_s: float | None = None
    """Since when it waits for us; None: it does not wait."""
    waited_s: float = 0.0
    """The sum of its waits that have ended."""
    is_sending: bool = False
    is_lost: bool = False


@dataclass(slots=True, eq=False)
class _Wait:
    share: Share
    size: int
    turn: asyncio.Future[None]


class UploadMemory:
    """`total` bytes for all uploads; a part is sent when it has `part_bytes`. One event loop."""

    def __init__(self, total: int, *, part_bytes: int, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._part_bytes = part_bytes
        self._clock = clock
        self.free_bytes = total
        """Negative while one upload exceeds the total."""
        self._reserve = total // RESERVE
        self._shares: dict[Share, None] = {}
        """The shares that hold something, in the order in which they came."""
        self._waiting: list[_Wait] = []
        self._exceeding: Share | None = None

    def share(self, on_lost: Callable[[], None]) -> Share:
        """Return the empty share of an upload.

        `on_lost` is called when its memory is taken away: it must release the bytes.
        """
        return Share(on_lost)

    def take_now(self, share: Share, size: int) -> bool:
        """Take `size` bytes if they are free at once. Raises HostBusy: the share is lost."""
        if share.is_lost:
            raise _no_memory()
        if share is not self._exceeding:
            is_small = share.total + size <= SMALL_BYTES
            if not self._fits(share, size) or (self._waiting and not is_small):
                return False
        self._take(share, size)
        return True

    async def take(self, share: Share, size: int) -> None:
        """Take `size` bytes; waits until they are free, or this upload may exceed the total.

        Raises HostBusy: they did not become free in time, or the share is lost.
        """
        if self.take_now(share, size):
            return
        wait = _Wait(share, size, asyncio.get_running_loop().create_future())
        self._waiting.append(wait)
        share.paused_s = self._clock()
        try:
            until_s = share.paused_s + min(MAX_WAIT_S, MAX_WAITS_S - share.waited_s)
            self._advance()
            while not wait.turn.done():
                if self._take_from_slower(share, size):
                    return
                left_s = until_s - self._clock()
                if left_s <= 0:
                    raise _no_memory()
                await asyncio.wait((wait.turn,), timeout=min(left_s, _LOOK_S))
            wait.turn.result()
            if share.is_lost:
                raise _no_memory()
        finally:
            self._resume(share)
            if wait in self._waiting:
                self._waiting.remove(wait)
            self._advance()

    def sending(self, share: Share) -> None:
        """Note that the part is being sent: from now on no other upload takes its memory.

        Raises HostBusy: another upload has already taken it.
        """
        if share.is_lost:
            raise _no_memory()
        share.is_sending = True

    def give_back(self, share: Share) -> None:
        """Return all that an upload holds, also for a `take` that was cancelled."""
        share.is_sending = False
        self._free_all(share)
        share.since_s = self._clock()
        share.base = 0
        self._advance()

    def _fits(self, share: Share, size: int) -> bool:
        is_small = share.total + size <= SMALL_BYTES
        return size <= self.free_bytes - (0 if is_small else self._reserve)

    def _resume(self, share: Share) -> None:
        if share.paused_s is not None:
            waited_s = self._clock() - share.paused_s
            share.waited_s += waited_s
            share.since_s += waited_s
            share.paused_s = None

    def _take(self, share: Share, size: int) -> None:
        self._resume(share)
        if not share.total:
            # The time that its first piece took is not known.
            share.since_s, share.base = self._clock(), size
        self.free_bytes -= size
        share.held += size
        share.total += size
        self._shares[share] = None

    def _free_all(self, share: Share) -> None:
        self.free_bytes += share.held
        share.held = 0
        self._shares.pop(share, None)
        if self._exceeding is share:
            self._exceeding = None

    def _advance(self) -> None:
        """Give free memory to those that wait, in the order of arrival, small ones first."""
        is_blocked = False
        for wait in list(self._waiting):
            share, size = wait.share, wait.size
            if share is not self._exceeding and (
                not self._fits(share, size) or (is_blocked and share.total + size > SMALL_BYTES)
            ):
                if self._exceeding is not None:
                    is_blocked = True
                    continue
                self._exceeding = share
            self._waiting.remove(wait)
            if not wait.turn.done():
                self._take(share, size)
                wait.turn.set_result(None)

    def _take_from_slower(self, share: Share, size: int) -> bool:
        """Take `size` bytes, out of turn, from uploads that are far slower; False: there are none.

        It takes from as few of them as possible.
        """
        now_s = self._clock()
        slower = sorted(
            (other for other in self._shares if self._is_far_slower(other, share, now_s)),
            key=lambda other: other.total,
        )
        is_small = share.total + size <= SMALL_BYTES
        missing = size - self.free_bytes + (0 if is_small else self._reserve)
        if missing <= 0 or sum(other.held for other in slower) < missing:
            return False
        for other in slower:
            if missing <= 0:
                break
            missing -= other.held
            self._lose(other)
        self._take(share, size)
        return True

    def _lose(self, share: Share) -> None:
        share.is_lost = True
        self._free_all(share)
        share.on_lost()
        for wait in [wait for wait in self._waiting if wait.share is share]:
            self._waiting.remove(wait)
            if not wait.turn.done():
                wait.turn.set_exception(_no_memory())

    def _is_far_slower(self, other: Share, share: Share, now_s: float) -> bool:
        if other is share or other.is_sending or _age_s(other, now_s) < MEASURED_S:
            return False
        rate = _rate(other, now_s)
        is_soon = self._part_bytes - other.held <= rate * SOON_S
        return not is_soon and rate * SLOWER <= _rate(share, now_s)


def _age_s(share: Share, now_s: float) -> float:
    return (now_s if share.paused_s is None else share.paused_s) - share.since_s


def _rate(share: Share, now_s: float) -> float:
    """Return the bytes per second that its source sends for this part."""
    age_s = _age_s(share, now_s)
    came = share.held - share.base
    if not share.total or (came <= 0 and age_s < MEASURED_S):
        return UNKNOWN_BYTES_PER_S
    return came / max(age_s, _MIN_AGE_S)


def _no_memory() -> HostBusy:
    return HostBusy(Reason.HOST_QUEUE, "no memory of ours is free", retry_after_s=_RETRY_S)
