"""Strangers with the public account of a broker reach for the MQTT sessions of others."""

from __future__ import annotations

import json
import re
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.worlds.world import CENTRE_ID, Client, open_world, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.worlds.world import World

ACCOUNT = (b"everyone", b"everyone")
FILTER = b"cache/a/wis2/#"
#: CONNACK without a session, and SUBACK with QoS 1.
ACCEPTED = b"\x20\x02\x00\x00\x90\x03\x00\x01\x01"
TOPIC = "origin/a/wis2/ca-eccc-msc/data/core/weather/synop"


class Intruder:
    """Everyone, under a client id of his choice."""

    def __init__(self, port: int, client_id: str) -> None:
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, client_id=client_id
        )
        self._client.username_pw_set("everyone", "everyone")
        self._client.connect("127.0.0.1", port, clean_start=True)
        self._client.loop_start()

    def close(self) -> None:
        end(self._client)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("sessions") / "world") as world:
        yield world


@pytest.fixture
def intruders() -> Iterator[list[Intruder]]:
    intruders: list[Intruder] = []
    yield intruders
    for intruder in intruders:
        intruder.close()


def canary(world: World) -> None:
    """Another centre's item comes through, over each Global Broker."""
    for broker in world.brokers:
        data_id = unique_data_id("canary")
        world.publish(TOPIC, wnm(data_id=data_id, content=inline(b"canary")), brokers=broker)
        world.announced(data_id)


def test_everyone_cannot_take_over_the_session_of_a_listener(
    world: World, intruders: list[Intruder]
) -> None:
    for name, broker in world.brokers.items():
        client_ids = (f"{CENTRE_ID}-{name}", f"{CENTRE_ID}-{name}-{'0' * 16}", name)
        intruders.extend(Intruder(broker.port, client_id) for client_id in client_ids)
    canary(world)
    for name in world.brokers:
        log = world.processes[f"listener-{name}"].log
        assert log.count("broker_connected") == 1


def test_everyone_cannot_take_over_the_session_of_a_manager_or_a_global_broker(
    world: World, intruders: list[Intruder]
) -> None:
    public, log = world.public_broker, world.cache_broker.log_file
    # Even one who has read our broker's log.
    client_ids = set(re.findall(r"New client connected from \S+ as (\S+) ", log.read_text()))
    assert len(client_ids) == len({"manager-1", "manager-2", "a Global Broker", "the bridge"})
    client_ids |= {"wis2-gc-manager-manager-1", "wis2-gc-manager-1", "manager-1", "gb-test"}
    intruders.extend(Intruder(public.port, client_id) for client_id in client_ids)
    canary(world)
    for name in ("manager-1", "manager-2"):
        assert "broker_lost" not in world.processes[name].log
    assert "already connected" not in log.read_text()


def leave_sessions(port: int, numbers: range) -> None:
    """Open sessions that outlive their connections, subscribe, and go."""
    for number in numbers:
        name = b"left-%d" % number
        account = b"".join(struct.pack(">H", len(text)) + text for text in (name, *ACCOUNT))
        # CONNECT of MQTT 3.1.1 with user, password and no clean session; SUBSCRIBE with QoS 1.
        connect = b"\x00\x04MQTT\x04\xc0\x00\x3c" + account
        subscribe = b"\x00\x01" + struct.pack(">H", len(FILTER)) + FILTER + b"\x01"
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(bytes((0x10, len(connect))) + connect)
            connection.sendall(bytes((0x82, len(subscribe))) + subscribe)
            answer = b""
            while len(answer) < len(ACCEPTED):
                answer += connection.recv(len(ACCEPTED) - len(answer))
            assert answer == ACCEPTED
            connection.sendall(b"\xe0\x00")


def leave_many_sessions(port: int, count: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        ranges = [range(first, first + 100) for first in range(0, count, 100)]
        list(pool.map(lambda numbers: leave_sessions(port, numbers), ranges))


def publish_canaries(world: World, count: int) -> list[str]:
    ids = [unique_data_id("canary") for _ in range(count)]
    for data_id in ids:
        world.publish(TOPIC, wnm(data_id=data_id, content=inline(b"canary")))
    return ids


def test_three_thousand_sessions_that_everyone_leaves_cost_nobody_an_announcement(
    world: World,
) -> None:
    public, seen = world.public_broker, set()
    leave_many_sessions(public.port, 3000)
    everyone = Client(
        public.port, "everyone", "everyone", "cache/a/wis2/#",
        on_message=lambda message: seen.add(json.loads(message.payload)["properties"]["data_id"]),
    )  # fmt: skip
    ids = publish_canaries(world, 200)
    for data_id in ids:
        world.announced(data_id)
    wait_until(lambda: seen.issuperset(ids), "everyone has all of them")
    everyone.close()
    # What was announced was acknowledged: nothing is in work any more.
    world.settle()


def test_strangers_who_fill_the_public_broker_cost_no_global_broker_an_announcement(
    world: World,
) -> None:
    public, log = world.public_broker, world.cache_broker.log_file
    public.stop()
    before = public.limits
    public.limits = replace(before, memory_bytes=8_000_000)
    public.start()
    begin = len(log.read_text())
    leave_many_sessions(public.port, 1000)
    ids = publish_canaries(world, 300)
    is_full = re.compile(r"Client public-broker-\w+ closed its connection")
    wait_until(lambda: is_full.search(log.read_text(), begin), "it is full, and its bridge ends")
    for data_id in ids:
        world.announced(data_id)
    world.settle()
    public.kill()
    public.limits = before
    public.start()


def test_the_death_of_the_public_broker_costs_no_global_broker_an_announcement(
    world: World,
) -> None:
    public, seen = world.public_broker, []
    public.kill()
    for data_id in publish_canaries(world, 20):
        world.announced(data_id)
    world.settle()
    public.start()
    everyone = Client(
        public.port, "everyone", "everyone", "cache/a/wis2/#",
        on_message=lambda message: seen.append(message.payload.decode()),
    )  # fmt: skip
    (data_id,) = publish_canaries(world, 1)
    wait_until(lambda: any(data_id in text for text in seen), "everyone hears of what is new")
    everyone.close()
