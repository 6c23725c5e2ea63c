"""A TCP proxy that forwards every request and now and then loses a reply.

What was asked for has then happened, and the asker does not know: it asks again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from testkit.servers.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    import socket


class LossyProxy(TcpProxy):
    """Listens on a port of its own for a server on 127.0.0.1.

    `loss`: share of the replies that are swallowed and the connection cut; one in ten of those is
    swallowed without a cut, so that the asker runs into its time-out.
    """

    def __init__(self, target_port: int, *, loss: float = 0.02, seed: int = 1) -> None:
        self._loss = loss
        self._random = random.Random(seed)
        self.lost = 0
        super().__init__(target_port)

    @property
    def port(self) -> int:
        return self._port

    def calm(self) -> None:
        """Lose nothing from now on."""
        self._loss = 0.0

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        is_silent = False
        while data := server.recv(65536):
            if not is_silent and self._random.random() < self._loss:
                self.lost += 1
                if self._random.random() > 0.1:
                    break
                is_silent = True
            if not is_silent:
                client.sendall(data)
