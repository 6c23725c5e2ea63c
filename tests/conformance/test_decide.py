"""SPEC.md 6 to 10: new, repeated, updated and deleted items."""

from __future__ import annotations

import json
import threading
from urllib.parse import quote

import pytest
import redis

from tests.support.nodes import Answer, Node
from tests.support.wnm import inline, unique_data_id, wnm
from tests.support.world import World, wait_until
from wis2_gc_common.registry.keys import item_record, record_key


def put(
    world: World, topic: str, data_id: str, pubtime: str, rel: str = "canonical", **more: object
) -> None:
    world.publish(
        topic, wnm(data_id=data_id, rel=rel, pubtime=pubtime, content=inline(b"x"), **more)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000000001Z"),
        ("2026-11-23T10:00:00.9Z", "2026-11-23T10:00:00.10Z"),
        ("2026-11-23T09:59:59Z", "2026-11-23T10:00:00+00:00"),
        ("2026-11-23T10:00:00:5Z", "2026-11-23T10:00:00:75Z"),
    ],
)
def test_spec_06_times_are_compared_as_times(
    world: World, topic: str, data_id: str, first: str, later: str
) -> None:
    put(world, topic, data_id, first)
    world.announced(data_id)
    put(world, topic, data_id, later, "update")
    world.settle()
    is_later = later != "2026-11-23T10:00:00.10Z"
    assert len(world.announcements(data_id)) == (2 if is_later else 1)
    assert world.announcements(data_id)[-1].properties["pubtime"] == (later if is_later else first)


