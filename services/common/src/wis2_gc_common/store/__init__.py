"""The object store; `base` is the contract, the rest are adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings import STORE_URL
from wis2_gc_common.store.file import FileStore

if TYPE_CHECKING:
    from wis2_gc_common.settings import StoreUrl
    from wis2_gc_common.store.base import ObjectStore


def open_store(store_url: StoreUrl, *, retention_hours: float) -> ObjectStore:
    """Return the store that `store_url` names; touches no disk yet.

    Raises SettingsError: no adapter for this kind of store.
    """
    if store_url.kind != "file":
        raise SettingsError(
            STORE_URL.name, "the S3 adapter is not part of this release; use file:///directory"
        )
    return FileStore(store_url.place, retention_hours=retention_hours)
