"""Data servers that do what they like: each on a port of its own, written byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trustme

from testkit.hostile.catalogue import URL_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: How fast servers without an end send: the good server is in the same process as they are.
_BLOCK_PAUSE_S = 0.02


class HostileServers:
    """Servers on 127.0.0.1 in one thread; each closes its connection when its talk ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tls: ssl.SSLContext | None = None

    def open(self, talk: Talk, *, tls: bool = False) -> int:
        """Start a server and return its port."""
        server = asyncio.run_coroutine_threadsafe(self._open(talk, tls=tls), self._loop)
        return server.result(20)

    async def _open(self, talk: Talk, *, tls: bool) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(Exception):
                await talk(reader, writer)
            with contextlib.suppress(Exception):
                writer.close()

        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=self._untrusted() if tls else None
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _untrusted(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trustme.CA().issue_cert("127.0.0.1").configure_cert(self._tls)
        return self._tls

    def http(self, talk: Talk, path: str = "/item.bufr", *, tls: bool = False) -> str:
        """Start an HTTP server: the request is read, then `talk` answers. Return its URL."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)

        return f"http{'s' * tls}://127.0.0.1:{self.open(answer, tls=tls)}{path}?sig={URL_KEY}"

    def raw(self, *pieces: bytes) -> str:
        """Start an HTTP server that sends exactly this to every request."""
        return self.http(send(*pieces))

    def body(self, data: bytes, *headers: str, status: str = "200 OK") -> str:
        """Start an HTTP server with an answer that is right but for what is said here."""
        return self.raw(head(*headers, f"Content-Length: {len(data)}", status=status) + data)

    def redirect(self, location: str, *headers: str, status: str = "302 Found") -> str:
        return self.raw(head(f"Location: {location}", *headers, "Content-Length: 0", status=status))

    def close(self) -> None:
        async def close() -> None:
            for server in self._servers:
                server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@contextlib.contextmanager
def hostile_servers() -> Iterator[HostileServers]:
    servers = HostileServers()
    try:
        yield servers
    finally:
        servers.close()


class NoServers(HostileServers):
    """For callers that only list the inputs."""

    def __init__(self) -> None:
        pass

    def open(self, talk: Talk, *, tls: bool = False) -> int:
        return 9


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("utf-8")


def send(*pieces: bytes) -> Talk:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return talk


def then_hang(*pieces: bytes) -> Talk:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(*pieces)(_reader, writer)
        await asyncio.Event().wait()

    return talk


def then_reset(*pieces: bytes) -> Talk:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(*pieces)(_reader, writer)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return talk


def without_end(begin: bytes, block: bytes, *, pause_s: float = _BLOCK_PAUSE_S) -> Talk:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk


def replies(*answers: tuple[str, bytes], greeting: bytes = b"220 ready\r\n") -> Talk:
    """Return an FTP server's control connection: the answer to each command, 502 to others."""
    by_command = dict(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            command = line.decode("latin-1").split()[0].upper() if line.split() else ""
            writer.write(by_command.get(command, b"502 no\r\n"))
            await writer.drain()

    return talk
