"""FTP sources, against pyftpdlib and against servers that lie."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from local.parts.ports import free_port
from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.plain_words import assert_plain
from wis2_gc_common.errors import IntegrityFailed, Overridden, Reason, Refused, SourceError
from wis2_gc_common.wis2.integrity import Integrity
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Payload, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from wis2_gc_manager.store.port import Upload

DATA = b"ISMD01 " * 1000
LARGE = DATA * 400
Replies = dict[str, str]


def no_lookup(host: str) -> list[str]:
    raise AssertionError(f"{host} is looked up")


@contextlib.asynccontextmanager
async def a_downloader(*, idle_timeout_s: float = 10) -> AsyncIterator[Downloader]:
    running = LinkDownloader(
        allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),),
        max_object_bytes=len(LARGE),
        concurrency_per_host=4,
        connect_timeout_s=10,
        idle_timeout_s=idle_timeout_s,
        total_timeout_s=30,
        ca_file=None,
        lookup=no_lookup,
    )
    try:
        yield running
    finally:
        await running.close()


@pytest_asyncio.fixture
async def downloader() -> AsyncIterator[Downloader]:
    async with a_downloader() as running:
        yield running


async def get(downloader: Downloader, href: str, **kwargs: Any) -> Payload:
    request = Request(href, kwargs.get("length"), kwargs.get("integrity"))
    return await downloader.fetch(request, no_upload)


async def failure(downloader: Downloader, href: str, **kwargs: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(downloader, href, **kwargs)
    assert_plain(caught.value.detail)
    return caught.value


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[str]:
    """A well-behaved server; its base URL without credentials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    folder = tmp_path / "ftp"
    (folder / "pub").mkdir(parents=True)
    (folder / "pub" / "a b.bufr").write_bytes(DATA)
    (folder / "pub" / "large").write_bytes(LARGE)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(folder))
    authorizer.add_user("centre", "p@ss", str(folder / "pub"))

    class Handler(FTPHandler):  # type: ignore[misc]
        auth_failed_timeout = 0

    Handler.authorizer = authorizer
    server = FTPServer(("127.0.0.1", 0), Handler)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            server.serve_forever(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{server.address[1]}"
    stopping.set()
    thread.join()
    server.close_all()


async def test_anonymous(downloader: Downloader, ftp: str) -> None:
    payload = await get(downloader, f"ftp://{ftp}/pub/a%20b.bufr;type=i", length=len(DATA))
    assert payload.data == DATA
    assert payload.digest == hashlib.sha512(DATA).digest()


async def test_with_the_credentials_of_the_link(downloader: Downloader, ftp: str) -> None:
    assert (await get(downloader, f"ftp://centre:p%40ss@{ftp}/a%20b.bufr")).data == DATA
    error = await failure(downloader, f"ftp://centre:geheim@{ftp}/a%20b.bufr")
    assert error.reason is Reason.DENIED
    assert "geheim" not in f"{error}"


async def test_a_large_file_goes_into_an_upload(downloader: Downloader, ftp: str) -> None:
    assert len(LARGE) > MAX_IN_MEMORY_BYTES
    upload = MemoryUpload()

    async def open_upload() -> Upload:
        return upload

    request = Request(f"ftp://{ftp}/pub/large", len(LARGE), None)
    payload = await downloader.fetch(request, open_upload)
    assert payload.upload is upload
    assert upload.data == LARGE


async def test_what_is_not_there_or_not_as_announced(downloader: Downloader, ftp: str) -> None:
    href = f"ftp://{ftp}/pub/a%20b.bufr"
    error = await failure(downloader, f"ftp://{ftp}/pub/none")
    assert error.reason is Reason.NOT_FOUND
    assert (await failure(downloader, href, length=5)).reason is Reason.LENGTH
    with pytest.raises(IntegrityFailed):
        await get(downloader, href, integrity=Integrity("sha256", bytes(32)))


async def test_too_large(downloader: Downloader, ftp: str, tmp_path: Path) -> None:
    (tmp_path / "ftp" / "pub" / "huge").write_bytes(LARGE + b"x")
    with pytest.raises(Overridden):
        await get(downloader, f"ftp://{ftp}/pub/huge")


class LyingServer:
    """Answers each command from a table; the data port is its own listener on 127.0.0.1."""

    def __init__(
        self,
        replies: Replies,
        data: bytes,
        *,
        closes_after_data: bool = False,
        end: bytes = b"226 done\r\n",
    ) -> None:
        self.commands: list[str] = []
        self._replies = {
            "USER": "331 password",
            "PASS": "230 welcome",
            "TYPE": "200 ok",
            "SIZE": "500 unknown",
            "EPSV": "500 unknown",
            "PASV": "227 ok ({pasv})",
            "RETR": "150 here it comes",
        } | replies
        self._greeting = replies.get("", "220 hello")
        self._data = data
        self._end = b"" if closes_after_data else end
        self._closes_after_data = closes_after_data
        self._writers: list[asyncio.StreamWriter] = []

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting.encode("latin-1") + b"\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split(" ")[0]
            self.commands.append(line)
            pasv = "10,0,0,1,{},{}".format(*divmod(self.data_port, 256))
            epsv = f"|||{self.data_port}|"
            reply = self._replies.get(verb, "502 no").format(pasv=pasv, epsv=epsv)
            writer.write(reply.encode("latin-1") + b"\r\n")
            if verb == "RETR" and reply.startswith("1"):
                await asyncio.wait_for(self.sent.wait(), 30)
                writer.write(self._end)
                if self._closes_after_data:
                    return

    async def data(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError):
            writer.write(self._data)
            await writer.drain()
        writer.close()
        self.sent.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        self.sent = asyncio.Event()
        async with (
            await asyncio.start_server(self.control, "127.0.0.1", 0) as control,
            await asyncio.start_server(self.data, "127.0.0.1", 0) as data,
        ):
            self.data_port = data.sockets[0].getsockname()[1]
            yield f"ftp://127.0.0.1:{control.sockets[0].getsockname()[1]}/a"
            for writer in self._writers:
                writer.close()


@pytest.mark.parametrize("extended", [True, False])
async def test_data_connections_go_to_the_checked_address_and_not_where_pasv_says(
    downloader: Downloader, extended: bool
) -> None:
    replies = {"EPSV": "229 ok ({epsv})"} if extended else {}
    server = LyingServer(replies, DATA)
    async with server.running() as href:
        assert (await get(downloader, href)).data == DATA
    assert server.commands[0] == "USER anonymous"
    assert server.commands[-1] == "RETR a"


async def test_pasv_cannot_lead_to_another_port_of_ours(downloader: Downloader) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        high, low = divmod(listener.getsockname()[1], 256)
        server = LyingServer({"PASV": f"227 ok (127,0,0,2,{high},{low})"}, DATA)
        async with server.running() as href:
            assert (await failure(downloader, href)).reason is Reason.CONNECT
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ({"": "421 too many"}, Reason.THROTTLED),
        ({"": "HTTP/1.1 400 Bad Request"}, Reason.TIMEOUT),  # an answer without an end
        ({"USER": "530 full"}, Reason.DENIED),
        ({"RETR": "550 none"}, Reason.NOT_FOUND),
        ({"RETR": "451 disk"}, Reason.SERVER_ERROR),
        ({"RETR": "501 what"}, Reason.PROTOCOL),
        ({"TYPE": "504 no"}, Reason.PROTOCOL),
        ({"PASV": "227 ok"}, Reason.PROTOCOL),
        ({"PASV": "227 ok (1,2,3)"}, Reason.PROTOCOL),
        ({"PASV": "227 ok (1,2,3,4,999999,1)"}, Reason.PROTOCOL),
        ({"PASV": "227 ok (1,2,3,4,-1,1)"}, Reason.PROTOCOL),
        ({"EPSV": "229 ok (|||99999999999|)"}, Reason.PROTOCOL),
        ({"PASV": "227 ok (127,0,0,1,0,25)"}, Reason.FORBIDDEN_PORT),
        ({"EPSV": "229 ok (|||22|)"}, Reason.FORBIDDEN_PORT),
        ({"EPSV": "229 ok"}, Reason.PROTOCOL),
        ({"": "220-" + "x" * 100 + "\r\n220-y" * 20_000}, Reason.PROTOCOL),
        ({"": "220 " + "x" * 200_000}, Reason.PROTOCOL),
        ({"SIZE": "213 99"}, Reason.TRUNCATED),
    ],
)
async def test_what_servers_say_has_a_reason(replies: Replies, reason: Reason) -> None:
    async with (
        a_downloader(idle_timeout_s=0.3 if reason is Reason.TIMEOUT else 10) as quick,
        LyingServer(replies, b"x" * 50).running() as href,
    ):
        assert (await failure(quick, href)).reason is reason