def test_spec_07_an_update_with_a_canonical_link_is_an_update_and_both_links_are_ours(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    links = [
        {"rel": "canonical", "href": node.serve("/old", b"old")},
        {"rel": "item", "href": "https://example.org/item"},
        {"rel": "update", "href": node.serve("/new", b"new")},
    ]
    world.publish(topic, wnm(data_id=data_id, pubtime="2026-11-23T11:00:00Z", links=links))
    message = world.announced(data_id, count=2).message
    assert [link["rel"] for link in message["links"]] == ["canonical", "item", "update"]
    hrefs = [link["href"] for link in message["links"]]
    assert hrefs[0] == hrefs[2]
    assert hrefs[1] == "https://example.org/item"
    assert world.get(hrefs[0])[2] == b"new"
    assert node.requests == {"/new": 1}


@pytest.mark.parametrize("rel", ["canonical", "update"])
def test_spec_08_what_is_not_held_is_processed(
    world: World, topic: str, data_id: str, rel: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z", rel)
    assert world.announced(data_id).link(rel)


@pytest.mark.parametrize("pubtime", ["2026-11-23T10:00:00Z", "2026-11-23T09:00:00Z"])
@pytest.mark.parametrize("rel", ["canonical", "update", "deletion"])
def test_spec_08_done_and_not_newer_is_dropped(
    world: World, topic: str, data_id: str, centre: str, pubtime: str, rel: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    href = world.announced(data_id).link()["href"]
    put(world, topic, data_id, pubtime, rel)
    world.settle()
    assert len(world.announcements(data_id)) == 1
    assert world.get(href)[0] == 200
    assert world.counters(centre) == {"downloaded_total": 1}


def test_spec_08_done_and_newer_with_update_is_processed(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T10:00:01Z", "update")
    world.announced(data_id, count=2)
    assert world.counters(centre) == {"downloaded_total": 2}


def test_spec_08_done_and_newer_without_update_is_dropped_and_counted_on_its_own(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    def repeats() -> float:
        return sum(
            v for (_, labels), v in world.metrics().items() if ("reason", "repeat") in labels
        )

    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    before = repeats()
    put(world, topic, data_id, "2026-11-23T10:00:01Z")
    wait_until(lambda: repeats() == before + 1, "the repeat is counted")
    world.settle()
    assert len(world.announcements(data_id)) == 1
    assert world.counters(centre) == {"downloaded_total": 1}


def test_spec_08_what_is_in_progress_is_not_done_twice(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    def in_work() -> float:
        metrics = world.metrics()
        states = (frozenset({("state", state)}) for state in ("ready", "in_flight"))
        return sum(metrics["wis2_gc_queue_messages", state] for state in states)

    def parked() -> int:
        url = f"http://127.0.0.1:{world.metrics_port}/api/item?data_id={quote(data_id, safe='')}"
        answer = json.loads(world.get(url)[2])
        assert answer["state"] == "running"
        return int(answer["parked"])

    gate = threading.Event()
    slow = node.serve("/slow", Answer(b"data", gate=gate))
    pubtime = "2026-11-23T10:00:00Z"
    first = wnm(data_id=data_id, pubtime=pubtime, href=slow)
    world.publish(topic, first, brokers="a")
    wait_until(lambda: node.requests["/slow"], "the download runs")
    # Copies of the same notification, and others of the same item with sources of their own.
    world.publish(topic, first, brokers="aabb")
    for broker in "ab":
        href = node.serve(f"/slow-{broker}", Answer(b"data", gate=gate))
        world.publish(topic, wnm(data_id=data_id, pubtime=pubtime, href=href), brokers=broker)
    world.publish(topic, wnm(data_id=unique_data_id(), content=inline(b"x")), brokers="ab")
    wait_until(lambda: parked() == 2 and in_work() == 1, "all six are found to be in progress")
    gate.set()
    world.announced(data_id)
    world.settle()
    assert len(world.announcements(data_id)) == 1
    assert world.counters(centre) == {"downloaded_total": 2}
    # The other sources may be tried at the side of the slow one (the hedge), and none twice.
    assert node.requests["/slow"] == 1
    assert max(node.requests.values()) == 1


def test_spec_08_what_came_meanwhile_is_the_fall_back_of_a_failing_source(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    gate = threading.Event()
    bad = node.serve("/bad", Answer(b"gone", status=404, gate=gate))
    good = node.serve("/good", b"data")
    pubtime = "2026-11-23T10:00:00Z"
    world.publish(topic, wnm(data_id=data_id, pubtime=pubtime, href=bad))
    wait_until(lambda: node.requests["/bad"], "the first download runs")
    other = wnm(data_id=data_id, pubtime=pubtime, href=good, global_cache="yy-other-global-cache")
    world.publish(topic.replace("origin", "cache", 1), other, brokers="b")
    wait_until(
        lambda: gate.set() or world.announcements(data_id), "the fall-back source is announced"
    )
    assert world.get(world.announced(data_id).link()["href"])[2] == b"data"
    world.settle()
    assert len(world.announcements(data_id)) == 1


def test_spec_08_after_a_failure_the_next_notification_of_the_same_pubtime_is_processed(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    pubtime = "2026-11-23T10:00:00Z"
    world.publish(
        topic, wnm(data_id=data_id, pubtime=pubtime, href=node.serve("/bad", Answer(status=404)))
    )
    wait_until(lambda: world.counters(centre).get("downloaded_errors_total") == 1, "the failure")
    world.publish(
        topic, wnm(data_id=data_id, pubtime=pubtime, href=node.serve("/good", b"data")), brokers="b"
    )
    world.announced(data_id)
    world.settle(including_delayed=True)
    assert world.counters(centre) == {"downloaded_errors_total": 1, "downloaded_total": 1}


@pytest.mark.parametrize("pubtime", ["2026-11-23T11:00:00Z", "2026-11-23T10:30:00Z"])
def test_spec_08_deleted_and_not_newer_is_dropped(
    world: World, topic: str, data_id: str, pubtime: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T11:00:00Z", "deletion")
    world.announced(data_id, count=2)
    put(world, topic, data_id, pubtime, "update")
    world.settle()
    assert len(world.announcements(data_id)) == 2


def test_spec_08_deleted_and_newer_is_processed_as_new(
    world: World, topic: str, data_id: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T11:00:00Z", "deletion")
    world.announced(data_id, count=2)
    put(world, topic, data_id, "2026-11-23T12:00:00Z", "canonical")
    assert world.announced(data_id, count=3).link("canonical")


def test_spec_09_the_memory_of_done_items_outlives_the_retention(
    world: World, topic: str, data_id: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    world.settle()
    with redis.Redis.from_url(world.redis.url) as client:
        life_s = client.ttl(record_key(item_record(data_id)))
    # An hour on top, for an item keeps its folder's hour for so long.
    assert life_s > (24 + 1) * 3600


def test_spec_10_of_two_items_with_one_message_id_one_is_processed(
    world: World, topic: str, centre: str
) -> None:
    first, second = unique_data_id(), unique_data_id()
    message_id = "0d6f8f5e-6d3c-4d5e-8f7a-0c6f0e2b7a11-" + centre
    world.publish(topic, wnm(data_id=first, message_id=message_id, content=inline(b"x")))
    world.announced(first)
    world.publish(topic, wnm(data_id=second, message_id=message_id, content=inline(b"x")))
    world.settle()
    assert not world.announcements(second)
    assert world.counters(centre) == {"downloaded_total": 1}
