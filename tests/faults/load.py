"""A steady stream of items, and the proof that each came out as it should."""

from __future__ import annotations

import hashlib
import itertools
import threading
from typing import TYPE_CHECKING

from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.worlds.world import wait_until

if TYPE_CHECKING:
    from testkit.servers.nodes import Node
    from testkit.worlds.world import World

CENTRE = "tt-faults"
#: For every world that a `Load` is published in: on a busy machine its node is not a slow source.
PATIENT = {"GC_CONNECT_TIMEOUT": "20", "GC_IDLE_TIMEOUT": "20"}
TOPIC = f"origin/a/wis2/{CENTRE}/data/core/weather/surface-based-observations/synop"


class Load:
    """Publishes items from a thread until stopped: linked and inline, over one broker or both."""

    def __init__(self, world: World, node: Node) -> None:
        self._world, self._node = world, node
        self._stop = threading.Event()
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self.bodies: dict[str, bytes] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count():
            self._may_go_on.wait()
            if self._stop.wait(0.005):
                return
            data_id = unique_data_id("fault")
            body = hashlib.sha256(data_id.encode()).digest() * (1 + number % 7 * 300)
            brokers = ("a", "b", "ab")[number // 3 % 3]
            if number % 3 == 0:
                body = body[:1024]
                self._world.publish(
                    TOPIC, wnm(data_id=data_id, content=inline(body)), brokers=brokers
                )
                self.bodies[data_id] = body
            else:
                self.link(data_id, body, brokers=brokers)

    def link(self, data_id: str, body: bytes, *, brokers: str = "a") -> None:
        """Publish an item that is to be downloaded."""
        href = self._node.serve(f"/{data_id}", body)
        message = wnm(data_id=data_id, href=href, length=len(body), integrity=integrity_of(body))
        self._world.publish(TOPIC, message, brokers=brokers)
        self.bodies[data_id] = body

    def wait_for(self, count: int) -> None:
        """Wait until `count` more items are published."""
        wanted = len(self.bodies) + count
        wait_until(lambda: len(self.bodies) >= wanted, f"{count} more items", timeout=100)

    def pause(self) -> None:
        """Publish no more until `go_on`: all that is published has to come out in the end."""
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    def stop(self) -> None:
        self._stop.set()
        self._may_go_on.set()
        self._thread.join(30)


def assert_all_came_out(world: World, load: Load) -> None:
    """Every item: announced, under one id, every byte right, counted once."""
    load.stop()
    wait_until(world.is_ready, "the cache is ready again", timeout=60)
    for data_id in load.bodies:
        world.announced(data_id, timeout=60)
    world.settle(including_delayed=True)
    for data_id, body in load.bodies.items():
        announcements = world.announcements(data_id)
        assert len({a.message["id"] for a in announcements}) == 1, "announced under two ids"
        status, _, got = world.get(announcements[-1].link()["href"])
        assert status == 200, (status, got[:300])
        assert got == body
    assert world.counters(CENTRE) == {"downloaded_total": len(load.bodies)}
