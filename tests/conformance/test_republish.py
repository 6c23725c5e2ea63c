"""wis2-rules.md 21 to 24: our notification."""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.worlds.world import CENTRE_ID, DEPLOYMENT_SECRET, Client, World, wait_until
from wis2_gc_common.wis2.message_id import message_id

if TYPE_CHECKING:
    from testkit.servers.nodes import Node


EARLIER = "2026-11-23T10:00:00Z"


def test_rule_21_qos_1_not_retained_only_the_first_level_changes_after_the_object_is_there(
    world: World, node: Node, topic: str
) -> None:
    ids = [unique_data_id() for _ in range(20)]
    fetched: dict[str, int] = {}
    seen: dict[str, tuple[str, int, bool]] = {}

    def fetch_at_once(message: object) -> None:
        body = json.loads(message.payload)  # type: ignore[attr-defined]
        data_id = body["properties"]["data_id"]
        seen[data_id] = (message.topic, message.qos, message.retain)  # type: ignore[attr-defined]
        with urllib.request.urlopen(body["links"][0]["href"], timeout=20) as response:
            fetched[data_id] = response.status

    deep = f"{topic}/cache/origin/x"
    client = Client(
        world.public_broker.port, "everyone", "everyone", "cache/a/wis2/#", on_message=fetch_at_once
    )
    try:
        for data_id in ids:
            world.publish(deep, wnm(data_id=data_id, href=node.serve(f"/{data_id}", b"data")))
        wait_until(lambda: set(ids) <= set(fetched), "all are announced")
    finally:
        client.close()
    assert all(fetched[data_id] == 200 for data_id in ids)
    assert all(seen[data_id] == (deep.replace("origin", "cache", 1), 1, False) for data_id in ids)


@pytest.mark.parametrize("declares", ["conformsTo", "version"])
def test_rule_22_only_what_must_change_changes(
    world: World, node: Node, topic: str, data_id: str, declares: str
) -> None:
    links: list[dict[str, Any]] = [
        {"rel": "item", "href": "https://example.org/item", "title": "ä\u2028"},
        {"rel": "canonical", "href": node.serve("/a.bufr", b"data"), "type": "application/bufr",
         "extra": {"deep": [1.10, None, True]}},
        {"rel": "alternate", "href": "https://example.org/alternate"},
    ]  # fmt: skip
    message = wnm(
        data_id=data_id, links=links, pubtime="2026-11-23T10:00:00.123456789+00:00",
        global_cache="yy-other-global-cache", gts={"ttaaii": "FTAE31", "cccc": "VTBB"},
        wigos_station_identifier="0-20000-0-12345",
    )  # fmt: skip
    if declares == "version":
        del message["conformsTo"]
        message["version"] = "v04"
    message["unknown"] = {"number": 46.22329661822744455}
    payload = encoded(message).replace(b"46.22329661822744", b"46.223296618227444550")
    world.publish(topic.replace("origin", "cache", 1), payload)
    announcement = world.announced(data_id)
    announced = announcement.message
    expected = json.loads(payload)
    expected["id"] = announced["id"]
    expected["properties"]["global-cache"] = CENTRE_ID
    expected["links"][1]["href"] = announced["links"][1]["href"]
    expected["links"][1]["length"] = 4
    assert announced == expected
    assert list(announced) == list(expected)
    assert b"46.223296618227444550" in announcement.payload
    assert announced["id"] != message["id"]
    assert announced["links"][1]["href"].startswith(world.data_base_url)


@pytest.mark.parametrize("with_canonical", [False, True])
def test_rule_07_an_update_written_as_a_uri_is_an_update(
    world: World, node: Node, topic: str, data_id: str, with_canonical: bool
) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"old"), pubtime=EARLIER))
    world.announced(data_id)
    rel = "http://def.wmo.int/def/rel/wnm/-/update"
    links = [{"rel": rel, "href": node.serve("/new", b"new")}]
    if with_canonical:
        links.insert(0, {"rel": "canonical", "href": node.serve("/old", b"old")})
    world.publish(topic, wnm(data_id=data_id, links=links))
    wait_until(lambda: len(world.announcements(data_id)) == 2, "the update")
    announced = world.announcements(data_id)[-1].message["links"]
    assert [link["rel"] for link in announced] == [link["rel"] for link in links]
    assert len({link["href"] for link in announced}) == 1
    assert world.get(announced[0]["href"])[2] == b"new"


