"""wis2-rules.md 6 to 10: new, repeated, updated and deleted items."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import redis

from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import World, wait_until
from wis2_gc_common.redis.registry_keys import item_record, record_key


def put(
    world: World, topic: str, data_id: str, pubtime: str, rel: str = "canonical", **more: Any
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
def test_rule_06_times_are_compared_as_times(
    world: World, topic: str, data_id: str, first: str, later: str
) -> None:
    put(world, topic, data_id, first)
    world.announced(data_id)
    put(world, topic, data_id, later, "update")
    world.settle()
    is_later = later != "2026-11-23T10:00:00.10Z"
    assert len(world.announcements(data_id)) == (2 if is_later else 1)
    assert world.announcements(data_id)[-1].properties["pubtime"] == (later if is_later else first)


def test_rule_06_two_centres_with_one_data_id_and_pubtime_are_both_cached(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    other = f"{centre}-b"
    shared_id = "one-id-of-both-" + centre
    for name, data in ((centre, b"of one"), (other, b"of the other")):
        message = wnm(
            data_id=data_id,
            pubtime="2026-11-23T10:00:00Z",
            message_id=shared_id,
            content=inline(data),
        )
        world.publish(topic.replace(centre, name), message, brokers="ab")
    world.announced(data_id, count=2)
    world.settle()
    announcements = {each.topic.split("/")[3]: each for each in world.announcements(data_id)}
    assert len(world.announcements(data_id)) == 2
    assert len({each.message["id"] for each in announcements.values()}) == 2
    assert world.get(announcements[centre].link()["href"])[2] == b"of one"
    assert world.get(announcements[other].link()["href"])[2] == b"of the other"
    for name in (centre, other):
        assert world.counters(name) == {"downloaded_total": 1}


@pytest.mark.parametrize("pubtime", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_rule_06_a_centre_cannot_silence_another_by_announcing_its_item_first(
    world: World, topic: str, data_id: str, centre: str, pubtime: str
) -> None:
    rogue = topic.replace(centre, f"{centre}-rogue")
    world.publish(rogue, wnm(data_id=data_id, pubtime=pubtime, cache=False), brokers="ab")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    assert world.announced(data_id, count=2).topic == topic.replace("origin", "cache", 1)
    world.settle()
    assert world.counters(centre) == {"downloaded_total": 1}


def in_seconds(seconds: int) -> str:
    """Return a pubtime that many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def of_the_future(world: World, centre: str) -> float:
    """Return how many items with a pubtime of the future were counted for a centre."""
    name = ("wis2_gc_future_pubtimes_total", frozenset({("centre_id", centre)}))
    return world.metrics().get(name, 0.0)


