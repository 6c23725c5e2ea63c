"""The event loop of a manager: uvloop, which closes no file twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    import socket


class EventLoop(uvloop.Loop):
    """uvloop, with a guard for connections that are reset while they are handed over.

    Where a server resets the connection during the TLS handshake, `create_connection(sock=…)` of
    uvloop 0.23 closes the file and leaves its number with the socket object. When that object is
    collected, the file that has this number by then is closed: a connection to Redis, or an upload.
    """

    async def create_connection(
        self,
        protocol_factory: Any,
        *args: Any,
        sock: socket.socket | None = None,
        **options: Any,
    ) -> Any:
        """Connect as asyncio does; a socket whose file was closed has none afterwards."""
        if sock is None:
            return await super().create_connection(protocol_factory, *args, **options)
        inode = _inode(sock)
        try:
            return await super().create_connection(protocol_factory, *args, sock=sock, **options)
        finally:
            if sock.fileno() >= 0 and _inode(sock) != inode:
                sock.detach()


def _inode(sock: socket.socket) -> int | None:
    """Return what tells one open socket from all others; None: its file is closed."""
    try:
        return os.fstat(sock.fileno()).st_ino
    except OSError:
        return None
