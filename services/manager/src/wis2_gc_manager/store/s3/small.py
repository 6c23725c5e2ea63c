"""The quick way for what is done with each small object: PUT and HEAD by obstore.

obstore is the object_store crate of Rust: half the CPU of any Python client. It sends the SHA-256
of the body, which S3 verifies, as a checksum and in the signature; computing that is in its price.
It is tried once. Whatever goes wrong, the same request by `s3_requests` finds out what, and
repeats it where that is of use: this module knows success, and nothing else.
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

#: How long obstore signs with what the chain said: it renews well before anything expires.
_CREDENTIALS_S = 60.0


class SmallObjects:
    """One bucket, by obstore. Used by one event loop."""

    def __init__(
        self, place: BucketPlace, credentials: CredentialChain, *, authorities: bytes | None
    ) -> None:
        """Connect to nothing yet. `authorities`: PEM, trusted besides the system's."""
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
            # Not `endpoint`, which a variable of the environment would overrule.
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
        """Store an object; False where it did not succeed, for whatever reason."""
        try:
            await obstore.put_async(
                self._store,
                self._prefix + key,
                data,
                attributes={"Content-Type": media_type, "Cache-Control": cache_control},
                use_multipart=False,
            )
        except Exception:  # noqa: BLE001 - who asks again gets to know what was wrong
            _log.debug("s3_small_failed", method="PUT")
            return False
        return True

    async def size(self, key: str) -> int | None:
        """Return the size of an object in bytes; None where it is not there, or did not succeed."""
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
