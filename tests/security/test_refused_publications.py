"""Notifications at which our own broker ends the session, beside an innocent centre's items."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.servers.shallow_broker import ShallowBroker
from testkit.worlds.world import BIN, World, open_world, wait_until
from wis2_gc_common.redis.queue_keys import queue_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVELS = 16
GOOD = "origin/a/wis2/ca-eccc-msc/data/core/weather/synop"
BAD = "origin/a/wis2/xx-evil/data/core/weather" + "/x" * LEVELS
REFUSED = 2
CANARIES = 3


@pytest.fixture
def brokers() -> Iterator[list[ShallowBroker]]:
    brokers: list[ShallowBroker] = []
    yield brokers
    for broker in brokers:
        broker.close()


@pytest.fixture
def world(tmp_path: Path, brokers: list[ShallowBroker]) -> Iterator[World]:
    def behind(port: int) -> int:
        brokers.append(ShallowBroker(port, levels=LEVELS))
        return brokers[-1].port

    with open_world(tmp_path / "world", cache_broker_port=behind) as world:
        yield world


def canaries(world: World) -> int:
    for _ in range(CANARIES):
        data_id = unique_data_id("canary")
        world.publish(GOOD, wnm(data_id=data_id, content=inline(b"canary")))
        world.announced(data_id)
    return CANARIES


def dead_letters(world: World) -> list[dict[str, Any]]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GC_")}
    said = subprocess.run(
        [BIN / "wis2-gc", "dead-letters", "list", "--json"],
        env=inherited | world.environment, check=True, capture_output=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def let_time_pass(world: World) -> None:
    """Everything that waits is due now: the last delays are of 10 and 20 minutes."""
    with Redis.from_url(world.redis.url) as redis:
        delayed = queue_keys("notifications", "dead-letters").delayed
        for envelope in redis.zrange(delayed, 0, -1):
            redis.zadd(delayed, {envelope: 0}, xx=True)


def test_what_our_broker_refuses_is_a_dead_letter_and_the_others_go_on(
    world: World, brokers: list[ShallowBroker]
) -> None:
    refused = [unique_data_id("refused") for _ in range(REFUSED)]
    for data_id in refused:
        world.publish(BAD, wnm(data_id=data_id, content=inline(b"refused")))
    announced = 0

    def are_buried() -> bool:
        nonlocal announced
        announced += canaries(world)
        let_time_pass(world)
        return len(dead_letters(world)) == REFUSED

    wait_until(are_buried, "what is refused is a dead letter", timeout=90)
    for letter in dead_letters(world):
        assert "ends the session at this message" in letter["last_error"]
    assert not any(world.announcements(data_id) for data_id in refused)
    wait_until(
        lambda: world.counters("ca-eccc-msc") == {"downloaded_total": announced}, "what is counted"
    )
    (broker,) = brokers
    assert broker.ended >= REFUSED
