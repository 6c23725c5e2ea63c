"""Many items at once, and servers that are dead, slow or lie, beside innocents.

A manager, a real Redis and a broker; the queue is filled directly. Delays of innocents are compared
with those of a run without the others in the same test.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from typing import TYPE_CHECKING

import pytest
import redis

from local.parts.ports import free_port
from testkit.fakes.manager import envelope_of
from testkit.messages.wnm import integrity_of
from testkit.servers.redis import RedisServer, require_redis
from testkit.servers.web_server import WebServer
from testkit.waiting import until
from testkit.worlds.managers import DATA, counter, new_world, until_idle
from wis2_gc_common.open_queue import open_sender
from wis2_gc_common.ports.queue import Sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testkit.servers.web_server import Received
    from testkit.worlds.managers import ManagersWorld
    from wis2_gc_common.ports.queue import Envelope

pytest_plugins = ("testkit.servers.redis",)

#: Innocents of one run, one each so many seconds.
INNOCENTS = 250
EVERY_S = 0.03
#: What attackers may cost them: so many times the delay without attackers, and so much more. On
#: two busy cores; an intake that stops shows as several seconds.
FACTOR = 10.0
MORE_S = 3.0


@pytest.fixture
def cache(tmp_path: Path, own_redis: RedisServer) -> Iterator[ManagersWorld]:
    with new_world(tmp_path, own_redis) as world:
        yield world


def topic_of(centre_id: str) -> str:
    return f"origin/a/wis2/{centre_id}/data/core/weather/surface-based-observations/synop"


async def trickle(_request: Received, writer: asyncio.StreamWriter) -> None:
    """600 bytes a second: never idle for long, and never done in time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    for _ in range(600):
        writer.write(b"x" * 100)
        await writer.drain()
        await asyncio.sleep(1 / 6)


async def delays(
    world: ManagersWorld, name: str, href: str, beside: Iterator[Envelope]
) -> list[float]:
    """Send innocents at an even pace, four others beside each; return from sent to announced."""
    sent: dict[str, float] = {}
    for number in range(INNOCENTS):
        data_id = f"{name}-{number}"
        sent[data_id] = time.monotonic()
        innocent = envelope_of(data_id=data_id, href=href, topic=topic_of("aa-innocent"))
        world.send(innocent, *itertools.islice(beside, 4))
        await asyncio.sleep(EVERY_S)

    def announced() -> dict[str, float]:
        return {
            message["properties"]["data_id"]: at
            for (_, message), at in zip(world.messages, world.received_at, strict=False)
            if "data_id" in message.get("properties", {})
        }

    await until(lambda: sent.keys() <= announced().keys(), deadline_s=60)
    at = announced()
    return [at[data_id] - sent_at for data_id, sent_at in sent.items()]


def stood_still(log: str) -> list[str]:
    """Return the log's lines about parts of ours that were taken to be away."""
    return [line for line in log.splitlines() if '"part_away"' in line]


async def test_a_dead_a_slow_and_a_lying_server_cost_the_innocent_next_to_nothing(
    cache: ManagersWorld,
) -> None:
    manager = await cache.start(GC_RETRY_DELAYS="1,2,600", GC_DOWNLOAD_TIMEOUT="20").ready()
    async with WebServer() as good, WebServer() as slow, WebServer() as lying:
        href = good.serve("/obs.bufr", DATA)
        slow_href = slow.serve("/slow.bufr", script=trickle)
        wrong_bytes = lying.serve("/wrong.bufr", b"lies" * 5000)
        wrong_length = lying.serve("/short.bufr", DATA[:1000])
        dead = f"http://127.0.0.1:{free_port()}/obs.bufr"

        def attackers() -> Iterator[Envelope]:
            for number in itertools.count():
                yield envelope_of(data_id=f"dead-{number}", href=dead, topic=topic_of("bb-dead"))
                yield envelope_of(
                    data_id=f"slow-{number}", href=slow_href, topic=topic_of("cc-slow")
                )
                yield envelope_of(
                    data_id=f"bytes-{number}", href=wrong_bytes, topic=topic_of("dd-lies"),
                    integrity=integrity_of(DATA),
                )  # fmt: skip
                yield envelope_of(
                    data_id=f"length-{number}", href=wrong_length, topic=topic_of("dd-lies"),
                    length=len(DATA),
                )  # fmt: skip

        alone = await delays(cache, "alone", href, iter(()))
        beside = await delays(cache, "beside", href, attackers())
    for part in (9, 4):  # of ten: the 90th percentile and the median
        usual, now = (statistics.quantiles(run, n=10)[part - 1] for run in (alone, beside))
        assert now <= FACTOR * usual + MORE_S, (part, usual, now)
    assert stood_still(manager.log.read_text()) == []


