"""A cluster that says what a test gives it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wis2_gc_metrics.rollouts import Workload

if TYPE_CHECKING:
    from wis2_gc_common.errors import Unavailable

COMPLETE = Workload(
    kind="Deployment",
    name="wis2-manager",
    version="1.0",
    desired=3,
    updated=3,
    ready=3,
    available=3,
    total=3,
    is_observed=True,
    problem=None,
)


class FakeSource:
    """A `WorkloadSource` that says what a test gives it."""

    def __init__(self) -> None:
        self.content: list[Workload] = [COMPLETE]
        self.error: Unavailable | None = None
        self.looks = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_asked = asyncio.Event()
        self.is_closed = False

    async def workloads(self) -> list[Workload]:
        self.looks += 1
        self.is_asked.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.content

    async def close(self) -> None:
        self.is_closed = True
