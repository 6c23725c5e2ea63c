"""What is done with one queued notification, from claim to deletion (architecture.md#one-item).

    claim → data → object visible → announced, PUBACK → commit → message deleted

Every step may be repeated, so a crash between two of them costs a repeat and nothing else: same
object key, same message id (wis2-rules.md 24), counters moved by the commit alone. A step that
meets `Unavailable` is repeated by the gate. What else goes wrong ends here, in one of: dropped,
handed back with a delay, given up on record, dead letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import CacheError, HostBusy, PartError, Poison, Reason, Unavailable
from wis2_gc_common.metrics import (
    CACHE_OVERRIDE,
    DEAD_LETTERS,
    INVALID,
    ITEMS,
    ITEMS_DROPPED,
    NO_CACHE,
    SOURCE_FAILURES,
)
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.ports.registry import Commit
from wis2_gc_common.runtime.causes import BUG
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.decision import Decision
from wis2_gc_common.wis2.media_type import safe_media_type
from wis2_gc_common.wis2.notification import Cached, republish
from wis2_gc_common.wis2.object_key import object_url
from wis2_gc_manager.pipeline.acquisition import Acquired, Acquisition, TooLarge
from wis2_gc_manager.pipeline.candidate import not_ours, notice_of, read_candidate
from wis2_gc_manager.pipeline.passed_on import check_links, check_origins_links
from wis2_gc_manager.pipeline.public_check import PUBLIC_URL, Sample
from wis2_gc_manager.pipeline.quota import quota_met
from wis2_gc_manager.pipeline.retry import (
    MAX_DELIVERIES,
    MAX_FIRST_WAIT_S,
    GiveUp,
    QuickTries,
    RetryPolicy,
    Return,
    after_exhausted,
    after_unexpected,
    crowded_s,
    waiting_s,
)
from wis2_gc_manager.store.port import Checksum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wis2_gc_common.ports.queue import Queue
    from wis2_gc_common.ports.registry import Claimed, Lease, Registry
    from wis2_gc_common.wis2.notification import Announcer, Notification
    from wis2_gc_manager.pipeline.acknowledger import Acknowledger
    from wis2_gc_manager.pipeline.acquisition import Downloads
    from wis2_gc_manager.pipeline.candidate import Candidate
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.pipeline.delayed import DelayedItems
    from wis2_gc_manager.pipeline.events import Events, Publishes
    from wis2_gc_manager.pipeline.fairness import Fairness
    from wis2_gc_manager.pipeline.gate import Gate
    from wis2_gc_manager.pipeline.in_flight import Item
    from wis2_gc_manager.pipeline.public_check import PublicCheck
    from wis2_gc_manager.sources.guard import AddressGuard
    from wis2_gc_manager.store.port import ObjectStore, Upload

#: An item that a part of ours refuses, though it is there, comes back after this.
REFUSED_BY_PART_S = 60.0
#: How long a claim that was cancelled on its way is asked what became of it.
CLAIM_ANSWER_S = 2.0
#: More sources than can be parked: a release that asks for none of them.
_ALL_PARKED = 1 << 30
_MAX_ERROR_CHARS = 200
#: Why an item is given up that was not tried as long as it was of use, or while its centre had too
#: many others waiting.
CROWDED, WAITING = "crowded_out", "waited_in_vain"
_WHY_GIVEN_UP = {
    CROWDED: "its centre's slow sources held its share of the slots",
    WAITING: "other versions of it were in work",
}
#: Why an item of a centre that holds its quota is not cached.
_QUOTA = "quota"

log = get_logger(__name__)


@dataclass(slots=True)
class Tally:
    """What this process has done since its start, for its heartbeat."""

    cached: int = 0
    announced: int = 0
    failed: int = 0


class LeaseLost(Exception):
    """Somebody else has taken the item over."""


class TooLate(Exception):
    """The object would expire too soon after its announcement (`ObjectStore.announce_by_ns`)."""


class Pipeline:
    """Works on items; one instance a process, any number of items at once."""

    def __init__(
        self,
        *,
        announcer: Announcer,
        guard: AddressGuard,
        worker: str,
        data_base_url: str,
        retry: RetryPolicy,
        registry: Registry,
        queue: Queue,
        store: ObjectStore,
        publisher: Publishes,
        downloads: Downloads,
        gate: Gate,
        acknowledger: Acknowledger,
        counts: Counts,
        events: Events,
        fairness: Fairness,
        delayed: DelayedItems,
        public_check: PublicCheck,
        now_ns: Callable[[], int] = time.time_ns,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`worker`: unique among the running managers, the same after a restart."""
        self._announcer = announcer
        self._guard = guard
        self._worker = worker
        self._data_base_url = data_base_url
        self._retry = retry
        self._quick_tries = QuickTries()
        self._registry = registry
        self._queue = queue
        self._store = store
        self._publisher = publisher
        self._downloads = downloads
        self._gate = gate
        self._acknowledger = acknowledger
        self._counts = counts
        self._events = events
        self._fairness = fairness
        self._delayed = delayed
        self._public_check = public_check
        self._now_ns = now_ns
        self._draw = draw
        self.tally = Tally()

    async def handle(self, item: Item) -> None:
        """Work on `item` until its message is deleted, handed back, or somebody else's.

        Never raises, but for CancelledError when the manager stops: the item is then as it was,
        for `hand_back`.
        """
        try:
            await self._work(item)
        except asyncio.CancelledError:
            if item.is_preempted and item.task is not None:
                item.task.uncancel()
                await self._preempted(item)
            elif item.is_lost:
                self._log_lost(item)
            else:
                raise
        except LeaseLost:
            self._log_lost(item)
        except Unavailable as error:
            # The part answers its probe, but does not serve this item.
            log.error("item_refused_by_part", part=error.part, detail=error.detail)  # noqa: TRY400
            if self._age_s(item) > self._retry.useful_life_s:
                await self._unexpected(item, error, is_last=True)
            else:
                await self.hand_back(item, delay_s=REFUSED_BY_PART_S)
        except PartError as error:
            log.error("item_refused_by_part", part=error.part, detail=error.detail)  # noqa: TRY400
            await self._unexpected(item, error)
        except Exception as error:
            log.exception("item_failed_unexpectedly", uid=item.received.envelope.uid)
            await self._unexpected(item, error)

    async def hand_back(self, item: Item, *, delay_s: float) -> None:
        """Return the item untouched: it counts as neither tried nor failed. Never raises.

        Where that does not work out, the lease and the message's visibility end by themselves.
        """
        try:
            if item.lease is not None:
                item.is_settling = True
                await self._registry.release(
                    item.lease, error="", parked_seen=_ALL_PARKED, is_final=False
                )
            attempts = item.received.envelope.attempts
            is_bulk = True if delay_s > 0 else None
            await self._return(item, delay_s=delay_s, attempts=attempts, is_bulk=is_bulk)
        except Unavailable as error:
            log.warning("hand_back_failed", part=error.part, detail=error.detail)
        except Exception:
            log.exception("hand_back_failed")

    async def _work(self, item: Item) -> None:
        received = item.received
        envelope = received.envelope
        if received.deliveries > MAX_DELIVERIES:
            # It has killed its worker also when it was worked on alone: not even looked at again.
            await self._bury(item, f"delivered {received.deliveries} times without an end")
            return
        try:
            own = read_candidate(envelope)
        except Poison as error:
            self._drop_poison(item, error)
            return
        reason = not_ours(own.notification, self._announcer.centre_id)
        if reason is not None:
            self._drop(item, reason)
            return
        try:
            check_links(own.notification, self._guard)
        except Poison as error:
            self._drop_poison(item, error)
            return
        item.centre_id = own.notification.topic.centre_id
        if self._fairness.is_crowding(item.centre_id):
            delay_s = crowded_s(self._age_s(item), draw=self._draw())
            await self._put_off(item, delay_s, CROWDED)
            return
        claimed = await self._claim(item, own)
        decision = claimed.decision
        if claimed.lease is not None:
            item.lease = claimed.lease
            item.parked = claimed.parked
            await self._process(item, claimed.lease, claimed, own)
        elif decision is Decision.WAIT:
            delay_s = waiting_s(self._age_s(item), claimed.retry_after_s, draw=self._draw())
            await self._put_off(item, delay_s, WAITING)
        elif decision is Decision.BUSY:
            # It is parked with the item: whoever holds that has it now.
            self._acknowledger.delete(item.received.receipt)
        elif decision is Decision.OVER_QUOTA:
            await self._pass_on(item, claimed, own)
        else:
            self._drop(item, decision.value)

    async def _put_off(self, item: Item, delay_s: float, why: str) -> None:
        """Have an item that was not tried come back later: as bulk, but for a first short wait."""
        if self._may_wait(item, delay_s, why):
            is_quick = delay_s <= MAX_FIRST_WAIT_S
            await self._put_back(item, Return(delay_s, item.received.envelope.attempts, is_quick))
        else:
            await self._give_up_untried(item, why)

    async def _preempted(self, item: Item) -> None:
        """Hand back an item that had to leave its slot to others, or give it up."""
        delay_s = crowded_s(self._age_s(item), draw=self._draw())
        if self._may_wait(item, delay_s, CROWDED):
            await self.hand_back(item, delay_s=delay_s)
        else:
            await self._give_up_untried(item, CROWDED)

    def _may_wait(self, item: Item, delay_s: float, why: str) -> bool:
        """Whether the item is still of use then, and its centre has not too many waiting."""
        envelope = item.received.envelope
        return self._age_s(item) + delay_s <= self._retry.useful_life_s and self._delayed.admit(
            item.centre_id, envelope.uid, delay_s, size=envelope.size, is_untried=why == CROWDED
        )

    async def _give_up_untried(self, item: Item, why: str) -> None:
        own = read_candidate(item.received.envelope)
        lease = item.lease
        if lease is not None:
            item.is_settling = True
            await self._gate.repeat(
                lambda: self._registry.release(
                    lease,
                    error=f"{Reason.HOST_QUEUE}: {why}",
                    parked_seen=_ALL_PARKED,
                    is_final=True,
                )
            )
        self._counts.add(ITEMS_DROPPED, why)
        self._given_up(item, own, _WHY_GIVEN_UP[why])

    async def _claim(self, item: Item, own: Candidate) -> Claimed:
        envelope = item.received.envelope
        notice = notice_of(own.notification)
        source = encode_envelope(envelope)
        attempt = random.getrandbits(63)

        def claim() -> Awaitable[Claimed]:
            return self._registry.claim(
                notice, owner=envelope.uid, worker=self._worker, attempt=attempt, source=source
            )

        try:
            return await self._gate.repeat(claim)
        except asyncio.CancelledError:
            # Whether the item is ours is on its way: asked again, the registry says it once more,
            # and whoever hands the item back releases it.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLAIM_ANSWER_S):
                    item.lease = (await claim()).lease
            raise

    async def _process(self, item: Item, lease: Lease, claimed: Claimed, own: Candidate) -> None:
        notification = own.notification
        if notification.rel == "deletion":
            await self._delete(item, lease, claimed, own)
        elif not notification.cache:
            await self._announce_untouched(item, lease, own)
        elif detail := quota_met(claimed, notification):
            await self._announce_untouched(item, lease, own, override=_QUOTA, detail=detail)
        else:
            acquisition = Acquisition(
                item,
                lease,
                own,
                hour=claimed.hour,
                downloads=self._downloads,
                is_again=self._quick_tries.take(item.received.envelope.uid),
            )
            await self._cache(item, lease, acquisition, own)

    # Items that are not cached

    async def _delete(self, item: Item, lease: Lease, claimed: Claimed, own: Candidate) -> None:
        """Announce a deletion, and remove our object (wis2-rules.md 14).

        In this order: nobody is left with a link to nothing and no word of it. The record keeps
        the object's key until the commit, so a crash in between loses neither step.
        """
        try:
            await self._announce(own.notification, None)
        except Poison as error:
            await self._give_up_poison(item, lease, own, error)
            return
        key = claimed.object_key
        if key is not None:
            await self._gate.repeat(lambda: self._store.delete(key))
        await self._commit(
            item,
            lease,
            Commit(
                outcome="deleted",
                centre_id=own.notification.source_centre_id,
                is_metadata=own.notification.topic.is_metadata,
            ),
        )

    async def _announce_untouched(
        self, item: Item, lease: Lease, own: Candidate, *, override: str = "", detail: str = ""
    ) -> None:
        """Announce with the links as they came (wis2-rules.md 12, 13).

        `override`: why we do not cache what the publisher wants cached; "" for `cache: false`.
        """
        notification = own.notification
        try:
            if override:
                check_origins_links(notification, self._guard)
            message_id = await self._announce(notification, None)
        except Poison as error:
            await self._give_up_poison(item, lease, own, error)
            return
        if override == _QUOTA:
            self._tell_of_quota(item, notification, detail)
        elif override:
            await self._events.override(
                message_id=message_id,
                subject=notification.source_centre_id,
                description=f"{notification.data_id}: {override}: {detail}",
                channel=notification.topic.text,
                since_ms=item.received.envelope.arrived_ms,
            )
        await self._commit(
            item,
            lease,
            Commit(
                outcome="override" if override else "uncached",
                centre_id=notification.source_centre_id,
                is_metadata=notification.topic.is_metadata,
            ),
        )

    async def _pass_on(self, item: Item, claimed: Claimed, own: Candidate) -> None:
        """Announce with the links as they came, and remember nothing of it.

        Every copy of the notification is announced, under the one id that repeats are known by.
        """
        notification = own.notification
        is_override = notification.rel != "deletion" and notification.cache
        try:
            if is_override:
                check_origins_links(notification, self._guard)
            await self._announce(notification, None)
        except Poison as error:
            self._drop_poison(item, error)
            return
        if notification.rel == "deletion":
            self._counts.add(ITEMS, "deleted")
        elif not is_override:
            self._counts.add(ITEMS, "uncached")
            self._counts.add_of_centre(NO_CACHE, notification.source_centre_id)
        else:
            self._counts.add(ITEMS, "override")
            self._counts.add_of_centre(CACHE_OVERRIDE, notification.source_centre_id)
            self._tell_of_quota(item, notification, quota_met(claimed, notification))
        self._acknowledger.delete(item.received.receipt)

    def _tell_of_quota(self, item: Item, notification: Notification, detail: str) -> None:
        self._events.over_quota(
            subject=notification.topic.centre_id,
            description=f"{notification.data_id}: {_QUOTA}: {detail}",
            channel=notification.topic.text,
            since_ms=item.received.envelope.arrived_ms,
        )

    # Items that are cached

    async def _cache(
        self, item: Item, lease: Lease, acquisition: Acquisition, own: Candidate
    ) -> None:
        while True:
            began_ns = self._now_ns()
            result = await acquisition.run()
            if isinstance(result, TooLarge):
                await self._announce_untouched(
                    item, lease, result.candidate, override="too large", detail=result.detail
                )
                return
            if result is None:
                if await self._release_failed(item, lease, acquisition, own):
                    return
                continue  # more sources were parked meanwhile
            if await self._keep(item, lease, acquisition, result, began_ns):
                return

    async def _keep(
        self,
        item: Item,
        lease: Lease,
        acquisition: Acquisition,
        acquired: Acquired,
        began_ns: int,
    ) -> bool:
        """Store, announce and record the data; False when other data is needed.

        `began_ns`: before any of it was stored.
        """
        notification = acquired.candidate.notification
        payload = acquired.payload
        url = object_url(self._data_base_url, acquired.key)
        try:
            # Made before the data is stored: what cannot be announced need not be.
            _, announcement = republish(
                notification,
                announcer=self._announcer,
                cached=Cached(href=url, length=payload.size_bytes, digest=payload.digest),
                drop_content=acquired.drop_content,
            )
        except Poison as error:
            if payload.upload is not None:
                await payload.upload.abort()
            # Never the message (wis2-rules.md 23): the origin's link may be short enough.
            await self._announce_untouched(
                item,
                lease,
                acquired.candidate,
                override="the notification would be too long",
                detail=str(error),
            )
            return True
        try:
            if payload.upload is None:
                stored_ns = await self._gate.repeat(lambda: self._put(acquired))
            else:
                await self._complete(acquired, payload.upload)
                # A store may count from the beginning of an upload.
                stored_ns = began_ns
        except Poison as error:
            acquisition.refuse(error)
            return False
        except HostBusy as error:
            # The memory of its last part went to others; no host is to blame.
            await self.hand_back(item, delay_s=error.retry_after_s or 0.0)
            return True
        except Unavailable as error:
            if payload.upload is None:
                raise
            self._gate.report(error)
            acquisition.retry(acquired.candidate, error)
            await self._gate.wait_open(error.part)
            return False
        self._public_check.offer(
            Sample(
                url,
                acquired.key,
                notification.topic.centre_id,
                payload.size_bytes,
                payload.method,
                payload.digest,
            )
        )
        by_ns = self._store.announce_by_ns(acquired.key, stored_ns=stored_ns)
        try:
            await self._publish(notification, announcement, by_ns=by_ns)
        except TooLate:
            # Claimed again it gets a folder of its own time, and is stored again. Not at once where
            # it was too late from the beginning: the folder's time is Redis', and a clock of ours
            # that is hours off would find every folder too old.
            log.warning("object_too_old_to_announce", object_key=acquired.key)
            await self.hand_back(item, delay_s=0.0 if began_ns <= by_ns else REFUSED_BY_PART_S)
            return True
        delay_s = max((self._now_ns() - notification.pubtime_ns) / 1e9, 0.0)
        await self._commit(
            item,
            lease,
            Commit(
                outcome="cached",
                centre_id=notification.source_centre_id,
                is_metadata=notification.topic.is_metadata,
                dataserver=acquired.candidate.host,
                object_key=acquired.key,
                size_bytes=payload.size_bytes,
                delay_s=delay_s,
            ),
        )
        log.debug(
            "item_cached",
            data_id=notification.data_id,
            centre_id=notification.source_centre_id,
            object_key=acquired.key,
            delay_s=delay_s,
        )
        return True

    async def _put(self, acquired: Acquired) -> int:
        """Return a time, in ns since 1970, after which the object was stored."""
        payload = acquired.payload
        began_ns = self._now_ns()
        await self._store.put(
            acquired.key,
            payload.data or b"",
            media_type=safe_media_type(acquired.candidate.notification.link.media_type),
            checksum=Checksum(payload.method, payload.digest),
        )
        await self._check_visible(acquired)
        return began_ns

    async def _complete(self, acquired: Acquired, upload: Upload) -> None:
        payload = acquired.payload
        try:
            await upload.complete(Checksum(payload.method, payload.digest))
            await self._check_visible(acquired)
        except BaseException:
            await upload.abort()
            raise

    async def _check_visible(self, acquired: Acquired) -> None:
        """Nothing is announced that cannot be fetched (wis2-rules.md 21)."""
        size = await self._store.size(acquired.key)
        if size != acquired.payload.size_bytes:
            raise Unavailable("store", f"{size} bytes visible of {acquired.payload.size_bytes}")

    # Steps

    async def _announce(self, notification: Notification, cached: Cached | None) -> str:
        """Publish `notification` as ours and return its id. Raises Poison where it cannot be."""
        message_id, announcement = republish(
            notification,
            announcer=self._announcer,
            cached=cached,
        )
        await self._publish(notification, announcement)
        return message_id

    async def _publish(
        self, notification: Notification, announcement: bytes, *, by_ns: int | None = None
    ) -> None:
        """Publish until the PUBACK, an object of ours only while objects can be fetched.

        `by_ns`: of an object. Raises TooLate: a part of ours was away until after that.
        """
        topic = notification.topic.to_cache

        async def publish() -> None:
            if by_ns is not None:
                await self._gate.wait_open(PUBLIC_URL)
                if self._now_ns() > by_ns:
                    raise TooLate
            await self._publisher.publish(topic, announcement)

        await self._gate.repeat(publish)
        self.tally.announced += 1

    async def _commit(self, item: Item, lease: Lease, commit: Commit) -> None:
        item.is_settling = True
        if not await self._gate.repeat(lambda: self._registry.commit(lease, commit)):
            raise LeaseLost
        self._acknowledger.delete(item.received.receipt)
        if commit.outcome == "cached":
            self.tally.cached += 1

    async def _put_back(self, item: Item, verdict: Return) -> None:
        await self._gate.repeat(
            lambda: self._return(
                item,
                delay_s=verdict.delay_s,
                attempts=verdict.attempts,
                is_bulk=None if verdict.is_quick else True,
            )
        )

    async def _return(
        self, item: Item, *, delay_s: float, attempts: int, is_bulk: bool | None
    ) -> None:
        item.returned = item.received
        await self._queue.put_back(
            item.received, delay_s=delay_s, attempts=attempts, is_bulk=is_bulk
        )

    async def _bury(self, item: Item, last_error: str) -> None:
        """Move the message to the dead letters."""

        async def dead_letter() -> None:
            item.returned = item.received
            await self._queue.dead_letter(
                item.received, reason=Reason.UNEXPECTED, last_error=last_error
            )

        await self._gate.repeat(dead_letter)
        self._counts.add(DEAD_LETTERS, Reason.UNEXPECTED)
        self.tally.failed += 1
        log.error("message_buried", uid=item.received.envelope.uid, last_error=last_error)

    # Ends without success

    def _drop(self, item: Item, reason: str) -> None:
        self._counts.add(ITEMS_DROPPED, reason)
        self._acknowledger.delete(item.received.receipt)

    def _drop_poison(self, item: Item, error: Poison) -> None:
        self._drop(item, error.reason)
        topic = item.received.envelope.topic
        log.info("poison_dropped", topic=topic[:200], reason=error.reason, detail=error.detail)
        if not error.centre_id:
            return  # it says of nobody who sent it
        self._counts.add_of_centre(INVALID, error.centre_id)
        self._events.failure(
            subject=error.centre_id,
            title="Invalid notification",
            description=str(error),
            channel=topic,
            since_ms=item.received.envelope.arrived_ms,
        )

    async def _give_up_poison(
        self, item: Item, lease: Lease, own: Candidate, error: Poison
    ) -> None:
        """Give up a notification of which no valid announcement can be made."""
        text = str(error)[:_MAX_ERROR_CHARS]
        item.is_settling = True
        answer = await self._gate.repeat(
            lambda: self._registry.release(
                lease, error=text, parked_seen=_ALL_PARKED, is_final=True
            )
        )
        if answer == "lost":
            raise LeaseLost
        self._counts.add(ITEMS_DROPPED, error.reason)
        if error.centre_id:
            self._counts.add_of_centre(INVALID, error.centre_id)
        self._given_up(item, own, text)

    async def _release_failed(
        self, item: Item, lease: Lease, acquisition: Acquisition, own: Candidate
    ) -> bool:
        """Release an item whose sources all failed; False when more were parked meanwhile."""
        envelope = item.received.envelope
        exhausted = acquisition.exhausted
        verdict = after_exhausted(
            exhausted,
            self._retry,
            attempts=envelope.attempts,
            age_s=self._age_s(item),
            draw=self._draw(),
        )
        if isinstance(verdict, Return) and not self._delayed.admit(
            item.centre_id,
            envelope.uid,
            verdict.delay_s,
            size=envelope.size,
            is_untried=not exhausted.reasons,
        ):
            verdict = GiveUp()
        is_final = isinstance(verdict, GiveUp)
        if is_final and not exhausted.reasons:
            await acquisition.fail_untried()
        # A host that is busy says nothing about the item: it goes back as if never touched.
        error = acquisition.last_error if exhausted.reasons or is_final else ""
        item.is_settling = True
        answer = await self._gate.repeat(
            lambda: self._registry.release(
                lease, error=error, parked_seen=acquisition.parked_seen, is_final=is_final
            )
        )
        if answer == "lost":
            raise LeaseLost
        if answer == "more":
            item.is_settling = False
            item.parked = max(item.parked, acquisition.parked_seen + 1)
            return False
        if isinstance(verdict, Return):
            if verdict.is_quick:
                self._quick_tries.add(envelope.uid)
            await self._put_back(item, verdict)
        else:
            self._given_up(item, own, error)
        return True

    def _given_up(self, item: Item, own: Candidate, error: str) -> None:
        notification = own.notification
        self._acknowledger.delete(item.received.receipt)
        self.tally.failed += 1
        log.warning(
            "item_given_up",
            data_id=notification.data_id,
            centre_id=notification.source_centre_id,
            attempts=item.received.envelope.attempts + 1,
            error=error,
        )
        self._events.failure(
            subject=notification.source_centre_id,
            title="Data item could not be cached",
            description=f"{notification.data_id}: {error}",
            channel=notification.topic.text,
            since_ms=item.received.envelope.arrived_ms,
        )

    def _age_s(self, item: Item) -> float:
        return self._now_ns() / 1e9 - item.received.envelope.arrived_ms / 1e3

    async def _unexpected(self, item: Item, error: Exception, *, is_last: bool = False) -> None:
        """Hand an item that met a bug back, later each time; in the end it is a dead letter."""
        envelope = item.received.envelope
        self._counts.add(SOURCE_FAILURES, Reason.UNEXPECTED)
        what = error if isinstance(error, CacheError) else BUG
        text = f"{Reason.UNEXPECTED}: {what}"[:_MAX_ERROR_CHARS]
        verdict = GiveUp() if is_last else after_unexpected(envelope.attempts)
        is_final = isinstance(verdict, GiveUp)
        item.is_settling = True
        lease = item.lease
        try:
            if lease is not None:
                await self._gate.repeat(
                    lambda: self._registry.release(
                        lease, error=text, parked_seen=_ALL_PARKED, is_final=is_final
                    )
                )
            if isinstance(verdict, Return):
                await self._put_back(item, verdict)
            else:
                await self._bury(item, text)
        except Exception:
            # Lease and visibility end by themselves; the deliveries are counted.
            log.exception("item_left_to_its_visibility", uid=envelope.uid)

    def _log_lost(self, item: Item) -> None:
        # The message is left alone: when its visibility ends it comes again, to learn what the
        # other has made of the item.
        log.info("lease_lost", uid=item.received.envelope.uid)
