"""The publisher against a real mosquitto: PUBACKs, limits, outages, TLS, a broker that says no."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, ParamSpec

import paho.mqtt.client as paho
import pytest
import uvloop
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from local.parts.mqtt_client import end
from local.parts.ports import free_port
from testkit.servers.mosquitto import Account, Mosquitto
from testkit.servers.scripted_broker import PUBACK
from testkit.servers.shallow_broker import ShallowBroker, packets
from testkit.waiting import until
from testkit.worlds.world import wait_until
from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.parsers import parse_broker_url
from wis2_gc_common.wis2.topic import MAX_LEVELS, parse_topic
from wis2_gc_manager.pipeline import publisher as publisher_module
from wis2_gc_manager.pipeline.publisher import Publisher

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

TOPIC = "cache/a/wis2/yy-met/metadata"
_P = ParamSpec("_P")


def on_uvloop(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run an async test on the loop that the manager uses."""

    @functools.wraps(test)
    def run(*args: _P.args, **options: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **options))

    return run


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


class Subscriber:
    """Everything a broker gives, as seen by a client of its own."""

    def __init__(self, port: int, topic_filter: str = "#") -> None:
        self.messages: list[paho.MQTTMessage] = []
        subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(topic_filter, qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(30)

    @property
    def payloads(self) -> list[bytes]:
        return [bytes(message.payload) for message in self.messages]

    def close(self) -> None:
        end(self._client)


@contextlib.asynccontextmanager
async def publishing(
    url: str, **options: Any
) -> AsyncIterator[tuple[Publisher, list[Unavailable]]]:
    lost: list[Unavailable] = []
    options.setdefault("tls", None)
    publisher = Publisher(parse_broker_url(url), name="test", on_lost=lost.append, **options)
    publisher.start()
    try:
        yield publisher, lost
    finally:
        await publisher.close()


async def publish_for_ever(publisher: Publisher) -> None:
    while True:
        await publisher.publish(TOPIC, b"meanwhile")


@on_uvloop
async def test_a_message_is_acknowledged_and_there_at_qos_1_not_retained(broker: Mosquitto) -> None:
    subscriber = Subscriber(broker.port)
    try:
        async with publishing(broker.url) as (publisher, _):
            await publisher.check()
            await publisher.publish(TOPIC, b"hello")
            await until(lambda: subscriber.messages)
    finally:
        subscriber.close()
    [message] = subscriber.messages
    assert (message.topic, message.payload, message.qos) == (TOPIC, b"hello", 1)
    assert not message.retain


@on_uvloop
async def test_every_topic_of_our_grammar_gets_through(broker: Mosquitto) -> None:
    longest = "cache/a/wis2/yy-met/data/core" + "/x" * (MAX_LEVELS - 6)
    edges = "".join(map(chr, (0x20, 0x7E, 0xA0, 0xD7FF, 0xE000, 0xFDCF, 0xFDF0, 0xFFFD, 0x10000)))
    topics = [longest, *(f"cache/a/wis2/yy-met/data/core/{x}" for x in (edges, "x//", "$x", "."))]
    subscriber = Subscriber(broker.port)
    try:
        async with publishing(broker.url) as (publisher, lost):
            await publisher.check()
            for topic in topics:
                await publisher.publish(parse_topic(topic).to_cache, b"")
            await until(lambda: len(subscriber.messages) == len(topics))
        assert not lost
    finally:
        subscriber.close()
    assert [message.topic for message in subscriber.messages] == topics


@on_uvloop
async def test_thousands_at_once_all_get_through_within_a_brokers_small_window() -> None:
    with Mosquitto(options=["max_inflight_messages 20"]) as broker:
        subscriber = Subscriber(broker.port)
        payloads = [b"%d" % number * 100 for number in range(3000)]
        try:
            async with publishing(broker.url) as (publisher, lost):
                await publisher.check()
                await asyncio.gather(*(publisher.publish(TOPIC, data) for data in payloads))
                await until(lambda: len(subscriber.messages) == len(payloads))
        finally:
            subscriber.close()
        assert lost == []
    assert sorted(subscriber.payloads) == sorted(payloads)


@on_uvloop
async def test_over_tls_the_certificate_is_verified_and_messages_get_through() -> None:
    with Mosquitto(tls=True) as broker:
        subscriber = Subscriber(broker.port)
        try:
            async with publishing(broker.tls_url, tls=client_context(broker.ca_file)) as (one, _):
                await one.check()
                data = b"x" * 8000
                await asyncio.gather(*(one.publish(TOPIC, data) for _ in range(500)))
                await until(lambda: len(subscriber.messages) == 500)
            async with publishing(broker.tls_url, tls=client_context(None)) as (other, _):
                with pytest.raises(Misconfigured, match="unable to get local issuer certificate"):
                    await other.check()
                with pytest.raises(Unavailable, match="certificate is not valid for us"):
                    await other.publish(TOPIC, b"{}")
        finally:
            subscriber.close()


@on_uvloop
async def test_over_a_websocket_messages_get_through() -> None:
    with Mosquitto(websocket=True) as broker:
        async with publishing(broker.websocket_url) as (publisher, _):
            await publisher.check()
            await asyncio.gather(*(publisher.publish(TOPIC, b"x" * 2000) for _ in range(100)))


@on_uvloop
async def test_a_broker_that_goes_away_fails_what_waits_and_is_found_again(
    broker: Mosquitto,
) -> None:
    async with publishing(broker.url) as (publisher, lost):
        await publisher.check()
        await publisher.publish(TOPIC, b"before")
        broker.kill()
        with pytest.raises(Unavailable) as raised:
            await publish_for_ever(publisher)
        assert raised.value.part == "broker"
        await until(lambda: lost)
        broker.start()
        await until(lambda: publisher.is_connected)
        await publisher.publish(TOPIC, b"after")


@on_uvloop
async def test_a_broker_that_freezes_is_given_up(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(broker.url) as (publisher, lost):
        await publisher.check()
        with monkeypatch.context() as hasty:
            hasty.setattr(publisher_module, "PUBACK_TIMEOUT_S", 0.5)
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                with pytest.raises(Unavailable, match="no PUBACK"):
                    await publisher.publish(TOPIC, b"hello?")
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        assert len(lost) == 1
        await until(lambda: publisher.is_connected)
        await publisher.publish(TOPIC, b"back")


@on_uvloop
async def test_a_message_that_the_broker_refuses_while_it_takes_others_is_not_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = {"manager": Account("secret", acl=("write cache/a/wis2/yy-met/#",))}
    with Mosquitto(accounts=accounts) as broker:
        url = f"mqtt://manager:secret@127.0.0.1:{broker.port}"
        async with publishing(url) as (publisher, lost):
            await publisher.check()
            # Nothing was ever taken: it may be our account that is wrong, and nobody's message.
            with pytest.raises(Unavailable, match=r"(?i)not authorized"):
                await publisher.publish("cache/a/wis2/xx-met/metadata", b"x")
            await publisher.publish(TOPIC, b"allowed")
            with pytest.raises(PartError, match=r"(?i)not authorized") as raised:
                await publisher.publish("cache/a/wis2/xx-met/metadata", b"x")
            assert raised.value.part == "broker"
            await publisher.publish(TOPIC, b"still allowed")
            # What is taken on one channel says nothing of another one.
            with pytest.raises(Unavailable):
                await publisher.publish("monitor/a/wis2/xx-met", b"x")
            # Nor does what was taken long ago.
            monkeypatch.setattr(publisher_module, "WELL_WITHIN_S", 0.0)
            with pytest.raises(Unavailable):
                await publisher.publish("cache/a/wis2/xx-met/metadata", b"x")
            assert lost == []


#: mosquitto takes at most 200 levels, and ends the connection of who sends more.
TOO_DEEP = "cache/a/wis2/xx-met/data/core" + "/x" * 300


@on_uvloop
async def test_what_ends_the_session_is_found_and_the_others_get_through(broker: Mosquitto) -> None:
    subscriber = Subscriber(broker.port)
    try:
        async with publishing(broker.url) as (publisher, lost):
            await publisher.check()
            payloads = [b"%d" % n for n in range(100)]
            await publisher.publish(TOPIC, payloads[0])
            poisons = [publisher.publish(TOO_DEEP, b"poison %d" % n) for n in range(3)]
            innocents = [publisher.publish(TOPIC, payload) for payload in payloads[1:]]
            bad, _ = await asyncio.gather(
                asyncio.gather(*poisons, return_exceptions=True), asyncio.gather(*innocents)
            )
            assert [type(error) for error in bad] == [PartError] * 3
            assert "ends the session at this message" in str(bad[0])
            # The innocents hear nothing of it: nothing waits, and nothing is put back.
            assert lost == []
            # Its centre is known now: the next ones do not come near the others.
            with pytest.raises(PartError):
                await publisher.publish(TOO_DEEP, b"another")
            # What is good of that centre gets through, and so does what once was suspect.
            await publisher.publish("cache/a/wis2/xx-met/metadata", b"good")
            await publisher.publish(TOPIC, payloads[0])
            assert lost == []
            await until(lambda: b"good" in subscriber.payloads)
    finally:
        subscriber.close()
    assert set(subscriber.payloads) == {*payloads, b"good"}


class OneAnswer(ShallowBroker):
    """Acknowledges nothing of what came together with a message at which it ends the session."""

    def _answer(self, packets: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [p for p in packets if self.is_too_deep(p[1])] or packets


@on_uvloop
async def test_what_ends_the_session_is_found_also_where_others_waited_longer(
    broker: Mosquitto,
) -> None:
    shallow = OneAnswer(broker.port, levels=8)
    try:
        async with publishing(f"mqtt://127.0.0.1:{shallow.port}") as (publisher, lost):
            await publisher.check()
            await publisher.publish(TOPIC, b"before")
            *innocents, bad = await asyncio.gather(
                *(publisher.publish(TOPIC, b"%d" % n) for n in range(100)),
                publisher.publish(TOO_DEEP, b"poison"),
                return_exceptions=True,
            )
            assert innocents == [None] * 100
            assert isinstance(bad, PartError)
            assert lost == []
    finally:
        shallow.close()
    # Twice with others; on its own as often as it takes to be sure, each time on a new connection
    # after one that carried others.
    assert shallow.ended <= 2 + 2 * publisher_module.MAX_STRIKES


class Cutting(ShallowBroker):
    """Ends each session at its message with this number, from 0; any message.

    Those before it are acknowledged by then.
    """

    def __init__(self, target_port: int, *, at: int) -> None:
        self._at = at
        self._session = threading.local()
        self._acknowledged: Counter[socket.socket] = Counter()
        """Messages of each session."""
        super().__init__(target_port, levels=1)

    def is_too_deep(self, topic: bytes) -> bool:
        if not topic:
            return False
        self._session.taken += 1
        is_last: bool = self._session.taken > self._at
        if is_last:
            client = self._session.client
            wait_until(lambda: self._acknowledged[client] >= self._at, "the PUBACKs before it")
        return is_last

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        # Each session has a thread of its own.
        self._session.client, self._session.taken = client, 0
        super()._requests(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        received = bytearray()
        while data := server.recv(65536):
            client.sendall(data)
            received += data
            self._acknowledged[client] += sum(
                packet[0] >> 4 == PUBACK for packet, _ in packets(received)
            )


@on_uvloop
async def test_a_broker_that_ends_every_session_has_nothing_against_a_message(
    broker: Mosquitto,
) -> None:
    cutting = Cutting(broker.port, at=0)
    try:
        async with publishing(f"mqtt://127.0.0.1:{cutting.port}") as (publisher, _):
            for _ in range(3):  # in its midst, then suspect, then with a connection of its own
                await publisher.check()
                answers = await asyncio.gather(
                    *(publisher.publish(TOPIC, b"%d" % n) for n in range(20)),
                    return_exceptions=True,
                )
                assert {type(answer) for answer in answers} == {Unavailable}
            connects = cutting.ended
    finally:
        cutting.close()
    # Not each for itself: one shows it for all who wait with it.
    assert connects < 3 * 40


@on_uvloop
async def test_what_a_connection_that_carried_others_ends_at_is_not_blamed(
    broker: Mosquitto,
) -> None:
    cutting = Cutting(broker.port, at=1)
    subscriber = Subscriber(broker.port)
    payloads = {b"%d" % n for n in range(50)}
    try:
        async with publishing(f"mqtt://127.0.0.1:{cutting.port}") as (publisher, _):
            await publisher.check()
            await asyncio.gather(*(publisher.publish(TOPIC, payload) for payload in payloads))
        await until(lambda: set(subscriber.payloads) == payloads)
    finally:
        cutting.close()
        subscriber.close()


class Silent(ShallowBroker):
    """Takes sessions, and no message; says nothing."""

    def _answer(self, packets: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [(packet, topic) for packet, topic in packets if not topic]


@on_uvloop
async def test_a_broker_that_hangs_has_nothing_against_a_message(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "PUBACK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(publisher_module, "_TICK_S", 0.05)
    silent = Silent(broker.port, levels=1)
    try:
        async with publishing(f"mqtt://127.0.0.1:{silent.port}") as (publisher, _):
            for _ in range(2):
                await publisher.check()
                with pytest.raises(Unavailable, match="no PUBACK"):
                    await publisher.publish(TOPIC, b"x")
    finally:
        silent.close()


@on_uvloop
async def test_a_broker_that_is_away_makes_nobody_a_culprit(broker: Mosquitto) -> None:
    async with publishing(broker.url) as (publisher, lost):
        await publisher.check()
        os.kill(broker.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(publisher.publish(TOPIC, b"%d" % n)) for n in range(20)]
        await asyncio.sleep(0)
        broker.kill()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {Unavailable}
        await until(lambda: lost)
        # Suspects they are, but there is no broker that could have something against them.
        for _ in range(5):
            with pytest.raises(Unavailable):
                await publisher.publish(TOPIC, b"0")
        broker.start()
        await until(lambda: publisher.is_connected)
        await asyncio.gather(*(publisher.publish(TOPIC, b"%d" % n) for n in range(20)))


@on_uvloop
async def test_a_message_larger_than_the_broker_takes_does_not_end_the_connection() -> None:
    options = ["max_packet_size 1000", "max_inflight_messages 1"]
    with Mosquitto(options=options) as broker:
        async with publishing(broker.url) as (publisher, lost):
            await publisher.check()
            sizes = [100, 2000, 900, 5000, 100]
            payloads = [b"x" * size for size in sizes]
            answers = await asyncio.gather(
                *(publisher.publish(TOPIC, payload) for payload in payloads),
                return_exceptions=True,
            )
            assert [answer is None for answer in answers] == [True, False, True, False, True]
            assert isinstance(answers[1], PartError)
            assert "1000 bytes" in str(answers[1])
            assert lost == []


@on_uvloop
async def test_a_wrong_password_is_said_plainly_and_not_logged() -> None:
    accounts = {"manager": Account("secret")}
    with Mosquitto(accounts=accounts) as broker:
        url = f"mqtt://manager:wrong-one@127.0.0.1:{broker.port}"
        async with publishing(url) as (publisher, lost):
            with pytest.raises(Unavailable, match=r"(?i)not authorized") as raised:
                await publisher.check()
            assert "wrong-one" not in str(raised.value)
            with pytest.raises(Unavailable):
                await publisher.publish(TOPIC, b"x")
            assert lost == []


@on_uvloop
async def test_nobody_listening_is_unavailable() -> None:
    async with publishing(f"mqtt://127.0.0.1:{free_port()}") as (publisher, _):
        with pytest.raises(Unavailable):
            await publisher.publish(TOPIC, b"x")


@on_uvloop
async def test_a_cancelled_publication_takes_nobody_elses_place(broker: Mosquitto) -> None:
    async with publishing(broker.url) as (publisher, _):
        await publisher.check()
        tasks = [asyncio.create_task(publisher.publish(TOPIC, b"x" * 100)) for _ in range(2000)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        await publisher.publish(TOPIC, b"last")


@on_uvloop
async def test_closing_fails_what_is_not_acknowledged(broker: Mosquitto) -> None:
    async with publishing(broker.url) as (publisher, _):
        await publisher.check()
        tasks = [asyncio.create_task(publisher.publish(TOPIC, b"x")) for _ in range(3000)]
        await asyncio.sleep(0)
    done, _ = await asyncio.wait(tasks)
    assert all(
        task.exception() is None or isinstance(task.exception(), Unavailable) for task in done
    )
    assert any(task.exception() for task in done)
