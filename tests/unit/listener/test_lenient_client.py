from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from wis2_gc_common.wis2.notification import MAX_NOTIFICATION_BYTES
from wis2_gc_listener.lenient_client import (
    MAX_PACKET_BYTES,
    Delivery,
    LenientClient,
    decode_publish,
)


def length_of(data: bytes) -> bytes:
    """Return the length as MQTT writes it."""
    number, encoded = len(data), b""
    while True:
        number, low = divmod(number, 128)
        encoded += bytes([low | 128 if number else low])
        if not number:
            return encoded


def packet_of(delivery: Delivery, properties: bytes | None) -> tuple[int, bytes]:
    header = 0x30 | delivery.qos << 1 | delivery.is_retained
    body = len(delivery.topic).to_bytes(2) + delivery.topic
    if delivery.qos:
        body += delivery.packet_id.to_bytes(2)
    if properties is not None:
        body += length_of(properties) + properties
    return header, body + delivery.payload


@given(
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.integers(0, 1),
    st.integers(1, 65535),
    st.booleans(),
    st.none() | st.binary(max_size=20_000),
)
def test_a_delivery_is_read_with_all_properties(
    topic: bytes, payload: bytes, qos: int, packet_id: int, is_retained: bool, odd: bytes | None
) -> None:
    sent = Delivery(topic, payload, packet_id if qos else 0, qos, is_retained)
    header, packet = packet_of(sent, odd)
    assert decode_publish(header, packet, is_v5=odd is not None) == sent


@given(st.integers(0x30, 0x3F), st.binary(max_size=40), st.booleans())
def test_all_that_comes_is_a_delivery_or_refused(header: int, packet: bytes, is_v5: bool) -> None:
    try:
        delivery = decode_publish(header, packet, is_v5=is_v5)
    except ValueError:
        return
    assert len(delivery.topic) + len(delivery.payload) <= len(packet)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x00", b"\x00\x05abc", b"\x00\x01a\x00", b"\x00\x01a\x00\x01\x05abc",
     b"\x00\x01a\x00\x01\xff\xff\xff\xff\x01"],
)  # fmt: skip
def test_what_is_shorter_than_it_says_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"shorter|length"):
        decode_publish(0x32, packet, is_v5=True)


def test_of_a_huge_message_only_the_beginning_is_kept() -> None:
    """MQTT 3.1.1 knows no Maximum Packet Size."""
    client = LenientClient(CallbackAPIVersion.VERSION2, protocol=MQTTv311, manual_ack=True)
    deliveries: list[Delivery] = []
    client.on_delivery = deliveries.append
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        client._sock = ours
        last = Delivery(b"a/b", b"{}", 8, 1, False)
        size = 20_000_000
        packets = b""
        for sent in (Delivery(b"a/b", bytes(size), 7, 1, False), last):
            header, packet = packet_of(sent, None)
            packets += bytes([header]) + length_of(packet) + packet
        kept = at = 0
        while len(deliveries) < 2:
            with contextlib.suppress(BlockingIOError):
                at += theirs.send(packets[at : at + 100_000])
            client.loop_read()
            kept = max(kept, len(client._in_packet["packet"]))
        client._sock = None
    assert kept <= MAX_PACKET_BYTES
    first, second = deliveries
    assert (first.topic, first.packet_id) == (b"a/b", 7)
    assert MAX_NOTIFICATION_BYTES < len(first.payload) < MAX_PACKET_BYTES
    assert second == last


@pytest.mark.parametrize("header", [0x34, 0x36])
def test_a_quality_of_service_that_we_never_ask_for_is_refused(header: int) -> None:
    with pytest.raises(ValueError, match="QoS"):
        decode_publish(header, b"\x00\x01a\x00\x01\x00", is_v5=True)
