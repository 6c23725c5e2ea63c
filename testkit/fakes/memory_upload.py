"""An upload that keeps what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable

if TYPE_CHECKING:
    from wis2_gc_manager.store.port import Checksum, Upload


class MemoryUpload:
    """Keeps what it is given; `fails` makes the store go away."""

    def __init__(self, *, fails: bool = False) -> None:
        self.chunks: list[bytes] = []
        self.is_aborted = False
        self._fails = fails

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    async def write(self, chunk: bytes) -> None:
        if self._fails:
            raise Unavailable("store")
        self.chunks.append(chunk)

    async def complete(self, checksum: Checksum | None = None) -> None:
        raise AssertionError("the caller's business")

    async def abort(self) -> None:
        self.is_aborted = True


async def no_upload() -> Upload:
    raise AssertionError("no upload is needed")