async def test_a_greeting_in_any_character_set_is_fine(downloader: Downloader) -> None:
    async with LyingServer({"": "220 Bienvenue \xe0 tous"}, DATA).running() as href:
        assert (await get(downloader, href)).data == DATA


async def test_a_transfer_that_breaks_off_is_truncated(downloader: Downloader) -> None:
    async with LyingServer({}, DATA, closes_after_data=True).running() as href:
        error = await failure(downloader, href)
        assert (error.reason, error.is_fleeting) == (Reason.TRUNCATED, True)


async def test_an_empty_file_is_data_only_where_it_is_announced(downloader: Downloader) -> None:
    async with LyingServer({}, b"").running() as href:
        assert (await failure(downloader, href)).reason is Reason.EMPTY
        assert (await get(downloader, href, length=0)).data == b""


async def test_a_transfer_that_ends_without_its_final_reply_is_a_failure() -> None:
    async with (
        a_downloader(idle_timeout_s=0.3) as impatient,
        LyingServer({}, DATA, end=b"").running() as href,
    ):
        assert (await failure(impatient, href)).reason is Reason.TIMEOUT


@pytest.mark.parametrize("end", ["426 aborted", "451 disk", "550 gone"])
async def test_a_transfer_whose_final_reply_is_bad_is_a_failure(
    downloader: Downloader, end: str
) -> None:
    async with LyingServer({}, DATA, end=f"{end}\r\n".encode()).running() as href:
        await failure(downloader, href)


async def test_a_forbidden_address_is_refused(downloader: Downloader) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        error = await failure(downloader, f"ftp://127.0.0.2:{listener.getsockname()[1]}/a")
        assert isinstance(error, Refused)
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_nobody_listens(downloader: Downloader) -> None:
    href = f"ftp://127.0.0.1:{free_port()}/a"
    assert (await failure(downloader, href)).reason is Reason.CONNECT
