"""A paho client that no message can disconnect or fill with data.

A publisher on a Global Broker chooses the user properties of its message, and paho refuses some:
those that break MQTT, but also U+FEFF, which MQTT allows. The connection would end, and the session
would bring the same message again, for ever: one message would stop everything from its broker. We
use no properties, so this client does not read them.

With MQTT 3.1.1 we cannot tell the broker our size limit, and a message may have 256 MB. So this
client keeps only the beginning while it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import MQTTErrorCode

from wis2_gc_common.wis2.notification import MAX_NOTIFICATION_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

#: With MQTT 5 the broker does not send more; 16 times the largest valid notification.
MAX_PACKET_BYTES = 16 * MAX_NOTIFICATION_BYTES
#: Most bytes of a length in MQTT's variable form.
_MAX_LENGTH_BYTES = 4
_QOS_2 = 2


class Delivery(NamedTuple):
    """One PUBLISH as the broker delivered it; a tuple, because there are many."""

    topic: bytes
    payload: bytes
    packet_id: int
    """0 for QoS 0."""
    qos: int
    is_retained: bool


class LenientClient(Client):
    """Hands each PUBLISH to `on_delivery`; `on_message` is not called."""

    on_delivery: Callable[[Delivery], None]

    # This is private to paho, whose version is pinned; there is no public way.

    def _packet_read(self) -> MQTTErrorCode:
        result = super()._packet_read()
        # paho counts the missing bytes separately, so we can remove the rest here.
        del self._in_packet["packet"][MAX_PACKET_BYTES:]
        return result

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        try:
            delivery = decode_publish(
                packet["command"],
                bytes(packet["packet"][:MAX_PACKET_BYTES]),
                is_v5=self._protocol == MQTTv5,
            )
        except ValueError:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.on_delivery(delivery)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def decode_publish(header: int, packet: bytes, *, is_v5: bool) -> Delivery:
    """Return what a PUBLISH delivers: `header` is its first byte, `packet` what follows its length.

    Raises ValueError: it is shorter than it says, or has a QoS that we never request.
    """
    qos = header >> 1 & 3
    if qos >= _QOS_2:
        raise ValueError("QoS 2 or 3")
    topic_end = at = 2 + int.from_bytes(packet[:2])
    packet_id = 0
    if qos:
        at += 2
        packet_id = int.from_bytes(packet[topic_end:at])
    if is_v5:
        length, at = _variable_length(packet, at)
        at += length
    if at > len(packet):
        raise ValueError("shorter than it says")
    return Delivery(packet[2:topic_end], packet[at:], packet_id, qos, bool(header & 1))


def _variable_length(packet: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and the position after it. Raises ValueError."""
    length = 0
    for index, byte in enumerate(packet[at : at + _MAX_LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - the flag for one more byte
            return length, at + index + 1
    raise ValueError("a length without an end")
