"""Keeps the items in work ours: renews leases in the registry and visibility in the queue.

Source: architecture.md#manager.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wis2_gc_common.ports.queue import Queue
    from wis2_gc_common.ports.registry import Registry
    from wis2_gc_manager.pipeline.finished_messages import FinishedMessages
    from wis2_gc_manager.pipeline.in_flight import InFlight
    from wis2_gc_manager.pipeline.outage_gate import Gate

log = get_logger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class LeaseKeeper:
    """Renews everything in work every `interval_s`, a third of the length of a lease.

    If another manager got the lease of an item, the item is cancelled. After an outage the gate
    repeats the renewal at once, before the next items are received.
    """

    in_flight: InFlight
    registry: Registry
    queue: Queue
    finished_messages: FinishedMessages
    gate: Gate
    interval_s: float
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def run(self) -> None:
        """Renew until cancelled. Leases and visibility are separate: an outage stops only one."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every("leases", self.renew))
            group.create_task(self._every("receipts", self.extend))

    async def renew(self) -> None:
        """Renew all leases once. Raises Unavailable("registry")."""
        items = [item for item in self.in_flight.items if item.lease is not None]
        leases = [item.lease for item in items if item.lease is not None]
        if not leases:
            return
        for item, renewed in zip(items, await self.registry.renew(leases), strict=True):
            if renewed.is_held:
                item.hear_parked(renewed.parked)
            else:
                item.lose()

    async def extend(self) -> None:
        """Restart the visibility of all messages once. Raises Unavailable("queue")."""
        receipts = [item.received.receipt for item in self.in_flight.items]
        receipts += self.finished_messages.receipts
        if receipts:
            await self.queue.extend(receipts)

    async def _every(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.sleep(self.interval_s)
            try:
                await self.gate.repeat(step)
            except Unavailable as error:
                log.warning("renewal_failed", what=what, detail=error.detail)
            except Exception:
                log.exception("renewal_failed", what=what)
