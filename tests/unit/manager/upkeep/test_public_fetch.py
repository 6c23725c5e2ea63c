"""One object through its public URL, from servers that work and that do not."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from testkit.servers.web_server import WebServer, close_silently, hang, raw, reset
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_manager.pipeline.public_check import Sample, Shortage
from wis2_gc_manager.upkeep import public_fetch
from wis2_gc_manager.upkeep.public_fetch import MAX_REDIRECTS, WHOLE_BYTES, PublicFetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from testkit.servers.web_server import Script

DATA = b"BUFR" * 1000
LARGE = bytes(range(256)) * 1000


def sample_of(url: str, data: bytes = DATA, *, size: int | None = None) -> Sample:
    digest = hashlib.sha512(data).digest()
    return Sample(url, "k", "yy-met", len(data) if size is None else size, "sha512", digest)


@pytest.fixture
async def fetch() -> AsyncIterator[PublicFetch]:
    fetch = PublicFetch(client_context())
    yield fetch
    await fetch.close()


async def test_a_small_object_is_fetched_whole_and_compared(fetch: PublicFetch) -> None:
    async with WebServer() as server:
        assert await fetch(sample_of(server.serve("/a", DATA))) == ""
        other = server.serve("/b", DATA[:-1] + b"x")
        assert await fetch(sample_of(other)) == "other bytes than were stored"
        assert await fetch(sample_of(server.serve("/c", b""), b"")) == ""
        assert await fetch(sample_of(server.serve("/d", DATA, chunked=True))) == ""
        assert server.requests[0].headers["accept-encoding"] == "identity"
        assert server.connections == len(server.requests)


async def test_of_a_large_object_only_the_beginning_is_fetched(fetch: PublicFetch) -> None:
    part = LARGE[:WHOLE_BYTES]
    headers = {"Content-Range": f"bytes 0-{WHOLE_BYTES - 1}/{len(LARGE)}"}
    async with WebServer() as server:
        url = server.serve("/part", part, status=206, headers=headers)
        assert await fetch(sample_of(url, LARGE)) == ""
        assert server.requests[0].headers["range"] == f"bytes=0-{WHOLE_BYTES - 1}"
        # A server that knows no ranges.
        assert await fetch(sample_of(server.serve("/whole", LARGE), LARGE)) == ""
        short = server.serve("/short", LARGE[:-1])
        assert await fetch(sample_of(short, LARGE)) == "255999 bytes instead of 256000"
        headers = {"Content-Range": f"bytes 0-{WHOLE_BYTES - 1}/{len(LARGE) - 1}"}
        url = server.serve("/other", part, status=206, headers=headers)
        assert await fetch(sample_of(url, LARGE)) == "255999 bytes instead of 256000"
        url = server.serve("/chunked", LARGE[:1000], chunked=True)
        assert await fetch(sample_of(url, LARGE)) == "1000 bytes instead of 256000"


@pytest.mark.parametrize("status", [403, 404, 500, 503])
async def test_another_status_is_told(fetch: PublicFetch, status: int) -> None:
    async with WebServer() as server:
        url = server.serve("/a", DATA, status=status)
        assert await fetch(sample_of(url)) == f"status {status}"


async def test_redirects_are_followed_but_not_for_ever(fetch: PublicFetch) -> None:
    async with WebServer() as server:
        server.serve("/0", DATA)
        for number in range(1, MAX_REDIRECTS + 2):
            server.serve(f"/{number}", status=302, headers={"Location": f"/{number - 1}"})
        assert await fetch(sample_of(server.url(f"/{MAX_REDIRECTS}"))) == ""
        problem = await fetch(sample_of(server.url(f"/{MAX_REDIRECTS + 1}")))
        assert problem == f"more than {MAX_REDIRECTS} redirects"
        nowhere = server.serve("/nowhere", status=302, headers={"Location": "ftp://x.test/"})
        problem = await fetch(sample_of(nowhere))
        assert problem == "it redirects to another scheme than http or https"
        nowhere = server.serve("/nothing", status=302, headers={"Location": "http://[/"})
        assert await fetch(sample_of(nowhere)) == "it redirects to what is not a URL"


async def test_the_very_url_that_is_announced_is_asked_for(fetch: PublicFetch) -> None:
    path = "/a%2Bb%40c%2Cd%3De"
    async with WebServer() as server:
        assert await fetch(sample_of(server.serve(path, DATA))) == ""
        assert server.requests[0].path == path


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (close_silently, "the connection ends before the answer does"),
        (reset, "the connection ends before the answer does"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "the answer is not HTTP"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nBUFR"),
            "the connection ends before the answer does",
        ),
    ],
    ids=["closes", "resets", "speaks no HTTP", "cuts short"],
)
async def test_a_server_that_does_not_answer_is_told_without_a_class_name(
    fetch: PublicFetch, script: Script, problem: str
) -> None:
    async with WebServer() as server:
        assert await fetch(sample_of(server.serve("/a", script=script))) == problem


async def test_a_server_that_hangs_is_left(
    fetch: PublicFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_fetch, "TIMEOUT_S", 0.2)
    async with WebServer() as server:
        url = server.serve("/a", script=hang)
        assert await fetch(sample_of(url)) == "no answer within 0.2 s"


async def test_nobody_there(fetch: PublicFetch) -> None:
    async with WebServer() as server:
        url = server.url("/a")
    assert (await fetch(sample_of(url))).startswith("cannot be connected to: ")
    problem = await fetch(sample_of("http://nobody.invalid/a"))
    assert problem == "its host name cannot be resolved"


async def test_a_certificate_is_verified_also_with_our_own_authorities(
    fetch: PublicFetch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    trusting = PublicFetch(client_context(ca_file))
    async with WebServer(tls=context) as server:
        url = server.serve("/a", DATA)
        assert await trusting(sample_of(url)) == ""
        problem = await fetch(sample_of(url))
        assert problem.startswith("its TLS certificate is not valid for us: unable to get")
    await trusting.close()


async def test_a_server_without_tls_where_the_url_has_it(fetch: PublicFetch) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        problem = await fetch(sample_of(f"https://127.0.0.1:{port}/a"))
    assert problem == "the TLS handshake fails"


async def test_that_we_ask_too_often_says_nothing_of_the_url(fetch: PublicFetch) -> None:
    async with WebServer() as server:
        url = server.serve("/a", DATA, status=429)
        with pytest.raises(Shortage, match="no more requests of ours"):
            await fetch(sample_of(url))


async def test_no_open_file_left_to_us_is_a_shortage_and_says_nothing_of_the_url(
    fetch: PublicFetch,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with WebServer() as server:
        url = server.serve("/a", DATA)
        try:
            # No file can be opened whose number is not below the limit.
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            with pytest.raises(Shortage, match="Too many open files"):
                await fetch(sample_of(url))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
