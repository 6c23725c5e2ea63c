"""The fast way for small objects: PUT and HEAD by obstore.

obstore is the object_store crate of Rust: it takes half the CPU of any Python client. It sends the
SHA-256 of the body, which S3 verifies, as a checksum and in the signature; its CPU includes that.
Each request is tried once. If it fails, the same request by `requests` finds out why, and repeats
it if that helps: this module reports only success or failure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store as RustStore

from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.store.s3.requests import ANSWER_S, CONNECT_TIMEOUT_S, KEEP_ALIVE_S

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

    from wis2_gc_manager.store.s3.credentials import CredentialChain
    from wis2_gc_manager.store.s3.place import BucketPlace

_log = get_logger(__name__)

#: How long obstore uses the same credentials: the chain renews them well before they expire.
_CREDENTIALS_S = 60.0


class SmallObjects:
    """One bucket, by obstore. Used by one event loop."""

    def __init__(
        self, place: BucketPlace, credentials: CredentialChain, *, authorities: bytes | None
    ) -> None:
        """Do not connect yet. `authorities`: PEM, to trust besides the system's."""
        self._prefix = place.prefix
        self._credentials = credentials
        options: ClientConfig = {
            "allow_http": not place.is_tls,
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=ANSWER_S),
            "pool_idle_timeout": timedelta(seconds=KEEP_ALIVE_S),
        }
        if authorities is not None:
            options["root_certificate"] = authorities
        self._store = RustStore(
            place.bucket,
            # Not `endpoint`, which a variable of the environment would override.
            aws_endpoint_url_s3=place.origin,
            virtual_hosted_style_request=not place.root,
            region=place.region,
            checksum_algorithm="SHA256",
            unsigned_payload=False,
            client_options=options,
            retry_config={"max_retries": 0},
            credential_provider=self._provide,
        )

    async def put(self, key: str, data: bytes, *, media_type: str, cache_control: str) -> bool:
        """Store an object; return False if that failed for any reason."""
        try:
            await obstore.put_async(
                self._store,
                self._prefix + key,
                data,
                attributes={"Content-Type": media_type, "Cache-Control": cache_control},
                use_multipart=False,
            )
        except Exception:  # noqa: BLE001 - the request that repeats it finds out why
            _log.debug("s3_small_failed", method="PUT")
            return False
        return True

    async def size(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if there is none, or if that failed."""
        try:
            return (await obstore.head_async(self._store, self._prefix + key))["size"]
        except Exception:  # noqa: BLE001 - as above
            _log.debug("s3_small_failed", method="HEAD")
            return None

    async def _provide(self) -> S3Credential:
        credentials = await self._credentials.current()
        return {
            "access_key_id": credentials.access_key,
            "secret_access_key": credentials.secret_key,
            "token": credentials.token,
            "expires_at": datetime.now(UTC) + timedelta(seconds=_CREDENTIALS_S),
        }
