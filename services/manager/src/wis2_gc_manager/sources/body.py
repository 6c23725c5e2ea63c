"""One body that arrives: counted, hashed, kept in memory or passed on, and checked at the end.

It is the same for every scheme. The pieces added to it are the data itself; if a server says that
it sends something else, `encoded` comes before it.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Literal

from wis2_gc_common.errors import IntegrityFailed, Overridden, Reason, SourceError
from wis2_gc_common.wis2.integrity import DEFAULT_METHOD, new_hash
from wis2_gc_manager.sources.body_memory import PIECE_BYTES, Holding
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Payload, host_of
from wis2_gc_manager.sources.timeouts import stopped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wis2_gc_manager.sources.body_memory import BodyMemory
    from wis2_gc_manager.sources.port import OpenUpload, Request
    from wis2_gc_manager.store.port import Upload

#: Upload chunks are at least this big, except the last: each costs the store a thread hop.
_UPLOAD_CHUNK_BYTES = 256 * 1024
#: A body slower than this over a whole idle time-out counts as standing still: otherwise a server
#: that sends a byte now and then could hold its place for as long as it likes.
MIN_BYTES_PER_S = 256


Form = Literal["raw", "decoded"]


class Body:
    """Receives one body. Call `begin`, then `add` for each piece, then `finish`; always `close`.

    `max_bytes`: a larger body is Overridden(TOO_LARGE).
    `deadline`: stands still while the store works.
    `form`: which form of an encoded body to take; None if that is not known yet.
    """

    def __init__(
        self,
        request: Request,
        open_upload: OpenUpload,
        *,
        max_bytes: int,
        memory: BodyMemory,
        deadline: asyncio.Timeout,
        idle_timeout_s: float,
        form: Form | None = None,
    ) -> None:
        self.request = request
        self.form = form
        self.other_form: Form | None = None
        """The form to request if this one is not the item; set while the form is a guess."""
        self.sent_as = ""
        """For the details of errors, if a server encodes what it sends."""
        self.deadline = deadline
        self.is_cut_short = False
        """Whether the connection broke off; then only length or checksum show a whole body."""
        self._open_upload = open_upload
        self._max_bytes = max_bytes
        self._held = Holding(memory, request.centre_id, host_of(request.href))
        integrity = request.integrity
        self._method = DEFAULT_METHOD if integrity is None else integrity.method
        self._hash = new_hash(self._method)
        self._is_handed_over = False
        self._is_streamed = False
        """Too large to be kept: its pieces are passed on as soon as there are enough."""
        self._chunks: list[bytes] = []
        self._chunks_bytes = 0
        self._chunks_held = 0
        self._size = 0
        self._expected: int | None = None
        self._upload: Upload | None = None
        self._now = asyncio.get_running_loop().time
        self._idle_timeout_s = idle_timeout_s
        self._arrived = 0
        self._window_start = 0.0
        self._window_size = 0

    @property
    def is_verifiable(self) -> bool:
        """Whether the notification says how to recognize the data."""
        return self.request.length is not None or self.request.integrity is not None

    def would_match(self, chunks: Iterable[bytes]) -> bool:
        """Whether these bytes have the announced length and checksum."""
        size, hasher = 0, new_hash(self._method)
        for chunk in chunks:
            size += len(chunk)
            hasher.update(chunk)
        announced, integrity = self.request.length, self.request.integrity
        return (announced is None or size == announced) and (
            integrity is None or integrity.matches(hasher.digest())
        )

    def begin(self, size: int | None) -> None:
        """Judge the size that the server names.

        Raises SourceError(LENGTH) if it differs from the announced one, Overridden.
        """
        announced = self.request.length
        if size is not None:
            if announced is not None and size != announced:
                raise SourceError(Reason.LENGTH, f"{size} for {announced} bytes{self.sent_as}")
            self.check_size(size)
        self._expected = size
        self._is_streamed = max(size or 0, announced or 0) > MAX_IN_MEMORY_BYTES
        self._window_start = self._now()

    def hold(self, size: int) -> bool:
        """Take memory for a piece that is kept; False if there is none."""
        return self._held.take(size + PIECE_BYTES)

    def let_go(self, size: int) -> None:
        """Give back the memory of a piece."""
        self._held.give_back(size + PIECE_BYTES)

    async def add(self, chunk: bytes) -> None:
        """Take the next piece.

        Raises SourceError: LENGTH (more than announced), TIMEOUT (too slow to call it progress);
        Overridden; Unavailable("store"); HostBusy (the store has no memory left for this one).
        """
        self.arrived(len(chunk))
        await self.keep(chunk)

    def arrived(self, size: int) -> None:
        """Note that the source has sent `size` more bytes. Raises SourceError(TIMEOUT)."""
        self._arrived += size
        self._check_progress()

    async def keep(self, chunk: bytes) -> None:
        """Take the next piece of the data. Raises like `add`, except TIMEOUT."""
        self._size += len(chunk)
        announced = self.request.length
        if announced is not None and self._size > announced:
            raise SourceError(Reason.LENGTH, f"over {announced} bytes{self.sent_as}")
        self.check_size(self._size)
        self._hash.update(chunk)
        self._chunks.append(chunk)
        self._chunks_bytes += len(chunk)
        if self.hold(len(chunk)):
            self._chunks_held += len(chunk) + PIECE_BYTES
            if self._is_streamed:
                is_enough = self._chunks_bytes >= _UPLOAD_CHUNK_BYTES
            else:
                is_enough = self._size > MAX_IN_MEMORY_BYTES
            if not is_enough:
                return
        # If there is no memory for it, nothing waits: it goes to the store as it comes.
        if self._upload is None:
            self._is_streamed = True
            with stopped(self.deadline):
                self._upload = await self._open_upload()
        await self._write()

    async def finish(self) -> Payload:
        """Return the verified data; from now on the upload belongs to the caller.

        Raises SourceError(TRUNCATED, LENGTH or EMPTY), IntegrityFailed, Unavailable("store").
        """
        if self._expected is not None and self._size < self._expected:
            raise SourceError(Reason.TRUNCATED, f"{self._size} of {self._expected} bytes")
        digest = self._hash.digest()
        error = self._judge(digest)
        if self.is_cut_short and (error is not None or not self.is_verifiable):
            raise SourceError(Reason.TRUNCATED, "the connection broke off, the length is not known")
        if error is not None:
            raise error
        if self._upload is None:
            chunks = self._chunks
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            payload = Payload(self._size, self._method, digest, data=data)
            # The memory is held as long as the data: bodies must not pile up while a store is slow
            # or away.
            self._held.give_back(max(0, self._held.held - len(data) - PIECE_BYTES))
            giving_back = weakref.finalize(payload, self._held.give_back_all)
            giving_back.atexit = False
            self._is_handed_over = True
            return payload
        if self._chunks:
            await self._write()
        upload, self._upload = self._upload, None
        return Payload(self._size, self._method, digest, upload=upload)

    def _judge(self, digest: bytes) -> SourceError | None:
        """Return what is wrong with the data."""
        announced, integrity = self.request.length, self.request.integrity
        if announced is not None and self._size != announced:
            return SourceError(Reason.LENGTH, f"{self._size} for {announced} bytes{self.sent_as}")
        if integrity is not None and not integrity.matches(digest):
            return IntegrityFailed(Reason.INTEGRITY, f"{self._method}{self.sent_as}")
        if not self._size and not self.is_verifiable:
            # If it were announced, a good copy would then be a duplicate.
            return SourceError(Reason.EMPTY, "0 bytes, which were not announced")
        return None

    async def close(self) -> None:
        """Give the memory back; abort an upload that was not finished. Never raises."""
        if not self._is_handed_over:
            self._held.give_back_all()
        self._chunks = []
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await upload.abort()

    async def _write(self) -> None:
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        self._chunks_bytes = 0
        if self._upload is not None:
            with stopped(self.deadline):
                await self._upload.write(chunk)
        self._held.give_back(self._chunks_held)
        self._chunks_held = 0
        self._window_start = self._now()
        self._window_size = self._arrived

    def check_size(self, size: int) -> None:
        """Raise Overridden(TOO_LARGE) if we do not cache an object of this size."""
        if size > self._max_bytes:
            raise Overridden(Reason.TOO_LARGE, f"over {self._max_bytes} bytes")

    def _check_progress(self) -> None:
        now = self._now()
        elapsed_s = now - self._window_start
        if elapsed_s >= self._idle_timeout_s:
            if self._arrived - self._window_size < MIN_BYTES_PER_S * elapsed_s:
                raise SourceError(Reason.TIMEOUT, f"under {MIN_BYTES_PER_S} bytes a second")
            self._window_start = now
            self._window_size = self._arrived
