"""What is done with one queued notification, from claim to deletion (architecture.md#one-item).

    claim → acquire → keep → announce → settle

Every step may be repeated, so a crash between two of them costs a repeat and nothing else: same
object key, same message id (wis2-rules.md 24), counters moved by the commit alone. The gate repeats
a step that meets `Unavailable`. How the work ends is a value (`endings.py`); only the last step
carries it out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_common.errors import PartError, Reason, Unavailable
from wis2_gc_common.metrics import SOURCE_FAILURES
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.pipeline.acquisition import Acquisition
from wis2_gc_manager.pipeline.announce import Override
from wis2_gc_manager.pipeline.claim import Granted
from wis2_gc_manager.pipeline.endings import HandedBack, LeaseLost, PutBack
from wis2_gc_manager.pipeline.quota import quota_met
from wis2_gc_manager.pipeline.retry import QuickTries

if TYPE_CHECKING:
    from wis2_gc_common.ports.registry import Lease
    from wis2_gc_manager.pipeline.announce import Announcing
    from wis2_gc_manager.pipeline.cache import Caching
    from wis2_gc_manager.pipeline.claim import Claiming
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.pipeline.endings import Ending
    from wis2_gc_manager.pipeline.in_flight import Item
    from wis2_gc_manager.pipeline.retry import Retries
    from wis2_gc_manager.pipeline.settle import Settling

log = get_logger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Pipeline:
    """Works on items; one instance a process, any number of items at once."""

    claiming: Claiming
    caching: Caching
    announcing: Announcing
    settling: Settling
    retries: Retries
    counts: Counts
    _quick_tries: QuickTries = field(default_factory=QuickTries, init=False)

    async def handle(self, item: Item) -> None:
        """Work on `item` until its message is deleted, goes back, or belongs to another manager.

        Raises only CancelledError, when the manager stops: call `hand_back` with the item then.
        """
        try:
            await self._work(item)
        except asyncio.CancelledError:
            if item.is_preempted and item.task is not None:
                item.task.uncancel()
                await self._settle_or_leave(item, self.retries.preempted(item))
            elif item.is_lost:
                _log_lost(item)
            else:
                raise
        except LeaseLost:
            _log_lost(item)
        except Exception as error:  # noqa: BLE001 - with any error the item has to end
            await self._settle_or_leave(item, self._refused(item, error))

    async def hand_back(self, item: Item, *, delay_s: float) -> None:
        """Put the message back as if the item had not been touched. Never raises.

        If that fails, the lease and the message's visibility end by themselves.
        """
        await self.settling.settle(item, HandedBack(delay_s))

    async def _work(self, item: Item) -> None:
        granted = await self.claiming.claim(item)
        if not isinstance(granted, Granted):
            await self.settling.settle(item, granted)
            return
        notification = granted.own.notification
        quota = quota_met(granted.claimed, notification)
        if item.lease is None:
            ending: Ending = await self.announcing.pass_on(granted, quota)
        elif notification.rel == "deletion":
            ending = await self.announcing.deletion(granted)
        elif not notification.cache:
            ending = await self.announcing.untouched(granted, notification)
        elif quota:
            ending = await self.announcing.untouched(granted, notification, Override.QUOTA, quota)
        else:
            await self._cache(granted, item.lease)
            return
        await self.settling.settle(item, ending)

    async def _cache(self, granted: Granted, lease: Lease) -> None:
        item = granted.item
        uid = item.received.envelope.uid
        is_again = self._quick_tries.take(uid)
        acquisition = Acquisition(
            granted, lease, downloads=self.caching.downloads, is_again=is_again
        )
        while True:
            ending = await self.caching.attempt(granted, acquisition)
            if ending is None:
                continue  # other data is required
            is_quick = isinstance(ending, PutBack) and ending.is_second_try
            if is_quick:
                # Noted first: the message may be back although the reply of put_back is lost.
                self._quick_tries.add(uid)
            if await self.settling.settle(item, ending):
                break
            # More sources were parked meanwhile.
            if is_quick:
                self._quick_tries.take(uid)

    def _refused(self, item: Item, error: Exception) -> Ending:
        """Return how an item ends after an error of a part of ours, or a bug."""
        if isinstance(error, Unavailable | PartError):
            # The part answers its probe, but does not serve this item.
            log.error("item_refused_by_part", part=error.part, detail=error.detail)
        else:
            log.error("item_failed_unexpectedly", uid=item.received.envelope.uid, exc_info=error)
        if isinstance(error, Unavailable):
            ending: Ending = self.retries.refused(item, error)
        else:
            ending = self.retries.failed_by_us(item, error)
        if not isinstance(ending, HandedBack):
            self.counts.add(SOURCE_FAILURES, Reason.UNEXPECTED)
        return ending

    async def _settle_or_leave(self, item: Item, ending: Ending) -> None:
        """Settle an item whose work broke off, or leave it to its visibility. Never raises."""
        try:
            try:
                await self.settling.settle(item, ending)
            except LeaseLost:
                item.lease = None  # another has the item; the message is ours to end
                await self.settling.settle(item, ending)
        except Exception:
            # Lease and visibility end by themselves, and the deliveries are counted.
            log.exception("item_left_to_its_visibility", uid=item.received.envelope.uid)


def _log_lost(item: Item) -> None:
    log.info("lease_lost", uid=item.received.envelope.uid)
