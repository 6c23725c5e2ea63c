"""The downloader over HTTP, against a server that does what the test says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import errno
import hashlib
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import trustme

from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.plain_words import assert_plain
from testkit.servers.web_server import (
    WebServer,
    close_silently,
    hang,
    raw,
    reset,
    stall_after,
    stream,
    trickle,
)
from testkit.waiting import until
from wis2_gc_common.errors import (
    HostBusy,
    IntegrityFailed,
    Overridden,
    Reason,
    Refused,
    SourceError,
    Unavailable,
)
from wis2_gc_common.wis2.integrity import Integrity
from wis2_gc_manager.sources import http_client
from wis2_gc_manager.sources.downloader import MAX_REDIRECTS, LinkDownloader
from wis2_gc_manager.sources.hosts import FAILURES_TO_OPEN
from wis2_gc_manager.sources.http_client import retry_after_s
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Payload, Request

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_manager.sources.lookups import Lookup
    from wis2_gc_manager.store.port import Upload

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
DATA = bytes(range(256)) * 8
LARGE = DATA * 1024 + b"end"
NEVER_S = 3600.0
HANGING_S = 30.0
Open = Callable[..., Downloader]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as running:
        yield running


@pytest_asyncio.fixture
async def open_() -> AsyncIterator[Open]:
    """Open downloaders that are closed after the test; settings that it does not name are lax."""
    opened: list[Downloader] = []

    def opener(**settings: Any) -> Downloader:
        defaults: dict[str, Any] = {
            "allowed_networks": LOOPBACK,
            "max_object_bytes": 10 * 1024 * 1024,
            "concurrency_per_host": 4,
            "connect_timeout_s": 20.0,
            "idle_timeout_s": 20.0,
            "total_timeout_s": NEVER_S,
            "ca_file": None,
            "lookup": no_lookup,
        }
        downloader = LinkDownloader(**defaults | settings)
        opened.append(downloader)
        return downloader

    yield opener
    for downloader in opened:
        await downloader.close()


def no_lookup(host: str) -> list[str]:
    raise AssertionError(f"{host} is looked up")


def resolves_to(*addresses: str) -> Lookup:
    return lambda _: addresses


async def get(
    downloader: Downloader,
    href: str,
    *,
    length: int | None = None,
    integrity: Integrity | None = None,
    media_type: str | None = None,
) -> Payload:
    request = Request(href, length, integrity, media_type)
    # What ends only by the bound of the whole time has not been ended by what a test is about.
    async with asyncio.timeout(HANGING_S):
        return await downloader.fetch(request, no_upload)


async def failure(
    downloader: Downloader, href: str, *, length: int | None = None, **kwargs: Any
) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(downloader, href, length=length, **kwargs)
    assert_plain(caught.value.detail)
    return caught.value


@contextlib.contextmanager
def silent_listener() -> Iterator[tuple[socket.socket, int]]:
    """A port on which every connection that is made can be seen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener, listener.getsockname()[1]


