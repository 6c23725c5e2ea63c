from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from local.world.centres import CENTRES, OTHER_CACHE_ID
from local.world.data import make_data
from local.world.items import (
    Author,
    Outcome,
    cache_topic,
    copy_notification,
    copy_path_of,
    origin_notification,
    path_of,
    publications,
)
from local.world.mix import DEFAULT_MIX, Fault, Kind, parse_mix
from wis2_gc_common.content import decode_content
from wis2_gc_common.notification import parse
from wis2_gc_common.topic import parse_topic

START = datetime(2026, 11, 23, 21, 59, 59, 123_456, tzinfo=UTC)


def invented(count=600, mix=DEFAULT_MIX, seed=1):
    author = Author(mix, random.Random(seed))
    items = []
    for number in range(count):
        item = author.next_item(START + timedelta(seconds=number))
        items.append(item)
        if item.outcome is Outcome.CACHED and item.fault is Fault.NONE:
            author.announced.append(item)
    return items


def test_every_notification_is_valid_and_says_what_the_item_is():
    for item in invented():
        topic = parse_topic(item.topic)
        assert topic.channel == "origin"
        notification = parse(topic, origin_notification(item, "http://127.0.0.1:1"))
        assert notification.data_id == item.data_id
        assert notification.rel == item.rel
        assert notification.global_cache is None
        assert notification.cache == (item.kind is not Kind.UNCACHED)
        assert notification.link.href == f"http://127.0.0.1:1{path_of(item)}"
        assert not notification.drops_content
        if item.rel == "deletion":
            continue
        data = make_data(item.name)
        assert notification.link.length == len(data)
        if notification.integrity is not None:
            digest = hashlib.new(notification.integrity.method, data).digest()
            assert notification.integrity.matches(digest)
        if notification.content is not None:
            assert decode_content(notification.content) == data


def test_the_other_cache_announces_the_same_item_with_its_own_link():
    copied = [item for item in invented() if item.has_copy]
    assert copied
    for item in copied:
        topic = parse_topic(cache_topic(item.topic))
        assert topic.channel == "cache"
        notification = parse(topic, copy_notification(item, "http://127.0.0.1:2"))
        assert notification.global_cache == OTHER_CACHE_ID
        assert (notification.data_id, notification.rel) == (item.data_id, item.rel)
        assert notification.link.href == f"http://127.0.0.1:2{copy_path_of(item)}"


def test_all_kinds_faults_and_outcomes_occur():
    items = invented(4000, parse_mix("model=5,faults=20"))
    assert {item.kind for item in items} == set(Kind)
    assert {item.fault for item in items} == set(Fault)
    assert {item.outcome for item in items} == set(Outcome)
    assert {item.centre for item in items} == set(CENTRES)


def test_the_same_seed_gives_the_same_world():
    assert invented(200, seed=3) == invented(200, seed=3)
    assert invented(200, seed=3) != invented(200, seed=4)


def test_two_worlds_of_one_seed_give_no_id_twice():
    # As two runs on one state do; the cache drops an id that it has seen for another item.
    ids = [
        json.loads(make(item, "http://h"))["id"]
        for items in (invented(50), invented(50))
        for item in items
        for make in (origin_notification, copy_notification)
    ]
    assert len(set(ids)) == len(ids) == 200


def test_weights_are_proportions():
    kinds = Counter(item.kind for item in invented(2000, parse_mix("linked=50")))
    assert kinds[Kind.INLINE] == pytest.approx(kinds[Kind.LINKED], rel=0.2)
    assert not any(item.fault is not Fault.NONE for item in invented(500, parse_mix("faults=0")))


def test_what_changes_came_out_before_and_has_a_later_pubtime():
    earlier: dict[str, int] = {}
    changed = 0
    for item in invented(2000):
        topic = parse_topic(item.topic)
        pubtime = parse(topic, origin_notification(item, "http://h")).pubtime_ns
        if item.rel != "canonical":
            changed += 1
            assert pubtime > earlier[item.data_id]
        earlier[item.data_id] = pubtime
    assert changed > 20


def test_what_nobody_gives_never_comes_out():
    for item in invented(3000, parse_mix("faults=30")):
        expects_nothing = item.outcome is Outcome.NEVER
        assert expects_nothing == (
            item.kind is Kind.RECOMMENDED or (item.fault.is_lasting and not item.has_copy)
        )


def test_every_item_reaches_a_broker_from_every_source_it_has():
    chance = random.Random(5)
    brokers = ["alpha", "beta"]
    repeats = lost = 0
    for item in invented(1000):
        plan = publications(item, brokers, chance)
        wanted = set()
        if item.has_origin:
            wanted.add("origin")
        if item.has_copy:
            wanted.add("copy")
        assert {source for source, _ in plan} == wanted
        assert wanted
        repeats += len(plan) - len(set(plan))
        lost += len(set(plan)) < len(wanted) * len(brokers)
    assert repeats > 0
    assert lost > 0
