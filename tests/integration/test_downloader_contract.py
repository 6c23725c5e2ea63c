"""What the pipeline requires of a downloader: the real one over HTTP, and the fake of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_asyncio

from testkit.fakes.manager import FakeDownloader, Traps
from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.servers.web_server import WebServer
from wis2_gc_common.errors import IntegrityFailed, Reason, SourceError, Unavailable
from wis2_gc_common.wis2.integrity import Integrity
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SMALL = b"data"
LARGE = bytes(range(256)) * (MAX_IN_MEMORY_BYTES // 256) + b"end"


class Case(NamedTuple):
    downloader: Downloader
    serve: Callable[[bytes], str]
    """Serves data, and returns its URL."""
    missing: str
    """A URL of the same host without data."""


@pytest_asyncio.fixture(params=["real", "fake"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    if request.param == "fake":
        fake = FakeDownloader(Traps())

        def serve(data: bytes) -> str:
            fake.serves("http://127.0.0.1/a", data)
            return "http://127.0.0.1/a"

        yield Case(fake, serve, "http://127.0.0.1/missing")
        return
    async with WebServer() as server:
        real = LinkDownloader(
            allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),),
            max_object_bytes=2 * len(LARGE),
            concurrency_per_host=4,
            connect_timeout_s=20.0,
            idle_timeout_s=20.0,
            total_timeout_s=60.0,
            ca_file=None,
        )
        yield Case(real, lambda data: server.serve("/a", data), server.url("/missing"))
        await real.close()


def asking(href: str, *, length: int | None = None, integrity: Integrity | None = None) -> Request:
    return Request(href, length, integrity)


async def test_small_data_are_in_memory_with_their_checksum(case: Case) -> None:
    payload = await case.downloader.fetch(asking(case.serve(SMALL)), no_upload)
    assert (payload.data, payload.size_bytes, payload.upload) == (SMALL, len(SMALL), None)
    assert (payload.method, payload.digest) == ("sha512", hashlib.sha512(SMALL).digest())


async def test_the_checksum_is_the_one_that_is_announced(case: Case) -> None:
    announced = Integrity("sha256", hashlib.sha256(SMALL).digest())
    request = asking(case.serve(SMALL), length=len(SMALL), integrity=announced)
    payload = await case.downloader.fetch(request, no_upload)
    assert (payload.method, payload.digest) == ("sha256", announced.digest)


async def test_large_data_are_in_an_upload_that_is_left_to_the_caller(case: Case) -> None:
    upload = MemoryUpload()

    async def open_upload() -> MemoryUpload:
        return upload

    payload = await case.downloader.fetch(asking(case.serve(LARGE)), open_upload)
    assert (payload.data, payload.upload) == (None, upload)
    assert (upload.data, upload.is_aborted) == (LARGE, False)
    assert payload.size_bytes == len(LARGE)


async def test_an_upload_that_fails_is_aborted_and_its_error_raised(case: Case) -> None:
    upload = MemoryUpload(fails=True)

    async def open_upload() -> MemoryUpload:
        return upload

    with pytest.raises(Unavailable):
        await case.downloader.fetch(asking(case.serve(LARGE)), open_upload)
    assert upload.is_aborted


async def test_an_upload_whose_download_is_cancelled_is_aborted(case: Case) -> None:
    class Stuck(MemoryUpload):
        async def write(self, chunk: bytes) -> None:
            await super().write(chunk)
            is_writing.set()
            await asyncio.Event().wait()

    is_writing, upload = asyncio.Event(), Stuck()

    async def open_upload() -> MemoryUpload:
        return upload

    fetching = asyncio.create_task(case.downloader.fetch(asking(case.serve(LARGE)), open_upload))
    await is_writing.wait()
    fetching.cancel()
    await asyncio.wait({fetching})
    assert fetching.cancelled()
    assert upload.is_aborted


async def test_what_is_not_as_announced_has_failed(case: Case) -> None:
    href = case.serve(SMALL)
    with pytest.raises(SourceError) as caught:
        await case.downloader.fetch(asking(href, length=len(SMALL) + 1), no_upload)
    assert caught.value.reason is Reason.LENGTH
    wrong = Integrity("sha256", hashlib.sha256(b"other data").digest())
    with pytest.raises(IntegrityFailed):
        await case.downloader.fetch(asking(href, integrity=wrong), no_upload)


async def test_what_is_not_there_has_failed(case: Case) -> None:
    with pytest.raises(SourceError) as caught:
        await case.downloader.fetch(asking(case.missing), no_upload)
    assert caught.value.reason is Reason.NOT_FOUND