@pytest.mark.parametrize("with_canonical", [False, True])
def test_rule_07_a_deletion_written_as_a_uri_is_a_deletion(
    world: World, topic: str, data_id: str, with_canonical: bool
) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"old"), pubtime=EARLIER))
    href = world.announced(data_id).link()["href"]
    rel = "http://def.wmo.int/def/rel/wnm/-/deletion"
    links = [{"rel": rel, "href": "https://example.org/it"}]
    if with_canonical:
        links.append({"rel": "canonical", "href": "https://example.org/it"})
    world.publish(topic, wnm(data_id=data_id, links=links))
    wait_until(lambda: len(world.announcements(data_id)) == 2, "the deletion")
    assert world.announcements(data_id)[-1].message["links"] == links
    wait_until(lambda: world.get(href)[0] == 404, "the object is gone")


def test_rule_22_a_length_that_came_as_text_is_announced_as_a_number(
    world: World, topic: str
) -> None:
    kept, cached = unique_data_id(), unique_data_id()
    world.publish(topic, wnm(data_id=cached, content=inline(b"four"), length="4"))
    world.publish(topic, wnm(data_id=kept, href="https://example.org/a", length="4", cache=False))
    assert world.announced(cached).link()["length"] == 4
    assert world.announced(kept).link()["length"] == 4


def test_rule_22_an_identifier_that_is_not_a_uuid_is_replaced_by_one(
    world: World, topic: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, message_id="no uuid/1", content=inline(b"x")))
    identifier = world.announced(data_id).message["id"]
    assert str(uuid.UUID(identifier)) == identifier


def test_rule_23_content_goes_when_our_link_makes_the_message_too_long(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    data = b"x" * 3000
    message = wnm(data_id=data_id, href=node.serve("/a", data), content=inline(data), filler="")
    message["properties"]["filler"] = "f" * (8192 - len(encoded(message)))
    assert len(encoded(message)) == 8192
    world.publish(topic, message)
    announcement = world.announced(data_id)
    assert len(announcement.payload) <= 8192
    assert "content" not in announcement.properties
    assert announcement.properties["filler"] == message["properties"]["filler"]
    assert world.get(announcement.link()["href"])[2] == data


def test_rule_23_a_message_over_8192_bytes_is_not_taken(
    world: World, topic: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"x"), filler="f" * 8192))
    world.settle()
    assert not world.announcements(data_id)


@pytest.mark.parametrize("cache", [True, False])
def test_rule_24_the_id_is_made_of_what_the_item_is_and_the_secret_of_the_deployment(
    world: World, topic: str, centre: str, data_id: str, cache: bool
) -> None:
    world.publish(
        topic, wnm(data_id=data_id, content=inline(b"x"), pubtime="1970-01-01T00:00:01Z",
                   href="https://example.org/a", cache=cache)
    )  # fmt: skip
    assert world.announced(data_id).message["id"] == message_id(
        DEPLOYMENT_SECRET.encode(),
        centre_id=CENTRE_ID,
        topic_centre_id=centre,
        data_id=data_id,
        pubtime_ns=10**9,
        rel="canonical",
    )


def test_rule_24_the_id_is_the_same_when_a_manager_dies_at_work(
    world: World, node: Node, topic: str
) -> None:
    """Every item is announced, under one id only, whenever the managers are killed."""
    ids = [unique_data_id() for _ in range(150)]
    for index, data_id in enumerate(ids):
        href = node.serve(f"/{index}", b"data" * 5000)
        world.publish(topic, wnm(data_id=data_id, href=href), brokers="ab"[index % 2])
        if index % 50 == 25:
            name = f"manager-{1 + index // 50 % 2}"
            world.processes[name].kill()
            world.processes[name].start()
    names = {data_id: {world.announced(data_id, timeout=60).message["id"]} for data_id in ids}
    world.settle(including_delayed=True)
    for data_id in ids:
        names[data_id] |= {a.message["id"] for a in world.announcements(data_id)}
    assert all(len(found) == 1 for found in names.values())