def assert_nobody_connected(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


async def test_a_small_body_is_returned_with_its_sha512(server: WebServer, open_: Open) -> None:
    payload = await get(open_(), server.serve("/a", DATA), length=len(DATA))
    assert payload == Payload(len(DATA), "sha512", hashlib.sha512(DATA).digest(), data=DATA)


async def test_an_empty_body_is_data_where_it_is_announced(server: WebServer, open_: Open) -> None:
    downloader = open_()
    href = server.serve("/a", b"")
    assert (await get(downloader, href, length=0)).data == b""
    digest = Integrity("sha256", hashlib.sha256(b"").digest())
    assert (await get(downloader, href, integrity=digest)).data == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_empty_body_that_nobody_announced_is_a_failure(
    server: WebServer, open_: Open, chunked: bool
) -> None:
    error = await failure(open_(), server.serve("/a", b"", chunked=chunked))
    assert error.reason is Reason.EMPTY


async def test_a_body_without_length_that_a_reset_ends_is_cut_short(
    server: WebServer, open_: Open
) -> None:
    async def script(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        await asyncio.wait_for(received.wait(), 20)
        await reset(request, writer)

    received = asyncio.Event()
    downloader = open_()
    href = server.serve("/a", script=script)
    error = asyncio.create_task(failure(downloader, href))
    # The downloader has asked, and has had the time to read what was sent.
    await until(lambda: server.requests)
    for _ in range(100):
        await asyncio.sleep(0)
    received.set()
    assert (await error).reason is Reason.TRUNCATED


def abrupt(head: bytes) -> Any:
    """Send `head` and DATA, then end the connection without closing TLS."""

    async def script(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(head + DATA)
        await writer.drain()
        writer.transport.abort()

    return script


async def test_over_tls_a_body_without_length_ends_where_tls_is_closed(
    open_: Open, tmp_path: Path
) -> None:
    authority, context = tls("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    downloader = open_(ca_file=ca_file)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    digest = Integrity("sha256", hashlib.sha256(DATA).digest())
    async with WebServer(tls=context) as server:
        closed = server.serve("/closed", script=raw(head + DATA))
        assert (await get(downloader, closed)).data == DATA
        cut = server.serve("/cut", script=abrupt(head))
        error = await failure(downloader, cut)
        assert (error.reason, error.is_fleeting) == (Reason.TRUNCATED, True)
        # Where length or checksum tell, TLS need not: many servers never close it.
        assert (await get(downloader, cut, length=len(DATA))).data == DATA
        assert (await get(downloader, cut, integrity=digest)).data == DATA
        assert (await failure(downloader, cut, length=9999)).reason is Reason.TRUNCATED
        with_length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA)
        told = server.serve("/told", script=abrupt(with_length))
        assert (await get(downloader, told)).data == DATA


@pytest.mark.parametrize("method", ["sha256", "sha384", "sha512", "sha3-256", "sha3-512"])
async def test_the_announced_checksum_is_verified(
    server: WebServer, open_: Open, method: Any
) -> None:
    digest = hashlib.new(method.replace("sha3-", "sha3_"), DATA).digest()
    downloader = open_()
    payload = await get(downloader, server.serve("/a", DATA), integrity=Integrity(method, digest))
    assert (payload.method, payload.digest) == (method, digest)
    with pytest.raises(IntegrityFailed) as caught:
        await get(
            downloader,
            server.serve("/b", DATA[1:]),
            integrity=Integrity(method, digest),
        )
    assert caught.value.reason is Reason.INTEGRITY


async def test_a_body_without_length_or_in_chunks_is_whole(server: WebServer, open_: Open) -> None:
    downloader = open_()
    assert (await get(downloader, server.serve("/a", DATA, chunked=True))).data == DATA
    href = server.serve("/b", script=raw(b"HTTP/1.0 200 OK\r\n\r\n", DATA))
    assert (await get(downloader, href)).data == DATA


@pytest.mark.parametrize("announces", [True, False])
async def test_a_large_body_goes_into_an_upload(
    server: WebServer, open_: Open, announces: bool
) -> None:
    href = server.serve("/a", script=stream(len(LARGE), block=LARGE, announce=announces))
    upload = MemoryUpload()

    async def open_upload() -> Upload:
        return upload

    payload = await open_().fetch(Request(href, len(LARGE), None), open_upload)
    assert payload.upload is upload
    assert payload.data is None
    assert payload.digest == hashlib.sha512(LARGE).digest()
    assert b"".join(upload.chunks) == LARGE
    assert not upload.is_aborted


async def test_a_body_of_exactly_the_limit_stays_in_memory(server: WebServer, open_: Open) -> None:
    body = b"x" * MAX_IN_MEMORY_BYTES
    assert (await get(open_(), server.serve("/a", body))).data == body


async def test_203_is_as_good_as_200(server: WebServer, open_: Open) -> None:
    href = server.serve("/a", DATA, status=203)
    assert (await get(open_(), href, length=len(DATA))).data == DATA


async def test_what_content_range_says_without_206_means_nothing(
    server: WebServer, open_: Open
) -> None:
    headers = {"Content-Range": f"bytes 0-{len(DATA) - 1}/*"}
    assert (await get(open_(), server.serve("/a", DATA, headers=headers))).data == DATA


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (202, "status 202: the data is not there yet"),
        (204, "status 204: no data"),
        (206, "status 206: a part of the data, which was not requested"),
        (304, "status 304: not modified, which was not requested"),
        (302, "status 302: a redirect without Location"),
        (404, "status 404"),
    ],
)
async def test_what_is_not_data_says_why(
    server: WebServer, open_: Open, status: int, detail: str
) -> None:
    assert (await failure(open_(), server.serve("/a", status=status))).detail == detail


async def test_long_headers_and_many_header_lines_are_fine(server: WebServer, open_: Open) -> None:
    downloader = open_()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(DATA)
    long_line = b"X-Policy: " + b"p" * 32_768 + b"\r\n\r\n"
    assert (await get(downloader, server.serve("/a", script=raw(head, long_line, DATA)))).data
    many = [b"X-%d: %s\r\n" % (n, b"v" * 160) for n in range(200)]
    href = server.serve("/b", script=raw(head, *many, b"\r\n", DATA))
    assert (await get(downloader, href)).data == DATA


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "a header line of over 64 kB"),
        (b"HTTP/1.1 200 " + b"O" * 100_000, "a header line of over 64 kB"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 600, "over 500 header lines"),
        (b"220 welcome to my mail server\r\n", "no HTTP status line"),
        (b"HTTP/1.1 200 OK\r\nX y\r\n\r\n", "not valid HTTP: Invalid header token"),
    ],
    ids=["long line", "long status", "many lines", "another protocol", "no colon"],
)
async def test_what_is_wrong_with_an_answer_is_said_in_plain_words(
    server: WebServer, open_: Open, answer: bytes, detail: str
) -> None:
    error = await failure(open_(), server.serve("/a", script=raw(answer, b"\r\n\r\n")))
    assert (error.reason, error.detail) == (Reason.PROTOCOL, detail)


async def test_a_head_is_bounded_as_a_whole_too(server: WebServer, open_: Open) -> None:
    line = b"X: " + b"y" * 8000 + b"\r\n"
    script = trickle(b"HTTP/1.1 200 OK\r\n", piece=line, interval_s=0)
    error = await failure(open_(), server.serve("/a", script=script))
    assert (error.reason, error.detail) == (Reason.PROTOCOL, "headers of over 128 kB")


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (reset, "connection reset by peer"),
        (close_silently, "the server closed the connection"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
            "the connection ended before the body",
        ),
    ],
)
async def test_how_a_connection_ended_is_said_in_plain_words(
    server: WebServer, open_: Open, script: Any, detail: str
) -> None:
    assert (await failure(open_(), server.serve("/a", script=script))).detail == detail


async def test_a_refused_connection_and_an_unknown_name_are_said_in_plain_words(
    open_: Open,
) -> None:
    with silent_listener() as (_, port):
        pass
    assert (await failure(open_(), f"http://127.0.0.1:{port}/")).detail == "connection refused"

    def fail(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    error = await failure(open_(lookup=fail), "http://nowhere.example/")
    assert error.detail == "name or service not known"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.NOT_FOUND),
        (410, Reason.NOT_FOUND),
        (401, Reason.DENIED),
        (403, Reason.DENIED),
        (500, Reason.SERVER_ERROR),
        (502, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
        (400, Reason.HTTP_STATUS),
        (206, Reason.HTTP_STATUS),
        (204, Reason.HTTP_STATUS),
        (304, Reason.HTTP_STATUS),
        (302, Reason.HTTP_STATUS),  # it does not say where to
    ],
)
async def test_statuses_have_reasons(
    server: WebServer, open_: Open, status: int, reason: Reason
) -> None:
    error = await failure(open_(), server.serve("/a", status=status))
    assert error.reason is reason


