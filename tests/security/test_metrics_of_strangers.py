"""Strangers fill what the metrics service shows, and hold its connections."""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.worlds.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CENTRE = "ca-eccc-msc"
TOPIC = f"origin/a/wis2/{CENTRE}/data/core/weather/synop"
HALF_SENT = 1100
MADE_UP = 3000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    known = tmp_path / "centre-id.csv"
    known.write_text(f"Name,Description,Source,Status\n{CENTRE},Canada,,Operational\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * HALF_SENT:
        pytest.skip(f"only {hard} open files are allowed here")
    # What most systems allow a service; we need more to attack it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    with open_world(tmp_path / "world", GC_KNOWN_CENTRES_FILE=str(known)) as world:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 * HALF_SENT, hard))
        yield world
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_sent_requests_do_not_block_the_metrics(world: World) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_SENT):
            address = ("127.0.0.1", world.metrics_port)
            client = stack.enter_context(socket.create_connection(address, 10))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        data_id = unique_data_id("canary")
        world.publish(TOPIC, wnm(data_id=data_id, content=inline(b"canary")))
        world.announced(data_id)
        world.settle()
        assert world.counters(CENTRE) == {"downloaded_total": 1}


def test_made_up_centres_and_refused_links_leave_the_real_ones_their_labels(world: World) -> None:
    for number in range(MADE_UP):
        world.publish(f"origin/a/wis2/xx-{number}/metadata", b"no notification")
    refused = unique_data_id("refused")
    world.publish(
        "origin/a/wis2/yy-met/data/core/weather/synop",
        wnm(data_id=refused, href="http://10.11.12.13/intranet"),
    )
    data_id = unique_data_id("canary")
    world.publish(TOPIC, wnm(data_id=data_id, content=inline(b"canary")))
    world.announced(data_id)
    world.settle(including_delayed=True)
    assert world.counters(CENTRE) == {"downloaded_total": 1}
    labels = [dict(labels) for _, labels in world.metrics()]
    assert len({each["centre_id"] for each in labels if "centre_id" in each}) <= 103
    assert "10.11.12.13" not in {each.get("dataserver") for each in labels}
    body = world.get(f"http://127.0.0.1:{world.metrics_port}/metrics")[2]
    assert len(body) < 2_000_000
