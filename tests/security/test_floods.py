"""A flood of one centre beside the items of others: who comes first, counted and not timed."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.servers.web_server import served
from testkit.worlds.world import World, open_world, wait_until
from wis2_gc_common.redis.queue_keys import queue_keys

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from testkit.servers.web_server import Received

pytestmark = pytest.mark.skipif(
    os.environ.get("QUEUE") == "sqs", reason="the order is that of AWS' fair queues"
)

FLOOD = 2000
#: So many that the managers need seconds: a canary's second try is due a quarter of one after its
#: first, and what they ask meanwhile depends on the machine.
FAILING = 3000
CANARIES = 20
FLOOD_TOPIC = "origin/a/wis2/xx-flood/data/core/weather"
MANAGERS = ("manager-1", "manager-2")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    limits = {"GC_CENTRE_RATE": "1", "GC_CENTRE_BURST": "100", "GC_CONCURRENCY_PER_HOST": "1000"}
    limits["GC_IDLE_TIMEOUT"] = "50"  # a thousand at once take the server here long
    with open_world(tmp_path / "world", **limits) as world:
        yield world


def queued(world: World) -> int:
    with Redis.from_url(world.redis.url) as redis:
        return sum(redis.xlen(lane) for lane in queue_keys("notifications", "").lanes)


def flood(world: World, messages: Sequence[bytes]) -> None:
    publisher = world.publishers["a"]
    sent = [publisher.publish(FLOOD_TOPIC, message) for message in messages]
    for one in sent:
        one.wait_for_publish(60)


@contextlib.contextmanager
def all_queued_at_once(world: World, count: int) -> Iterator[None]:
    """Nothing is worked on before everything is in the queue."""
    for name in MANAGERS:
        world.processes[name].pause()
    yield
    wait_until(lambda: queued(world) >= count, "all is queued", timeout=60)
    for name in MANAGERS:
        world.processes[name].go_on()


def test_what_others_send_after_a_flood_is_announced_before_most_of_it(world: World) -> None:
    floods = [unique_data_id("flood") for _ in range(FLOOD)]
    canaries = [unique_data_id("canary") for _ in range(CANARIES)]
    with all_queued_at_once(world, FLOOD + CANARIES):
        flood(world, [encoded(wnm(data_id=one, content=inline(b"flood"))) for one in floods])
        for number, data_id in enumerate(canaries):
            topic = f"origin/a/wis2/xx-quiet-{number % 4}/data/core/weather"
            world.publish(topic, wnm(data_id=data_id, content=inline(b"canary")))
    announced = [world.announced(data_id, timeout=60).at for data_id in canaries]
    # And none of the flood is lost.
    before = sum(world.announced(one, timeout=90).at < max(announced) for one in floods)
    assert before < FLOOD / 4


def test_what_others_fail_at_is_tried_again_before_most_of_a_failing_flood(world: World) -> None:
    """The flood's notifications fail three times each; a canary's source has its data later."""
    seen: set[str] = set()

    async def later(request: Received, writer: asyncio.StreamWriter) -> None:
        status, body = ("200 OK", b"data") if request.path in seen else ("404 Not Found", b"")
        seen.add(request.path)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)

    with served() as server:
        canaries = [unique_data_id("canary") for _ in range(CANARIES)]
        with all_queued_at_once(world, FAILING + CANARIES):
            failing = [
                wnm(data_id=unique_data_id("dead"), href=server.serve(f"/dead/{n}", status=404))
                for n in range(FAILING)
            ]
            flood(world, [encoded(message) for message in failing])
            for number, data_id in enumerate(canaries):
                href = server.serve(f"/canary/{number}", script=later)
                topic = f"origin/a/wis2/xx-quiet-{number % 4}/data/core/weather"
                world.publish(topic, wnm(data_id=data_id, href=href))
        for data_id in canaries:
            world.announced(data_id, timeout=60)
        world.settle(including_delayed=True)
        asked = [request.path.split("/")[1] for request in server.requests]
    last = max(index for index, what in enumerate(asked) if what == "canary")
    assert asked.count("canary") == 2 * CANARIES
    assert asked.count("dead") == 3 * FAILING
    assert asked[:last].count("dead") < asked.count("dead") * 0.4