@pytest.mark.parametrize(
    ("status", "headers", "is_fleeting"),
    [
        (500, {}, True),
        (502, {}, True),
        (503, {}, True),
        (503, {"Retry-After": "soon"}, True),
        (503, {"Retry-After": "5"}, False),
        (429, {}, False),
        (504, {}, False),
        (404, {}, False),
        (403, {}, False),
    ],
)
async def test_which_statuses_may_be_over_in_a_second(
    server: WebServer, open_: Open, status: int, headers: dict[str, str], is_fleeting: bool
) -> None:
    error = await failure(open_(), server.serve("/a", status=status, headers=headers))
    assert error.is_fleeting is is_fleeting


@pytest.mark.parametrize(
    "script",
    [
        reset,
        close_silently,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    ],
    ids=["reset", "closed", "cut short", "cut short in chunks"],
)
async def test_a_connection_that_breaks_off_may_be_over_in_a_second(
    server: WebServer, open_: Open, script: Any
) -> None:
    assert (await failure(open_(), server.serve("/a", script=script))).is_fleeting


async def test_a_port_that_nobody_listens_on_is_not_over_in_a_second(open_: Open) -> None:
    with silent_listener() as (_, port):
        pass
    assert not (await failure(open_(), f"http://127.0.0.1:{port}/")).is_fleeting


@pytest.mark.parametrize("status", [429, 503])
async def test_a_throttling_host_is_left_alone_as_long_as_it_asks(
    server: WebServer, open_: Open, status: int
) -> None:
    downloader = open_()
    href = server.serve("/a", status=status, headers={"Retry-After": "33"})
    error = await failure(downloader, href)
    assert (error.reason, error.retry_after_s) == (Reason.THROTTLED, 33)
    error = await failure(downloader, server.serve("/b", DATA))
    assert isinstance(error, HostBusy)
    assert error.reason is Reason.THROTTLED
    assert error.retry_after_s == pytest.approx(33, abs=5)
    assert len(server.requests) == 1


def test_retry_after_is_a_number_or_a_date() -> None:
    now = time.time()
    assert retry_after_s(" 120 ", now) == 120
    date = email.utils.formatdate(now + 60, usegmt=True)
    assert retry_after_s(date, now) == pytest.approx(60, abs=1)
    assert retry_after_s(email.utils.formatdate(now - 60, usegmt=True), now) == 0
    for nonsense in (None, "", "soon", "-5", "1e9", "Mon, 99 Foo 9999 99:99:99 GMT", "٣"):
        assert retry_after_s(nonsense, now) is None
    assert retry_after_s("9" * 5000, now) == 999_999_999


async def test_a_body_shorter_than_its_content_length_is_truncated(
    server: WebServer, open_: Open
) -> None:
    downloader = open_()
    error = await failure(downloader, server.serve("/a", DATA, content_length=len(DATA) + 1))
    assert error.reason is Reason.TRUNCATED
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    error = await failure(downloader, server.serve("/b", script=raw(cut)))
    assert error.reason is Reason.TRUNCATED


async def test_a_length_that_is_not_the_announced_one_is_told_before_the_body(
    server: WebServer, open_: Open
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    href = server.serve("/a", script=stall_after(head))
    assert (await failure(open_(), href, length=99)).reason is Reason.LENGTH


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1])
async def test_a_length_that_is_not_the_announced_one_is_told_after_the_body(
    server: WebServer, open_: Open, length: int
) -> None:
    href = server.serve("/a", DATA, chunked=True)
    assert (await failure(open_(), href, length=length)).reason is Reason.LENGTH


async def test_an_object_over_the_limit_is_overridden(server: WebServer, open_: Open) -> None:
    downloader = open_(max_object_bytes=1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
    asked = server.serve("/a", script=stall_after(head))
    unasked = server.serve("/b", b"x" * 1001, chunked=True)
    for href in (asked, unasked):
        with pytest.raises(Overridden) as caught:
            await get(downloader, href)
        assert caught.value.reason is Reason.TOO_LARGE
    assert [request.path for request in server.requests] == ["/a", "/b"]
    assert (await get(downloader, server.serve("/d", b"x" * 1000))).size_bytes == 1000


async def test_a_page_instead_of_data_is_refused_where_nothing_else_tells(
    server: WebServer, open_: Open
) -> None:
    downloader = open_()
    page = b"<html>not found</html>"
    href = server.serve("/a", page, headers={"Content-Type": "Text/HTML; charset=utf-8"})
    error = await failure(downloader, href, media_type="application/bufr")
    assert error.reason is Reason.HTML_INSTEAD_OF_DATA
    assert (await failure(downloader, href)).reason is Reason.HTML_INSTEAD_OF_DATA
    assert (await get(downloader, href, media_type="text/html;charset=utf-8")).data == page
    assert (await get(downloader, href, length=len(page))).data == page
    digest = Integrity("sha256", hashlib.sha256(page).digest())
    assert (await get(downloader, href, integrity=digest)).data == page


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (reset, Reason.CONNECT),
        (close_silently, Reason.CONNECT),
        (raw(b"220 welcome to my mail server\r\n"), Reason.PROTOCOL),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), Reason.PROTOCOL),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            Reason.PROTOCOL,
        ),
        (raw(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 100_000, b"\r\n\r\n"), Reason.PROTOCOL),
        (
            raw(b"HTTP/1.1 200 OK\r\n", *[b"X-%d: y\r\n" % n for n in range(1000)], b"\r\n"),
            Reason.PROTOCOL,
        ),
    ],
)
async def test_servers_that_break_off_or_speak_nonsense(
    server: WebServer, open_: Open, script: Any, reason: Reason
) -> None:
    assert (await failure(open_(), server.serve("/a", script=script))).reason is reason


