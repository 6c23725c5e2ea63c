"""A web server for tests, helpful or hostile, that writes its answers byte by byte.

    async with WebServer() as server:
        server.serve("/good", b"data")
        server.serve("/missing", status=404)
        server.serve("/short", b"da", content_length=4)
        server.serve("/odd", script=hang)
        url = server.url("/good")

It listens on 127.0.0.1, on a port the system picks. `requests` is what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Script = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]

#: Connections that wait to be accepted: to one beyond asyncio's 100 the kernel does not answer, and
#: the client asks again after a second.
_BACKLOG = 4096
_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    connection: int
    """Counts connections from 1, so that tests see which requests shared one."""


@dataclass(slots=True)
class Answer:
    """What a path gives."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_length: int | None = None
    """What the answer claims; None: the truth."""
    chunked: bool = False
    close: bool = False
    """Close the connection afterwards."""
    gate: asyncio.Event | None = None
    """Answer only once this is set."""
    script: Script | None = None
    """Writes the whole answer itself; the connection is closed afterwards."""


class WebServer:
    """Serves what the test told it to; everything else is 404."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._tls = tls
        self._host = host
        self._answers: dict[str, Answer] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve_connection,
            self._host,
            0,
            ssl=self._tls,
            limit=_MAX_HEAD_BYTES,
            backlog=_BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, path: str = "/", *, host: str | None = None) -> str:
        """Return the URL of a path; `host` for names that a test resolves itself."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{host or self._host}:{self.port}{path}"

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        content_length: int | None = None,
        chunked: bool = False,
        close: bool = False,
        gate: asyncio.Event | None = None,
        script: Script | None = None,
    ) -> str:
        """Say what a path (query included) gives from now on; return its URL."""
        self._answers[path] = Answer(
            body=body,
            status=status,
            headers=headers or {},
            content_length=content_length,
            chunked=chunked,
            close=close,
            gate=gate,
            script=script,
        )
        return self.url(path)

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            await self._serve_requests(self.connections, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            # Only __aexit__ cancels; a cancelled handler would be logged as an error.
            pass
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve_requests(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.rstrip("\r\n").split("\r\n")
            method, path, _ = request_line.split(" ", 2)
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            received = Received(method, path, headers, connection)
            self.requests.append(received)
            answer = self._answers.get(path, Answer(b"not found", 404))
            if answer.gate is not None:
                await answer.gate.wait()
            if answer.script is not None:
                await answer.script(received, writer)
                return
            self._write(answer, writer)
            await writer.drain()
            if answer.close or answer.content_length is not None:
                return

    @staticmethod
    def _write(answer: Answer, writer: asyncio.StreamWriter) -> None:
        size = len(answer.body) if answer.content_length is None else answer.content_length
        headers = {"Content-Type": "application/octet-stream", **answer.headers}
        headers |= (
            {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(size)}
        )
        phrase = HTTPStatus(answer.status).phrase
        lines = [f"HTTP/1.1 {answer.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if not answer.chunked:
            writer.write(answer.body)
            return
        for start in range(0, len(answer.body), 1000):
            chunk = answer.body[start : start + 1000]
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        writer.write(b"0\r\n\r\n")


@contextlib.contextmanager
def served() -> Iterator[WebServer]:
    """A web server in a thread of its own."""
    loop, server, started = asyncio.new_event_loop(), WebServer(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def hang(_request: Received, _writer: asyncio.StreamWriter) -> None:
    """Take the request, then never say a word."""
    await asyncio.Event().wait()


async def close_silently(_request: Received, _writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""


async def reset(_request: Received, writer: asyncio.StreamWriter) -> None:
    """Break the connection with a TCP reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def raw(*pieces: bytes) -> Script:
    """Send exactly these bytes, then close."""

    async def script(_request: Received, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return script


def stall_after(*pieces: bytes) -> Script:
    """Send these bytes, then stand still with the connection open."""

    async def script(_request: Received, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await asyncio.Event().wait()

    return script


def trickle(head: bytes, *, piece: bytes = b"x", interval_s: float) -> Script:
    """Send `head`, then `piece` again and again, for ever."""

    async def script(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(interval_s)

    return script


def stream(size_bytes: int, *, block: bytes, announce: bool = True) -> Script:
    """Send `size_bytes` made of repeated `block`, with or without a Content-Length."""

    async def script(_request: Received, writer: asyncio.StreamWriter) -> None:
        length = f"Content-Length: {size_bytes}\r\n" if announce else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode())
        left = size_bytes
        while left > 0:
            writer.write(block[:left])
            await writer.drain()
            left -= len(block)

    return script
