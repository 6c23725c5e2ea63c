"""Strangers with the public account of a broker reach for the MQTT sessions of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.wnm import inline, unique_data_id, wnm
from tests.support.world import CENTRE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.world import World

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
        self._client.disconnect()
        self._client.loop_stop()


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


def test_everyone_cannot_take_over_the_session_of_a_listener(world, intruders):
    for name, broker in world.brokers.items():
        for client_id in (f"{CENTRE_ID}-{name}", f"{CENTRE_ID}-{name}-{'0' * 16}", name):
            intruders.append(Intruder(broker.port, client_id))
    canary(world)
    for name in world.brokers:
        log = world.processes[f"listener-{name}"].log
        assert log.count("broker_connected") == 1


def test_everyone_cannot_take_over_the_session_of_a_manager(world, intruders):
    for name in ("manager-1", "manager-2"):
        for client_id in (f"wis2-gc-manager-{name}", f"wis2-gc-{name}", name):
            intruders.append(Intruder(world.cache_broker.port, client_id))
    canary(world)
    for name in ("manager-1", "manager-2"):
        assert "broker_lost" not in world.processes[name].log
