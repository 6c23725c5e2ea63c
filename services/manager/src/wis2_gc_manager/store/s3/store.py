"""The object store in S3, or in an S3-compatible server (architecture.md#store).

IAM: s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on the objects,
s3:ListBucket on the bucket (without it S3 answers 403 if there is no object). The bucket's
lifecycle rules expire objects and unfinished uploads. The server in front of it (CloudFront, nginx)
adds `X-Content-Type-Options: nosniff`, because S3 cannot keep that header with an object.

Small objects use `small`. If that fails, and for everything else, `requests` is used, which
retries. Decided in docs/decisions/20261123-s3-client.md.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from wis2_gc_common.errors import SettingsError, Unavailable, UnusableKey
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.settings.catalogue import RETENTION_HOURS, STORE_EXPIRATION_DAYS
from wis2_gc_manager.store.keys import INCOMING, MAX_KEY_BYTES, checked_key
from wis2_gc_manager.store.s3 import checksum as s3_checksum
from wis2_gc_manager.store.s3.credentials import CredentialChain, new_session
from wis2_gc_manager.store.s3.expiry import removed_at_ns
from wis2_gc_manager.store.s3.place import find_place, read_authorities, tls_context
from wis2_gc_manager.store.s3.requests import ATTEMPTS, Requests
from wis2_gc_manager.store.s3.small import SmallObjects
from wis2_gc_manager.store.s3.upload import PART_BYTES, S3Upload
from wis2_gc_manager.store.s3.upload_memory import UploadMemory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from wis2_gc_common.settings.values import StoreUrl
    from wis2_gc_manager.store.port import Checksum, Upload

#: Memory for the parts of all large objects together.
PART_MEMORY_BYTES = 4 * PART_BYTES
#: Time limit of `check`: a probe waits for it.
_CHECK_S = 8.0
_CHECK_ATTEMPTS = 2
#: Larger bodies are hashed in a thread, because they would hold up the event loop for too long.
_MD5_AT_ONCE_BYTES = 256 * 1024
_NO_OBJECT = frozenset({"NoSuchKey"})
#: The codes of a server that does not know a checksum's header.
_UNKNOWN_HEADER = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})

_log = get_logger(__name__)


class S3Store:
    """`ObjectStore` in one bucket. Used by one event loop."""

    def __init__(
        self,
        requests: Requests,
        small: SmallObjects,
        *,
        retention_hours: float,
        expiration_days: int = 1,
    ) -> None:
        """`expiration_days`: the days of the bucket's lifecycle rule."""
        self._requests = requests
        self._small = small
        self._place = requests.place
        self._retention_ns = int(retention_hours * 3600) * 1_000_000_000
        self._expiration_days = expiration_days
        self._cache_control = f"public, max-age={round(retention_hours * 3600)}, immutable"
        self._memory = UploadMemory(PART_MEMORY_BYTES, part_bytes=PART_BYTES, clock=time.monotonic)
        self._knows_sha = self._place.is_aws

    async def put(
        self, key: str, data: bytes, *, media_type: str, checksum: Checksum | None = None
    ) -> None:
        """Store a small object; the same key again replaces it.

        If it is cancelled, the object may be stored or not, but never in part.
        Raises Unavailable("store"), UnusableKey (key and prefix are too long together), ValueError.
        """
        self._checked(key)
        with self._requests.busy():
            if not await self._small.put(
                key, data, media_type=media_type, cache_control=self._cache_control
            ):
                await self._put(key, (data,), self._headers(media_type), checksum, failed=1)

    async def open_upload(self, key: str, *, media_type: str) -> Upload:
        """Begin a large object; the first request is sent when the first part is full."""
        self._checked(key)
        headers = self._headers(media_type)
        return S3Upload(
            self._requests,
            key,
            headers,
            memory=self._memory,
            put=lambda body, checksum: self._put(key, body, headers, checksum),
            size=lambda: self.size(key),
        )

    async def size(self, key: str) -> int | None:
        """Return the size in bytes of a visible object; None if there is none."""
        self._checked(key)
        with self._requests.busy():
            size = await self._small.size(key)
            return await self._size(key) if size is None else size

    def announce_by_ns(self, key: str, *, stored_ns: int) -> int:  # noqa: ARG002 - of all alike
        """Return until when an object may be announced: the bucket counts from its creation."""
        return removed_at_ns(stored_ns, days=self._expiration_days) - self._retention_ns

    async def delete(self, key: str) -> None:
        """Remove an object; it is not an error if there is none."""
        path = self._place.path(self._checked(key))
        await self._requests.send("DELETE", path, accept=_NO_OBJECT)

    async def expire(self, now: datetime) -> int:  # noqa: ARG002 - its time is the bucket's own
        """Return 0: the bucket's lifecycle rule removes what is past the retention."""
        return 0

    async def capacity(self) -> None:
        """Return None: a bucket has no limit except its cost."""

    async def check(self) -> None:
        """Return if an object can be written, read and removed now.

        Raises Unavailable("store"), or Misconfigured if the error stays until a setting or a
        permission is changed.
        """
        key = f"{INCOMING}/probe-{secrets.token_hex(8)}"
        path = self._place.path(key)
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._put(key, (b"probe",), (), None, attempts=_CHECK_ATTEMPTS)
                try:
                    size = await self._size(key, attempts=_CHECK_ATTEMPTS)
                finally:
                    await self._requests.send(
                        "DELETE", path, accept=_NO_OBJECT, attempts=_CHECK_ATTEMPTS
                    )
        except TimeoutError:
            raise Unavailable("store", f"{self._place}: no answer in {_CHECK_S:g} s") from None
        if size is None:
            raise Unavailable("store", f"{self._place}: what was written cannot be seen")

    async def close(self) -> None:
        """Finish what was begun and release connections. Never raises."""
        await self._requests.close()

    def _checked(self, key: str) -> str:
        checked_key(key)
        if len(key.encode()) + len(self._place.prefix.encode()) > MAX_KEY_BYTES:
            raise UnusableKey("too long with the prefix of GC_STORE_URL")
        return key

    def _headers(self, media_type: str) -> list[tuple[str, str]]:
        return [("content-type", media_type), ("cache-control", self._cache_control)]

    async def _size(self, key: str, *, attempts: int = ATTEMPTS) -> int | None:
        path = self._place.path(key)
        answer = await self._requests.send("HEAD", path, accept=_NO_OBJECT, attempts=attempts)
        if not answer.is_success:
            return None
        try:
            return int(answer.headers["Content-Length"])
        except (KeyError, ValueError):
            raise Unavailable("store", f"{self._place}: an object without a size") from None

    async def _put(
        self,
        key: str,
        body: Sequence[bytes],
        headers: Sequence[tuple[str, str]],
        checksum: Checksum | None,
        *,
        attempts: int = ATTEMPTS,
        failed: int = 0,
    ) -> None:
        put = partial(
            self._requests.send,
            "PUT",
            self._place.path(key),
            body=body,
            attempts=attempts,
            failed=failed,
        )
        verified = s3_checksum.of_digest(checksum) if self._knows_sha else None
        if verified is not None:
            answer = await put(headers=[*headers, verified], accept=_UNKNOWN_HEADER)
            if answer.is_success:
                return
            # A new checksum does not reach every partition of AWS on the same day.
            self._knows_sha = False
            _log.warning("s3_checksum_unknown", header=verified[0])
        await put(headers=[*headers, await self._checksum_of(body)])

    async def _checksum_of(self, body: Sequence[bytes]) -> tuple[str, str]:
        if self._place.is_aws:
            return s3_checksum.of_crc(s3_checksum.crc_of(body))
        if sum(map(len, body)) <= _MD5_AT_ONCE_BYTES:
            return s3_checksum.of_md5(body)
        return await asyncio.to_thread(s3_checksum.of_md5, body)


def open_s3_store(
    store_url: StoreUrl,
    *,
    retention_hours: float,
    expiration_days: int = 1,
    ca_file: Path | None = None,
) -> S3Store:
    """Return the store that `s3://bucket[/prefix]` names; connects to nothing yet.

    Raises SettingsError.
    """
    if retention_hours > 24 * expiration_days:
        raise SettingsError(
            STORE_EXPIRATION_DAYS.name,
            f"the bucket keeps objects for {expiration_days} d, which is less than the "
            f"{retention_hours:g} h of {RETENTION_HOURS.name}; raise the days of the bucket's "
            "lifecycle rule, and say so here",
        )
    session = new_session()
    place = find_place(store_url, session)
    authorities = read_authorities(session, ca_file)
    tls = tls_context(authorities) if place.is_tls else None
    credentials = CredentialChain(lambda: new_session(place.region))
    return S3Store(
        Requests(place, credentials, tls=tls),
        SmallObjects(place, credentials, authorities=authorities),
        retention_hours=retention_hours,
        expiration_days=expiration_days,
    )
