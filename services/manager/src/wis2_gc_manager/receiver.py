"""Takes messages from the queue, as many as there are free slots, and hands back what is left.

Of bulk it takes less (`BulkShare`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.bulk_share import BulkShare
from wis2_gc_manager.pipeline.in_flight import Item
from wis2_gc_manager.pipeline.retry import SUSPECT_DELIVERIES

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Queue, Received
    from wis2_gc_manager.pipeline.in_flight import InFlight
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.pipeline.work import Pipeline

#: One call of the queue.
MAX_BATCH = 64
#: How long one call waits for the first message.
WAIT_S = 10.0
#: If fewer slots than a batch are free, wait this long for more.
PATIENCE_S = 0.01
#: While bulk has no room, wait this long at a time for messages that are not bulk.
BULK_WAIT_S = 0.02
#: After an unexpected error.
PAUSE_S = 1.0
#: How long one suspect is worked on alone; those that came with it come back after the same time.
SUSPECT_S = 10.0
#: For each last step of a manager: a part that hangs must not delay the others.
LAST_WORDS_S = 3.0

log = get_logger(__name__)


class Receiver:
    """Runs the pipeline on the messages of the queue, until it is stopped and drained."""

    def __init__(self, queue: Queue, pipeline: Pipeline, gate: Gate, in_flight: InFlight) -> None:
        self._queue = queue
        self._pipeline = pipeline
        self._gate = gate
        self._in_flight = in_flight
        self._share = BulkShare(in_flight.slots)
        self._leftovers: list[Item] = []
        self._is_draining = False
        self.is_receiving = False
        """Whether queue and gate were in order when last checked."""

    async def run(self) -> None:
        """Receive until cancelled; received items continue until `drain`."""
        try:
            while True:
                await self._turn()
        finally:
            self.is_receiving = False

    async def _turn(self) -> None:
        if not self._gate.is_open:
            self.is_receiving = False
            await self._gate.wait_open()
        self.is_receiving = True
        limit = await self._bulk_limit()
        free = await self._in_flight.wait_free(MAX_BATCH, limit, patience_s=PATIENCE_S)
        if not self._gate.is_open:
            return
        room = max(0, limit - self._in_flight.bulk)
        try:
            messages = await self._queue.receive(
                min(free, MAX_BATCH), wait_s=WAIT_S if room else BULK_WAIT_S, max_bulk=room
            )
        except Unavailable as error:
            self._gate.report(error)
        except Exception:
            log.exception("receive_failed")
            self.is_receiving = False
            await asyncio.sleep(PAUSE_S)
        else:
            if not all(m.envelope.is_bulk for m in messages):
                self._share.saw_others(asyncio.get_running_loop().time())
            suspects = [m for m in messages if m.deliveries > SUSPECT_DELIVERIES]
            for received in messages:
                if received.deliveries <= SUSPECT_DELIVERIES:
                    self._begin(received)
            if suspects:
                await self._try_alone(suspects)

    async def _bulk_limit(self) -> int:
        loop = asyncio.get_running_loop()
        before_s = loop.time()
        await asyncio.sleep(0)  # one turn of the loop: all that is ready runs once
        now_s = loop.time()
        return self._share.limit(now_s, turn_s=now_s - before_s)

    async def drain(self, timeout_s: float, *, hurry: asyncio.Event) -> int:
        """Finish what is in work; after `timeout_s`, or at `hurry`, hand the rest back.

        Returns how many items were handed back. Call it when `run` has ended.
        """
        self._is_draining = True
        empty = asyncio.ensure_future(self._in_flight.wait_empty())
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({empty, hurried}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for future in (empty, hurried):
            future.cancel()
        tasks = [item.task for item in self._in_flight.items if item.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await asyncio.gather(
                    *(self._pipeline.hand_back(item, delay_s=0.0) for item in self._leftovers)
                )
        return len(self._leftovers)

    async def _try_alone(self, suspects: list[Received]) -> None:
        """Work on one message that may be what kills its workers; take no other one meanwhile.

        The others go back as first deliveries: they may have died only with their neighbour.
        """
        first, *others = suspects
        log.warning("suspect_worked_on_alone", uid=first.envelope.uid, deliveries=first.deliveries)
        for received in others:
            await self._pipeline.hand_back(Item(received), delay_s=SUSPECT_S)
        item = self._begin(first)
        if item is not None and item.task is not None:
            await asyncio.wait({item.task}, timeout=SUSPECT_S)

    def _begin(self, received: Received) -> Item | None:
        """Start the work; None for the redelivery of what is in work."""
        if self._in_flight.adopt(received):
            return None
        item = Item(received)
        self._in_flight.add(item)
        item.task = asyncio.get_running_loop().create_task(self._pipeline.handle(item))
        item.task.add_done_callback(partial(self._ended, item))
        return item

    def _ended(self, item: Item, task: asyncio.Task[None]) -> None:
        self._in_flight.remove(item)
        if task.cancelled():
            self._leftovers.append(item)
            return
        if (error := task.exception()) is not None:
            log.error("item_task_failed", error=repr(error))
        if item.returned is None or item.received is item.returned:
            return
        # It came again before its return was answered, and nothing works on that delivery.
        if self._is_draining:
            self._leftovers.append(Item(item.received))
        else:
            self._begin(item.received)
