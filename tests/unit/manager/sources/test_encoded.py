"""Servers that compress every answer, and those that only say so."""

from __future__ import annotations

import gzip
import hashlib
import ipaddress
import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.plain_words import assert_plain
from testkit.servers.web_server import WebServer, raw, stall_after, trickle
from wis2_gc_common.errors import IntegrityFailed, Overridden, Reason, SourceError
from wis2_gc_common.wis2.integrity import Integrity
from wis2_gc_manager.sources.body_memory import PIECE_BYTES
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.encoded import Broken, Decoder, content_coding
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Payload, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = b"ISMD01 EDZW 271200 " * 500
#: Over the bound of memory in both forms.
LARGE = random.Random(7).randbytes(3 * MAX_IN_MEMORY_BYTES)
MAX_OBJECT_BYTES = 8 * MAX_IN_MEMORY_BYTES
GZIP = {"Content-Encoding": "gzip"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as running:
        yield running


@pytest_asyncio.fixture
async def downloader() -> AsyncIterator[Downloader]:
    running = open_one()
    yield running
    await running.close()


def open_one(*, idle_timeout_s: float = 20) -> Downloader:
    return LinkDownloader(
        allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),),
        max_object_bytes=MAX_OBJECT_BYTES,
        concurrency_per_host=4,
        connect_timeout_s=20,
        idle_timeout_s=idle_timeout_s,
        total_timeout_s=60,
        ca_file=None,
    )


def sha256(data: bytes) -> Integrity:
    return Integrity("sha256", hashlib.sha256(data).digest())


async def get(downloader: Downloader, href: str, **more: Any) -> Payload:
    request = Request(href, more.get("length"), more.get("integrity"))
    return await downloader.fetch(request, no_upload)


async def failure(downloader: Downloader, href: str, **more: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(downloader, href, **more)
    assert_plain(caught.value.detail)
    return caught.value


async def get_large(downloader: Downloader, request: Request) -> tuple[bytes, list[MemoryUpload]]:
    uploads: list[MemoryUpload] = []

    async def open_upload() -> MemoryUpload:
        uploads.append(MemoryUpload())
        return uploads[-1]

    payload = await downloader.fetch(request, open_upload)
    assert payload.upload is uploads[-1]
    return uploads[-1].data, uploads


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("told", ["length", "checksum", "both", "nothing"])
async def test_a_compressed_answer_is_decoded(
    server: WebServer, downloader: Downloader, told: str, chunked: bool
) -> None:
    href = server.serve("/a", gzip.compress(DATA), headers=GZIP, chunked=chunked)
    length = len(DATA) if told in ("length", "both") else None
    integrity = sha256(DATA) if told in ("checksum", "both") else None
    payload = await get(downloader, href, length=length, integrity=integrity)
    assert (payload.data, payload.size_bytes) == (DATA, len(DATA))
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("told", ["length", "checksum", "both"])
async def test_an_archive_that_is_called_encoded_is_kept_as_it_is(
    server: WebServer, downloader: Downloader, told: str, chunked: bool
) -> None:
    packed = gzip.compress(DATA)
    href = server.serve("/a.gz", packed, headers=GZIP, chunked=chunked)
    length = len(packed) if told in ("length", "both") else None
    integrity = sha256(packed) if told in ("checksum", "both") else None
    payload = await get(downloader, href, length=length, integrity=integrity)
    assert (payload.data, payload.size_bytes) == (packed, len(packed))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/a", "/a.gz"])
@pytest.mark.parametrize("is_raw", [False, True])
@pytest.mark.parametrize("told", ["length", "checksum"])
async def test_of_a_large_answer_the_form_that_matches_is_the_item(
    server: WebServer, downloader: Downloader, told: str, is_raw: bool, path: str, chunked: bool
) -> None:
    packed = gzip.compress(LARGE, 1)
    item = packed if is_raw else LARGE
    href = server.serve(path, packed, headers=GZIP, chunked=chunked)
    length = len(item) if told == "length" else None
    integrity = sha256(item) if told == "checksum" else None
    data, uploads = await get_large(downloader, Request(href, length, integrity))
    assert data == item
    assert len(server.requests) <= 2
    assert all(upload.is_aborted for upload in uploads[:-1])
    assert not uploads[-1].is_aborted


async def test_a_large_answer_of_which_nothing_is_told_is_decoded(
    server: WebServer, downloader: Downloader
) -> None:
    href = server.serve("/a", gzip.compress(LARGE, 1), headers=GZIP)
    data, _ = await get_large(downloader, Request(href, None, None))
    assert data == LARGE
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [100, 3 * MAX_IN_MEMORY_BYTES])
async def test_where_neither_form_matches_it_is_not_an_item(
    server: WebServer, downloader: Downloader, size: int
) -> None:
    packed = gzip.compress(LARGE[:size], 1)
    href = server.serve("/a", packed, headers=GZIP, chunked=True)
    uploads: list[MemoryUpload] = []

    async def open_upload() -> MemoryUpload:
        uploads.append(MemoryUpload())
        return uploads[-1]

    with pytest.raises(IntegrityFailed) as caught:
        await downloader.fetch(Request(href, None, sha256(b"other")), open_upload)
    assert caught.value.detail == "sha256, sent encoded as gzip"
    with pytest.raises(SourceError) as wrong:
        await downloader.fetch(Request(href, size + 1, None), open_upload)
    assert wrong.value.reason is Reason.LENGTH
    assert all(upload.is_aborted for upload in uploads)


