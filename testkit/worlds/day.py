"""A world whose clock is ours: `libfaketime` stands between the cache's processes and the real one.

What it moves is the time of day, in Redis (leases, retries, the twelve hours) and in the services
(retention, delays, hour folders). It runs as fast as ever and jumps over the hours in between;
clocks that measure how long something takes (`CLOCK_MONOTONIC`) are left alone, and so are the
brokers and nginx.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.parts.redis_server import RedisServer
from local.world.centres import CENTRES, OTHER_CACHES
from local.world.data import make_data
from local.world.items import (
    ORIGIN,
    Author,
    WorldOutcome,
    cache_topic,
    can_change,
    notification,
    publications,
)
from local.world.web import DataServer
from testkit.worlds.world import CENTRE_ID, World, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import paho.mqtt.client as mqtt

    from local.world.items import WorldItem
    from local.world.ledger import Ledger
    from local.world.mix import Mix

#: Debian's package libfaketime.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """The time of day in the world: the real one and an offset that libfaketime reads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset_s = 0
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"+{self._offset_s}\n", encoding="utf-8")
        new.replace(self._file)

    def now(self) -> datetime:
        """Return the world's time."""
        return datetime.fromtimestamp(time.time() + self._offset_s, UTC)

    def jump_to(self, moment: datetime) -> None:
        """Let it be `moment`. Time goes on from there, as fast as ever."""
        self._offset_s += math.ceil((moment - self.now()).total_seconds())
        assert self._offset_s >= 0
        self._write()

    def environment(self, *before: str) -> dict[str, str]:
        """Return the variables with which a process has this clock.

        `before`: libraries whose functions win over those of the process. Redis gets its memory
        from jemalloc, which asks for the time before libfaketime can be ready: with the C library's
        own functions before it, all is well.
        """
        return {
            "LD_PRELOAD": " ".join((str(LIBRARIES[0]), *before)),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }


class DayWorld(World):
    """A `World` with a clock of its own and books of what must come out."""

    def __init__(self, directory: Path, clock: Clock, ledger: Ledger, **options: Any) -> None:
        self.clock = clock
        self.ledger = ledger
        self.came_out: list[tuple[WorldItem, str]] = []
        """Items and their links as they were announced; for the caller to take."""
        super().__init__(directory, **{**clock.environment(), **options})

    def _redis_server(self) -> RedisServer:
        server = RedisServer(self.directory / "redis")
        server.variables = self.clock.environment("libc.so.6")
        return server

    def _keep(self, message: mqtt.MQTTMessage) -> None:
        super()._keep(message)
        topic, payload = message.topic, bytes(message.payload)
        if topic.startswith("monitor/") or f'"{CENTRE_ID}"'.encode() not in payload:
            return  # what others announced
        with self._lock:
            item = self.ledger.announce(
                topic, payload, centre_id=CENTRE_ID, data_base_url=self.data_base_url
            )
            if item is not None:
                self.came_out.append((item, _href(payload)))

    def roll_out(self, name: str) -> None:
        """Stop a process as a cluster does, and start it again."""
        process = self.processes[name]
        assert process.stop() == 0
        process.start()
        wait_until(lambda: process.is_alive and self.is_ready(), f"{name} is back")


def _href(payload: bytes) -> str:
    links: list[dict[str, Any]] = json.loads(payload)["links"]
    rels = ("canonical", "update", "deletion")
    return next(str(link["href"]) for link in links if link["rel"].rpartition("/")[2] in rels)


@dataclass(frozen=True)
class Held:
    """The last version of an item that came out with a link of ours."""

    item: WorldItem
    href: str
    at: datetime


class Day:
    """Plays the centres, the other Global Caches and the Global Brokers of a `DayWorld`."""

    def __init__(self, world: DayWorld, mix: Mix, seed: int) -> None:
        self.world = world
        self.held: dict[tuple[str, str], Held] = {}
        """By centre-id and data_id."""
        self.days: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """The dates on which a version of an item came out."""
        self.repeated_ids = 0
        """Messages that a Global Broker got under an id that it had passed on."""
        self._chance = random.Random(seed)
        self._author = Author(mix, random.Random(seed))
        self._passed: set[tuple[str, str]] = set()
        self._servers: dict[str, DataServer] = {}

    @contextlib.contextmanager
    def servers(self) -> Iterator[None]:
        """Run the data servers of all centres and caches, in a thread of their own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        addresses = {centre.centre_id: centre.address for centre in CENTRES} | OTHER_CACHES
        try:
            for name, address in addresses.items():
                # A server's bad time is over when the world's clock says so: however fast the
                # machine plays the hours, it ends before the tries of an item do.
                server = self._servers[name] = DataServer(address, 0, clock=self._now_s)
                asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
            yield
        finally:
            for server in self._servers.values():
                asyncio.run_coroutine_threadsafe(server.close(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _now_s(self) -> float:
        return self.world.clock.now().timestamp()

    def play(self, count: int) -> None:
        """Publish `count` items, the other caches' announcements mixed in later."""
        messages = []
        for number in range(count):
            item = self._author.next_item(self.world.clock.now())
            with self.world._lock:
                self.world.ledger.publish(item)
            plan: defaultdict[str, list[str]] = defaultdict(list)
            for source, broker in publications(item, [*self.world.brokers], self._chance):
                plan[source].append(broker)
            for source, brokers in plan.items():
                later = 0.0 if source == ORIGIN else self._chance.uniform(0, 20)
                messages.append((number + later, item, source, brokers))
        sent = [
            info
            for _, item, source, brokers in sorted(messages, key=lambda message: message[0])
            for info in self._announce(item, source, brokers)
        ]
        for info in sent:
            info.wait_for_publish(20)

    def _announce(
        self, item: WorldItem, source: str, brokers: list[str]
    ) -> Iterator[mqtt.MQTTMessageInfo]:
        server = self._servers[item.centre.centre_id if source == ORIGIN else source]
        topic = item.topic if source == ORIGIN else cache_topic(item.topic)
        payload = notification(item, server.base_url, source=source)
        message_id = json.loads(payload)["id"]
        for broker in brokers:
            # A Global Broker passes every id once.
            if (broker, message_id) in self._passed:
                self.repeated_ids += 1
                continue
            self._passed.add((broker, message_id))
            yield self.world.publishers[broker].publish(topic, payload)

    def settle(self) -> None:
        """Wait until nothing is in work; fetch what came out, and compare it."""
        self.world.settle()
        self.take()

    def take(self) -> None:
        """Fetch what has come out since, and compare it."""
        with self.world._lock:
            came_out, self.world.came_out = self.world.came_out, []
        new: dict[tuple[str, str], Held] = {}
        for item, href in came_out:
            key = item.key[:2]
            self.held.pop(key, None)
            new.pop(key, None)
            if item.outcome is WorldOutcome.CACHED:
                new[key] = Held(item, href, self.world.clock.now())
                self.days[key].add(f"{self.world.clock.now():%Y-%m-%d}")
            if can_change(item):
                self._author.announced.append(item)
        for held in new.values():
            assert self.is_right(held), f"{held.href} is not {held.item.data_id}"
        self.held.update(new)

    def is_right(self, held: Held) -> bool:
        """Whether the item can be fetched, byte for byte."""
        status, _, body = self.world.get(held.href)
        return status == 200 and body == make_data(held.item.name)

    def is_gone(self, held: Held) -> bool:
        """Whether nothing is there any more."""
        return self.world.get(held.href)[0] == 404
