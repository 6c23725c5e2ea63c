"""The middle of the pipeline, for items that are cached: get the data, store it, announce it.

Nothing is announced before it can be fetched, or so late that it would expire too soon.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import HostBusy, Unannounceable, Unavailable, UnusableKey
from wis2_gc_common.ports.registry import Commit
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.media_type import safe_media_type
from wis2_gc_common.wis2.notification import Cached
from wis2_gc_common.wis2.object_key import object_url
from wis2_gc_manager.pipeline.acquisition import Acquisition, TooLarge
from wis2_gc_manager.pipeline.announce import Override, TooLate
from wis2_gc_manager.pipeline.endings import Finished, GivenUp, HandedBack, PutBack
from wis2_gc_manager.pipeline.public_check import Sample
from wis2_gc_manager.pipeline.retry import REFUSED_BY_PART_S
from wis2_gc_manager.store.port import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_manager.pipeline.acquisition import Acquired, Downloads
    from wis2_gc_manager.pipeline.announce import Announcing
    from wis2_gc_manager.pipeline.claim import Granted
    from wis2_gc_manager.pipeline.endings import Ending
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.pipeline.public_check import PublicCheck
    from wis2_gc_manager.pipeline.retry import Retries
    from wis2_gc_manager.store.port import ObjectStore, Upload

log = get_logger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Caching:
    """Makes our copies of items, and has them announced."""

    downloads: Downloads
    store: ObjectStore
    gate: Gate
    announcing: Announcing
    public_check: PublicCheck
    retries: Retries
    data_base_url: str
    now_ns: Callable[[], int] = time.time_ns

    async def attempt(self, granted: Granted, acquisition: Acquisition) -> Ending | None:
        """Get the data, store and announce it; return the ending, None to be called again.

        Raises Unavailable, PartError: a part of ours refuses only this item.
        """
        began_ns = self.now_ns()
        found = await acquisition.run()
        if found is None:
            return await self._exhausted(granted, acquisition)
        notification = found.source.notification
        if isinstance(found, TooLarge):
            return await self.announcing.untouched(
                granted, notification, Override.TOO_LARGE, found.detail
            )
        payload = found.payload
        url = object_url(self.data_base_url, found.key)
        try:
            # First: data that cannot be announced is not stored.
            announcement = self.announcing.of_copy(
                notification,
                Cached(href=url, length=payload.size_bytes, digest=payload.digest),
                drop_content=found.drop_content,
            )
        except Exception as error:
            if payload.upload is not None:
                await payload.upload.abort()
            if not isinstance(error, Unannounceable):
                raise
            # We never drop the message (wis2-rules.md 23): the origin's link may be short enough.
            return await self.announcing.untouched(
                granted, notification, Override.TOO_LONG, str(error)
            )
        stored_ns = await self._keep(acquisition, found, began_ns)
        if not isinstance(stored_ns, int):
            return stored_ns
        self.public_check.offer(
            Sample(
                url,
                found.key,
                notification.topic.centre_id,
                payload.size_bytes,
                payload.method,
                payload.digest,
            )
        )
        by_ns = self.store.announce_by_ns(found.key, stored_ns=stored_ns)
        try:
            await self.announcing.publish(notification, announcement, by_ns=by_ns)
        except TooLate:
            # After the next claim it is stored again, in the folder of that hour. If it was too
            # late from the beginning, it waits: the folder's hour comes from Redis, and a clock of
            # ours that is hours ahead would find every folder too old.
            log.warning("object_too_old_to_announce", object_key=found.key)
            return HandedBack(0.0 if began_ns <= by_ns else REFUSED_BY_PART_S)
        return Finished(
            Commit(
                outcome="cached",
                centre_id=notification.source_centre_id,
                is_metadata=notification.topic.is_metadata,
                dataserver=found.source.host,
                object_key=found.key,
                size_bytes=payload.size_bytes,
                delay_s=max((self.now_ns() - notification.pubtime_ns) / 1e9, 0.0),
            )
        )

    async def _keep(
        self, acquisition: Acquisition, found: Acquired, began_ns: int
    ) -> int | HandedBack | None:
        """Return a time, in ns since 1970, after which the data was stored.

        If that fails, return how the item ends, or None if other data is required. `began_ns`:
        a time before any of it was stored.
        """
        upload = found.payload.upload
        try:
            if upload is None:
                return await self.gate.repeat(lambda: self._put(found))
            await self._complete(found, upload)
        except UnusableKey as error:
            acquisition.refuse(error)
            return None
        except HostBusy as error:
            # Other uploads took the memory of its last part; its host did not fail.
            return HandedBack(error.retry_after_s or 0.0)
        except Unavailable as error:
            if upload is None:
                raise
            self.gate.report(error)
            acquisition.retry(found.source, error)
            await self.gate.wait_open(error.part)
            return None
        # A store may count from the beginning of an upload.
        return began_ns

    async def _exhausted(self, granted: Granted, acquisition: Acquisition) -> PutBack | GivenUp:
        """Return what becomes of an item whose sources have all failed."""
        exhausted = acquisition.exhausted
        verdict = self.retries.exhausted(granted.item, exhausted)
        if verdict is None:
            if not exhausted.reasons:
                await acquisition.fail_untried()
            return GivenUp(
                granted.own.notification,
                acquisition.last_cause,
                parked_seen=acquisition.parked_seen,
            )
        return PutBack(
            verdict.delay_s,
            verdict.attempts,
            is_bulk=None if verdict.is_quick else True,
            is_second_try=verdict.is_quick,
            # If its hosts were only busy, the item goes back as if it had not been touched.
            cause=acquisition.last_cause if exhausted.reasons else None,
            parked_seen=acquisition.parked_seen,
        )

    async def _put(self, acquired: Acquired) -> int:
        """Return a time, in ns since 1970, after which the object was stored."""
        payload = acquired.payload
        began_ns = self.now_ns()
        await self.store.put(
            acquired.key,
            payload.data or b"",
            media_type=safe_media_type(acquired.source.notification.link.media_type),
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
        size = await self.store.size(acquired.key)
        if size != acquired.payload.size_bytes:
            raise Unavailable("store", f"{size} bytes visible of {acquired.payload.size_bytes}")