@pytest.mark.parametrize(
    ("coding", "packed"),
    # Without a time: two processes collect the same tests.
    [
        ("deflate", zlib.compress(DATA)),
        ("deflate", zlib.compress(DATA)[2:-4]),
        ("x-gzip", gzip.compress(DATA, mtime=0)),
        ("GZIP", gzip.compress(DATA, mtime=0)),
        ("gzip", gzip.compress(DATA[:99], mtime=0) + gzip.compress(DATA[99:], mtime=0)),
        ("gzip", gzip.compress(DATA, mtime=0) + bytes(512)),
        ("identity", DATA),
        ("identity, gzip", gzip.compress(DATA, mtime=0)),
        ("aws-chunked", DATA),
    ],
)
async def test_encodings_in_use_are_understood(
    server: WebServer, downloader: Downloader, coding: str, packed: bytes
) -> None:
    href = server.serve("/a", packed, headers={"Content-Encoding": coding})
    assert (await get(downloader, href)).data == DATA
    assert (await get(downloader, href, length=len(DATA))).data == DATA


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_of_an_unknown_encoding_only_what_was_sent_can_be_the_item(
    server: WebServer, downloader: Downloader, coding: str
) -> None:
    href = server.serve("/a", DATA, headers={"Content-Encoding": coding})
    assert (await get(downloader, href, integrity=sha256(DATA))).data == DATA
    assert (await get(downloader, href, length=len(DATA))).data == DATA
    error = await failure(downloader, href)
    assert (error.reason, error.detail) == (
        Reason.CONTENT_ENCODING,
        f"encoded as {coding}, unasked",
    )
    error = await failure(downloader, href, length=5)
    assert error.reason is Reason.LENGTH
    assert error.detail.endswith(f"sent encoded as {coding}")


async def test_what_is_not_in_its_encoding_is_not_an_item_unless_it_matches(
    server: WebServer, downloader: Downloader
) -> None:
    href = server.serve("/a", DATA, headers=GZIP)
    error = await failure(downloader, href)
    assert (error.reason, error.detail) == (
        Reason.CONTENT_ENCODING,
        "the body is not valid gzip",
    )
    assert (await get(downloader, href, integrity=sha256(DATA))).data == DATA


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_compressed_answer_that_ends_early_is_cut_short(
    server: WebServer, downloader: Downloader, chunked: bool
) -> None:
    packed = gzip.compress(DATA)
    whole = server.serve("/a", packed[:-9], headers=GZIP, chunked=chunked)
    for told in ({}, {"length": len(DATA)}, {"integrity": sha256(DATA)}):
        error = await failure(downloader, whole, **told)
        assert (error.reason, error.is_fleeting) == (Reason.TRUNCATED, True)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    cut = server.serve("/b", script=raw(head + packed[:-9]))
    assert (await failure(downloader, cut)).reason is Reason.TRUNCATED


async def test_an_empty_compressed_answer_is_not_an_item(
    server: WebServer, downloader: Downloader
) -> None:
    for number, packed in enumerate((gzip.compress(b""), b"")):
        href = server.serve(f"/{number}", packed, headers=GZIP)
        assert (await failure(downloader, href)).reason is Reason.EMPTY
        assert (await get(downloader, href, length=0)).data == b""


