"""Uploads one large object to S3: in parts, with bounded memory, completely or not at all."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from wis2_gc_common.errors import CacheError, Overridden, Reason, Unavailable
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.store.s3 import checksum as s3_checksum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wis2_gc_manager.store.port import Checksum
    from wis2_gc_manager.store.s3.requests import Requests
    from wis2_gc_manager.store.s3.upload_memory import UploadMemory

#: The size of a part; and the least size of every part except the last.
PART_BYTES = 8 * 1024 * 1024
MIN_PART_BYTES = 5 * 1024 * 1024
#: S3 takes no more parts than this: 78 GB.
MAX_PARTS = 10_000

_UPLOAD_ID = re.compile(rb"<UploadId>([^<]{1,2048})</UploadId>")
_NO_UPLOAD = frozenset({"NoSuchUpload"})

_log = get_logger(__name__)


class S3Upload:
    """`Upload` into S3. Up to PART_BYTES it is a single PUT, which `complete` makes."""

    def __init__(
        self,
        requests: Requests,
        key: str,
        headers: Sequence[tuple[str, str]],
        *,
        memory: UploadMemory,
        put: Callable[[Sequence[bytes], Checksum | None], Awaitable[None]],
        size: Callable[[], Awaitable[int | None]],
    ) -> None:
        """`headers`: of the object. `put`, `size`: for this key, in one piece."""
        self._requests = requests
        self._path = requests.place.path(key)
        self._headers = headers
        self._memory = memory
        self._share = memory.share(self._drop)
        self._put = put
        self._size_of_object = size
        self._lock = asyncio.Lock()
        self._is_ended = False
        self._chunks: list[bytes] = []
        self._collected = 0
        self._size = 0
        self._crc = 0
        self._creating: asyncio.Task[str] | None = None
        self._parts: list[tuple[str, str]] = []
        """(ETag, checksum) of each part."""

    async def write(self, chunk: bytes) -> None:
        """Append a piece; waits if the store is slower than the source, or memory is short.

        Raises Unavailable("store"); Overridden: more than S3 takes; HostBusy: no memory is free,
        or faster uploads took the memory of this slow one.
        """
        async with self._lock:
            self._demand_open()
            if not self._memory.take_now(self._share, len(chunk)):
                if self._collected >= MIN_PART_BYTES:
                    await self._send_part()
                await self._memory.take(self._share, len(chunk))
            self._chunks.append(chunk)
            self._collected += len(chunk)
            if self._collected >= PART_BYTES:
                await self._send_part()

    async def complete(self, checksum: Checksum | None = None) -> None:
        """Make the object visible and durable under its key.

        Raises Unavailable("store"); HostBusy: its last part has lost its memory to others.
        """
        async with self._lock:
            self._demand_open()
            self._memory.sending(self._share)
            if self._creating is None:
                await self._put(self._chunks or [b""], checksum)
            else:
                if self._chunks:
                    await self._send_part()
                await self._complete(await asyncio.shield(self._creating))
            self._end()

    async def abort(self) -> None:
        """Leave nothing behind. Never raises; also safe after `complete`."""
        if self._is_ended:
            return
        # It continues if this call is cancelled; the store's `close` waits for it.
        aborting = asyncio.ensure_future(self._abort())
        await asyncio.shield(aborting)

    async def _abort(self) -> None:
        with self._requests.busy():
            async with self._lock:
                if self._is_ended:
                    return
                self._end()
                if self._creating is None:
                    return
                try:
                    upload_id = await self._creating
                except CacheError:
                    return  # it never began
                try:
                    await self._requests.send(
                        "DELETE", self._in_upload(upload_id), accept=_NO_UPLOAD
                    )
                except CacheError as error:
                    # What is left behind is invisible; the bucket's lifecycle rule removes it.
                    _log.warning("upload_not_aborted", detail=str(error))

    def _end(self) -> None:
        self._is_ended = True
        self._chunks = []
        self._memory.give_back(self._share)

    def _drop(self) -> None:
        """Release the part: another upload has its memory now."""
        self._chunks = []

    def _demand_open(self) -> None:
        if self._is_ended:
            raise RuntimeError("the upload has been completed or aborted")

    async def _send_part(self) -> None:
        number = len(self._parts) + 1
        if number > MAX_PARTS:
            raise Overridden(Reason.TOO_LARGE, f"over {self._size} bytes in one upload to S3")
        self._memory.sending(self._share)
        if self._creating is None:
            # It is not cancelled with us: without its id the upload could not be aborted.
            self._creating = asyncio.ensure_future(self._create())
        upload_id = await asyncio.shield(self._creating)
        chunks = self._chunks
        if self._requests.place.is_aws:
            crc = s3_checksum.crc_of(chunks)
            checksum = s3_checksum.of_crc(crc)
        else:
            checksum = await asyncio.to_thread(s3_checksum.of_md5, chunks)
        answer = await self._requests.send(
            "PUT",
            self._in_upload(upload_id, f"partNumber={number}&"),
            headers=[checksum],
            body=chunks,
        )
        self._parts.append((answer.headers.get("ETag", ""), checksum[1]))
        if self._requests.place.is_aws:
            self._crc = s3_checksum.crc_of(chunks, self._crc)
        self._size += self._collected
        self._chunks = []
        self._collected = 0
        self._memory.give_back(self._share)

    async def _create(self) -> str:
        headers = list(self._headers)
        if self._requests.place.is_aws:
            headers += [
                ("x-amz-checksum-algorithm", s3_checksum.CRC_NAME),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ]
        answer = await self._requests.send("POST", f"{self._path}?uploads=", headers=headers)
        found = _UPLOAD_ID.search(answer.body)
        if found is None:
            raise Unavailable("store", f"{self._requests.place}: an upload without an id")
        return html.unescape(found[1].decode())

    async def _complete(self, upload_id: str) -> None:
        is_aws = self._requests.place.is_aws
        headers = [("content-type", "application/xml")]
        if is_aws:
            headers += [
                s3_checksum.of_crc(self._crc),
                ("x-amz-checksum-type", "FULL_OBJECT"),
                ("x-amz-mp-object-size", str(self._size)),
            ]
        answer = await self._requests.send(
            "POST",
            self._in_upload(upload_id),
            headers=headers,
            body=[_part_list(self._parts, with_checksums=is_aws)],
            accept=_NO_UPLOAD,
        )
        # If it was repeated because the first answer was lost, the upload is already the object.
        if not answer.is_success and (
            answer.attempts == 1 or await self._size_of_object() != self._size
        ):
            raise Unavailable("store", f"{self._requests.place}: the upload is gone")

    def _in_upload(self, upload_id: str, query: str = "") -> str:
        return f"{self._path}?{query}uploadId={quote(upload_id, safe='-_.~')}"


def _part_list(parts: Sequence[tuple[str, str]], *, with_checksums: bool) -> bytes:
    def entry(number: int, etag: str, checksum: str) -> str:
        crc = f"<ChecksumCRC32>{checksum}</ChecksumCRC32>" if with_checksums else ""
        return (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(etag)}</ETag>{crc}</Part>"
        )

    entries = "".join(entry(n, *part) for n, part in enumerate(parts, start=1))
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    text = f'<CompleteMultipartUpload xmlns="{namespace}">{entries}</CompleteMultipartUpload>'
    return text.encode()
