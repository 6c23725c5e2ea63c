"""Data servers that send hardly anything, or much, beside an innocent centre's items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import unique_data_id, wnm
from testkit.servers.web_server import served, trickle
from testkit.worlds.world import World, open_world, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: More, in each of the two managers, than there are MiB of memory for bodies.
SOURCES = 160
CENTRES = 4
CANARIES = 20
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
DATA = b"d" * 85_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    # On a busy machine the slow ones may stand still for a while.
    options = {"GC_CONCURRENCY_PER_HOST": str(SOURCES), "GC_IDLE_TIMEOUT": "50"}
    with open_world(tmp_path / "world", **options) as world:
        yield world


@pytest.mark.parametrize(
    "begins_with", [b"", b"l" * (1024 * 1024 - 100)], ids=["slow", "nearly too large to be kept"]
)
def test_sources_that_hold_on_to_memory_hold_up_nobody(world: World, begins_with: bytes) -> None:
    with served() as strangers, served() as innocent:
        # 600 bytes a second: too much to be given up as standing still.
        script = trickle(HEAD + begins_with, piece=b"s" * 60, interval_s=0.1)
        for number in range(SOURCES):
            href = strangers.serve(f"/{number}", script=script)
            topic = f"origin/a/wis2/xx-slow-{number % CENTRES}/data/core/weather"
            world.publish(topic, wnm(data_id=unique_data_id("slow"), href=href))
        wait_until(lambda: strangers.open_connections == SOURCES, "all are being downloaded")
        canaries = [unique_data_id("canary") for _ in range(CANARIES)]
        for data_id in canaries:
            href = innocent.serve(f"/{data_id}", DATA, chunked=True)
            topic = "origin/a/wis2/ca-eccc-msc/data/core/weather"
            world.publish(topic, wnm(data_id=data_id, href=href))
        for data_id in canaries:
            world.announced(data_id, timeout=60)
        assert strangers.open_connections == SOURCES
