"""A broker that ends the session of who publishes on more levels than it takes, as EMQX does.

mosquitto takes more than any topic that gets into the cache has: this stands in front of it.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PUBLISH = 3
#: DISCONNECT of MQTT 5: topic name invalid.
_TOPIC_NAME_INVALID = b"\xe0\x01\x90"


class ShallowBroker:
    """Listens on a port of its own for the broker on 127.0.0.1 with `target_port`."""

    def __init__(self, target_port: int, *, levels: int) -> None:
        self._target_port = target_port
        self._levels = levels
        self.ended = 0
        """Sessions, for a topic."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for connection in (self._server, *list(self._connections)):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    client.close()
                    continue
                for connection in (client, broker):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections |= {client, broker}
                threading.Thread(target=self._serve, args=(client, broker), daemon=True).start()

    def _serve(self, client: socket.socket, broker: socket.socket) -> None:
        back = threading.Thread(target=_to_client, args=(client, broker), daemon=True)
        back.start()
        with suppress(OSError):
            self._to_broker(client, broker)
        for connection in (client, broker):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        back.join()
        for connection in (client, broker):
            self._connections.discard(connection)
            connection.close()

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        received = bytearray()
        while data := client.recv(65536):
            received += data
            for packet, topic in _packets(received):
                if topic.count(b"/") >= self._levels:
                    self.ended += 1
                    client.sendall(_TOPIC_NAME_INVALID)
                    return
                broker.sendall(packet)


def _to_client(client: socket.socket, broker: socket.socket) -> None:
    with suppress(OSError):
        while data := broker.recv(65536):
            client.sendall(data)
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _packets(received: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take whole packets of MQTT off `received`; yield each with its topic, b"" if it has none."""
    while len(received) >= 2:
        length, at = 0, 1
        while True:  # seven bits a byte, the lowest first
            if at == len(received):
                return
            length |= (received[at] & 127) << 7 * (at - 1)
            at += 1
            if not received[at - 1] & 128:
                break
        if len(received) < at + length:
            return
        packet = bytes(received[: at + length])
        del received[: at + length]
        topic = b""
        if packet[0] >> 4 == _PUBLISH:
            topic = packet[at + 2 : at + 2 + int.from_bytes(packet[at : at + 2])]
        yield packet, topic
