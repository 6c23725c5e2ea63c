"""Gets the data of one item from the first of its sources that has it (architecture.md#downloads).

Inline data requires no download. Otherwise it tries one source after the other; beside a slow
download it starts a second one (hedging). The first verified data counts; the other download is
cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import (
    Cause,
    HostBusy,
    IntegrityFailed,
    Overridden,
    Reason,
    SourceError,
    UnusableKey,
    public_cause,
)
from wis2_gc_common.ports.registry import Failure
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.media_type import safe_media_type
from wis2_gc_common.wis2.object_key import object_key
from wis2_gc_manager.pipeline.outage_gate import MAX_REPEATS
from wis2_gc_manager.pipeline.retry import Exhausted
from wis2_gc_manager.pipeline.source import Source, read_inline, read_parked
from wis2_gc_manager.sources.port import Payload

if TYPE_CHECKING:
    from wis2_gc_common.errors import Unavailable
    from wis2_gc_common.ports.registry import Lease, Registry
    from wis2_gc_manager.pipeline.claim import Granted
    from wis2_gc_manager.pipeline.events import Events
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.sources.port import Downloader
    from wis2_gc_manager.store.port import ObjectStore, Upload

#: A download and one hedge beside it.
MAX_PARALLEL = 2
#: While one download runs, parked sources are asked for after each hedge delay, and at least this.
MIN_ASK_S = 0.5
_MAX_ERROR_CHARS = 200

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Acquired:
    """Verified data."""

    source: Source
    payload: Payload
    key: str
    """Object key; an upload, if there is one, goes there."""
    drop_content: bool
    """The notification's inline data is not what it announces: we must not publish it."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A source says that the item is one that we do not cache."""

    source: Source
    detail: str


