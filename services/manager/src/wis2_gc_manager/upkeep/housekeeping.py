"""The regular work of a manager: heartbeat, counters, expiry, labels, quotas, public check."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.pipeline.public_check import PUBLIC_URL
from wis2_gc_manager.pipeline.quota import bytes_of_a_centre, items_of_a_centre

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wis2_gc_common.ports.registry import ProcessStatus, Registry
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.pipeline.events import Events
    from wis2_gc_manager.pipeline.fairness import Fairness
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.pipeline.public_check import PublicCheck
    from wis2_gc_manager.store.port import ObjectStore

HEARTBEAT_S = 3.0
FLUSH_S = 1.0
TICK_S = 1.0
EXPIRE_S = 300.0
LABELS_S = 300.0
QUOTAS_S = 60.0
#: The most that is taken from the listeners' list at once.
MAX_REFUSALS = 100
#: An event loop without a turn for so long is stuck.
STUCK_S = 15.0

log = get_logger(__name__)


class Pulse:
    """When the event loop last made a turn; the health server's thread reads it."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._last_s = monotonic_s()

    def beat(self) -> None:
        """Note that the loop makes turns."""
        self._last_s = self._monotonic_s()

    @property
    def problem(self) -> str:
        """One line if the loop is stuck, otherwise ""."""
        silent_s = self._monotonic_s() - self._last_s
        return f"the event loop is stuck for {silent_s:.0f} s" if silent_s > STUCK_S else ""


@dataclass(kw_only=True, slots=True, eq=False)
class Housekeeping:
    """Runs until cancelled. Nothing here touches an item."""

    registry: Registry
    store: ObjectStore
    gate: Gate
    counts: Counts
    pulse: Pulse
    fairness: Fairness
    events: Events
    public_check: PublicCheck
    public_check_interval_s: float
    """0 means never."""
    known_centres: Callable[[], frozenset[str] | None]
    centre_max_items: int | None
    centre_max_bytes: int | None
    status: Callable[[], ProcessStatus]
    """Called for every heartbeat."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    draw: Callable[[], float] = random.random

    async def run(self) -> None:
        """Do all of this work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(TICK_S, self._beat))
            group.create_task(self._every(HEARTBEAT_S, self.heartbeat))
            group.create_task(self._every(FLUSH_S, self.flush))
            group.create_task(self._every(FLUSH_S, self.tell))
            group.create_task(self._every(EXPIRE_S, self.expire))
            group.create_task(self._every(LABELS_S, self.keep_labels))
            group.create_task(self._every(QUOTAS_S, self.keep_quotas))
            if self.public_check_interval_s:
                group.create_task(self._every(self.public_check_interval_s, self.look_outside))

    async def heartbeat(self) -> None:
        """Report that we live. By this an idle manager also notices that the registry is away."""
        await self.registry.heartbeat(self.status())

    async def flush(self) -> None:
        """Write the operational counters, unless the registry is known to be away."""
        if "registry" not in self.gate.problems:
            await self.counts.flush(self.registry)

    async def tell(self) -> None:
        """Tell centres about their invalid notifications, which only listeners see."""
        if "registry" in self.gate.problems:
            return
        for refusal in await self.registry.refusals(MAX_REFUSALS):
            self.events.failure(
                subject=refusal.centre_id,
                title=refusal.title,
                description=refusal.problem,
                channel=refusal.topic,
                since_ms=refusal.arrived_ms,
            )

    async def expire(self) -> None:
        """Remove objects past the retention. All managers do it, and do not disturb each other."""
        # At different moments, so that they do not all do it at once.
        await self.sleep(EXPIRE_S / 5 * self.draw())
        folders = await self.store.expire(datetime.now(UTC))
        if folders:
            log.info("objects_expired", hour_folders=folders)

    async def keep_labels(self) -> None:
        """Bound the labels that strangers bring into the metrics. All managers do it, cheaply."""
        if "registry" in self.gate.problems:
            return
        gone = await self.registry.keep_labels(await asyncio.to_thread(self.known_centres))
        if gone:
            log.info("labels_forgotten", labels=gone)

    async def keep_quotas(self) -> None:
        """Record what a centre may hold, by the present size of memory and disk."""
        if {"registry", "store"} & self.gate.problems.keys():
            return
        capacity = await self.store.capacity()
        items = items_of_a_centre(
            self.centre_max_items,
            memory_bytes=await self.registry.memory_bytes(),
            capacity=capacity,
        )
        bytes_ = bytes_of_a_centre(self.centre_max_bytes, capacity=capacity)
        await self.registry.keep_quotas(items=items, bytes_=bytes_)

    async def look_outside(self) -> None:
        """Fetch an object of ours as a consumer does, unless the gate's probe already does it."""
        if not {PUBLIC_URL, "store"} & self.gate.problems.keys():
            await self.public_check.look()

    async def _beat(self) -> None:
        self.pulse.beat()
        handed_back = self.fairness.look()
        if handed_back:
            log.warning("slow_work_handed_back", items=handed_back)

    async def _every(self, interval_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Unavailable as error:
                self.gate.report(error)
            except Exception:
                log.exception("housekeeping_failed", step=step.__name__)
            await self.sleep(interval_s)
