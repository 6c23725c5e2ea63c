"""A centre that fills Redis, or the disk: its own items suffer, others' do not."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.worlds.world import World, open_world, wait_until
from wis2_gc_common.wis2.inline import MAX_DECODED_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ITEMS = 20
BOMBS = 4
HREF = "https://node.yy.test/data/a.bufr"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    quotas = {
        "GC_CENTRE_MAX_ITEMS": str(ITEMS),
        "GC_CENTRE_MAX_BYTES": str(BOMBS * MAX_DECODED_BYTES),
    }
    path: Path = tmp_path_factory.mktemp("world")
    with open_world(path, **quotas) as world:
        yield world


def topic_of(centre: str) -> str:
    return f"origin/a/wis2/{centre}/data/core/weather/synop"


def bomb() -> dict[str, Any]:
    data = gzip.compress(bytes(MAX_DECODED_BYTES))
    text = base64.b64encode(data).decode()
    return {"encoding": "gzip", "size": MAX_DECODED_BYTES, "value": text}


def send(world: World, centre: str, count: int, content: dict[str, Any]) -> list[str]:
    data_ids = [unique_data_id(centre) for _ in range(count)]
    for data_id in data_ids:
        world.publish(topic_of(centre), wnm(data_id=data_id, href=HREF, content=content))
    for data_id in data_ids:
        world.announced(data_id)
    world.settle()
    return data_ids


def hrefs(world: World, data_ids: list[str]) -> list[str]:
    return [world.announced(data_id).link()["href"] for data_id in data_ids]


def override_events(world: World, centre: str) -> list[dict[str, Any]]:
    events = [json.loads(event.payload) for event in list(world.events)]
    return [event for event in events if event["subject"] == centre]


def canary(world: World) -> None:
    data_id = unique_data_id("canary")
    world.publish(topic_of("ca-eccc-msc"), wnm(data_id=data_id, href=HREF, content=inline(b"c")))
    assert world.announced(data_id).link()["href"] != HREF


def test_a_centre_with_as_many_items_as_it_may_have_is_announced_with_its_own_links(
    world: World,
) -> None:
    data_ids = send(world, "xx-flood", ITEMS + 5, inline(b"data"))
    canary(world)
    assert hrefs(world, data_ids).count(HREF) == 5
    expected = {"downloaded_total": ITEMS, "cache_override_total": 5}
    # Of what is not on record, a second later.
    wait_until(lambda: world.counters("xx-flood") == expected, "what is counted")
    [event] = wait_until(lambda: override_events(world, "xx-flood"), "the monitoring event")
    assert event["data"]["subtype"] == "gc-alert"
    assert "quota" in event["data"]["content"]["description"]
    # What comes again has the id that it had: a Global Broker passes it on once.
    again = data_ids[hrefs(world, data_ids).index(HREF)]
    first = world.announced(again)
    message = wnm(data_id=again, href=HREF, content=inline(b"data"))
    message["properties"]["pubtime"] = first.properties["pubtime"]
    world.publish(topic_of("xx-flood"), message)
    wait_until(lambda: world.counters("xx-flood")["cache_override_total"] == 6, "it is counted")
    assert len(world.announcements(again)) == 1


def test_what_is_held_is_deleted_and_its_room_is_its_centres_own(world: World) -> None:
    [held, *_] = send(world, "xx-deleting", ITEMS, inline(b"data"))
    url = world.announced(held).link()["href"]
    assert world.get(url)[0] == 200
    deletion = wnm(data_id=held, href=HREF, rel="deletion", pubtime="2099-01-01T00:00:00Z")
    unknown = unique_data_id("unknown")
    world.publish(topic_of("xx-deleting"), deletion)
    world.publish(topic_of("xx-deleting"), wnm(data_id=unknown, href=HREF, rel="deletion"))
    world.announced(held, count=2)
    world.announced(unknown)
    world.settle()
    assert world.get(url)[0] == 404
    canary(world)


def test_bombs_of_inline_data_fill_no_more_than_the_quota(world: World) -> None:
    stored = send(world, "xx-bombs", BOMBS, bomb())
    assert HREF not in hrefs(world, stored)
    beyond = send(world, "xx-bombs", ITEMS - BOMBS, bomb())
    canary(world)
    assert set(hrefs(world, beyond)) == {HREF}
    assert world.cached_volume("xx-bombs") == BOMBS * MAX_DECODED_BYTES
    expected = {"downloaded_total": BOMBS, "cache_override_total": ITEMS - BOMBS}
    # Of what is not on record, a second later.
    wait_until(lambda: world.counters("xx-bombs") == expected, "what is counted")
    assert override_events(world, "ca-eccc-msc") == []