@pytest.mark.parametrize("told", [{}, {"length": 5000}, {"integrity": sha256(b"")}])
async def test_a_bomb_unfolds_no_further_than_an_item_may_be_large(
    server: WebServer, downloader: Downloader, told: dict[str, Any]
) -> None:
    bomb = gzip.compress(bytes(4 * MAX_OBJECT_BYTES))
    href = server.serve("/a", bomb, headers=GZIP)
    uploads: list[MemoryUpload] = []

    async def open_upload() -> MemoryUpload:
        uploads.append(MemoryUpload())
        return uploads[-1]

    request = Request(href, told.get("length"), told.get("integrity"))
    with pytest.raises((Overridden, SourceError)) as caught:
        await downloader.fetch(request, open_upload)
    assert caught.value.reason in (Reason.TOO_LARGE, Reason.LENGTH)
    assert sum(len(upload.data) for upload in uploads) <= MAX_OBJECT_BYTES
    assert all(upload.is_aborted for upload in uploads)


async def test_a_bomb_that_is_itself_the_item_is_kept_as_it_is(
    server: WebServer, downloader: Downloader
) -> None:
    bomb = gzip.compress(bytes(4 * MAX_OBJECT_BYTES))
    href = server.serve("/a", bomb, headers=GZIP, chunked=True)
    payload = await get(downloader, href, integrity=sha256(bomb))
    assert payload.data == bomb


async def test_a_compressed_answer_that_stands_still_or_trickles_is_given_up(
    server: WebServer,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(DATA)[:12]
    impatient = open_one(idle_timeout_s=0.1)
    try:
        for told in ({}, {"integrity": sha256(DATA)}):
            href = server.serve("/a", script=stall_after(head))
            assert (await failure(impatient, href, **told)).reason is Reason.TIMEOUT
            href = server.serve("/b", script=trickle(head, piece=b"\0", interval_s=0.01))
            error = await failure(impatient, href, integrity=sha256(DATA))
            assert error.reason is Reason.TIMEOUT
    finally:
        await impatient.close()


async def test_memory_of_encoded_answers_is_given_back(
    server: WebServer, downloader: Downloader
) -> None:
    href = server.serve("/a", gzip.compress(DATA), headers=GZIP)
    memory = downloader._memory  # type: ignore[attr-defined]
    held = [await get(downloader, href) for _ in range(4)]
    assert memory.used_bytes == 4 * (len(DATA) + PIECE_BYTES)
    held.clear()
    assert memory.used_bytes == len(memory.large_of) == 0


def test_encodings_are_read_from_all_their_headers() -> None:
    assert content_coding([]) == ""
    assert content_coding(["", "Identity"]) == ""
    assert content_coding([" X-Gzip "]) == "gzip"
    assert content_coding(["gzip", "br"]) == "gzip, br"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(
    data=st.binary(max_size=2000),
    repeat=st.integers(1, 500),
    members=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    coding=st.sampled_from(["gzip", "deflate"]),
)
def test_however_it_is_cut_into_pieces_the_same_comes_out(
    data: bytes, repeat: int, members: int, cuts: list[int], coding: str
) -> None:
    body = data * repeat
    packed = gzip.compress(body) * members if coding == "gzip" else zlib.compress(body)
    whole = body * (members if coding == "gzip" else 1)
    decoder = Decoder(coding)
    pieces = [piece for part in split(packed, cuts) for piece in decoder.feed(part)]
    assert b"".join(pieces) == whole
    assert decoder.is_at_end
    assert all(len(piece) <= 256 * 1024 for piece in pieces)


@given(
    data=st.binary(max_size=500),
    damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=5),
    coding=st.sampled_from(["gzip", "deflate"]),
)
def test_damaged_data_is_broken_or_decoded_and_nothing_else(
    data: bytes, damage: list[tuple[int, int]], coding: str
) -> None:
    packed = bytearray(gzip.compress(data) if coding == "gzip" else zlib.compress(data))
    for position, value in damage:
        packed[position % len(packed)] = value
    decoder = Decoder(coding)
    try:
        for _ in decoder.feed(bytes(packed)):
            pass
    except Broken as error:
        assert_plain(str(error))


def test_a_file_of_nothing_but_empty_members_is_broken() -> None:
    decoder = Decoder("gzip")
    with pytest.raises(Broken, match="too many"):
        list(decoder.feed(gzip.compress(b"") * 10_000))
