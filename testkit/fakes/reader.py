"""A registry and a queue that say what a test gives them, or are away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.health.facts import Health, State
from wis2_gc_common.metrics import DELAY_BUCKETS_S
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.ports.registry import (
    FailureRecord,
    ItemKey,
    ItemRecord,
    ProcessStatus,
    Snapshot,
)

if TYPE_CHECKING:
    import asyncio

WELL = Health(State.WELL, ())
EMPTY_QUEUE = Depth(ready=0, in_flight=0, delayed=0, dead=0, oldest_s=0.0)


def snapshot_of(
    *,
    counters: dict[str, int] | None = None,
    gauges: dict[str, float] | None = None,
    held: dict[str, int] | None = None,
    delay_buckets: tuple[int, ...] | None = None,
    delay_sum_s: float = 0.0,
    processes: tuple[ProcessStatus, ...] = (),
) -> Snapshot:
    """Return a snapshot, empty but for what is given."""
    return Snapshot(
        counters=counters or {},
        gauges=gauges or {},
        held=held or {},
        delay_buckets=delay_buckets or (0,) * (len(DELAY_BUCKETS_S) + 1),
        delay_sum_s=delay_sum_s,
        processes=processes,
    )


def listener(name: str, *, is_ready: bool = True, **facts: object) -> ProcessStatus:
    """Return the heartbeat of a listener."""
    return ProcessStatus("listener", name, is_ready=is_ready, at_s=1_800_000_000.0, facts=facts)


def manager(name: str, *, is_ready: bool = True, **facts: object) -> ProcessStatus:
    """Return the heartbeat of a manager."""
    return ProcessStatus("manager", name, is_ready=is_ready, at_s=1_800_000_000.0, facts=facts)


@dataclass
class FakeReader:
    """`RegistryReader`; `is_away` makes every method raise, `gate` makes a snapshot wait."""

    content: Snapshot = field(default_factory=snapshot_of)
    items: dict[ItemKey, ItemRecord] = field(default_factory=dict)
    failure_records: list[FailureRecord] = field(default_factory=list)
    is_away: bool = False
    gate: asyncio.Event | None = None
    snapshots: int = 0
    refused: int = 0
    is_closed: bool = False

    async def snapshot(self) -> Snapshot:
        self._check()
        self.snapshots += 1
        if self.gate is not None:
            await self.gate.wait()
        return self.content

    async def item(self, key: ItemKey) -> ItemRecord | None:
        self._check()
        return self.items.get(key)

    async def failures(self, limit: int) -> list[FailureRecord]:
        self._check()
        return self.failure_records[: max(0, limit)]

    async def close(self) -> None:
        self.is_closed = True

    def _check(self) -> None:
        if self.is_away:
            self.refused += 1
            raise Unavailable("registry", "redis://:secret@10.0.0.1 refused")


@dataclass
class FakeQueue:
    """As much of a queue as is looked at; `gate` makes it wait."""

    content: Depth = EMPTY_QUEUE
    is_away: bool = False
    gate: asyncio.Event | None = None
    asking: int = 0
    is_closed: bool = False

    async def depth(self) -> Depth:
        if self.is_away:
            raise Unavailable("queue", "gone")
        self.asking += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.asking -= 1
        return self.content

    async def close(self) -> None:
        self.is_closed = True
