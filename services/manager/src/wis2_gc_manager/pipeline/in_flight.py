"""The items a manager works on now."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_common.ports.queue import Received
    from wis2_gc_common.ports.registry import Lease


def _ignore() -> None:
    """Nobody listens."""


@dataclass(slots=True, eq=False)
class Item:
    """One message in work; changes as the work goes on."""

    received: Received
    task: asyncio.Task[None] | None = None
    lease: Lease | None = None
    centre_id: str = ""
    """4th level of the topic, once it is read."""
    since_s: float = field(default_factory=time.monotonic)
    """When the work began, by the monotonic clock."""
    parked: int = 0
    """How many fall-back sources wait with it, as far as we know."""
    on_parked: Callable[[], None] = field(default=_ignore)
    """Called when the number of parked sources has grown."""
    is_settling: bool = False
    """It ends now: from here on only the registry says whether we still hold the lease."""
    is_lost: bool = False
    """The lease went to another; the work was cancelled."""
    is_preempted: bool = False
    """The work was cancelled because its centre holds too many slots."""
    returned: Received | None = None
    """The delivery that goes back to the queue, or to the dead letters."""
    is_bulk: bool = field(init=False)
    """Whether it came as bulk; stays so."""

    def __post_init__(self) -> None:
        self.is_bulk = self.received.envelope.is_bulk

    def lose(self) -> None:
        """Stop the work: another manager has the item."""
        if self._can_be_stopped and self.task is not None:
            self.is_lost = True
            self.task.cancel()

    def preempt(self) -> None:
        """Stop the work and hand the item back: others need the slot."""
        if self._can_be_stopped and self.task is not None:
            self.is_preempted = True
            self.task.cancel()

    @property
    def _can_be_stopped(self) -> bool:
        # Once is enough: a second time would hit the hand-back of the first.
        return not self.is_settling and not self.is_lost and not self.is_preempted

    def hear_parked(self, parked: int) -> None:
        """Note how many sources wait; wakes the one that waits for another source."""
        if parked > self.parked:
            self.parked = parked
            self.on_parked()


class InFlight:
    """Items by `Envelope.uid`, bounded by the number of slots. For one event loop."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._items: dict[str, Item] = {}
        self._freed = asyncio.Event()
        self.bulk = 0
        """How many of the items are bulk."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def free(self) -> int:
        """How many more items may be taken."""
        return self.slots - len(self._items)

    @property
    def items(self) -> list[Item]:
        """A copy of what is in work now."""
        return list(self._items.values())

    def adopt(self, received: Received) -> bool:
        """Whether this is a redelivery of an item in work, which then goes on with its receipt.

        This happens when a visibility ended during an outage: the old receipt is not valid any
        more. It also happens when an item comes again before its return to the queue was answered
        (`Item.returned`).
        """
        item = self._items.get(received.envelope.uid)
        if item is None:
            return False
        item.received = received
        return True

    def add(self, item: Item) -> None:
        """Take a slot."""
        self._items[item.received.envelope.uid] = item
        self.bulk += item.is_bulk

    def remove(self, item: Item) -> None:
        """Free the slot."""
        del self._items[item.received.envelope.uid]
        self.bulk -= item.is_bulk
        self._freed.set()

    async def wait_free(self, wanted: int, bulk_limit: int, *, patience_s: float) -> int:
        """Return how many slots are free: at least one, `wanted` if they come soon.

        One message at a time would cost a round trip each. So if less than `wanted` are free, or
        less than half of `bulk_limit` while bulk holds the rest, this waits `patience_s` for more.
        """
        await self._wait_until(lambda: self.free >= 1)
        wanted_bulk = min(wanted, (bulk_limit + 1) // 2)

        def is_enough() -> bool:
            return self.free >= wanted and bulk_limit - self.bulk >= wanted_bulk

        if not is_enough():
            try:
                async with asyncio.timeout(patience_s):
                    await self._wait_until(is_enough)
            except TimeoutError:
                pass
        return self.free

    async def wait_empty(self) -> None:
        """Return when nothing is in work."""
        await self._wait_until(lambda: not self._items)

    async def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._freed.clear()
            await self._freed.wait()