async def test_a_port_that_nobody_listens_on(open_: Open) -> None:
    with silent_listener() as (_, port):
        pass
    assert (await failure(open_(), f"http://127.0.0.1:{port}/")).reason is Reason.CONNECT


@pytest.mark.parametrize(
    "script",
    [
        hang,
        stall_after(b"HTTP/1.1 200 OK\r\n"),
        stall_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    ],
)
async def test_a_server_that_stands_still_is_given_up(
    server: WebServer, open_: Open, script: Any
) -> None:
    href = server.serve("/a", script=script)
    error = await failure(open_(idle_timeout_s=0.1), href)
    assert error.reason is Reason.TIMEOUT


async def test_a_head_that_trickles_in_is_given_up(server: WebServer, open_: Open) -> None:
    script = trickle(b"HTTP/1.1 200 OK\r\nX: ", interval_s=0.01)
    downloader = open_(idle_timeout_s=0.1, connect_timeout_s=0.1)
    error = await failure(downloader, server.serve("/a", script=script))
    assert error.reason is Reason.TIMEOUT


async def test_a_body_that_trickles_in_is_given_up(server: WebServer, open_: Open) -> None:
    script = trickle(b"HTTP/1.1 200 OK\r\n\r\n", interval_s=0.01)
    error = await failure(open_(idle_timeout_s=0.1), server.serve("/a", script=script))
    assert error.reason is Reason.TIMEOUT
    assert "a second" in error.detail


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;", b"x" * 5000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nBUFR\r\n4;", b"x" * 5000),
    ],
    ids=["interim answers", "a chunk's extension", "an extension after data"],
)
async def test_who_sends_without_end_what_is_not_data_is_given_up(
    server: WebServer, open_: Open, head: bytes, piece: bytes
) -> None:
    href = server.serve("/a", script=trickle(head, piece=piece, interval_s=0))
    error = await failure(open_(), href)
    assert error.reason is Reason.PROTOCOL
    assert "without end" in error.detail or "kB" in error.detail


