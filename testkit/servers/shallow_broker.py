"""A broker that ends the session of who publishes on more levels than it takes, as EMQX does.

mosquitto takes more than any topic that gets into the cache has: this stands in front of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.servers.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_PUBLISH = 3
#: DISCONNECT of MQTT 5: topic name invalid.
_TOPIC_NAME_INVALID = b"\xe0\x01\x90"


class ShallowBroker(TcpProxy):
    """Listens on a port of its own for the broker on 127.0.0.1 with `target_port`."""

    def __init__(self, target_port: int, *, levels: int) -> None:
        self._levels = levels
        self.ended = 0
        """Sessions, for a topic."""
        super().__init__(target_port)

    @property
    def port(self) -> int:
        return self._port

    def is_too_deep(self, topic: bytes) -> bool:
        return topic.count(b"/") >= self._levels

    def _answer(self, packets: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return those that are answered of what came at once, each with its topic."""
        return packets

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        received = bytearray()
        while data := client.recv(65536):
            received += data
            for packet, topic in self._answer(list(packets(received))):
                if self.is_too_deep(topic):
                    self.ended += 1
                    client.sendall(_TOPIC_NAME_INVALID)
                    # If we close first, what comes meanwhile resets the connection, and the client
                    # may fail while it writes, before it reads the PUBACKs and the reason.
                    while client.recv(65536):
                        pass
                    return
                server.sendall(packet)


def packets(received: bytearray) -> Iterator[tuple[bytes, bytes]]:
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
