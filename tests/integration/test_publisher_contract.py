"""What a publisher does: ours on a broker, and the fake of the manager's unit tests.

Sessions, limits and refusals of a broker are in `test_manager_publisher.py`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from local.parts.ports import free_port
from testkit.fakes.manager import FakePublisher, Traps
from testkit.servers.mosquitto import Mosquitto
from testkit.servers.scripted_broker import PUBACK
from testkit.servers.shallow_broker import packets
from testkit.servers.tcp_proxy import TcpProxy
from testkit.waiting import until
from tests.integration.test_manager_publisher import TOO_DEEP, Subscriber, on_uvloop, publishing
from wis2_gc_common.errors import PartError, Unavailable

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

DATA = "cache/a/wis2/yy-met/data/core/weather"
EVENT = "monitor/a/wis2/yy-met/zz-global-cache"
Taken = list[tuple[str, dict[str, Any]]]


class Publishing(Protocol):
    """What the pipeline calls."""

    async def publish(self, topic: str, payload: bytes) -> None: ...

    async def check(self) -> None: ...


class Adapter(Protocol):
    """One kind of publisher, at a broker that does what its method says."""

    def at_a_broker(self) -> contextlib.AbstractAsyncContextManager[Publishing]: ...

    def at_none(self) -> contextlib.AbstractAsyncContextManager[Publishing]: ...

    def at_one_that_dies_before_the_puback(
        self,
    ) -> contextlib.AbstractAsyncContextManager[Publishing]: ...

    def refuse_next(self) -> str:
        """Return a topic that is refused."""

    def taken(self) -> Taken:
        """Return what the broker has taken, in order."""


class Dying(TcpProxy):
    """A broker that takes one message and is gone before it acknowledges it."""

    @property
    def port(self) -> int:
        return self._port

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        received = bytearray()
        while data := server.recv(65536):
            received += data
            for packet, _ in packets(received):
                if packet[0] >> 4 == PUBACK:
                    self._stop_listening()
                    return
                client.sendall(packet)


class RealAdapter:
    def __init__(self, broker: Mosquitto, subscriber: Subscriber) -> None:
        self._broker, self._subscriber = broker, subscriber

    @contextlib.asynccontextmanager
    async def at_a_broker(self) -> AsyncIterator[Publishing]:
        async with publishing(self._broker.url) as (publisher, _):
            await publisher.check()
            yield publisher

    @contextlib.asynccontextmanager
    async def at_none(self) -> AsyncIterator[Publishing]:
        async with publishing(f"mqtt://127.0.0.1:{free_port()}") as (publisher, _):
            yield publisher

    @contextlib.asynccontextmanager
    async def at_one_that_dies_before_the_puback(self) -> AsyncIterator[Publishing]:
        dying = Dying(self._broker.port)
        try:
            async with publishing(f"mqtt://127.0.0.1:{dying.port}") as (publisher, _):
                await publisher.check()
                yield publisher
        finally:
            dying.close()

    def refuse_next(self) -> str:
        return TOO_DEEP

    def taken(self) -> Taken:
        messages = self._subscriber.messages
        return [(message.topic, json.loads(message.payload)) for message in messages]


class FakeAdapter:
    def __init__(self) -> None:
        self._traps = Traps()
        self._publisher = FakePublisher(self._traps)

    @contextlib.asynccontextmanager
    async def at_a_broker(self) -> AsyncIterator[Publishing]:
        yield self._publisher

    @contextlib.asynccontextmanager
    async def at_none(self) -> AsyncIterator[Publishing]:
        for step in ("broker", "publish", "publish_event"):
            self._traps.before(step, Unavailable("broker", "away"))
        yield self._publisher

    @contextlib.asynccontextmanager
    async def at_one_that_dies_before_the_puback(self) -> AsyncIterator[Publishing]:
        self._traps.after("publish", Unavailable("broker", "gone"))
        self._traps.before("broker", Unavailable("broker", "gone"))
        yield self._publisher

    def refuse_next(self) -> str:
        self._traps.before("publish", PartError("broker", "refused"))
        return TOO_DEEP

    def taken(self) -> Taken:
        return self._publisher.sent


@pytest.fixture(params=["fake", "mosquitto"])
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    if request.param == "fake":
        yield FakeAdapter()
        return
    with Mosquitto() as broker, contextlib.closing(Subscriber(broker.port)) as subscriber:
        yield RealAdapter(broker, subscriber)


@on_uvloop
async def test_what_is_published_is_taken_once_and_in_order(adapter: Adapter) -> None:
    sent = [(DATA, {"n": 0}), (EVENT, {"n": 1}), (DATA, {"n": 2})]
    async with adapter.at_a_broker() as publisher:
        await publisher.check()
        for topic, message in sent:
            await publisher.publish(topic, json.dumps(message).encode())
        await until(lambda: len(adapter.taken()) >= len(sent))
    assert adapter.taken() == sent


@on_uvloop
async def test_without_a_broker_nothing_is_published(adapter: Adapter) -> None:
    async with adapter.at_none() as publisher:
        for topic in (DATA, EVENT):
            with pytest.raises(Unavailable) as caught:
                await publisher.publish(topic, b"{}")
            assert caught.value.part == "broker"
        with pytest.raises(Unavailable):
            await publisher.check()
    assert adapter.taken() == []


@on_uvloop
async def test_a_message_without_a_puback_may_have_been_taken(adapter: Adapter) -> None:
    async with adapter.at_one_that_dies_before_the_puback() as publisher:
        with pytest.raises(Unavailable) as caught:
            await publisher.publish(DATA, b"{}")
        assert caught.value.part == "broker"
        with pytest.raises(Unavailable):
            await publisher.check()
    await until(lambda: adapter.taken() == [(DATA, {})])


@on_uvloop
async def test_a_message_that_is_refused_is_not_taken_and_the_next_one_is(
    adapter: Adapter,
) -> None:
    async with adapter.at_a_broker() as publisher:
        await publisher.publish(DATA, b"{}")  # that it takes others is known
        with pytest.raises(PartError) as caught:
            await publisher.publish(adapter.refuse_next(), b'{"refused": true}')
        assert caught.value.part == "broker"
        await publisher.publish(DATA, b'{"next": true}')
        await until(lambda: len(adapter.taken()) >= 2)
    assert adapter.taken() == [(DATA, {}), (DATA, {"next": True})]
