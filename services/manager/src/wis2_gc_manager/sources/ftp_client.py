"""Gets data over FTP (wis2-rules.md 15), on aioftp. Anonymous, or with the credentials of the link.

There is one session per item: such items are rare, and servers count sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aioftp

from wis2_gc_common.errors import Reason, Refused, SourceError
from wis2_gc_common.runtime.causes import RESETS, os_words
from wis2_gc_manager.sources.timeouts import Timeouts, sooner

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from wis2_gc_manager.sources.addresses import Addresses
    from wis2_gc_manager.sources.body import Body
    from wis2_gc_manager.sources.link_target import Target

_READ_BYTES = 256 * 1024
#: The most that a server may send on the control connection; greetings with rules take a few kB.
_MAX_CONTROL_BYTES = 64 * 1024
_MAX_PORT = 65_535
_ANONYMOUS_PASSWORD = "wis2-global-cache@"  # noqa: S105 - the custom of anonymous FTP
#: What aioftp raises for answers that it cannot parse.
_NONSENSE = (aioftp.AIOFTPException, ValueError, IndexError, OverflowError)


class _TooTalkative(ValueError):
    """More text on the control connection than any session requires."""


class FtpClient:
    """Gets ftp targets."""

    def __init__(self, addresses: Addresses, *, timeouts: Timeouts) -> None:
        self._addresses = addresses
        self._timeouts = timeouts

    async def get(self, target: Target, body: Body) -> None:
        """Fill `body`. Raises SourceError, Refused among them, and what `body` raises."""
        command = f"RETR {_server_path(target)}"
        client = _Client(self._addresses, self._timeouts)
        try:
            with (
                sooner(body.deadline, self._timeouts.connect_s + self._timeouts.idle_s),
                _translated(lost=Reason.CONNECT),
            ):
                stream, size = await self._begin(client, target, command)
            body.begin(size)
            while True:
                with _translated(lost=Reason.TRUNCATED):
                    chunk = await stream.read(_READ_BYTES)
                if not chunk:
                    break
                await body.add(chunk)
            with _translated(lost=Reason.TRUNCATED):
                await stream.finish()
        finally:
            client.close_all()

    async def _begin(
        self, client: _Client, target: Target, command: str
    ) -> tuple[aioftp.DataConnectionThrottleStreamIO, int | None]:
        """Return the open data connection, and the size if the server reports it."""
        await client.connect(target.host, target.port)
        user, password = target.url.user, target.url.password
        await client.login(user or "anonymous", password or _ANONYMOUS_PASSWORD)
        await client.command("TYPE I", "200")
        size = None
        with contextlib.suppress(aioftp.StatusCodeError):
            _, lines = await client.command(command.replace("RETR", "SIZE", 1), "213")
            text = lines[-1].strip()
            size = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None  # noqa: PLR2004 - digits of 2**63
        return await client.get_stream(command, "1xx"), size


class _Client(aioftp.Client):
    """Connects only to checked addresses; for data, to the address of the control connection."""

    def __init__(self, addresses: Addresses, timeouts: Timeouts) -> None:
        super().__init__(socket_timeout=timeouts.idle_s)
        self._addresses = addresses
        self._connect_timeout_s = timeouts.connect_s
        self._peer: str | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._control_bytes = 0

    async def _open_connection(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the control connection first, then data connections; only PASV's port is used."""
        if not 0 < port <= _MAX_PORT:
            # uvloop would connect to the port's last 16 bits.
            raise ValueError("no port")
        async with asyncio.timeout(self._connect_timeout_s):
            if self._peer is None:
                connection = await self._addresses.connect(host, port)
                self._peer = _peer(connection)
            else:
                connection = await self._addresses.connect_data(self._peer, port)
            reader, writer = await asyncio.open_connection(sock=connection)
        self._writers.append(writer)
        return reader, writer

    async def parse_line(self) -> tuple[aioftp.Code, str]:
        """Read one line of an answer, in any character set, within bounds."""
        line = await self.stream.readline()
        if not line:
            raise ConnectionResetError("control connection closed")
        self._control_bytes += len(line)
        if self._control_bytes > _MAX_CONTROL_BYTES:
            raise _TooTalkative(f"replies of over {_MAX_CONTROL_BYTES // 1024} kB")
        text = line.decode("utf-8", errors="replace").rstrip()
        return aioftp.Code(text[:3]), text[3:]

    def close_all(self) -> None:
        """Close control and data connections."""
        for writer in self._writers:
            writer.close()


def _peer(connection: socket.socket) -> str:
    return str(connection.getpeername()[0])


def _server_path(target: Target) -> str:
    """Return the path to RETR: relative to the login's folder, absolute after `//` or `/%2F`.

    Source: RFC 1738 section 3.2.2.
    """
    path = target.path.removeprefix("/").partition(";type=")[0]
    if not path:
        raise Refused(Reason.INVALID_URL, "no file")
    return path


@contextlib.contextmanager
def _translated(*, lost: Reason) -> Iterator[None]:
    """Translate errors; `lost` is the reason for a connection that broke off."""
    try:
        yield
    except aioftp.StatusCodeError as error:
        raise _status_error(str(error.received_codes[-1]), lost) from None
    except TimeoutError:
        raise SourceError(Reason.TIMEOUT, "nothing was received in time") from None
    except OSError as error:
        is_reset = error.errno in RESETS or isinstance(error, ConnectionResetError)
        raise SourceError(lost, os_words(error), is_fleeting=is_reset) from error
    except _TooTalkative as error:
        raise SourceError(Reason.PROTOCOL, str(error)) from error
    except _NONSENSE as error:
        raise SourceError(Reason.PROTOCOL, "not a valid FTP reply") from error


def _status_error(code: str, lost: Reason) -> SourceError:
    """Return what a reply code means. Source: RFC 959 section 4.2."""
    reason = Reason.PROTOCOL
    if code == "421":
        reason = Reason.THROTTLED
    elif code in ("425", "426"):
        reason = lost
    elif code in ("430", "530", "532"):
        reason = Reason.DENIED
    elif code in ("450", "550", "553"):
        reason = Reason.NOT_FOUND
    elif code.startswith("4"):
        reason = Reason.SERVER_ERROR
    return SourceError(reason, f"FTP reply {code[:3]}")
