"""A TCP proxy that forwards every request and now and then loses a reply.

What was asked for has then happened, and the asker does not know: it asks again.
"""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress


class LossyProxy:
    """Listens on a port of its own for a server on 127.0.0.1.

    `loss`: share of the replies that are swallowed and the connection cut; one in ten of those is
    swallowed without a cut, so that the asker runs into its time-out.
    """

    def __init__(self, target_port: int, *, loss: float = 0.02, seed: int = 1) -> None:
        self._target_port = target_port
        self._loss = loss
        self._random = random.Random(seed)
        self.lost = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def calm(self) -> None:
        """Lose nothing from now on."""
        self._loss = 0.0

    def turn_to(self, port: int) -> None:
        """Connect whoever comes from now on to another server, as a name does after a failover."""
        self._target_port = port

    def close(self) -> None:
        for connection in (self._server, *self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    client.close()
                    continue
                self._connections += [client, server]
                for pump in (self._requests, self._replies):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        is_silent = False
        with suppress(OSError):
            while data := server.recv(65536):
                if not is_silent and self._random.random() < self._loss:
                    self.lost += 1
                    if self._random.random() > 0.1:
                        break
                    is_silent = True
                if not is_silent:
                    client.sendall(data)
        _end(client, server)


def _end(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
