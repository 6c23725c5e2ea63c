"""The contract of the object store (architecture.md#store).

Every adapter passes the same suite, `tests/integration/test_store.py`. An object is there
completely or not at all: readers never see a part. When `put` or `complete` has returned, the
object survives a crash of the machine. Outages, also a full disk, are `Unavailable("store")`.
A key that this store can never hold beside the others (in a file system: a folder's name as a
file's) is `UnusableKey`. A text that is not a key is a ValueError, a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from wis2_gc_common.wis2.integrity import Method


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum of the whole object, for stores that verify it themselves."""

    method: Method
    digest: bytes


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a store can ever hold."""

    size_bytes: int
    files: int
    """The largest number of objects; 0: as many as there is room for."""


class Upload(Protocol):
    """One large object that is being stored; exactly one of `complete` and `abort` ends it."""

    async def write(self, chunk: bytes) -> None:
        """Append a piece; waits if the store is slower than the source.

        Raises Unavailable("store"), and HostBusy if no memory becomes free for it in time, or
        others require the memory that it holds: then the item must be tried again later.
        """

    async def complete(self, checksum: Checksum | None = None) -> None:
        """Make the object visible and durable under its key. Raises like `write`."""

    async def abort(self) -> None:
        """Leave nothing behind. Never raises; also safe after `complete`."""


class ObjectStore(Protocol):
    """Keeps the data items. All methods raise Unavailable("store") on an outage."""

    async def put(
        self, key: str, data: bytes, *, media_type: str, checksum: Checksum | None = None
    ) -> None:
        """Store a small object; the same key again replaces it."""

    async def open_upload(self, key: str, *, media_type: str) -> Upload:
        """Begin a large object."""

    async def size(self, key: str) -> int | None:
        """Return the size in bytes of a visible object; None if there is none."""

    def announce_by_ns(self, key: str, *, stored_ns: int) -> int:
        """Return until when an object stored at `stored_ns` may be announced, in ns since 1970.

        If it were announced later, it would be gone before the end of the retention
        (wis2-rules.md 26).
        """

    async def delete(self, key: str) -> None:
        """Remove an object; it is not an error if there is none."""

    async def expire(self, now: datetime) -> int:
        """Remove what is past the retention; return how many hour folders were removed.

        A store that expires by itself (S3 lifecycle) returns 0.
        """

    async def capacity(self) -> Capacity | None:
        """Return how much the store can hold, used or not; None if there is no limit."""

    async def check(self) -> None:
        """Return if a small object can be written now; raise Unavailable otherwise."""

    async def close(self) -> None:
        """Release connections. Never raises."""
