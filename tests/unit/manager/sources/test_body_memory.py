"""Memory of bodies: the accounting, and what slow and large sources leave to the others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import hashlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.servers.web_server import WebServer, raw, stall_after, trickle
from testkit.waiting import until
from wis2_gc_common.errors import SourceError
from wis2_gc_common.wis2.integrity import Integrity
from wis2_gc_manager.sources import downloader as download
from wis2_gc_manager.sources.body_memory import (
    CENTRE_SHARE,
    HOST_SHARE,
    LARGE_SHARE,
    PIECE_BYTES,
    SMALL_BYTES,
    BodyMemory,
    Holding,
)
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Payload, Request

TOTAL = 64 * SMALL_BYTES
DATA = b"d" * 85_000
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#: Far more than a canary takes, far less than it takes a slow server to end.
SOON_S = 30.0
Open = Callable[[int], Downloader]

# The accounting

Step = tuple[int, str, int]
steps = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.sampled_from(["take", "take", "take", "give back", "give back all"]),
        st.integers(0, 4 * SMALL_BYTES) | st.integers(1, 2000),
    ),
    max_size=60,
)


def twelve_bodies(memory: BodyMemory) -> list[Holding]:
    """Three centres, four hosts."""
    return [Holding(memory, f"centre{n % 3}", f"host{n % 4}") for n in range(12)]


def is_clean(memory: BodyMemory) -> bool:
    """Whether nothing is held, and no centre or host is remembered."""
    return not memory.used_bytes and not memory.large_of


def large_of(holdings: list[Holding], **who: str) -> int:
    return sum(
        max(0, one.held - SMALL_BYTES)
        for one in holdings
        if all(getattr(one, name) == value for name, value in who.items())
    )


@given(steps, st.sampled_from([TOTAL // 8, TOTAL]))
def test_no_bound_is_ever_exceeded_and_all_is_given_back(taken: list[Step], total: int) -> None:
    memory = BodyMemory(total)
    bodies = twelve_bodies(memory)
    for number, what, size in taken:
        body = bodies[number]
        before = body.held
        if what == "take":
            is_given = body.take(size)
            assert body.held == before + (size if is_given else 0)
            if is_given and body.held > max(before, SMALL_BYTES):
                assert memory.used_bytes <= total // LARGE_SHARE
                assert large_of(bodies, centre_id=body.centre_id) <= total // CENTRE_SHARE
                assert large_of(bodies, host=body.host) <= total // HOST_SHARE
        elif what == "give back":
            body.give_back(size)
            assert body.held == max(0, before - size)
        else:
            body.give_back_all()
            assert body.held == 0
        assert memory.used_bytes == sum(one.held for one in bodies) <= total
    for body in bodies:
        body.give_back_all()
        body.give_back_all()
    assert is_clean(memory)


@given(steps)
def test_a_small_body_finds_memory_beside_all_that_large_ones_hold(
    taken: list[Step],
) -> None:
    memory = BodyMemory(TOTAL)  # room for 64 small ones, and there are 12
    bodies = twelve_bodies(memory)
    for number, what, size in taken:
        if what == "take":
            bodies[number].take(size)
    assert Holding(memory, "centre0", "host0").take(SMALL_BYTES)


def test_what_is_refused_changes_nothing() -> None:
    memory = BodyMemory(TOTAL)
    assert not Holding(memory, "a", "b").take(TOTAL + 1)
    assert not Holding(memory, "a", "b").take(TOTAL // HOST_SHARE + SMALL_BYTES + 1)
    assert is_clean(memory)


def test_one_host_leaves_memory_to_others_of_its_centre_and_one_centre_to_others() -> None:
    memory = BodyMemory(TOTAL)
    share = TOTAL // HOST_SHARE + SMALL_BYTES  # what is small is nobody's share
    assert Holding(memory, "a", "one").take(share)
    assert not Holding(memory, "a", "one").take(2 * SMALL_BYTES)
    assert Holding(memory, "a", "two").take(share)
    assert not Holding(memory, "a", "three").take(share)
    assert Holding(memory, "b", "three").take(share)


# Servers


@pytest_asyncio.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as running:
        yield running


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> list[BodyMemory]:
    """The memories of the downloaders opened meanwhile."""
    made: list[BodyMemory] = []

    def make(total: int) -> BodyMemory:
        made.append(BodyMemory(total))
        return made[-1]

    monkeypatch.setattr(download, "BodyMemory", make)
    return made


@pytest_asyncio.fixture
async def open_(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    opened: list[Downloader] = []

    def opener(memory_bytes: int = download.MEMORY_BYTES) -> Downloader:
        monkeypatch.setattr(download, "MEMORY_BYTES", memory_bytes)
        settings: dict[str, Any] = {
            "allowed_networks": (ipaddress.ip_network("127.0.0.0/8"),),
            "max_object_bytes": 100 * 1024 * 1024,
            "concurrency_per_host": 200,
            "connect_timeout_s": 60.0,
            "idle_timeout_s": 60.0,
            "total_timeout_s": 3600.0,
            "ca_file": None,
        }
        opened.append(LinkDownloader(**settings))
        return opened[-1]

    yield opener
    for downloader in opened:
        await downloader.close()


async def get(
    downloader: Downloader, href: str, open_upload: Any = no_upload, **told: Any
) -> Payload:
    request = Request(href, told.get("length"), told.get("integrity"), centre_id=told["centre_id"])
    async with asyncio.timeout(SOON_S):
        return await downloader.fetch(request, open_upload)


@contextlib.asynccontextmanager
async def running(downloads: Iterator[Awaitable[Payload]]) -> AsyncIterator[list[Any]]:
    """Downloads that nobody waits for, ended after the test."""
    tasks = [asyncio.ensure_future(one) for one in downloads]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def canaries(downloader: Downloader, server: WebServer) -> None:
    """An innocent centre's items: they come at once, into memory, however they are sent."""
    for number in range(5):
        for chunked in (False, True):
            href = server.serve(f"/canary{number}", DATA, chunked=chunked)
            payload = await get(downloader, href, centre_id="innocent")
            assert payload.data == DATA


