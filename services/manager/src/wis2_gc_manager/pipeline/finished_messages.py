"""Deletes finished messages from the queue, many in one call."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Queue
    from wis2_gc_manager.pipeline.outage_gate import Gate

#: Receipts in one call; adapters cut it to what their service takes.
MAX_BATCH = 100

log = get_logger(__name__)


class FinishedMessages:
    """Makes one call at a time; messages that finish meanwhile are in the next one.

    A crash before a message is deleted costs a redelivery, which the registry knows as a
    duplicate.
    """

    def __init__(self, queue: Queue, gate: Gate) -> None:
        self._queue = queue
        self._gate = gate
        self._receipts: list[str] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def receipts(self) -> list[str]:
        """Messages that are finished, but not yet deleted."""
        return list(self._receipts)

    def delete(self, receipt: str) -> None:
        """Have this message deleted soon."""
        self._receipts.append(receipt)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self) -> None:
        """Return when nothing waits to be deleted."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Stop. A message that is not deleted is delivered again, and known as done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._receipts:
                batch = self._receipts[:MAX_BATCH]
                try:
                    await self._gate.repeat(partial(self._queue.delete, batch))
                except Unavailable as error:
                    log.warning("delete_failed", messages=len(batch), detail=error.detail)
                except Exception:
                    log.exception("delete_failed", messages=len(batch))
                del self._receipts[: len(batch)]
        finally:
            self._task = None
