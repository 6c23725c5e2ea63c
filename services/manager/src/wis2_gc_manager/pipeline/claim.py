"""The first step: reads and judges a notification, and claims its item."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Cause, Poison, Reason
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.wis2.decision import Decision
from wis2_gc_manager.pipeline.announced_links import check_links
from wis2_gc_manager.pipeline.endings import Buried, Dropped, Parked
from wis2_gc_manager.pipeline.retry import MAX_DELIVERIES
from wis2_gc_manager.pipeline.source import Source, not_ours, notice_of, read_source

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wis2_gc_common.ports.queue import Received
    from wis2_gc_common.ports.registry import Claimed, Registry
    from wis2_gc_manager.pipeline.endings import Ending
    from wis2_gc_manager.pipeline.fairness import Fairness
    from wis2_gc_manager.pipeline.in_flight import Item
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.pipeline.retry import Retries
    from wis2_gc_manager.sources.address_guard import AddressGuard

#: How long to wait for the answer to a claim whose work was cancelled meanwhile.
CLAIM_ANSWER_S = 2.0


@dataclass(frozen=True, slots=True)
class Granted:
    """An item that this process works on."""

    item: Item
    own: Source
    """Its own notification."""
    claimed: Claimed
    """Without a lease: the item is over quota. It is announced and not recorded."""


@dataclass(kw_only=True, slots=True, eq=False)
class Claiming:
    """The first step of every item."""

    registry: Registry
    gate: Gate
    guard: AddressGuard
    fairness: Fairness
    retries: Retries
    centre_id: str
    """Ours."""
    worker: str
    """Unique among running managers, the same after a restart."""

    async def claim(self, item: Item) -> Granted | Ending:
        """Return the item if we are to work on it, or how it ends.

        Raises Unavailable, PartError: a part of ours refuses only this item.
        """
        own = self._read(item.received)
        if not isinstance(own, Source):
            return own
        notification = own.notification
        item.centre_id = notification.topic.centre_id
        if self.fairness.is_crowding(item.centre_id):
            return self.retries.crowded(item, notification)
        claimed = await self._ask(item, own)
        decision = claimed.decision
        if decision.is_granted or decision is Decision.OVER_QUOTA:
            item.lease = claimed.lease
            item.parked = claimed.parked
            return Granted(item, own, claimed)
        if decision is Decision.WAIT:
            return self.retries.waiting(item, notification, claimed.retry_after_s)
        if decision is Decision.BUSY:
            return Parked()
        return Dropped(decision.value)

    def _read(self, received: Received) -> Source | Dropped | Buried:
        if received.deliveries > MAX_DELIVERIES:
            # It killed its worker even when it was worked on alone: nothing of it is read again.
            detail = f"delivered {received.deliveries} times without an end"
            return Buried(Cause(Reason.UNEXPECTED, detail), told=detail)
        try:
            own = read_source(received.envelope)
            reason = not_ours(own.notification, self.centre_id)
            if reason is not None:
                return Dropped(reason)
            check_links(own.notification, self.guard)
        except Poison as error:
            return Dropped(error.reason, error)
        return own

    async def _ask(self, item: Item, own: Source) -> Claimed:
        received = item.received
        owner = received.envelope.uid
        notice = notice_of(own.notification)
        # If the queue keeps it as the listener packed it, it is not packed again.
        source = received.packed or encode_envelope(received.envelope)
        attempt = random.getrandbits(63)

        def claim() -> Awaitable[Claimed]:
            return self.registry.claim(
                notice, owner=owner, worker=self.worker, attempt=attempt, source=source
            )

        try:
            return await self.gate.repeat(claim)
        except asyncio.CancelledError:
            # The claim may have been granted. Asked again, the registry gives the same answer, and
            # the code that hands the item back releases the lease.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLAIM_ANSWER_S):
                    item.lease = (await claim()).lease
            raise