@dataclass(kw_only=True, slots=True, eq=False)
class Downloads:
    """What all acquisitions share; it also waits for cancelled downloads to end."""

    registry: Registry
    store: ObjectStore
    downloader: Downloader
    gate: Gate
    events: Events
    hedge_delay_s: float
    max_object_bytes: int
    _hosts: Counter[str] = field(default_factory=Counter, init=False)
    _ending: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    @property
    def hosts(self) -> int:
        """The number of hosts from which data is downloaded now."""
        return len(self._hosts)

    async def fetch(self, source: Source, key: str, *, is_again: bool = False) -> Payload:
        """Return the verified data of one source; raises as `Downloader.fetch` does.

        `is_again`: this is the item's quick second try.
        """
        request = source.request
        if is_again:
            request = replace(request, is_again=True)
        media_type = safe_media_type(source.notification.link.media_type)
        host = source.host

        async def open_upload() -> Upload:
            return await self.store.open_upload(key, media_type=media_type)

        self._hosts[host] += 1
        try:
            return await self.gate.repeat(lambda: self.downloader.fetch(request, open_upload))
        finally:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def discard(self, task: asyncio.Task[Payload]) -> None:
        """Cancel a download that nobody needs any more, without waiting for its end."""
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Return when no cancelled download is left."""
        while self._ending:
            await asyncio.wait(self._ending)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._ending.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.debug("discarded_download_failed", error=str(error)[:_MAX_ERROR_CHARS])
            return
        payload = task.result()
        if isinstance(payload, Payload) and payload.upload is not None:
            # It finished before the cancellation reached it.
            abort = asyncio.ensure_future(payload.upload.abort())
            self._ending.add(abort)
            abort.add_done_callback(self._ended)


class Acquisition:
    """Tries the sources of one item, and knows the result of each."""

    def __init__(
        self, granted: Granted, lease: Lease, *, downloads: Downloads, is_again: bool = False
    ) -> None:
        """`is_again`: this is the item's quick second try."""
        self._item = granted.item
        self._lease = lease
        self._own = granted.own
        self._hour = granted.claimed.hour
        self._downloads = downloads
        self._is_again = is_again
        self._is_fleeting = False
        self._untried: deque[Source] = deque((granted.own,))
        self._known: set[object] = set()
        self._broken_inline: dict[str, SourceError] = {}
        """By message id."""
        self._too_large: TooLarge | None = None
        self._reasons: list[Reason] = []
        self._retry_after_s: float | None = None
        self._busy_s: float | None = None
        self._busy: HostBusy | None = None
        self._is_in_line = False
        self._running: dict[asyncio.Task[Payload], tuple[Source, str]] = {}
        self._hedge_at_s = 0.0
        self._ask_at_s = 0.0
        self._uploads_lost = 0
        self._wake: asyncio.Future[None] | None = None
        self.parked_seen = 0
        """The number of parked sources that were read."""
        self.last_cause = Cause(Reason.UNEXPECTED)
        """Why the last source failed; not set before one has."""

    @property
    def exhausted(self) -> Exhausted:
        """The results of all sources, when `run` has returned None."""
        return Exhausted(
            tuple(self._reasons),
            self._retry_after_s,
            self._busy_s,
            is_in_line=self._is_in_line,
            is_fleeting=self._is_fleeting,
        )

    async def run(self) -> Acquired | TooLarge | None:
        """Return the first verified data, or None when no known source has it.

        Call it again after `retry` or `refuse`, or when more sources were parked.
        Raises Unavailable: one of our parts is there, but refuses this item.
        """
        self._item.on_parked = self._wake_up
        try:
            while True:
                if self._running:
                    result = await self._advance()
                else:
                    source = await self._next()
                    if source is None:
                        return self._too_large
                    result = await self._begin(source)
                if result is not None:
                    return result
        finally:
            for task in self._running:
                self._downloads.discard(task)
            self._running.clear()

    def retry(self, source: Source, error: Unavailable) -> None:
        """Try this source again: its data was lost on the way to our store.

        Raises `error` when that has happened too often: the store is there for other items.
        """
        self._uploads_lost += 1
        if self._uploads_lost >= MAX_REPEATS:
            raise error
        self._untried.appendleft(source)

    def refuse(self, error: UnusableKey) -> None:
        """Note that the data is there, but the store cannot keep it under its key."""
        self._note(error)

    async def fail_untried(self) -> None:
        """Count the item's own notification as failed, although its host was only busy.

        For an item that is given up: the counters must include it.
        """
        await self._failed(self._own, self._busy or HostBusy(Reason.HOST_QUEUE))

    async def _next(self, *, ask: bool = False) -> Source | None:
        """Return a source that is not tried yet, None if there is none.

        `ask`: read the parked sources even if we have not heard of new ones.
        """
        if not self._untried and (ask or self._item.parked > self.parked_seen):
            parked = await self._downloads.gate.repeat(
                lambda: self._downloads.registry.parked(self._lease)
            )
            self.parked_seen = self._item.parked = len(parked)
            self._known.add(self._own.identity)
            for source in read_parked(self._own.notification, parked):
                if source.identity not in self._known:
                    self._known.add(source.identity)
                    self._untried.append(source)
        return self._untried.popleft() if self._untried else None

    async def _begin(self, source: Source) -> Acquired | TooLarge | None:
        """Return the inline data, or start the download."""
        notification = source.notification
        if notification.integrity_problem:
            # No data can pass this check, so we do not fetch any.
            problem = IntegrityFailed(Reason.INVALID_INTEGRITY, notification.integrity_problem)
            await self._failed(source, problem)
            return None
        length = notification.link.length
        if length is not None and length > self._downloads.max_object_bytes:
            return self._is_too_large(source, f"{length} bytes announced")
        if notification.id not in self._broken_inline:
            try:
                payload = read_inline(notification)
            except SourceError as error:
                self._broken_inline[notification.id] = error
            else:
                if payload is not None:
                    return self._acquired(source, self._key(source), payload)
        loop = asyncio.get_running_loop()
        key = self._key(source)
        task = loop.create_task(self._downloads.fetch(source, key, is_again=self._is_again))
        task.add_done_callback(self._wake_up)
        if not self._running:
            self._hedge_at_s = loop.time() + self._downloads.hedge_delay_s
        self._running[task] = source, key
        return None

    async def _advance(self) -> Acquired | TooLarge | None:
        """Wait for a download to end, or for the time to start a second one beside it."""
        loop = asyncio.get_running_loop()
        # Made first, so that no end of a download is missed.
        wake = self._wake = loop.create_future()
        done = [task for task in self._running if task.done()]
        for task in done:
            result = await self._ended(task, *self._running.pop(task))
            if result is not None:
                return result
        if done:
            return None
        timer: asyncio.TimerHandle | None = None
        if len(self._running) < MAX_PARALLEL:
            if loop.time() < self._hedge_at_s:
                timer = loop.call_at(self._hedge_at_s, self._wake_up)
            else:
                # Ask repeatedly: a source may be parked at any time, and only renewals tell us.
                ask = loop.time() >= self._ask_at_s
                if ask:
                    pause_s = max(self._downloads.hedge_delay_s, MIN_ASK_S)
                    self._ask_at_s = loop.time() + pause_s
                second = await self._next(ask=ask)
                if second is not None:
                    return await self._begin(second)
                timer = loop.call_at(self._ask_at_s, self._wake_up)
        try:
            await wake
        finally:
            if timer is not None:
                timer.cancel()
        return None

    async def _ended(
        self, task: asyncio.Task[Payload], source: Source, key: str
    ) -> Acquired | TooLarge | None:
        if task.cancelled():
            raise RuntimeError("a download ended as cancelled, but was not cancelled")
        try:
            return self._acquired(source, key, task.result())
        except Overridden as error:
            return self._is_too_large(source, error.detail)
        except HostBusy as error:
            if error.reason is Reason.CIRCUIT_OPEN:
                # The host has just failed for other items, so we did not ask it. This counts as
                # a failed download of this notification (wis2-rules.md M11) and as an attempt.
                await self._failed(source, error)
                return None
            self._busy = error
            self._is_in_line |= error.reason is Reason.HOST_QUEUE
            busy_s = error.retry_after_s or 0.0
            self._busy_s = busy_s if self._busy_s is None else min(self._busy_s, busy_s)
            self.last_cause = error.cause
        except SourceError as error:
            await self._failed(source, error)
        except UnusableKey as error:
            self.refuse(error)
        return None

    async def _failed(self, source: Source, error: SourceError) -> None:
        notification = source.notification
        self._note(error)
        if error.retry_after_s is not None:
            self._retry_after_s = max(error.retry_after_s, self._retry_after_s or 0.0)
        # If inline data fails its checksum and the link then fails for any reason, the
        # notification's data has failed the check (wis2-rules.md M12).
        inline = self._broken_inline.get(notification.id)
        is_integrity = isinstance(error, IntegrityFailed) or isinstance(inline, IntegrityFailed)
        failure = Failure(
            kind="integrity" if is_integrity else "download",
            message_id=notification.id,
            centre_id=notification.source_centre_id,
            # A refusal or a shortage of ours must not look like a server that is down.
            dataserver="" if error.is_ours else source.host,
            reason=error.reason,
        )
        is_first = await self._downloads.gate.repeat(
            lambda: self._downloads.registry.fail(self._lease, failure)
        )
        if is_first:
            self._is_fleeting |= error.is_fleeting
            self._downloads.events.failure(
                subject=failure.centre_id,
                title="Integrity check failed" if is_integrity else "Download failed",
                description=f"{notification.data_id}: {public_cause(error)}",
                channel=notification.topic.text,
                since_ms=self._item.received.envelope.arrived_ms,
            )
        if error.reason is Reason.CIRCUIT_OPEN:
            return  # the log already has lines about this host
        log.info(
            "source_failed",
            data_id=notification.data_id,
            centre_id=failure.centre_id,
            dataserver=source.host,
            reason=error.reason,
            detail=error.detail[:_MAX_ERROR_CHARS],
        )

    def _is_too_large(self, source: Source, detail: str) -> TooLarge | None:
        """Return the verdict of the item's own source; keep that of a parked one for the end.

        Otherwise a stranger could park a link to something large and decide over another's item.
        """
        verdict = TooLarge(source, detail)
        if source is self._own:
            return verdict
        self._too_large = self._too_large or verdict
        return None

    def _acquired(self, source: Source, key: str, payload: Payload) -> Acquired:
        notification = source.notification
        drop = notification.id in self._broken_inline
        return Acquired(source, payload, key, drop_content=drop)

    def _key(self, source: Source) -> str:
        notification = source.notification
        return object_key(
            hour=self._hour,
            topic=notification.topic,
            data_id=notification.data_id,
            pubtime_ns=notification.pubtime_ns,
            href=notification.link.href,
        )

    def _note(self, error: SourceError | UnusableKey) -> None:
        self._reasons.append(error.reason)
        self.last_cause = public_cause(error)

    def _wake_up(self, _task: object = None) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
