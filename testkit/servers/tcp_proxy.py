"""A TCP proxy on a port of its own, on 127.0.0.1; subclasses do to connections what they test."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TcpProxy:
    """Stands in front of a server on this machine, and passes everything on.

    Each connection has a thread for each direction; the one that ends first ends the other.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self._target_port, self._target_host = target_port, target_host
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, socket.socket] = {}
        self._port = 0
        self._listen()

    def turn_to(self, port: int) -> None:
        """Connect new clients to another server from now on, as a name does after a failover."""
        self._target_port = port

    def close(self) -> None:
        """End all."""
        self._stop_listening()
        for pair in self._pairs():
            end(*pair)

    def _pairs(self) -> list[tuple[socket.socket, socket.socket]]:
        with self._lock:
            return list(self._connections.items())

    def _listen(self) -> None:
        """Listen, again on the same port."""
        self._server = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def _stop_listening(self) -> None:
        end(self._server)
        self._server.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                port = self._target_port
                try:
                    server = socket.create_connection((self._target_host, port))
                except OSError:
                    client.close()
                    continue
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._connections[client] = server
                if listening.fileno() < 0 or port != self._target_port:
                    # Who has just turned elsewhere, or ended all, did not know of this one.
                    end(client, server)
                threading.Thread(target=self._run, args=(client, server), daemon=True).start()

    def _run(self, client: socket.socket, server: socket.socket) -> None:
        replies = threading.Thread(
            target=self._pump, args=(self._replies, client, server), daemon=True
        )
        replies.start()
        self._pump(self._requests, client, server)
        replies.join()
        with self._lock:
            del self._connections[client]
        client.close()
        server.close()

    def _pump(
        self,
        pump: Callable[[socket.socket, socket.socket], None],
        client: socket.socket,
        server: socket.socket,
    ) -> None:
        with suppress(OSError):
            pump(client, server)
        end(client, server)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the client says, until the end of the connection."""
        while data := client.recv(65536):
            server.sendall(data)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the server says, until the end of the connection."""
        while data := server.recv(65536):
            client.sendall(data)


def end(*connections: socket.socket) -> None:
    """Shut connections down; all that reads or writes there stops."""
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