async def test_a_large_answer_before_is_not_a_licence_to_send_framing(
    server: WebServer, open_: Open
) -> None:
    downloader = open_()
    large = server.serve("/large", bytes(1024 * 1024))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;"
    sent = 0

    async def script(_request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while sent < 16 * 1024 * 1024:
            writer.write(b"x" * 5000)
            sent += 5000
            await writer.drain()

    flood = server.serve("/flood", script=script)
    await get(downloader, large)
    assert (await failure(downloader, flood)).reason is Reason.PROTOCOL
    assert {request.connection for request in server.requests} == {1}
    assert sent < 8 * 1024 * 1024


async def test_small_chunks_are_not_an_offence(server: WebServer, open_: Open) -> None:
    chunks = b"1\r\nx\r\n" * 100_000
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    href = server.serve("/a", script=raw(head + chunks + b"0\r\n\r\n"))
    assert (await get(open_(), href)).data == b"x" * 100_000


async def test_the_whole_time_is_bounded(server: WebServer, open_: Open) -> None:
    script = trickle(b"HTTP/1.1 200 OK\r\n\r\n", piece=b"x" * 5000, interval_s=0.01)
    error = await failure(open_(total_timeout_s=0.2), server.serve("/a", script=script))
    assert (error.reason, error.detail) == (Reason.TIMEOUT, "in all")


async def test_a_store_that_goes_away_is_not_the_servers_fault(
    server: WebServer, open_: Open
) -> None:
    href = server.serve("/a", LARGE)
    upload = MemoryUpload(fails=True)

    async def open_upload() -> Upload:
        return upload

    with pytest.raises(Unavailable):
        await open_().fetch(Request(href, None, None), open_upload)
    assert upload.is_aborted


@pytest.mark.parametrize("length", [None, len(LARGE) + 5])
async def test_an_upload_of_what_failed_is_aborted(
    server: WebServer, open_: Open, length: int | None
) -> None:
    href = server.serve("/a", LARGE, content_length=len(LARGE) + 5)
    upload = MemoryUpload()

    async def open_upload() -> Upload:
        return upload

    with pytest.raises(SourceError) as caught:
        await open_().fetch(Request(href, length, None), open_upload)
    assert caught.value.reason is Reason.TRUNCATED
    assert upload.is_aborted


async def test_a_cancelled_download_aborts_its_upload_and_gives_its_place_back(
    server: WebServer, open_: Open
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
    href = server.serve("/a", script=stall_after(head, b"x" * (MAX_IN_MEMORY_BYTES + 1)))
    upload, opened = MemoryUpload(), asyncio.Event()

    async def open_upload() -> Upload:
        opened.set()
        return upload

    downloader = open_(concurrency_per_host=1)
    task = asyncio.create_task(downloader.fetch(Request(href, None, None), open_upload))
    await asyncio.wait_for(opened.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upload.is_aborted
    assert (await get(downloader, server.serve("/b", DATA))).data == DATA


async def test_connections_are_kept(server: WebServer, open_: Open) -> None:
    downloader = open_()
    for path in ("/a", "/b", "/missing", "/c"):
        server.serve(path, DATA, status=404 if path == "/missing" else 200)
        with contextlib.suppress(SourceError):
            await get(downloader, server.url(path))
    assert [request.connection for request in server.requests] == [1, 1, 1, 1]


async def test_no_connections_are_kept_to_ever_more_hosts(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "MAX_KEPT_CONNECTIONS", 2)
    downloader = open_()
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(WebServer()) for _ in range(5)]
        for server in servers:
            for _ in range(2):
                assert (await get(downloader, server.serve("/a", DATA))).data == DATA
        await until(lambda: sum(server.open_connections for server in servers) == 2)
        assert [server.connections for server in servers] == [1, 2, 2, 2, 2]


async def test_a_kept_connection_that_the_server_closed_is_replaced(
    server: WebServer, open_: Open
) -> None:
    downloader = open_()
    await get(downloader, server.serve("/a", DATA, close=True))
    assert (await get(downloader, server.serve("/b", DATA))).data == DATA


async def test_no_cookies_and_no_proxies(
    server: WebServer, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_listener() as (proxy, port):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        downloader = open_()
        href = server.serve("/a", DATA, headers={"Set-Cookie": "id=1"})
        await get(downloader, href)
        await get(downloader, href)
        assert_nobody_connected(proxy)
    assert "cookie" not in server.requests[1].headers
    assert server.requests[1].headers["user-agent"].startswith("wis2-global-cache/")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/get?file=a/b.bufr&sig=%2Fab%3d", "/get?file=a/b.bufr&sig=%2Fab%3d"),
        ("/a b/%7Ex", "/a%20b/%7Ex"),
        ("/get?file=a b.bufr&sig=%2Fab%3d+c", "/get?file=a%20b.bufr&sig=%2Fab%3d+c"),
        ("/get?time=12:00 UTC&q=100%&z=Zürich", "/get?time=12:00%20UTC&q=100%25&z=Z%C3%BCrich"),
        ("/Zürich", "/Z%C3%BCrich"),
        ("/50%", "/50%25"),
        ("/x#part", "/x"),
        ("?q", "/?q"),
    ],
)
async def test_the_path_is_sent_as_it_is_where_it_can_be(
    server: WebServer, open_: Open, path: str, sent: str
) -> None:
    server.serve(sent, DATA)
    assert (await get(open_(), server.url(path))).data == DATA


async def test_redirects_are_followed(server: WebServer, open_: Open) -> None:
    server.serve("/end?x=%2F", DATA)
    server.serve("/2", status=307, headers={"Location": server.url("/end?x=%2F")})
    server.serve("/d/1", status=302, headers={"Location": "../2"})
    href = server.serve("/", status=301, headers={"Location": "d/1"})
    assert (await get(open_(), href)).data == DATA


async def test_a_space_in_a_redirect_is_quoted_and_nothing_else(
    server: WebServer, open_: Open
) -> None:
    server.serve("/b%20c?file=d%20e&sig=%2Fab%3d+c", DATA)
    location = server.url("/b c?file=d e&sig=%2Fab%3d+c")
    href = server.serve("/a", status=302, headers={"Location": location})
    assert (await get(open_(), href)).data == DATA


async def test_an_address_as_host_is_fine(open_: Open) -> None:
    downloader = open_(allowed_networks=(ipaddress.ip_network("::1/128"),))
    async with WebServer(host="::1") as server:
        server.serve("/a", DATA)
        assert (await get(downloader, f"http://[::1]:{server.port}/a")).data == DATA


async def test_at_most_five_redirects_are_followed(server: WebServer, open_: Open) -> None:
    server.serve("/0", DATA)
    for number in range(1, 8):
        server.serve(f"/{number}", status=302, headers={"Location": f"/{number - 1}"})
    downloader = open_()
    assert (await get(downloader, server.url(f"/{MAX_REDIRECTS}"))).data == DATA
    error = await failure(downloader, server.url(f"/{MAX_REDIRECTS + 1}"))
    assert error.reason is Reason.TOO_MANY_REDIRECTS
    href = server.serve("/loop", status=302, headers={"Location": "/loop"})
    assert (await failure(downloader, href)).reason is Reason.TOO_MANY_REDIRECTS


async def test_a_redirect_to_a_forbidden_address_makes_no_connection(
    server: WebServer, open_: Open
) -> None:
    only_server = (ipaddress.ip_network("127.0.0.1/32"),)
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        downloader = open_(allowed_networks=only_server, lookup=resolves_to("127.0.0.2"))
        for number, host in enumerate(
            ("127.0.0.2", "[::ffff:127.0.0.2]", "127.2", "2130706434", "evil.example", "0x7f.2")
        ):
            location = f"http://{host}:{port}/"
            href = server.serve(f"/{number}", status=302, headers={"Location": location})
            error = await failure(downloader, href)
            assert isinstance(error, Refused)
            assert error.reason is Reason.FORBIDDEN_ADDRESS
        assert_nobody_connected(listener)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://127.0.0.1/a", Reason.UNSUPPORTED_SCHEME),
        ("file:///etc/passwd", Reason.UNSUPPORTED_SCHEME),
        ("gopher://127.0.0.1/", Reason.UNSUPPORTED_SCHEME),
        ("http://127.0.0.1:99999/", Reason.INVALID_URL),
        ("http://%31/", Reason.INVALID_URL),
        ("\\\\127.0.0.1\\a", Reason.INVALID_URL),
        ("http://a\xa0b/", Reason.INVALID_URL),
    ],
)
async def test_redirects_lead_only_to_web_servers(
    server: WebServer, open_: Open, location: str, reason: Reason
) -> None:
    error = await failure(open_(), server.serve("/a", status=302, headers={"Location": location}))
    assert isinstance(error, Refused)
    assert error.reason is reason


