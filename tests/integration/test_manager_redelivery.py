"""What a queue that delivers at least once, in any order, may do to a manager: nothing but work.

On both kinds of queue. Nothing the WMO asks for moves, nothing is announced, stored or removed a
second time; what is dropped is counted as such.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import envelope_of
from testkit.servers.redis import require_redis
from testkit.servers.web_server import WebServer
from testkit.waiting import until
from testkit.worlds.managers import DATA, new_world, until_idle
from wis2_gc_common.metrics import ITEMS_DROPPED, field
from wis2_gc_common.open_queue import open_dead_letters, open_queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testkit.servers.redis import RedisServer
    from testkit.worlds.managers import ManagersWorld

pytest_plugins = ("testkit.servers.redis", "testkit.servers.sqs_server")

EARLY, LATE = "2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z"
CACHED_ONCE = {
    "wmo_wis2_gc_downloaded_total|yy-met": 1,
    "wmo_wis2_gc_cached_volume_bytes_total|yy-met": len(DATA),
}


@pytest.fixture(params=["redis-stream", "sqs"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, own_redis: RedisServer
) -> Iterator[ManagersWorld]:
    require_redis()
    sqs = request.getfixturevalue("sqs") if request.param == "sqs" else None
    with new_world(tmp_path, own_redis, sqs) as world:
        yield world


async def wmo(world: ManagersWorld) -> dict[str, Any]:
    """Return all that the WMO asks for."""
    counters = await world.counters()
    return {name: value for name, value in counters.items() if name.startswith("wmo_")}


async def until_dropped(world: ManagersWorld, reason: str, count: int) -> None:
    """Wait until the managers' counter of what they drop for this reason says so."""
    async with asyncio.timeout(30):
        while (await world.counters()).get(  # noqa: ASYNC110 - Redis tells nobody
            field(ITEMS_DROPPED, reason), 0
        ) != count:
            await asyncio.sleep(0.02)


async def test_a_message_that_comes_again_when_its_item_is_done_changes_nothing(
    world: ManagersWorld,
) -> None:
    await world.start().ready()
    async with WebServer() as web:
        sent = envelope_of(data_id="d", href=web.serve("/obs.bufr", DATA), pubtime=EARLY)
        world.send(sent)
        await until(lambda: world.announced)
        await until_idle(world)
        before = await wmo(world)
        # The very message, as SQS may give it again after it was deleted.
        world.send(sent, sent, sent)
        await until_idle(world)
        await until_dropped(world, "duplicate", 3)
        assert await wmo(world) == before
        assert len(web.requests) == len(world.announced) == 1


async def test_a_message_that_is_there_twice_is_worked_on_once(world: ManagersWorld) -> None:
    await world.start("one").ready()
    await world.start("two").ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        href = web.serve("/slow.bufr", DATA, gate=gate)
        sent = envelope_of(data_id="d", href=href, pubtime=EARLY)
        world.send(sent)
        await until(lambda: web.requests)
        world.send(sent, sent)
        gate.set()
        await until(lambda: world.announced)
        await until_idle(world)
        assert len(world.announced) == 1
        assert await wmo(world) == CACHED_ONCE


async def test_an_older_version_that_comes_after_the_newer_one_changes_nothing(
    world: ManagersWorld,
) -> None:
    await world.start().ready()
    async with WebServer() as web:
        old = envelope_of(data_id="d", href=web.serve("/old.bufr", b"old"), pubtime=EARLY)
        new = envelope_of(
            data_id="d", href=web.serve("/new.bufr", b"new"), pubtime=LATE, rel="update"
        )
        world.send(new)
        await until(lambda: world.announced)
        await until_idle(world)
        before = await wmo(world)
        world.send(old, old)
        await until_idle(world)
        await until_dropped(world, "stale", 2)
        assert await wmo(world) == before
        assert [request.path for request in web.requests] == ["/new.bufr"]
        assert len(world.announced) == 1


async def test_a_dead_letter_that_is_redriven_is_processed_as_new(world: ManagersWorld) -> None:
    async with WebServer() as web:
        href = web.serve("/obs.bufr", DATA)
        sent = replace(envelope_of(data_id="d", href=href, pubtime=EARLY), attempts=2)
        world.send(sent)
        await bury_all(world)
        await world.start().ready()
        letters = open_dead_letters(world.queue_url, world.dead_url, redis_url=world.redis.url)
        [letter] = await asyncio.to_thread(letters.list, 10)
        assert (letter.envelope.uid, letter.reason) == (sent.uid, "unexpected")
        assert not world.announced
        assert await asyncio.to_thread(letters.redrive) == 1
        await until(lambda: world.announced)
        await until_idle(world)
        assert await wmo(world) == CACHED_ONCE
        assert await asyncio.to_thread(letters.list, 10) == []
        letters.close()


async def test_a_redriven_item_has_all_its_attempts_before_it(world: ManagersWorld) -> None:
    async with WebServer() as web:
        failing = envelope_of(data_id="d", href=web.url("/missing"), pubtime=EARLY)
        world.send(replace(failing, attempts=2))
        await bury_all(world)
        await world.start().ready()
        letters = open_dead_letters(world.queue_url, world.dead_url, redis_url=world.redis.url)
        assert await asyncio.to_thread(letters.redrive) == 1
        letters.close()
        # With two retries (GC_RETRY_DELAYS), as a new one.
        await until(lambda: len(web.requests) == 3)
        await until_idle(world)
        assert len(web.requests) == 3
        assert await wmo(world) == {"wmo_wis2_gc_downloaded_errors_total|yy-met": 1}


async def bury_all(world: ManagersWorld) -> None:
    """Do as a manager does with what it cannot finish."""
    queue = open_queue(
        world.queue_url, world.dead_url, redis_url=world.redis.url, consumer="b", visibility_s=60
    )
    for message in await queue.receive(10, wait_s=30):
        await queue.dead_letter(message, reason="unexpected", last_error="a bug")
    await queue.close()
