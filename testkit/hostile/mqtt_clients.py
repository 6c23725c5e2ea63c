"""What anybody with the public account, or none, may try on our own broker."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from local.parts.mqtt_client import end
from testkit.hostile.catalogue import clients, mqtt_length
from testkit.messages.wnm import inline, wnm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paho.mqtt.enums import MQTTProtocolVersion

_ANSWER_S = 5


@dataclass(frozen=True)
class Client:
    """One client. `act` gets the port, and returns when it has done its worst.

    It raises AssertionError where the broker allows what it must not.
    """

    name: str
    act: Callable[[int], None]


def _forged(topic_centre: str = "xx-forged") -> tuple[str, bytes]:
    message = wnm(
        data_id=f"forged-{uuid.uuid4()}", content=inline(b"forged"),
        global_cache="xx-test-global-cache",
    )  # fmt: skip
    return f"cache/a/wis2/{topic_centre}/data/core/weather", json.dumps(message).encode()


@contextlib.contextmanager
def _everyone(
    port: int, *, name: str = "everyone", password: str = "everyone",
    version: MQTTProtocolVersion = mqtt.MQTTv5, client_id: str = "",
    will: tuple[str, bytes] | None = None, clean: bool = True,
) -> Iterator[mqtt.Client]:  # fmt: skip
    """Connect; whether the broker lets us in is in `user_data_get()`."""
    answered = threading.Event()
    codes: list[Any] = []
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, protocol=version, client_id=client_id or f"x-{uuid.uuid4()}",
        userdata=codes, reconnect_on_failure=False,
    )  # fmt: skip
    if name:
        client.username_pw_set(name, password)
    if will is not None:
        client.will_set(will[0], will[1], qos=1)

    def connected(_client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        codes.append(code)
        answered.set()

    client.on_connect = connected
    client.on_disconnect = lambda *_: answered.set()
    session = None
    if version == mqtt.MQTTv5:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 0 if clean else 0xFFFFFFFF
        client.connect("127.0.0.1", port, clean_start=clean, properties=session)
    else:
        client.connect("127.0.0.1", port)
    client.loop_start()
    answered.wait(_ANSWER_S)
    try:
        yield client
    finally:
        end(client)


@clients
def publications_of_everyone() -> Iterator[Client]:
    topic, payload = _forged()
    for target in (
        topic, "monitor/a/wis2/xx-forged", "origin/a/wis2/xx-forged/data/core/weather",
        "$SYS/broker/version", "$CONTROL/dynamic-security/v1", "a", "replay/a/wis2/x",
        "cache/a/wis2/" + "a/" * 150, "$share/a/cache/a/wis2/x",
    ):  # fmt: skip
        for qos in (0, 1, 2):

            def act(port: int, target: str = target, qos: int = qos) -> None:
                with _everyone(port) as client:
                    info = client.publish(target, payload, qos=qos)
                    with contextlib.suppress(RuntimeError, ValueError):
                        info.wait_for_publish(0.5)

            yield Client(f"{target[:40]} with QoS {qos}", act)

    def retained(port: int) -> None:
        with _everyone(port) as client:
            client.publish(topic, payload, qos=1, retain=True).wait_for_publish(1)

    yield Client("retained", retained)

    def administrator(port: int) -> None:
        order = {"command": "createClient", "username": "evil", "password": "evil"}
        with _everyone(port) as client:
            client.publish(
                "$CONTROL/dynamic-security/v1", json.dumps({"commands": [order]}), qos=1
            ).wait_for_publish(1)
        with _everyone(port, name="evil", password="evil") as client:
            assert not client.is_connected()

    yield Client("an order to make an account", administrator)


@clients
def subscriptions_of_everyone() -> Iterator[Client]:
    for odd in (
        "#", "+/a/wis2/#", "$SYS/#", "$SYS/broker/clients/total", "$CONTROL/#",
        "$CONTROL/dynamic-security/v1/response", "origin/a/wis2/#", "+/+/+/#", "cache/#",
        "monitor/#",
        "$share/evil/#", "a/b/c", "cache/a/+/#", "cache/a/wis3/#",
    ):  # fmt: skip

        def act(port: int, odd: str = odd) -> None:
            answers: list[Any] = []
            done = threading.Event()
            with _everyone(port) as client:

                def answered(_c: object, _u: object, _m: int, codes: list[Any], _p: object) -> None:
                    answers.extend(codes)
                    done.set()

                client.on_subscribe = answered
                client.on_disconnect = lambda *_: done.set()
                client.subscribe(odd, qos=1)
                assert done.wait(_ANSWER_S), "the broker does not answer"
            assert all(code.value >= 0x80 for code in answers), f"{odd} is granted: {answers}"

        yield Client(odd, act)


@clients
def subscriptions_that_are_many_or_huge() -> Iterator[Client]:
    def many(port: int) -> None:
        with _everyone(port) as client:
            for begin in range(0, 5000, 500):
                client.subscribe(
                    [(f"cache/a/wis2/x{number}/#", 1) for number in range(begin, begin + 500)]
                )

    yield Client("5000 of them", many)
    for name, odd in {
        "a filter of 60,000 letters": "cache/a/wis2/" + "a" * 60_000,
        "a filter of 190 levels": "cache/a/wis2/" + "+/" * 180 + "#",
        "a filter of 30,000 levels": "cache/a/wis2/" + "/" * 30_000,
    }.items():

        def act(port: int, odd: str = odd) -> None:
            # paho refuses the filter, or the broker ends the session before it takes the message.
            with _everyone(port) as client, contextlib.suppress(ValueError, RuntimeError):
                client.subscribe(odd, qos=1)
                client.publish("a", b"x", qos=1).wait_for_publish(0.3)

        yield Client(name, act)


@clients
def last_wills() -> Iterator[Client]:
    for topic in (
        _forged()[0], "monitor/a/wis2/xx-forged", "$SYS/x", "$CONTROL/dynamic-security/v1",
    ):  # fmt: skip

        def act(port: int, topic: str = topic) -> None:
            with _everyone(port, will=(topic, _forged()[1])) as client:
                sock = client.socket()
                if isinstance(sock, socket.socket):
                    # Without a DISCONNECT, so that the will is due.
                    sock.shutdown(socket.SHUT_RDWR)

        yield Client(topic, act)


@clients
def logins_that_are_wrong() -> Iterator[Client]:
    for name, password in (
        ("", ""), ("everyone", ""), ("everyone", "wrong"), ("wis2-gc-manager", "everyone"),
        ("wis2-gc-manager", ""), ("wis2-gc-manager", "manager"), ("admin", "admin"),
        ("admin", "public"), ("root", "root"), ("EVERYONE", "everyone"), ("everyone ", "everyone"),
        ("\u0435veryone", "everyone"), ("' OR 1=1 --", "x"), ("+", "#"), ("a" * 60_000, "b"),
    ):  # fmt: skip
        for version in (mqtt.MQTTv311, mqtt.MQTTv5):

            def act(
                port: int,
                name: str = name,
                password: str = password,
                version: MQTTProtocolVersion = version,
            ) -> None:
                with _everyone(port, name=name, password=password, version=version) as client:
                    assert not client.is_connected(), f"{name} is let in"

            yield Client(f"{name[:20]!r} with {password!r}, MQTT {version}", act)


@clients
def sessions_that_are_left_behind() -> Iterator[Client]:
    for number in range(20):

        def act(port: int, number: int = number) -> None:
            with _everyone(port, client_id=f"left-{number}", clean=False) as client:
                client.subscribe("cache/a/wis2/#", qos=1)
                sock = client.socket()
                if isinstance(sock, socket.socket):
                    sock.shutdown(socket.SHUT_RDWR)

        yield Client(f"number {number}", act)


def _packet(first: int, body: bytes, length: int | None = None) -> bytes:
    return bytes([first]) + mqtt_length(len(body) if length is None else length) + body


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2) + text


_CONNECT = _packet(
    0x10, _text(b"MQTT") + b"\x04\xc2\x00\x3c" + _text(b"raw") + _text(b"everyone") * 2
)


@clients
def packets_that_are_not_mqtt() -> Iterator[Client]:
    for name, packets in {
        "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "zeros": bytes(1000),
        "every byte": bytes(range(256)) * 4,
        "a reserved packet": b"\x00\x00",
        "another reserved packet": _CONNECT + b"\xf0\x00",
        "no name of a protocol": _packet(0x10, _text(b"") + b"\x04\x02\x00\x3c" + _text(b"x")),
        "a protocol of nobody": _packet(0x10, _text(b"MQXX") + b"\x04\x02\x00\x3c" + _text(b"x")),
        "a version of nobody": _packet(0x10, _text(b"MQTT") + b"\xff\x02\x00\x3c" + _text(b"x")),
        "a name longer than its packet": _packet(0x10, b"\xff\xffMQTT"),
        "the largest length": _packet(0x10, b"\x00\x04MQTT", 268_435_455),
        "a length of five bytes": b"\x10\xff\xff\xff\xff\x7f",
        "half a CONNECT": _CONNECT[:9],
        "a publication before the CONNECT": _packet(0x30, _text(b"cache/a/wis2/x") + b"x"),
        "two CONNECTs": _CONNECT * 2,
        "a publication of QoS 3": _CONNECT + _packet(0x36, _text(b"a") + b"\x00\x01x"),
        "a publication of packet 0": _CONNECT + _packet(0x32, _text(b"a") + b"\x00\x00x"),
        "a topic with a wildcard": _CONNECT + _packet(0x30, _text(b"cache/a/wis2/#") + b"x"),
        "a topic that is not UTF-8": _CONNECT + _packet(0x30, _text(b"\xff\xfe") + b"x"),
        "a topic with a NUL": _CONNECT + _packet(0x30, _text(b"a\x00b") + b"x"),
        "an empty topic": _CONNECT + _packet(0x30, _text(b"") + b"x"),
        "a topic longer than its packet": _CONNECT + _packet(0x30, b"\xff\xffa"),
        "a payload of a megabyte": _CONNECT
        + _packet(0x30, _text(b"cache/a/wis2/x") + bytes(1_000_000)),
        "a subscription to nothing": _CONNECT + _packet(0x82, b"\x00\x01"),
        "a subscription of QoS 3": _CONNECT + _packet(0x82, b"\x00\x01" + _text(b"a") + b"\x03"),
        "a filter that is none": _CONNECT + _packet(0x82, b"\x00\x01" + _text(b"a#b") + b"\x00"),
        "an acknowledgement of nothing": _CONNECT + b"\x40\x02\xff\xff" * 1000,
        "releases of nothing": _CONNECT + b"\x62\x02\xff\xff" * 1000,
        "pings": _CONNECT + b"\xc0\x00" * 5000,
        "an answer to a login": _CONNECT + b"\x20\x02\x00\x00",
    }.items():

        def act(port: int, packets: bytes = packets) -> None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 5) as connection,
            ):
                connection.settimeout(0.3)
                connection.sendall(packets)
                while connection.recv(4096):
                    pass

        yield Client(name, act)