async def test_credentials_stay_with_their_host(server: WebServer, open_: Open) -> None:
    async with WebServer() as other:
        other.serve("/end", DATA)
        server.serve("/2", status=302, headers={"Location": other.url("/end")})
        server.serve("/1", status=302, headers={"Location": "/2"})
        href = server.url("/1").replace("http://", "http://user:pass%40@")
        assert (await get(open_(), href)).data == DATA
        sent = ["authorization" in request.headers for request in server.requests]
        assert sent == [True, True]
        assert "authorization" not in other.requests[0].headers


async def test_a_redirect_may_name_credentials_of_its_own(server: WebServer, open_: Open) -> None:
    async with WebServer() as other:
        other.serve("/end", DATA)
        location = other.url("/end").replace("http://", "http://v:w@")
        server.serve("/1", status=302, headers={"Location": location})
        href = server.url("/1").replace("http://", "http://user:pass@")
        assert (await get(open_(), href)).data == DATA
        sent = base64.b64encode(b"v:w").decode()
        assert other.requests[0].headers["authorization"] == f"Basic {sent}"


async def test_passwords_are_in_no_error(open_: Open) -> None:
    with silent_listener() as (_, port):
        pass
    for href in (
        f"http://u:geheim@127.0.0.1:{port}/",
        "http://u:geheim@127.0.0.1:0/",
        "http://u:geheim@10.0.0.1/",
        "http://u:geheim@[::1/",
        "http://u:gehe im\\@x/",
    ):
        error = await failure(open_(), href)
        assert "geheim" not in f"{error} {error.detail}"
        assert error.__cause__ is None or "geheim" not in str(error.__cause__)


async def test_a_name_is_looked_up_once_and_only_what_was_checked_is_connected_to(
    server: WebServer, open_: Open
) -> None:
    server.serve("/a", DATA, close=True)
    with socket.create_server(("127.0.0.2", server.port)) as listener:
        listener.setblocking(False)
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        asked: list[str] = []

        def rebinding(host: str) -> list[str]:
            asked.append(host)
            return next(answers)

        downloader = open_(
            allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),), lookup=rebinding
        )
        for _ in range(3):
            href = server.url("/a", host="data.example")
            assert (await get(downloader, href)).data == DATA
        assert asked == ["data.example"]
        assert_nobody_connected(listener)
    assert server.requests[0].headers["host"] == f"data.example:{server.port}"


async def test_a_name_that_resolves_to_forbidden_addresses_is_refused(open_: Open) -> None:
    with silent_listener() as (listener, port):
        downloader = open_(
            allowed_networks=(), lookup=resolves_to("127.0.0.1", "::1", "::ffff:127.0.0.1")
        )
        error = await failure(downloader, f"http://localhost:{port}/")
        assert isinstance(error, Refused)
        assert error.reason is Reason.FORBIDDEN_ADDRESS
        assert_nobody_connected(listener)


async def test_of_several_addresses_only_the_admitted_are_tried(
    server: WebServer, open_: Open
) -> None:
    with socket.create_server(("127.0.0.2", server.port)) as listener:
        listener.setblocking(False)
        downloader = open_(
            allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),),
            lookup=resolves_to("127.0.0.2", "fe80::1%lo", "127.0.0.1"),
        )
        server.serve("/a", DATA)
        assert (await get(downloader, server.url("/a", host="h.example"))).data == DATA
        assert_nobody_connected(listener)


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "sftp"])
@pytest.mark.parametrize("port", [1, 25, 111, 389, 445, 6379, 10250])
async def test_a_port_of_no_data_server_is_refused(open_: Open, scheme: str, port: int) -> None:
    error = await failure(open_(), f"{scheme}://data.example:{port}/a")
    assert isinstance(error, Refused)
    assert error.reason is Reason.FORBIDDEN_PORT


async def test_a_redirect_to_a_port_of_no_data_server_is_refused(
    server: WebServer, open_: Open
) -> None:
    href = server.serve("/a", status=302, headers={"Location": "http://127.0.0.1:25/"})
    error = await failure(open_(), href)
    assert error.reason is Reason.FORBIDDEN_PORT


async def test_a_port_that_the_operator_allows_is_asked(open_: Open) -> None:
    downloader = open_(allowed_ports=(25,), lookup=resolves_to("127.0.0.1"))
    assert (await failure(downloader, "http://data.example:25/")).reason is Reason.CONNECT


async def test_a_network_that_the_operator_denies_is_not_connected_to(open_: Open) -> None:
    with silent_listener() as (listener, port):
        downloader = open_(denied_networks=LOOPBACK, lookup=resolves_to("127.0.0.1"))
        for host in ("127.0.0.1", "intranet.example"):
            error = await failure(downloader, f"http://{host}:{port}/")
            assert error.reason is Reason.FORBIDDEN_ADDRESS
        assert_nobody_connected(listener)


