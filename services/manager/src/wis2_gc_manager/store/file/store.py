"""The object store in a directory that a web server serves (architecture.md#store).

A file is written in `.incoming`, synced, renamed, and synced again: readers never see a part, and
an announced object is there after a crash. The media type is in the file's name
(`wis2_gc_common.wis2.media_type`). Use a file system of its own: a sync also waits for what other
programs write.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.wis2.object_key import HOUR_FOLDER_CHARS, announce_by_ns
from wis2_gc_manager.store.file.commit import CommitThread, Put
from wis2_gc_manager.store.file.expiry import Expiry
from wis2_gc_manager.store.file.layout import Layout, unlink_quietly, write_all
from wis2_gc_manager.store.keys import checked_key
from wis2_gc_manager.store.port import Capacity
from wis2_gc_manager.store.shortage import PAUSE_S, TRIES, is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from wis2_gc_manager.store.port import Checksum, Upload

T = TypeVar("T")

#: For uploads, deletions and look-ups; small objects have a thread of their own.
_THREADS = 8
#: How much an upload collects before it writes: a thread hop costs as much as 50 kB of writing.
_WRITE_BYTES = 1024 * 1024
#: How much an upload leaves unsynced: the syncs of small objects have to wait for it.
_UNSYNCED_BYTES = 16 * 1024 * 1024
#: The room that `check` requires: the largest object that is put in one piece.
_PROBE_BYTES = 1024 * 1024
#: Paths of fresh objects, remembered for the look that follows every put.
_RECENT = 4096


class FileStore:
    """`ObjectStore` on a file system. Used by one event loop."""

    def __init__(self, directory: str, *, retention_hours: float) -> None:
        self.layout = Layout(directory)
        self._retention = timedelta(hours=retention_hours)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commits = CommitThread(self.layout, self._on_commits)
        self._futures: dict[Put, asyncio.Future[None]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "file-store")
        self._cleaner = ThreadPoolExecutor(1, "file-store-expiry")
        self._recent: OrderedDict[str, str] = OrderedDict()
        self._stopping = threading.Event()

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        checksum: Checksum | None = None,  # noqa: ARG002 - a file system verifies nothing
    ) -> None:
        """Store a small object; the same key again replaces it.

        If it is cancelled, the object may be stored or not, but never in part.
        Raises Unavailable("store"), UnusableKey (no file can have it), ValueError (not a key).
        """
        checked_key(key)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        tries = TRIES
        while True:
            tries -= 1
            put = Put(key, data, media_type)
            future = self._futures[put] = self._loop.create_future()
            self._commits.submit(put)
            await future
            if put.error is None:
                return
            if tries <= 0 or not is_shortage(put.error):
                raise _translated(put.error)
            await asyncio.sleep(PAUSE_S)

    def _on_commits(self, puts: list[Put]) -> None:
        """Tell the loop, once for a whole batch."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, puts)

    def _resolve(self, puts: list[Put]) -> None:
        for put in puts:
            future = self._futures.pop(put)
            if put.error is None and put.placed is not None:
                self.remember(put.key, put.placed.path)
            if not future.done():  # cancelled
                future.set_result(None)

    def remember(self, key: str, path: str) -> None:
        """Remember the path of an object that was just stored."""
        self._recent[key] = path
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def open_upload(self, key: str, *, media_type: str) -> Upload:
        """Begin a large object. Raises like `put`."""
        upload = _FileUpload(self, checked_key(key), media_type)
        await upload.open()
        return upload

    async def size(self, key: str) -> int | None:
        """Return the size in bytes of a visible object; None if there is none."""
        path = self._recent.pop(checked_key(key), None)
        if path is not None:
            # Just written, so the system knows it without asking the disk: no thread is required.
            try:
                return os.stat(path).st_size  # noqa: PTH116
            except OSError:
                pass  # replaced under another name, or away: look properly
        return await self.in_thread(_size, self.layout, key)

    def announce_by_ns(self, key: str, *, stored_ns: int) -> int:  # noqa: ARG002 - folders expire
        """Return until when an object may be announced: its hour folder expires as a whole."""
        return announce_by_ns(key[:HOUR_FOLDER_CHARS])

    async def delete(self, key: str) -> None:
        """Remove an object; it is not an error if there is none."""
        await self.in_thread(self.layout.remove, checked_key(key))

    async def expire(self, now: datetime) -> int:
        """Remove hour folders past the retention; return how many were removed.

        If it is cancelled, it stops at the next file; the next run continues.
        """
        stopping = threading.Event()
        run = Expiry(
            self.layout,
            retention=self._retention,
            must_stop=lambda: stopping.is_set() or self._stopping.is_set(),
        )
        try:
            return await self.in_thread(run.run, now, threads=self._cleaner)
        finally:
            stopping.set()

    async def capacity(self) -> Capacity:
        """Return the size of the file system."""
        return await self.in_thread(_capacity, self.layout)

    async def check(self) -> None:
        """Return if a small object can be written now; raise Unavailable otherwise."""
        await self.in_thread(_probe, self.layout)

    async def close(self) -> None:
        """Finish what was begun and end the threads. Never raises."""
        self._stopping.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._commits.close()
        self._threads.shutdown()
        self._cleaner.shutdown()

    async def in_thread(
        self,
        call: Callable[..., T],
        *args: object,
        threads: ThreadPoolExecutor | None = None,
        tries: int = TRIES,
    ) -> T:
        """Return what a blocking call returns. Raises Unavailable for its OSError.

        `tries`: how often to try if we have no more open files.
        """
        loop = asyncio.get_running_loop()
        while True:
            tries -= 1
            try:
                return await loop.run_in_executor(threads or self._threads, call, *args)
            except OSError as error:
                if tries <= 0 or not is_shortage(error):
                    raise _translated(error) from error
            await asyncio.sleep(PAUSE_S)


