"""No file of somebody else is closed with a connection that was reset."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
import uvloop

from wis2_gc_manager.event_loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Callable


async def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, server.getsockname())
        other, _ = server.accept()
    return sock, other


async def fail_at_tls(sock: socket.socket, other: socket.socket) -> None:
    """Begin TLS with a server that has reset the connection."""
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    with pytest.raises(ConnectionResetError):
        await asyncio.get_running_loop().create_connection(
            asyncio.Protocol,
            sock=sock,
            ssl=ssl.create_default_context(),
            server_hostname="wis2.example",
        )


async def has_number_of_a_closed_file() -> bool:
    """Whether the socket of a failed connection would close what has its number by now."""
    sock, other = await connected()
    await fail_at_tls(sock, other)
    if sock.fileno() < 0:
        return False
    try:
        os.fstat(sock.fileno())
    except OSError:
        sock.detach()
        return True
    raise AssertionError("the connection is open")


@pytest.mark.parametrize(("loop", "expected"), [(EventLoop, False), (uvloop.Loop, True)])
def test_the_socket_of_a_reset_connection_closes_no_file_of_others(
    loop: Callable[[], asyncio.AbstractEventLoop],
    expected: bool,
) -> None:
    # When uvloop alone passes it, our own loop can go.
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(has_number_of_a_closed_file()) is expected


def test_a_connection_that_lasts_is_left_alone() -> None:
    async def talk() -> bytes:
        sock, other = await connected()
        reader, writer = await asyncio.open_connection(sock=sock)
        assert sock.fileno() >= 0
        other.sendall(b"hello")
        other.close()
        said = await reader.read()
        writer.close()
        return said

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        assert runner.run(talk()) == b"hello"