async def test_a_name_that_does_not_exist(open_: Open) -> None:
    def fail(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    error = await failure(open_(lookup=fail), "http://nowhere.example/")
    assert error.reason is Reason.DNS


async def test_a_name_server_that_hangs_is_a_time_out(open_: Open) -> None:
    is_over = threading.Event()

    def silent(host: str) -> list[str]:
        is_over.wait(60)
        return ["127.0.0.1"]

    try:
        error = await failure(open_(lookup=silent, connect_timeout_s=0.05), "http://slow.example/")
    finally:
        is_over.set()
    assert error.reason is Reason.TIMEOUT


async def test_a_centre_whose_name_servers_hang_does_not_hold_up_new_hosts_of_others(
    server: WebServer, open_: Open
) -> None:
    is_over = threading.Event()

    def lookup(host: str) -> list[str]:
        if host.endswith("evil.example"):
            is_over.wait(60)
        return ["127.0.0.1"]

    downloader = open_(lookup=lookup)

    def fetch(href: str, centre_id: str) -> asyncio.Task[Payload]:
        request = Request(href, None, None, centre_id=centre_id)
        return asyncio.create_task(downloader.fetch(request, no_upload))

    server.serve("/a", DATA)
    stuck = [fetch(f"http://{n}.x{n}.evil.example/", "xx-evil") for n in range(500)]
    try:
        for number in range(20):
            href = server.url("/a", host=f"{number}.good.example")
            assert (await fetch(href, "xx-good")).data == DATA
        busy = [task.exception() for task in stuck if task.done()]
        assert len(busy) > 400
        for error in busy:
            assert isinstance(error, HostBusy)
    finally:
        is_over.set()
        await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1{port}/",
        "HTTP://127.0.0.1{port}/",
        "http://2130706433{port}/",
        "http://0x7f.1{port}/",
        "http://0x7f000001{port}/",
        "http://0177.0.0.1{port}/",
        "http://127.1{port}/",
        "http://127.0.0.1.{port}/",
        "http://0{port}/",
        "http://[::1]{port}/",
        "http://[::ffff:127.0.0.1]{port}/",
        "http://[::ffff:7f00:1]{port}/",
        "http://[0:0:0:0:0:0:0:1]{port}/",
        "http://[::]{port}/",
        "http://public.example@127.0.0.1{port}/",
        "http://127.0.0.1{port}#@public.example/",
        "http://127.0.0.1{port}?@public.example/",
        "http://\uff11\uff12\uff17.0.0.1{port}/",
        "http://①②⑦.0.0.1{port}/",
        "http://127。0。0。1{port}/",
        "http://localhost{port}/",
        "http://ⓛocalhost{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]{port}/",
        "http://[2002:7f00:1::]{port}/",
        "ftp://127.0.0.1{port}/a",
        "sftp://127.1{port}/a",
    ],
)
async def test_no_spelling_reaches_a_forbidden_address(open_: Open, href: str) -> None:
    with silent_listener() as (listener, port):
        downloader = open_(allowed_networks=(), lookup=resolves_to("127.0.0.1"))
        error = await failure(downloader, href.format(port=f":{port}"))
        assert isinstance(error, Refused)
        assert error.reason is Reason.FORBIDDEN_ADDRESS
        assert_nobody_connected(listener)


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("", Reason.INVALID_URL),
        ("data/a.bufr", Reason.INVALID_URL),
        ("//127.0.0.1{port}/", Reason.INVALID_URL),
        ("http:///a", Reason.INVALID_URL),
        ("http:127.0.0.1{port}", Reason.INVALID_URL),
        ("http://%31%32%37.0.0.1{port}/", Reason.INVALID_URL),
        ("http://127.0.0.1%00.public.example{port}/", Reason.INVALID_URL),
        ("http://public.example\\@127.0.0.1{port}/", Reason.INVALID_URL),
        ("http://127.0.0.1{port}\\@public.example/", Reason.INVALID_URL),
        ("http://127.0.\t0.1{port}/", Reason.INVALID_URL),
        ("http://127.0.0.1{port}/\r\nHost: x", Reason.INVALID_URL),
        ("http://[::1%25lo]{port}/", Reason.INVALID_URL),
        ("http://[::1{port}/", Reason.INVALID_URL),
        ("http://127.0.0.1:99999/", Reason.INVALID_URL),
        ("http://127.0.0.1:0/", Reason.INVALID_URL),
        ("http://8.8.2056/", Reason.INVALID_URL),
        ("http://" + "a" * 64 + ".example/", Reason.INVALID_URL),
        ("http://h/" + "a" * 9000, Reason.INVALID_URL),
        ("http://\ud800/", Reason.INVALID_URL),
        ("ftp://127.0.0.1{port}/a%0D%0ADELE b", Reason.INVALID_URL),
        ("ftp://127.0.0.1{port}/%ff", Reason.INVALID_URL),
        ("ftp://127.0.0.1{port}/", Reason.INVALID_URL),
        ("file:///etc/passwd", Reason.UNSUPPORTED_SCHEME),
        ("gopher://127.0.0.1{port}/", Reason.UNSUPPORTED_SCHEME),
        ("mqtt://127.0.0.1{port}/", Reason.UNSUPPORTED_SCHEME),
        ("data:text/plain,abc", Reason.UNSUPPORTED_SCHEME),
        ("javascript:alert(1)", Reason.UNSUPPORTED_SCHEME),
    ],
)
async def test_what_is_not_a_link_is_refused_without_a_connection(
    open_: Open, href: str, reason: Reason
) -> None:
    with silent_listener() as (listener, port):
        error = await failure(open_(), href.replace("{port}", f":{port}"))
        assert isinstance(error, Refused)
        assert error.reason is reason
        assert_nobody_connected(listener)


