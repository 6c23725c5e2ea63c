"""The object store; `port` is the contract, `file` and `s3` are adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_manager.store.file.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_common.settings.values import StoreUrl
    from wis2_gc_manager.store.port import ObjectStore


def open_store(
    store_url: StoreUrl,
    *,
    retention_hours: float,
    expiration_days: int = 1,
    ca_file: Path | None = None,
) -> ObjectStore:
    """Return the store that `store_url` names; touches no disk and no network yet.

    `expiration_days`: of the lifecycle rule, if the store is a bucket.
    `ca_file`: PEM file of authorities to trust besides the system's, for a private S3 endpoint.
    Raises SettingsError.
    """
    if store_url.kind == "s3":
        # The AWS SDK takes 20 MB and a third of a second: import it only if it is used.
        from wis2_gc_manager.store.s3.store import open_s3_store  # noqa: PLC0415

        return open_s3_store(
            store_url,
            retention_hours=retention_hours,
            expiration_days=expiration_days,
            ca_file=ca_file,
        )
    return FileStore(store_url.place, retention_hours=retention_hours)
