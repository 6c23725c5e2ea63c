"""An MQTT broker that says what the test gives it: what a real one says too rarely."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from testkit.servers.shallow_broker import packets

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT, PUBACK, SUBSCRIBE, PINGREQ = 1, 4, 8, 12
CONNACK_V5 = b"\x20\x03\x00\x00\x00"
#: `<ID>` stands for the packet id of the request. Two filters: QoS 1 granted.
SUBACK_V5 = b"\x90\x05<ID>\x00\x01\x01"
#: The second of two filters: 0x87, not authorized.
SUBACK_V5_REFUSED = b"\x90\x05<ID>\x00\x01\x87"
PINGRESP = b"\xd0\x00"
DISCONNECT_TAKEN_OVER = b"\xe0\x01\x8e"
HANG_UP = b""


def publish_v5(topic: str, payload: bytes, *, packet_id: int, properties: bytes = b"") -> bytes:
    """Return a PUBLISH of QoS 1; together shorter than 16 kB, `properties` than 128 bytes."""
    head = len(topic).to_bytes(2) + topic.encode() + packet_id.to_bytes(2)
    body = head + bytes([len(properties)]) + properties + payload
    return b"\x32" + bytes([len(body) % 128 | 128, len(body) // 128]) + body


class ScriptedBroker:
    """Serves one connection at a time; `answers`: packet type → bytes, HANG_UP closes."""

    def __init__(self, answers: dict[int, bytes]) -> None:
        self.answers = answers
        self.connections = 0
        self.connect_packets: list[bytes] = []
        self.subscribes = 0
        self.pubacks: list[tuple[int, int]] = []
        """(number of the connection, packet id), as they came."""
        self._connection: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        self._thread.start()

    def say(self, packet: bytes) -> None:
        """Send something that nobody asked for."""
        if self._connection is not None:
            self._connection.sendall(packet)

    def hang_up(self) -> None:
        """Break the connection off."""
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.connections += 1
                self._connection = connection
                with connection:
                    connection.settimeout(0.1)
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        received = bytearray()
        while not self._stopping.is_set():
            try:
                data = connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            received += data
            for packet, _topic in packets(received):
                kind = packet[0] >> 4
                if kind == CONNECT:
                    self.connect_packets.append(packet)
                self.subscribes += kind == SUBSCRIBE
                if kind == PUBACK:
                    # Each is of 4 bytes, or more where it gives a reason.
                    self.pubacks.append((self.connections, int.from_bytes(packet[2:4])))
                answer = self.answers.get(kind)
                if answer == HANG_UP:
                    return
                if answer is not None:
                    connection.sendall(answer.replace(b"<ID>", packet[2:4]))


@contextlib.contextmanager
def scripted_broker(answers: dict[int, bytes]) -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(answers)
    broker.start()
    try:
        yield broker
    finally:
        broker.close()