class _FileUpload:
    """`Upload` into a file.

    A cancelled call continues in its thread. The lock makes the next call, also `abort`, wait for
    it, so no descriptor is closed while it is written to.
    """

    def __init__(self, store: FileStore, key: str, media_type: str) -> None:
        self._store = store
        self._layout = store.layout
        self._key = key
        self._media_type = media_type
        self._lock = threading.Lock()
        self._descriptor = -1
        self._temporary = ""
        self._is_ended = False
        self._unsynced = 0
        self._chunks: list[bytes] = []
        self._collected = 0

    async def open(self) -> None:
        try:
            await self._store.in_thread(self._open)
        except asyncio.CancelledError:
            await self.abort()
            raise

    async def write(self, chunk: bytes) -> None:
        """Append a piece; waits if the store is slower than the source."""
        self._chunks.append(chunk)
        self._collected += len(chunk)
        if self._collected >= _WRITE_BYTES:
            await self._store.in_thread(self._write, self._take())

    async def complete(self, checksum: Checksum | None = None) -> None:  # noqa: ARG002
        """Make the object visible and durable under its key."""
        # It ends the upload, with success or not: so it is tried only once.
        path = await self._store.in_thread(self._complete, self._take(), tries=1)
        self._store.remember(self._key, path)

    async def abort(self) -> None:
        """Leave nothing behind. Never raises; also safe after `complete`."""
        self._chunks.clear()
        try:
            # It continues in its thread if this call is cancelled.
            await self._store.in_thread(self._abort)
        except Unavailable:
            return  # what is left behind, if anything, is removed by a later expiry

    def _take(self) -> bytes:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._collected = 0
        return data

    def _open(self) -> None:
        with self._lock:
            if not self._is_ended:
                self._descriptor, self._temporary = self._layout.create()

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._demand_open()
            write_all(self._descriptor, data)
            self._unsynced += len(data)
            if self._unsynced >= _UNSYNCED_BYTES:
                os.fdatasync(self._descriptor)
                self._unsynced = 0

    def _complete(self, data: bytes) -> str:
        with self._lock:
            self._demand_open()
            try:
                write_all(self._descriptor, data)
                os.fsync(self._descriptor)
                placed = self._layout.place(self._temporary, self._key, self._media_type)
                self._layout.sync(placed, set())
            finally:
                self._end()
            return placed.path

    def _abort(self) -> None:
        with self._lock:
            if not self._is_ended:
                self._end()

    def _demand_open(self) -> None:
        if self._is_ended:
            raise RuntimeError("the upload has been completed or aborted")

    def _end(self) -> None:
        """Close and remove the file in `.incoming`; after `place` there is nothing to remove."""
        self._is_ended = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            unlink_quietly([self._temporary])


def _size(layout: Layout, key: str) -> int | None:
    path = layout.find(key)
    try:
        facts = None if path is None else os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return facts.st_size if facts is not None and stat.S_ISREG(facts.st_mode) else None


def _capacity(layout: Layout) -> Capacity:
    layout.prepare()
    facts = os.statvfs(layout.directory)
    return Capacity(facts.f_blocks * facts.f_frsize, facts.f_files)


def _probe(layout: Layout) -> None:
    layout.prepare()
    descriptor, path = layout.create()
    try:
        # This reserves the room without writing as much.
        os.posix_fallocate(descriptor, 0, _PROBE_BYTES)
        write_all(descriptor, b"probe")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        unlink_quietly([path])


def _translated(error: Exception) -> Exception:
    if isinstance(error, OSError):
        # Without the path, because it shows where we keep files.
        detail = os_words(error) if error.errno else "the disk refuses, without a reason"
        return Unavailable("store", detail)
    return error
