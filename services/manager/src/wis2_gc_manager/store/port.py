"""The contract of the object store (architecture.md#store).

Every adapter passes the same suite, `tests/integration/test_store.py`. An object is either not
there or there whole: readers never see a part. When `put` or `complete` has returned, the object
survives a crash of the machine. Outages, a full disk among them, are `Unavailable("store")`.
A key that this store can never hold beside the others (a file system: a folder's name as a file's)
is `Poison`; what is no key at all is a ValueError, a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from wis2_gc_common.wis2.integrity import Method


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum of the whole object, for stores that verify themselves."""

    method: Method
    digest: bytes


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a store can ever hold."""

    size_bytes: int
    files: int
    """Most objects; 0: as many as there is room for."""


class Upload(Protocol):
    """One large object on its way; exactly one of `complete` and `abort` ends it."""

    async def write(self, chunk: bytes) -> None:
        """Append; waits when the store is slower than the source.

        Raises Unavailable("store"); HostBusy where no memory for it comes free in time, or others
        need what it holds: the item is to be tried again later.
        """

    async def complete(self, checksum: Checksum | None = None) -> None:
        """Make the object visible and durable under its key. Raises as `write` does."""

    async def abort(self) -> None:
        """Leave nothing behind. Never raises; also safe after `complete`."""


class ObjectStore(Protocol):
    """Where data items live. All methods raise Unavailable("store") on an outage."""

    async def put(
        self, key: str, data: bytes, *, media_type: str, checksum: Checksum | None = None
    ) -> None:
        """Store a small object; the same key again replaces it."""

    async def open_upload(self, key: str, *, media_type: str) -> Upload:
        """Begin a large object."""

    async def size(self, key: str) -> int | None:
        """Return the size in bytes of a visible object, None where there is none."""

    def announce_by_ns(self, key: str, *, stored_ns: int) -> int:
        """Return until when an object stored then may be announced, both in ns since 1970.

        Announced later it would be gone before the retention is over (wis2-rules.md 26).
        """

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    async def expire(self, now: datetime) -> int:
        """Remove what is past the retention; return how many hour folders went.

        A store that expires by itself (S3 lifecycle) returns 0.
        """

    async def capacity(self) -> Capacity | None:
        """Return how much there is room for, used or not; None where there is no end to it."""

    async def check(self) -> None:
        """Return when a small object can be written now; raise Unavailable otherwise."""

    async def close(self) -> None:
        """Release connections. Never raises."""