async def test_hundreds_that_fail_in_one_moment_are_handed_back_and_the_gate_stays_open(
    cache: ManagersWorld,
) -> None:
    manager = await cache.start(
        GC_CONCURRENCY="400", GC_CONCURRENCY_PER_HOST="400", GC_RETRY_DELAYS="1,1,1"
    ).ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        for start in range(0, 300, 100):
            numbers = range(start, start + 100)
            for number in numbers:
                web.serve(f"/{number}", status=404, gate=gate)
            cache.send(*(envelope_of(data_id=f"d{n}", href=web.url(f"/{n}")) for n in numbers))
        await until(lambda: len(web.requests) == 300)
        for number in range(300):
            web.serve(f"/{number}", DATA)
        gate.set()
        await until(lambda: len(cache.announced) == 300, deadline_s=60)
        await until_idle(cache)
    assert stood_still(manager.log.read_text()) == []
    counters = await cache.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 300
    assert counter(counters, "wmo_wis2_gc_downloaded_total", "yy-met") == 300


async def test_thousands_of_one_healthy_host_are_all_announced_and_hardly_go_round(
    cache: ManagersWorld,
) -> None:
    items = 2000
    manager = await cache.start(GC_RETRY_DELAYS="10").ready()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.2)  # so the host is the bottleneck on any machine
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nBUFR")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as web:
        href = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/obs.bufr"
        for start in range(0, items, 100):
            numbers = range(start, start + 100)
            cache.send(*(envelope_of(data_id=f"d{number}", href=href) for number in numbers))
        await until(lambda: len(cache.announced) >= items, deadline_s=250)
        await until_idle(cache)
        assert await manager.stop() == 0
    assert len({message["properties"]["data_id"] for message in cache.announced}) == items
    counters = await cache.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_total", "yy-met") == items
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 0
    with redis.Redis.from_url(cache.redis.url) as raw:
        put_backs = raw.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"]
    assert put_backs <= 2.25 * items
    assert '"item_given_up"' not in manager.log.read_text()


async def test_with_redis_full_what_waits_is_worked_off_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    require_redis()
    server = RedisServer(tmp_path / "redis", options=("--maxmemory-policy", "noeviction")).start()
    try:
        with new_world(tmp_path, server) as cache, redis.Redis.from_url(server.url) as raw:
            await while_redis_is_full(cache, raw)
    finally:
        server.stop()


async def while_redis_is_full(cache: ManagersWorld, raw: redis.Redis) -> None:
    manager = await cache.start().ready()
    gate = asyncio.Event()
    async with WebServer() as web:
        held = web.serve("/held.bufr", DATA, gate=gate)
        missing = web.url("/late.bufr")
        for number in range(15):
            cache.send(envelope_of(data_id=f"held-{number}", href=held))
        await until(lambda: len(web.requests) == 15)
        # Queue and registry together: what is in work ends, what waits begins, what failed goes
        # back or to the dead letters, all of it without memory.
        cache.send(*(envelope_of(data_id=f"waits-{number}", href=held) for number in range(50)))
        cache.send(*(envelope_of(data_id=f"fails-{number}", href=missing) for number in range(20)))
        raw.config_set("maxmemory", "1mb")
        gate.set()
        await until(lambda: len(cache.announced) >= 65, deadline_s=60)
        await until_idle(cache)
        assert manager.probe("/readyz")[0] == 200
    assert len({message["id"] for message in cache.announced}) == 65
    counters = await cache.counters()
    assert counter(counters, "wmo_wis2_gc_downloaded_total", "yy-met") == 65
    assert counter(counters, "wmo_wis2_gc_downloaded_errors_total", "yy-met") == 20
    assert counter(counters, "wis2_gc_items_given_up_total", "not_found") == 20


async def test_a_redis_that_listeners_fill_drains_and_takes_in_again_by_itself(
    tmp_path: Path,
) -> None:
    require_redis()
    server = RedisServer(tmp_path / "redis", options=("--maxmemory-policy", "noeviction")).start()
    try:
        with new_world(tmp_path, server) as cache, redis.Redis.from_url(server.url) as raw:
            await filled_by_listeners(cache, raw)
    finally:
        server.stop()


async def filled_by_listeners(cache: ManagersWorld, raw: redis.Redis) -> None:
    raw.config_set("maxmemory", raw.info("memory")["used_memory"] + 8_000_000)
    sender = open_sender(cache.queue_url, redis_url=cache.redis.url, max_length=10_000)
    accepted = 0
    async with WebServer() as web:
        href = web.serve("/item.bufr", DATA)
        for number in itertools.count():
            envelope = envelope_of(data_id=f"{number}/{'x' * 1900}", href=href)
            if sender.send([envelope]) != [Sent.ACCEPTED]:
                break
            accepted += 1
        assert accepted > 500
        # As if the registry had taken the rest meanwhile.
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] * 0.9))
        with pytest.raises(redis.OutOfMemoryError):
            raw.set("more", b"x")
        await cache.start().ready()
        await until(lambda: len(cache.announced) >= accepted, deadline_s=90)
        await until_idle(cache)
        assert len({message["id"] for message in cache.announced}) == accepted
        await until(lambda: sender.send([envelope]) == [Sent.ACCEPTED])
        await until(lambda: len(cache.announced) > accepted)
    sender.close()
