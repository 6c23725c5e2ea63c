"""The command `wis2-gc-manager` as a process, between a real Redis and a real mosquitto."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import BASE_URL, CENTRE_ID, envelope_of
from testkit.servers.redis import require_redis
from testkit.servers.web_server import WebServer
from testkit.waiting import until
from testkit.worlds.managers import (
    COMMAND,
    DATA,
    DEAD,
    QUEUE,
    ManagersWorld,
    counter,
    new_world,
    until_idle,
)
from wis2_gc_common.open_queue import open_dead_letters
from wis2_gc_common.redis.registry_reader import RedisReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testkit.servers.redis import RedisServer
    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import ProcessStatus

pytest_plugins = ("testkit.servers.redis",)

OTHER_CACHE = "zz-other-global-cache"


@pytest.fixture
def world(tmp_path: Path, own_redis: RedisServer) -> Iterator[ManagersWorld]:
    require_redis()
    with new_world(tmp_path, own_redis) as world:
        yield world


def ids(world: ManagersWorld) -> set[str]:
    return {message["id"] for message in world.announced}


async def test_an_item_passes_through_and_sigterm_ends_the_command_with_0(
    world: ManagersWorld,
) -> None:
    manager = await world.start().ready()
    async with WebServer() as web:
        href = web.serve("/obs.bufr", DATA)
        world.send(envelope_of(data_id="d", href=href))
        await until(lambda: world.announced)
    [message] = world.announced
    key = message["links"][0]["href"].removeprefix(f"{BASE_URL}/")
    assert (world.store / key).read_bytes() == DATA
    assert message["properties"]["global-cache"] == CENTRE_ID
    assert await manager.stop() == 0
    counters = await world.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_total", "yy-met") == 1
    assert manager.probe("/readyz")[0] == 0


async def test_three_hundred_items_are_announced_once_each(world: ManagersWorld) -> None:
    await world.start("one").ready()
    await world.start("two").ready()
    async with WebServer() as web:
        href = web.serve("/obs.bufr", DATA)
        for start in range(0, 300, 100):
            numbers = range(start, start + 100)
            world.send(*(envelope_of(data_id=f"d{number}", href=href) for number in numbers))
        await until(lambda: len(world.announced) == 300, deadline_s=60)
        await until_idle(world)
    assert len(ids(world)) == 300
    assert len({message["properties"]["data_id"] for message in world.announced}) == 300
    assert counter(await world.counters(), "wmo_wis2_gc_downloaded_total", "yy-met") == 300


async def test_every_copy_of_a_notification_is_answered_by_one_announcement(
    world: ManagersWorld,
) -> None:
    await world.start("one").ready()
    await world.start("two").ready()
    pubtime = "2026-11-23T12:00:00Z"
    async with WebServer() as web:
        href = web.serve("/obs.bufr", DATA)
        dead = web.url("/missing")
        world.send(
            *(
                envelope_of(data_id="d", href=href if number % 2 else dead, pubtime=pubtime)
                for number in range(16)
            )
        )
        await until(lambda: world.announced)
        await until_idle(world)
    assert len(world.announced) == 1
    assert counter(await world.counters(), "wmo_wis2_gc_downloaded_total", "yy-met") == 1


async def test_sigterm_lets_what_runs_finish(world: ManagersWorld) -> None:
    manager = await world.start().ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        href = web.serve("/slow.bufr", DATA, gate=gate)
        world.send(envelope_of(data_id="d", href=href))
        await until(lambda: web.requests)
        stopping = asyncio.create_task(manager.stop())
        await manager.until_probe(503, "stopping")
        gate.set()
        assert await stopping == 0
    # The broker has it; the subscriber may not have read it yet.
    await until(lambda: world.announced)
    assert len(world.announced) == 1
    await until_idle(world)


async def test_what_does_not_finish_in_time_is_handed_to_the_next(world: ManagersWorld) -> None:
    first = await world.start("one", GC_DRAIN_TIMEOUT="0.2").ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        href = web.serve("/slow.bufr", DATA, gate=gate)
        world.send(envelope_of(data_id="d", href=href))
        await until(lambda: web.requests)
        assert await first.stop() == 0
        assert world.announced == []
        gate.set()
        await world.start("two").ready()
        await until(lambda: world.announced)
    counters = await world.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 0


async def test_a_second_signal_does_not_wait_for_the_drain(world: ManagersWorld) -> None:
    manager = await world.start(GC_DRAIN_TIMEOUT="600").ready()
    async with WebServer() as web:
        href = web.serve("/slow.bufr", DATA, gate=asyncio.Event())
        world.send(envelope_of(data_id="d", href=href))
        await until(lambda: web.requests)
        manager.process.send_signal(signal.SIGTERM)
        await manager.until_probe(503, "stopping")
        assert await manager.stop() == 0


@pytest.mark.parametrize("name", ["one", "two"], ids=["same name", "another name"])
async def test_killed_in_the_middle_its_work_is_taken_over(world: ManagersWorld, name: str) -> None:
    first = await world.start("one").ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        href = web.serve("/slow.bufr", DATA, gate=gate)
        world.send(*(envelope_of(data_id=f"d{number}", href=href) for number in range(10)))
        await until(lambda: len(web.requests) == 10)
        first.kill()
        gate.set()
        await world.start(name).ready()
        await until(lambda: len(ids(world)) == 10)
        await until_idle(world)
    assert len(ids(world)) == 10
    assert counter(await world.counters(), "wmo_wis2_gc_downloaded_total", "yy-met") == 10


async def test_a_download_that_outlasts_its_lease_stays_with_its_manager(
    world: ManagersWorld,
) -> None:
    # Two managers that would take over; copies of the notification that would be worked on.
    for name in ("one", "two"):
        await world.start(name, GC_VISIBILITY_TIMEOUT="3").ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        sent = envelope_of(data_id="d", href=web.serve("/slow.bufr", DATA, gate=gate))
        world.send(sent)
        await until(lambda: web.requests)
        # Longer than twice the lease, so renewed at twice the lease it would have ended.
        end = time.monotonic() + 2.3 * 3
        while time.monotonic() < end:
            world.send(replace(sent, uid=uuid.uuid4().hex))
            await asyncio.sleep(0.1)
        gate.set()
        await until(lambda: world.announced)
        await until_idle(world)
        assert len(web.requests) == 1
    assert len(world.announced) == 1


def has_announced(world: ManagersWorld, enough: int) -> bool:
    return len(world.announced) >= enough


async def test_killed_again_and_again_nothing_is_lost_or_counted_twice(
    world: ManagersWorld,
) -> None:
    async with WebServer() as web:
        href = web.serve("/obs.bufr", DATA)
        world.send(*(envelope_of(data_id=f"d{number}", href=href) for number in range(100)))
        for enough in (5, 40, 70):
            manager = world.start(GC_CONCURRENCY="4")
            await until(partial(has_announced, world, enough))
            manager.kill()
        await world.start().ready()
        await until(lambda: len(ids(world)) == 100)
        await until_idle(world)
    assert len(ids(world)) == 100
    assert counter(await world.counters(), "wmo_wis2_gc_downloaded_total", "yy-met") == 100


async def test_while_redis_is_away_it_is_not_ready_and_goes_on_afterwards(
    world: ManagersWorld,
) -> None:
    manager = await world.start().ready()
    world.redis.kill()
    await manager.until_probe(503, "away")
    assert manager.probe("/healthz")[0] == 200
    world.redis.start()
    await manager.ready()
    async with WebServer() as web:
        world.send(envelope_of(data_id="d", href=web.serve("/obs.bufr", DATA)))
        await until(lambda: world.announced)
    assert await manager.stop() == 0


async def test_while_the_broker_is_away_items_wait_and_nothing_is_counted_against_them(
    world: ManagersWorld,
) -> None:
    manager = await world.start().ready()
    world.broker.kill()
    await manager.until_probe(503, "broker")
    async with WebServer() as web:
        world.send(envelope_of(data_id="d", href=web.serve("/obs.bufr", DATA)))
        world.broker.start()
        await manager.ready()
        await until_idle(world)
    counters = await world.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_total", "yy-met") == 1
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 0


async def test_started_before_its_parts_it_waits_for_them(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    with new_world(tmp_path, own_redis) as world:
        world.broker.kill()
        own_redis.kill()
        manager = world.start()
        await manager.until_probe(503, "away")
        own_redis.start()
        world.broker.start()
        await manager.ready()


async def test_sigterm_while_everything_is_away_ends_it_too(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    with new_world(tmp_path, own_redis) as world:
        world.broker.kill()
        own_redis.kill()
        manager = world.start()
        await manager.until_probe(503, "away")
        assert await manager.stop() == 0
        # A stop must not look like a bug.
        assert "never retrieved" not in manager.log.read_text()
        own_redis.start()


async def test_stopped_while_it_first_looks_at_its_parts_it_leaves_no_exception_behind(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    with new_world(tmp_path, own_redis) as world:
        # The broker takes the connection and says nothing: the look at it goes on for seconds.
        os.kill(world.broker.pid, signal.SIGSTOP)
        manager = world.start()
        try:
            await until(lambda: "manager_started" in manager.log.read_text())
            assert await manager.stop() == 0
        finally:
            os.kill(world.broker.pid, signal.SIGCONT)
        assert "never retrieved" not in manager.log.read_text()


async def test_a_failing_item_is_tried_again_given_up_on_record_and_reported(
    world: ManagersWorld,
) -> None:
    await world.start().ready()
    async with WebServer() as web:
        world.send(envelope_of(data_id="d", href=web.url("/missing")))
        await until(lambda: any(topic.startswith("monitor/") for topic, _ in world.messages))
        await until_idle(world)
        assert len(web.requests) == 3
    counters = await world.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 1
    assert counter(counters, "wis2_gc_items_given_up_total", "not_found") == 1
    letters = open_dead_letters(QUEUE, DEAD, redis_url=world.redis.url)
    assert letters.list(10) == []
    letters.close()


async def test_each_number_of_an_item_that_fails_from_two_brokers_and_another_cache(
    world: ManagersWorld,
) -> None:
    await world.start().ready()
    async with WebServer() as web:
        gone = web.url("/missing")

        def notice(message_id: str, broker: str, **changes: Any) -> Envelope:
            fields = {"href": gone, "pubtime": "2026-11-23T12:00:00Z", **changes}
            envelope = envelope_of(data_id="d", message_id=message_id, **fields)
            return replace(envelope, broker=broker)

        async def numbers() -> tuple[int, ...]:
            await until_idle(world)
            counters = await world.counters()
            return tuple(
                counter(counters, *name)
                for name in (
                    ("wmo_wis2_gc_downloaded_errors_total", "yy-met"),
                    ("wmo_wis2_gc_downloaded_errors_total", OTHER_CACHE),
                    ("wis2_gc_items_given_up_total", "not_found"),
                    ("wmo_wis2_gc_downloaded_total", "yy-met"),
                )
            )

        # One notification by two brokers at once, and once more when the item is given up.
        world.send(notice("m-1", "alpha"), notice("m-1", "beta"))
        assert await numbers() == (1, 0, 1, 0)
        asked = len(web.requests)
        world.send(notice("m-1", "gamma"))
        assert await numbers() == (1, 0, 1, 0)
        assert len(web.requests) == asked + 3, "it is tried again"
        # Another notification, of the same item.
        topic = "cache/a/wis2/yy-met/data/core/weather"
        world.send(notice("m-2", "alpha", topic=topic, global_cache=OTHER_CACHE))
        assert await numbers() == (1, 1, 1, 0)
        # A later version is another item.
        world.send(notice("m-3", "alpha", pubtime="2026-11-23T13:00:00Z", rel="update"))
        assert await numbers() == (2, 1, 2, 0)
        # What is cached after all stays counted as given up.
        world.send(notice("m-4", "alpha", href=web.serve("/obs.bufr", DATA)))
        assert await numbers() == (2, 1, 2, 1)
    reader = RedisReader(world.redis.url)
    failures = await reader.failures(10)
    await reader.close()
    assert [failure.error for failure in failures] == ["not_found: status 404"] * 2


async def test_it_reports_itself_to_the_registry(world: ManagersWorld) -> None:
    await world.start("reporter").ready()
    reader = RedisReader(world.redis.url)

    async def statuses() -> list[ProcessStatus]:
        return [s for s in (await reader.snapshot()).processes if s.kind == "manager"]

    end = time.monotonic() + 30
    while not (found := await statuses()) or not found[0].is_ready:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    await reader.close()
    assert found[0].name == "reporter"
    assert found[0].facts["in_flight"] == 0
    assert found[0].facts["problems"] == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GC_CENTRE_ID", "nonsense"),
        ("GC_REDIS_URL", ""),
        ("GC_STORE_URL", "s3://"),
        ("GC_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com"),
        ("GC_CONCURRENCY", "0"),
        ("GC_HTTP_HOST", "203.0.113.1"),
        ("GC_CA_FILE", __file__),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_exit_code_2(
    tmp_path: Path, name: str, value: str
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "GC_CENTRE_ID": CENTRE_ID,
        "GC_REDIS_URL": "redis://127.0.0.1:1/0",
        "GC_STORE_URL": tmp_path.as_uri(),
        "GC_DATA_BASE_URL": BASE_URL,
        "GC_LOCAL_BROKER_URL": "mqtt://127.0.0.1:1",
        "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
        "GC_HTTP_PORT": "0",
        name: value,
    }
    result = subprocess.run(
        [COMMAND], env=environment, capture_output=True, check=False, timeout=60
    )
    assert result.returncode == 2
    [line] = result.stderr.decode().splitlines()
    assert name.replace("HOST", "PORT") in line
