"""A flood that fills its centre's share of Redis' memory, while nothing is worked off."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.worlds.world import World, open_world, wait_until
from wis2_gc_common.metrics import DROPPED, OVER_QUOTA, QUEUED, RECEIVED, field
from wis2_gc_common.redis.queue_keys import queue_keys
from wis2_gc_common.redis.registry_keys import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wis2_gc_common.metrics import Metric

pytestmark = pytest.mark.skipif(
    os.environ.get("QUEUE") == "sqs", reason="what waits in SQS takes nobody's memory"
)

MAX_MEMORY = 24 * 2**20
#: Of 4 to 5 kB: two thirds of them fill half the memory.
FLOOD = 3600
CANARIES = 20
FLOOD_CENTRE = "xx-flood"
FLOOD_TOPIC = f"origin/a/wis2/{FLOOD_CENTRE}/data/core/weather"
BURST = 100
MANAGERS = ("manager-1", "manager-2")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    limits = {"GC_CENTRE_RATE": "1", "GC_CENTRE_BURST": str(BURST)}
    with open_world(tmp_path / "world", **limits) as world:
        yield world


def test_a_flood_that_fills_its_share_of_the_memory_stops_nobody_else(world: World) -> None:
    floods = [unique_data_id("flood") for _ in range(FLOOD)]
    canaries = [unique_data_id("canary") for _ in range(CANARIES)]
    with Redis.from_url(world.redis.url) as redis:

        def count(metric: Metric, *labels: str) -> int:
            return int(redis.hget(COUNTERS, field(metric, *labels)) or 0)

        redis.config_set("maxmemory", MAX_MEMORY)
        for name in MANAGERS:
            world.processes[name].pause()
        flood(world, floods)
        for number, data_id in enumerate(canaries):
            topic = f"origin/a/wis2/xx-quiet-{number % 4}/data/core/weather"
            world.publish(topic, wnm(data_id=data_id, content=inline(b"canary")))
        # With nothing worked off, nothing frees memory: what is taken in had room beside the flood.
        wait_until(
            lambda: count(QUEUED, "a") + count(DROPPED, "a", "quota") == FLOOD + CANARIES,
            "all is taken in",
        )
        assert count(RECEIVED, "a") == FLOOD + CANARIES
        lost = count(DROPPED, "a", "quota")
        assert 0 < lost < FLOOD
        assert count(OVER_QUOTA, FLOOD_CENTRE) == lost
        queued = sum(redis.xlen(lane) for lane in queue_keys("notifications", "").lanes)
        assert queued == FLOOD + CANARIES - lost

        for name in MANAGERS:
            world.processes[name].go_on()
        for data_id in canaries:
            world.announced(data_id, timeout=60)
        # All others of the flood are announced, too, and then its centre is as welcome as before.
        wait_until(lambda: announced(world, floods) == FLOOD - lost, "the flood", timeout=120)
        later = [unique_data_id("later") for _ in range(2 * BURST)]
        flood(world, later)
        wait_until(lambda: announced(world, later) == len(later), "what comes later", timeout=60)
        assert count(OVER_QUOTA, FLOOD_CENTRE) == lost
    events = [json.loads(event.payload) for event in list(world.events)]
    assert [event["data"]["content"]["title"] for event in events] == ["Notification over quota"]


def flood(world: World, data_ids: list[str]) -> None:
    publisher = world.publishers["a"]
    messages = [encoded(wnm(data_id=one, content=inline(b"x" * 3000))) for one in data_ids]
    sent = [publisher.publish(FLOOD_TOPIC, message) for message in messages]
    for one in sent:
        one.wait_for_publish(60)


def announced(world: World, data_ids: list[str]) -> int:
    return sum(bool(world.announcements(one)) for one in data_ids)