def tls(name: str) -> tuple[trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return authority, context


async def test_https_with_an_authority_of_the_operators(open_: Open, tmp_path: Path) -> None:
    authority, context = tls("data.example")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    downloader = open_(ca_file=ca_file, lookup=resolves_to("127.0.0.1"))
    async with WebServer(tls=context) as server:
        server.serve("/a", DATA)
        for _ in range(2):
            assert (await get(downloader, server.url("/a", host="data.example"))).data == DATA
        assert server.connections == 1
        error = await failure(downloader, server.url("/a", host="other.example"))
        assert error.reason is Reason.TLS


async def test_a_certificate_nobody_vouches_for_is_refused(open_: Open) -> None:
    _, context = tls("127.0.0.1")
    downloader = open_()
    async with WebServer(tls=context) as server:
        for _ in range(10):  # it does not open the circuit either
            error = await failure(downloader, server.serve("/a", DATA))
            assert error.reason is Reason.TLS
        assert server.requests == []


async def test_an_incomplete_certificate_chain_is_called_by_its_name(
    open_: Open, tmp_path: Path
) -> None:
    root = trustme.CA()
    authority = root.create_child_ca()
    leaf = authority.issue_cert("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    root.cert_pem.write_to_path(str(ca_file))
    chain, key = tmp_path / "leaf.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(chain))
    leaf.private_key_pem.write_to_path(str(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    async with WebServer(tls=context) as server:
        error = await failure(open_(ca_file=ca_file), server.serve("/a", DATA))
    assert error.reason is Reason.TLS
    assert error.detail.startswith("the server sends an incomplete certificate chain")


async def test_a_certificate_that_has_expired_is_called_by_its_name(
    open_: Open, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    downloader = open_(ca_file=ca_file)
    async with WebServer(tls=context) as server:
        for _ in range(FAILURES_TO_OPEN + 1):  # the host is not left alone for it
            error = await failure(downloader, server.serve("/a", DATA))
            assert (error.reason, error.detail) == (Reason.TLS, "the certificate has expired")
        assert server.requests == []


async def test_a_certificate_for_another_host_is_called_by_its_name(
    open_: Open, tmp_path: Path
) -> None:
    authority, context = tls("data.example")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with WebServer(tls=context) as server:
        downloader = open_(ca_file=ca_file, lookup=resolves_to("127.0.0.1"))
        error = await failure(downloader, server.url("/a", host="other.example"))
        assert error.detail == "the certificate is for another host name"
        error = await failure(downloader, server.url("/a"))
        assert error.detail == "the certificate is for another IP address"


async def test_a_server_that_speaks_no_tls(open_: Open) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 no TLS here\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        error = await failure(open_(), f"https://127.0.0.1:{port}/")
        assert (error.reason, error.detail) == (
            Reason.TLS,
            "the server does not speak TLS on this port",
        )


async def test_a_missing_ca_file_is_told_at_once(open_: Open, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        open_(ca_file=tmp_path / "none.pem")


async def test_a_slow_host_does_not_hold_up_another(server: WebServer, open_: Open) -> None:
    downloader = open_(concurrency_per_host=2)
    async with WebServer() as slow:
        href = slow.serve("/a", script=hang)
        hanging = [asyncio.create_task(get(downloader, href)) for _ in range(2)]
        waiting = [asyncio.create_task(get(downloader, href)) for _ in range(20)]
        await until(lambda: sum(task.done() for task in waiting) >= 12)
        done = [task for task in waiting if task.done()]
        assert all(isinstance(task.exception(), HostBusy) for task in done)
        assert (await get(downloader, server.serve("/a", DATA))).data == DATA
        for task in hanging + waiting:
            task.cancel()
        await asyncio.gather(*hanging, *waiting, return_exceptions=True)
    assert slow.connections == 2


async def test_no_more_downloads_at_once_than_allowed(server: WebServer, open_: Open) -> None:
    downloader = open_(concurrency_per_host=3)
    gate = asyncio.Event()
    href = server.serve("/a", DATA, gate=gate)
    tasks = [asyncio.create_task(get(downloader, href)) for _ in range(6)]
    await until(lambda: len(server.requests) == 3)
    assert server.open_connections == 3
    gate.set()
    assert [payload.data for payload in await asyncio.gather(*tasks)] == [DATA] * 6
    assert server.connections == 3


async def test_five_failures_in_a_row_open_the_circuit(server: WebServer, open_: Open) -> None:
    downloader = open_()
    href = server.serve("/a", status=500)
    for _ in range(5):
        assert (await failure(downloader, href)).reason is Reason.SERVER_ERROR
    assert (await failure(downloader, href)).reason is Reason.CIRCUIT_OPEN
    assert len(server.requests) == 5


async def test_a_quick_second_try_does_not_count_towards_opening_the_circuit(
    server: WebServer, open_: Open
) -> None:
    downloader = open_()
    href = server.serve("/a", status=500)
    again = Request(href, None, None, is_again=True)
    for _ in range(4):
        await failure(downloader, href)
        with pytest.raises(SourceError):
            await downloader.fetch(again, no_upload)
    assert (await failure(downloader, href)).reason is Reason.SERVER_ERROR
    assert (await failure(downloader, href)).reason is Reason.CIRCUIT_OPEN
    assert len(server.requests) == 9


async def test_missing_files_do_not_open_the_circuit(server: WebServer, open_: Open) -> None:
    downloader = open_()
    for number in range(20):
        error = await failure(downloader, server.url(f"/{number}"))
        assert error.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRNOTAVAIL])
async def test_what_this_machine_is_short_of_is_held_against_no_host(
    server: WebServer, open_: Open, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    href = server.serve("/data", DATA)
    downloader = open_()
    with monkeypatch.context() as short:

        def no_socket(*_args: object) -> socket.socket:
            raise OSError(code, os.strerror(code))

        short.setattr("wis2_gc_manager.sources.address_guard.socket.socket", no_socket)
        for _ in range(FAILURES_TO_OPEN + 1):
            busy = await failure(downloader, href)
            assert isinstance(busy, HostBusy)
            assert busy.reason is Reason.HOST_QUEUE
    assert (await get(downloader, href)).data == DATA


@pytest.mark.parametrize("href", ["http://[2606:4700::1111]/data", "http://only-v6.example/data"])
async def test_a_host_of_ipv6_alone_is_not_a_shortage_where_this_machine_has_none(
    open_: Open, monkeypatch: pytest.MonkeyPatch, href: str
) -> None:
    def no_source_address(*_args: object) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    downloader = open_(lookup=resolves_to("2606:4700::1111"))
    monkeypatch.setattr("wis2_gc_manager.sources.address_guard.socket.socket", no_source_address)
    error = await failure(downloader, href)
    assert not isinstance(error, HostBusy)
    assert (error.reason, error.detail) == (Reason.CONNECT, "cannot assign requested address")