def test_rule_06_a_pubtime_of_the_future_locks_nothing(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    wrong = "9999-12-31T23:59:59Z"
    put(world, topic, data_id, wrong)
    world.announced(data_id)
    put(world, topic, data_id, wrong)
    put(world, topic, data_id, in_seconds(90), "update")
    assert world.announced(data_id, count=2).properties["pubtime"] != wrong
    world.settle()
    assert len(world.announcements(data_id)) == 2
    assert of_the_future(world, centre) == 1
    assert world.counters(centre) == {"downloaded_total": 2}


def test_rule_06_a_deletion_of_the_future_locks_nothing(
    world: World, topic: str, data_id: str
) -> None:
    put(world, topic, data_id, "9999-12-31T23:59:59Z", "deletion")
    world.announced(data_id)
    put(world, topic, data_id, in_seconds(90))
    assert world.announced(data_id, count=2).link("canonical")


def test_rule_06_a_publisher_whose_clock_is_hours_ahead_is_cached_in_its_own_order(
    world: World, topic: str, data_id: str
) -> None:
    first, second = in_seconds(5 * 3600), in_seconds(5 * 3600 + 1)
    put(world, topic, data_id, first)
    world.announced(data_id)
    put(world, topic, data_id, second, "update")
    world.announced(data_id, count=2)
    # A late copy of the version that was replaced.
    put(world, topic, data_id, first, "update")
    world.settle()
    assert [each.properties["pubtime"] for each in world.announcements(data_id)] == [first, second]


def test_rule_07_an_update_with_a_canonical_link_is_an_update_and_both_links_are_ours(
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
def test_rule_08_what_is_not_held_is_processed(
    world: World, topic: str, data_id: str, rel: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z", rel)
    assert world.announced(data_id).link(rel)


@pytest.mark.parametrize("pubtime", ["2026-11-23T10:00:00Z", "2026-11-23T09:00:00Z"])
@pytest.mark.parametrize("rel", ["canonical", "update", "deletion"])
def test_rule_08_done_and_not_newer_is_dropped(
    world: World, topic: str, data_id: str, centre: str, pubtime: str, rel: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    href = world.announced(data_id).link()["href"]
    put(world, topic, data_id, pubtime, rel)
    world.settle()
    assert len(world.announcements(data_id)) == 1
    assert world.get(href)[0] == 200
    assert world.counters(centre) == {"downloaded_total": 1}


def test_rule_08_done_and_newer_with_update_is_processed(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T10:00:01Z", "update")
    world.announced(data_id, count=2)
    # It is announced first, and counted then.
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 2}, "both are counted")


def test_rule_08_done_and_newer_without_update_is_dropped_and_counted_on_its_own(
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


def test_rule_08_what_is_announced_again_the_next_day_without_update_is_cached_again(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    def done_hours_ago(hours: float) -> None:
        key = record_key(item_record(centre, data_id))
        with redis.Redis.from_url(world.redis.url) as client:
            client.hset(key, "z", round((time.time() - hours * 3600) * 1000))

    def publish(pubtime: str, path: str) -> None:
        world.publish(topic, wnm(data_id=data_id, pubtime=pubtime, href=node.serve(path, b"x")))

    publish("2026-11-22T10:00:00Z", "/day-1")
    first = world.announced(data_id)
    world.settle()
    done_hours_ago(11.9)
    publish("2026-11-22T22:00:00Z", "/same-day")
    world.settle()
    assert len(world.announcements(data_id)) == 1
    done_hours_ago(12.1)
    publish("2026-11-23T10:00:00Z", "/day-2")
    second = world.announced(data_id, count=2)
    assert second.message["id"] != first.message["id"]
    assert world.get(second.link()["href"])[0] == 200
    world.settle()
    assert node.requests == {"/day-1": 1, "/day-2": 1}
    assert world.counters(centre) == {"downloaded_total": 2}


def test_rule_08_what_is_published_again_after_a_deletion_that_still_waits_is_processed(
    world: World, topic: str, data_id: str
) -> None:
    def in_queue() -> float:
        metrics = world.metrics()
        states = (frozenset({("state", state)}) for state in ("ready", "in_flight"))
        return sum(metrics["wis2_gc_queue_messages", state] for state in states)

    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    world.settle()
    managers = [part for name, part in world.processes.items() if name.startswith("manager")]
    for manager in managers:
        manager.pause()
    try:
        put(world, topic, data_id, "2026-11-23T11:00:00Z", "deletion")
        put(world, topic, data_id, "2026-11-23T12:00:00Z")
        wait_until(lambda: in_queue() == 2, "both wait in the queue")
    finally:
        for manager in managers:
            manager.go_on()
    wait_until(
        lambda: any(
            each.properties["pubtime"] == "2026-11-23T12:00:00Z"
            for each in world.announcements(data_id)
        ),
        "what was published again is announced",
    )
    world.settle()
    (again,) = (
        each
        for each in world.announcements(data_id)
        if each.properties["pubtime"] == "2026-11-23T12:00:00Z"
    )
    assert world.get(again.link()["href"])[0] == 200


def test_rule_08_what_is_in_progress_is_not_done_twice(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    def in_work() -> float:
        metrics = world.metrics()
        states = (frozenset({("state", state)}) for state in ("ready", "in_flight"))
        return sum(metrics["wis2_gc_queue_messages", state] for state in states)

    def parked() -> int:
        query = urlencode({"centre_id": centre, "data_id": data_id})
        url = f"http://127.0.0.1:{world.metrics_port}/api/item?{query}"
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


def test_rule_08_who_works_on_an_item_holds_it_without_a_gap(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    """A lease lasts as long as GC_VISIBILITY_TIMEOUT, and is renewed well before its end."""
    lease_ms = 3000  # of the world
    gate = threading.Event()
    href = node.serve("/slow", Answer(b"data", gate=gate))
    key = record_key(item_record(centre, data_id))
    with redis.Redis.from_url(world.redis.url, decode_responses=True) as client:
        world.publish(topic, wnm(data_id=data_id, href=href))
        first = int(wait_until(lambda: client.hget(key, "l"), "the item is claimed"))
        renewed = int(
            wait_until(lambda: (end := client.hget(key, "l")) != str(first) and end, "the renewal")
        )
    gate.set()
    # By the registry's clock: the time of the renewal, and the end of the lease before.
    assert renewed - lease_ms < first < renewed
    world.announced(data_id)
    world.settle()
    assert node.requests == {"/slow": 1}


def test_rule_08_what_came_meanwhile_is_the_fall_back_of_a_failing_source(
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

    def is_announced() -> bool:
        gate.set()
        return bool(world.announcements(data_id))

    wait_until(is_announced, "the fall-back source is announced")
    assert world.get(world.announced(data_id).link()["href"])[2] == b"data"
    world.settle()
    assert len(world.announcements(data_id)) == 1


def test_rule_08_after_a_failure_the_next_notification_of_the_same_pubtime_is_processed(
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
def test_rule_08_deleted_and_not_newer_is_dropped(
    world: World, topic: str, data_id: str, pubtime: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T11:00:00Z", "deletion")
    world.announced(data_id, count=2)
    put(world, topic, data_id, pubtime, "update")
    world.settle()
    assert len(world.announcements(data_id)) == 2


def test_rule_08_deleted_and_newer_is_processed_as_new(
    world: World, topic: str, data_id: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    put(world, topic, data_id, "2026-11-23T11:00:00Z", "deletion")
    world.announced(data_id, count=2)
    put(world, topic, data_id, "2026-11-23T12:00:00Z", "canonical")
    assert world.announced(data_id, count=3).link("canonical")


def test_rule_09_the_memory_of_done_items_outlives_the_retention(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    put(world, topic, data_id, "2026-11-23T10:00:00Z")
    world.announced(data_id)
    world.settle()
    with redis.Redis.from_url(world.redis.url) as client:
        life_s = client.ttl(record_key(item_record(centre, data_id)))
    # An hour on top, for an item keeps its folder's hour for so long.
    assert life_s > (24 + 1) * 3600


def test_rule_10_of_two_items_with_one_message_id_one_is_processed(
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
