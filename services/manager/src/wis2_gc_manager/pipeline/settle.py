"""The last step: carries out how the work on an item ends, in registry, queue, counters and events.

Only this step ends an item. All of it may be repeated: the commit counts once, and a message that
is not deleted comes again as a duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from wis2_gc_common.errors import Poison, Reason, Unavailable
from wis2_gc_common.metrics import (
    CACHE_OVERRIDE,
    DEAD_LETTERS,
    INVALID,
    ITEMS,
    ITEMS_DROPPED,
    NO_CACHE,
)
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.pipeline.endings import (
    ALL_PARKED,
    Buried,
    Dropped,
    Finished,
    GivenUp,
    HandedBack,
    LeaseLost,
    Parked,
    PassedOn,
    PutBack,
)

if TYPE_CHECKING:
    from wis2_gc_common.errors import Cause, Unannounceable
    from wis2_gc_common.ports.queue import Queue
    from wis2_gc_common.ports.registry import Commit, Registry
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.pipeline.endings import Ending
    from wis2_gc_manager.pipeline.events import Events
    from wis2_gc_manager.pipeline.finished_messages import FinishedMessages
    from wis2_gc_manager.pipeline.in_flight import Item
    from wis2_gc_manager.pipeline.outage_gate import Gate

_MAX_CAUSE_CHARS = 200

log = get_logger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Settling:
    """The last step of every item."""

    registry: Registry
    queue: Queue
    gate: Gate
    finished_messages: FinishedMessages
    counts: Counts
    events: Events
    cached: int = field(default=0, init=False)
    """Items that this process has cached."""
    given_up: int = field(default=0, init=False)
    """Notifications that this process has given up, dead letters included."""

    async def settle(self, item: Item, ending: Ending) -> bool:
        """Carry out `ending`; False if more sources were parked and the item is still ours.

        Raises LeaseLost; Unavailable and PartError if a part refuses only this item. For a
        HandedBack, raises nothing.
        """
        # From now on nothing stops the item; the registry says whether we still hold the lease.
        item.is_settling = True
        item.is_settling = is_over = await self._carry_out(item, ending)
        return is_over

    async def _carry_out(self, item: Item, ending: Ending) -> bool:
        match ending:
            case Finished(commit):
                await self._commit(item, commit)
            case Dropped(reason, problem):
                self._drop(item, reason, problem)
            case Parked():
                self.finished_messages.delete(item.received.receipt)
            case PassedOn():
                self._pass_on(item, ending)
            case PutBack():
                if not await self._release(item, ending.cause, ending.parked_seen):
                    return False
                await self.gate.repeat(
                    lambda: self._return(
                        item,
                        delay_s=ending.delay_s,
                        attempts=ending.attempts,
                        is_bulk=ending.is_bulk,
                    )
                )
            case HandedBack(delay_s):
                await self._hand_back(item, delay_s)
            case GivenUp():
                if not await self._release(item, ending.cause, ending.parked_seen, is_final=True):
                    return False
                self._give_up(item, ending)
            case Buried():
                await self._release(item, ending.cause, ALL_PARKED, is_final=True)
                await self._bury(item, ending)
            case _:
                assert_never(ending)
        return True

    async def _commit(self, item: Item, commit: Commit) -> None:
        lease = item.lease
        if lease is None or not await self.gate.repeat(lambda: self.registry.commit(lease, commit)):
            raise LeaseLost
        self.finished_messages.delete(item.received.receipt)
        if commit.outcome == "cached":
            self.cached += 1
            log.debug(
                "item_cached",
                data_id=lease.notice.data_id,
                centre_id=commit.centre_id,
                object_key=commit.object_key,
                delay_s=commit.delay_s,
            )

    async def _release(
        self, item: Item, cause: Cause | None, parked_seen: int, *, is_final: bool = False
    ) -> bool:
        """Release the lease, if there is one; False if more sources were parked."""
        lease = item.lease
        if lease is None:
            return True
        answer = await self.gate.repeat(
            lambda: self.registry.release(
                lease, cause=cause, parked_seen=parked_seen, is_final=is_final
            )
        )
        if answer == "lost":
            raise LeaseLost
        if answer == "more":
            item.parked = max(item.parked, parked_seen + 1)
        return answer == "released"

    async def _hand_back(self, item: Item, delay_s: float) -> None:
        try:
            if item.lease is not None:
                await self.registry.release(
                    item.lease, cause=None, parked_seen=ALL_PARKED, is_final=False
                )
            await self._return(
                item,
                delay_s=delay_s,
                attempts=item.received.envelope.attempts,
                is_bulk=True if delay_s > 0 else None,
            )
        except Unavailable as error:
            log.warning("hand_back_failed", part=error.part, detail=error.detail)
        except Exception:
            log.exception("hand_back_failed")

    async def _return(
        self, item: Item, *, delay_s: float, attempts: int, is_bulk: bool | None
    ) -> None:
        item.returned = item.received
        await self.queue.put_back(
            item.received, delay_s=delay_s, attempts=attempts, is_bulk=is_bulk
        )

    async def _bury(self, item: Item, ending: Buried) -> None:
        text = ending.told or _text(ending.cause)

        async def dead_letter() -> None:
            item.returned = item.received
            await self.queue.dead_letter(item.received, reason=Reason.UNEXPECTED, last_error=text)

        await self.gate.repeat(dead_letter)
        self.counts.add(DEAD_LETTERS, Reason.UNEXPECTED)
        self.given_up += 1
        log.error("message_buried", uid=item.received.envelope.uid, last_error=text)

    def _drop(self, item: Item, reason: str, problem: Poison | Unannounceable | None) -> None:
        self.counts.add(ITEMS_DROPPED, reason)
        self.finished_messages.delete(item.received.receipt)
        if problem is None:
            return
        topic = item.received.envelope.topic
        log.info("poison_dropped", topic=topic[:200], reason=reason, detail=problem.detail)
        if not isinstance(problem, Poison) or not problem.centre_id:
            return  # we do not know which centre sent it
        self.counts.add_of_centre(INVALID, problem.centre_id)
        self.events.failure(
            subject=problem.centre_id,
            title="Invalid notification",
            description=str(problem),
            channel=topic,
            since_ms=item.received.envelope.arrived_ms,
        )

    def _pass_on(self, item: Item, ending: PassedOn) -> None:
        self.counts.add(ITEMS, ending.outcome)
        if ending.outcome == "uncached":
            self.counts.add_of_centre(NO_CACHE, ending.centre_id)
        elif ending.outcome == "override":
            self.counts.add_of_centre(CACHE_OVERRIDE, ending.centre_id)
        self.finished_messages.delete(item.received.receipt)

    def _give_up(self, item: Item, ending: GivenUp) -> None:
        if ending.dropped_as:
            self.counts.add(ITEMS_DROPPED, ending.dropped_as)
        if ending.invalid_of:
            self.counts.add_of_centre(INVALID, ending.invalid_of)
        self.finished_messages.delete(item.received.receipt)
        self.given_up += 1
        notification, told = ending.notification, ending.told or _text(ending.cause)
        log.warning(
            "item_given_up",
            data_id=notification.data_id,
            centre_id=notification.source_centre_id,
            attempts=item.received.envelope.attempts + 1,
            error=told,
        )
        self.events.failure(
            subject=notification.source_centre_id,
            title="Data item could not be cached",
            description=f"{notification.data_id}: {told}",
            channel=notification.topic.text,
            since_ms=item.received.envelope.arrived_ms,
        )


def _text(cause: Cause) -> str:
    return str(cause)[:_MAX_CAUSE_CHARS]
