"""wis2-rules.md 1 to 5: what the cache listens to."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import inline, unique_data_id, wnm
from testkit.worlds.world import CENTRE_ID, World, wait_until

if TYPE_CHECKING:
    from testkit.servers.nodes import Node
    from testkit.worlds.world import Announcement


def dropped(world: World, reason: str) -> float:
    return sum(
        value
        for (name, labels), value in world.metrics().items()
        if name == "wis2_gc_notifications_dropped_total" and ("reason", reason) in labels
    )


@pytest.mark.parametrize("broker", ["a", "b"])
@pytest.mark.parametrize("channel", ["origin", "cache"])
def test_rule_01_items_of_both_channels_of_both_global_brokers_are_cached(
    world: World, topic: str, broker: str, channel: str
) -> None:
    data_id = unique_data_id()
    message = wnm(data_id=data_id, content=inline(b"BUFR"))
    world.publish(topic.replace("origin", channel, 1), message, brokers=broker)
    assert world.announced(data_id).topic == topic.replace("origin", "cache", 1)


def test_rule_02_recommended_data_are_ignored(world: World, centre: str, data_id: str) -> None:
    before = dropped(world, "recommended")
    message = wnm(data_id=data_id, content=inline(b"x"))
    world.publish(f"origin/a/wis2/{centre}/data/recommended/weather/synop/x", message)
    world.publish(f"cache/a/wis2/{centre}/data/recommended/weather/synop/x", message)
    world.settle()
    wait_until(lambda: dropped(world, "recommended") == before + 2, "both are counted")
    assert not world.announcements(data_id)
    assert not world.wmo(centre)


@pytest.mark.parametrize(
    "topic_of",
    [
        "origin/a/wis2/{}/data/core",
        "origin/a/wis2/{}/data/core" + "/x" * 27,
        "origin/a/wis2/{}/data/other/weather/synop",
        "origin/a/wis2/{}/metadata/core",
        "origin/a/wis2/{}/Data/core/weather/synop",
        "origin/a/wis2/{}",
        "cache/a/wis2/{}/Metadata",
    ],
)
def test_rule_03_topics_outside_the_grammar_are_dropped_and_counted(
    world: World, centre: str, topic_of: str, data_id: str
) -> None:
    before = dropped(world, "invalid_topic")
    world.publish(topic_of.format(centre), wnm(data_id=data_id, content=inline(b"x")))
    wait_until(lambda: dropped(world, "invalid_topic") == before + 1, "the drop is counted")
    world.settle()
    assert not world.announcements(data_id)


@pytest.mark.parametrize(
    "below",
    ["I/S/A/I/01/SBBR", "S/M/I/N/01/DEMS", "weather", "weather/A b/.é//x", "x/" * 25 + "x"],
)
def test_rule_03_levels_from_7_on_are_copied_as_they_came(
    world: World, node: Node, data_id: str, centre: str, below: str
) -> None:
    topic = f"origin/a/wis2/{centre}/data/core/{below}"
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/A_ISAI01.bufr", b"BUFR")))
    announced = world.announced(data_id)
    assert announced.topic == f"cache/a/wis2/{centre}/data/core/{below}"
    assert world.get(announced.link()["href"])[2] == b"BUFR"


@pytest.mark.parametrize(
    "topic",
    [
        "origin/a/wis2/de-dwd-gts-to-wis2/data/core/I/S/A/I/01/SBBR",
        "cache/a/wis2/jp-jma-gts-to-wis2/data/core/S/M/I/N/01/DEMS",
    ],
)
def test_rule_03_what_the_gateways_publish_is_cached(
    world: World, node: Node, data_id: str, topic: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/bulletin", b"TTAA")), brokers="ab")
    announced = world.announced(data_id)
    assert announced.topic == topic.replace("origin", "cache", 1)
    assert world.get(announced.link()["href"])[2] == b"TTAA"


def invalid(world: World, centre: str) -> float:
    labels = frozenset({("centre_id", centre)})
    return world.metrics().get(("wis2_gc_notifications_invalid_total", labels), 0)


def test_rule_03_a_refused_topic_is_told_to_its_centre_and_counted_by_centre(
    world: World, centre: str
) -> None:
    topic = f"origin/a/wis2/{centre}/data/Core/weather/synop"
    for _ in range(3):
        message = wnm(data_id=unique_data_id(), content=inline(b"x"))
        world.publish(topic, message, brokers="ab")
    wait_until(lambda: invalid(world, centre) == 6, "each arrival is counted")

    def events() -> list[Announcement]:
        return [event for event in world.events if event.topic == f"monitor/a/wis2/{centre}"]

    wait_until(events, "the centre is told")
    world.settle()
    # Once, however many there are.
    (event,) = events()
    assert event.message["data"]["channel"] == topic
    assert "invalid_topic" in event.message["data"]["content"]["description"]
    assert not world.wmo(centre)


def test_rule_w20_an_empty_message_is_nobodys_invalid_notification(
    world: World, centre: str, topic: str
) -> None:
    """wis2-rules.md W20: a retained message is cleared by an empty one."""
    before = dropped(world, "empty")
    world.publish(topic, b"", brokers="ab")
    wait_until(lambda: dropped(world, "empty") == before + 2, "the drop is counted")
    world.settle()
    assert invalid(world, centre) == 0
    assert not [event for event in world.events if event.topic == f"monitor/a/wis2/{centre}"]


def test_rule_04_what_is_published_while_a_listener_is_away_arrives_with_its_session(
    world: World, topic: str
) -> None:
    ids = {name: unique_data_id() for name in world.brokers}
    for name in ids:
        world.processes[f"listener-{name}"].kill()
    for name, data_id in ids.items():
        world.publish(topic, wnm(data_id=data_id, content=inline(b"x")), brokers=name)
    for name in ids:
        world.processes[f"listener-{name}"].start()
    for data_id in ids.values():
        world.announced(data_id)


def test_rule_05_our_own_notifications_are_ignored(world: World, centre: str, topic: str) -> None:
    data_id = unique_data_id()
    before = dropped(world, "own")
    own = wnm(data_id=data_id, content=inline(b"x"), global_cache=CENTRE_ID)
    world.publish(topic.replace("origin", "cache", 1), own)
    wait_until(lambda: dropped(world, "own") >= before + 1, "the drop is counted")
    world.settle()
    assert not world.wmo(centre)
    # What came back to us with another cache's name on it is the same item, and known.
    first = unique_data_id()
    world.publish(topic, wnm(data_id=first, content=inline(b"x"), pubtime="2026-11-23T01:00:00Z"))
    echo = world.announced(first).message
    echo["id"] = str(uuid.uuid4())
    echo["properties"]["global-cache"] = "yy-other-global-cache"
    world.publish(topic.replace("origin", "cache", 1), echo, brokers="ab")
    world.settle()
    assert len(world.announcements(first)) == 1