async def test_64_slow_servers_hold_up_nobody(
    server: WebServer, open_: Open, memories: list[BodyMemory]
) -> None:
    downloader = open_(download.MEMORY_BYTES)
    slow = server.serve("/slow", script=trickle(HEAD, piece=b"s" * 60, interval_s=0.1))
    request = Request(slow, None, None, centre_id="slow")
    async with running(downloader.fetch(request, no_upload) for _ in range(64)) as tasks:
        await until(lambda: len(server.requests) == 64)
        await canaries(downloader, server)
        assert not any(task.done() for task in tasks)
        assert memories[0].used_bytes < 64 * SMALL_BYTES // 2
    assert is_clean(memories[0])


@pytest.mark.parametrize("announces", [True, False])
async def test_64_large_files_at_once_hold_up_nobody_and_all_arrive(
    server: WebServer, open_: Open, memories: list[BodyMemory], announces: bool
) -> None:
    downloader = open_(download.MEMORY_BYTES)
    body = b"L" * (2 * MAX_IN_MEMORY_BYTES)
    goes_on = asyncio.Event()
    length = b"Content-Length: %d\r\n" % len(body) if announces else b""

    async def large(_request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n" % length)
        writer.write(body[: MAX_IN_MEMORY_BYTES - 1])
        await writer.drain()
        await goes_on.wait()
        writer.write(body[MAX_IN_MEMORY_BYTES - 1 :])
        await writer.drain()

    uploads: list[MemoryUpload] = []

    async def open_upload() -> MemoryUpload:
        uploads.append(MemoryUpload())
        return uploads[-1]

    request = Request(server.serve("/large", script=large), None, None, centre_id="large")
    async with running(downloader.fetch(request, open_upload) for _ in range(64)) as tasks:
        # All stand still just before they are too large to be kept.
        await until(lambda: len(server.requests) == 64)
        await canaries(downloader, server)
        goes_on.set()
        async with asyncio.timeout(SOON_S):
            payloads = await asyncio.gather(*tasks)
    assert len(uploads) == 64
    assert all(payload.upload.data == body for payload in payloads)
    assert is_clean(memories[0])


async def test_what_finds_no_memory_streams_into_the_store(
    server: WebServer, open_: Open, memories: list[BodyMemory]
) -> None:
    downloader = open_(len(DATA) + PIECE_BYTES)
    held = await get(downloader, server.serve("/a", DATA), centre_id="one")
    assert memories[0].used_bytes == len(DATA) + PIECE_BYTES
    upload = MemoryUpload()

    async def open_upload() -> MemoryUpload:
        return upload

    payload = await get(downloader, server.serve("/b", DATA), open_upload, centre_id="two")
    assert payload.upload is upload
    assert upload.data == DATA
    assert payload.digest == hashlib.sha512(DATA).digest()
    assert not upload.is_aborted
    del held
    gc.collect()
    assert is_clean(memories[0])


async def test_a_small_body_is_kept_in_many_pieces_and_counted_with_what_they_cost(
    server: WebServer, open_: Open, memories: list[BodyMemory]
) -> None:
    downloader = open_(download.MEMORY_BYTES)
    pieces = trickle(HEAD, piece=b"1", interval_s=0.001)
    request = Request(server.serve("/a", script=pieces), None, None)
    async with running(iter([downloader.fetch(request, no_upload)])):
        await until(lambda: memories[0].used_bytes > 20 * PIECE_BYTES)


async def test_a_large_body_gives_back_what_it_has_passed_on(
    server: WebServer, open_: Open, memories: list[BodyMemory]
) -> None:
    downloader = open_(download.MEMORY_BYTES)
    body = b"x" * (4 * MAX_IN_MEMORY_BYTES)
    upload = MemoryUpload()

    async def open_upload() -> MemoryUpload:
        return upload

    href = server.serve("/a", script=stall_after(HEAD, body))
    async with running(iter([downloader.fetch(Request(href, None, None), open_upload)])):
        await until(lambda: len(upload.data) > 3.5 * MAX_IN_MEMORY_BYTES)
        await until(lambda: memories[0].used_bytes < MAX_IN_MEMORY_BYTES // 2)


async def test_a_failed_download_gives_its_memory_back(
    server: WebServer, open_: Open, memories: list[BodyMemory]
) -> None:
    downloader = open_(download.MEMORY_BYTES)
    cut = server.serve("/a", DATA, content_length=len(DATA) + 1)
    with pytest.raises(SourceError):
        await get(downloader, cut, centre_id="one")
    assert is_clean(memories[0])


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize("memory_bytes", [1000, download.MEMORY_BYTES])
async def test_of_an_encoded_body_the_right_form_is_taken_also_without_memory(
    server: WebServer, open_: Open, memories: list[BodyMemory], memory_bytes: int, is_raw: bool
) -> None:
    downloader = open_(memory_bytes)
    data = bytes(range(256)) * 300
    packed = gzip.compress(data, mtime=0) * 3
    item = packed if is_raw else data * 3
    uploads: list[MemoryUpload] = []

    async def open_upload() -> MemoryUpload:
        uploads.append(MemoryUpload())
        return uploads[-1]

    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    href = server.serve(
        "/a", script=raw(head, *(packed[at : at + 90] for at in range(0, len(packed), 90)))
    )
    integrity = Integrity("sha256", hashlib.sha256(item).digest())
    payload = await get(downloader, href, open_upload, integrity=integrity, centre_id="one")
    got = payload.data if payload.upload is None else uploads[-1].data
    assert got == item
    assert all(upload.is_aborted for upload in uploads[:-1])
    del payload, got
    gc.collect()
    assert is_clean(memories[0])
