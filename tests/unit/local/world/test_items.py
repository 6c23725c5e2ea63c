from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local.world.centres import CENTRES, OTHER_CACHES
from local.world.data import make_data
from local.world.items import (
    BURST_FACTOR,
    ORIGIN,
    Author,
    WorldOutcome,
    cache_topic,
    can_change,
    notification,
    path_of,
    publications,
)
from local.world.mix import DEFAULT_MIX, Fault, Kind, parse_mix
from wis2_gc_common.wis2.inline import decode_content
from wis2_gc_common.wis2.notification import parse
from wis2_gc_common.wis2.pubtime import parse_pubtime
from wis2_gc_common.wis2.topic import parse_topic

if TYPE_CHECKING:
    from local.world.items import WorldItem
    from local.world.mix import Mix


START = datetime(2026, 11, 23, 21, 59, 59, 123_456, tzinfo=UTC)


def invented(count: int = 600, mix: Mix = DEFAULT_MIX, seed: int = 1) -> list[WorldItem]:
    author = Author(mix, random.Random(seed))
    items = []
    for number in range(count):
        item = author.next_item(START + timedelta(seconds=number))
        items.append(item)
        if can_change(item):
            author.announced.append(item)
    return items


def test_every_notification_is_valid_and_says_what_the_item_is() -> None:
    for item in invented():
        topic = parse_topic(item.topic)
        assert topic.channel == "origin"
        parsed = parse(topic, notification(item, "http://127.0.0.1:1"))
        assert parsed.data_id == item.data_id
        assert parsed.rel == item.rel
        assert parsed.global_cache is None
        assert parsed.cache == (item.kind is not Kind.UNCACHED)
        assert parsed.link.href == f"http://127.0.0.1:1{path_of(item)}"
        assert not parsed.drops_content
        if item.rel == "deletion":
            continue
        data = make_data(item.name)
        assert parsed.link.length == len(data)
        if parsed.integrity is not None:
            digest = hashlib.new(parsed.integrity.method, data).digest()
            assert parsed.integrity.matches(digest)
        if parsed.content is not None:
            assert decode_content(parsed.content) == data


def test_the_other_caches_announce_the_same_item_with_their_own_links() -> None:
    copied = [(item, cache) for item in invented() for cache in item.copies]
    assert {cache for _, cache in copied} == set(OTHER_CACHES)
    for item, cache in copied:
        topic = parse_topic(cache_topic(item.topic))
        assert topic.channel == "cache"
        parsed = parse(topic, notification(item, "http://127.0.0.1:2", source=cache))
        assert parsed.global_cache == cache
        assert (parsed.data_id, parsed.rel) == (item.data_id, item.rel)
        assert parsed.link.href == f"http://127.0.0.1:2{path_of(item, source=cache)}"


def test_the_gateway_announces_bulletins_below_their_abbreviated_heading() -> None:
    bulletins = [item for item in invented() if item.kind is Kind.GATEWAY]
    assert len(bulletins) > 20
    for item in bulletins:
        assert item.gts is not None
        assert item.gts is not None
        ttaaii, cccc = item.gts
        heading = "/".join((*ttaaii[:4], ttaaii[4:], cccc))
        assert item.topic == f"origin/a/wis2/xg-gts-to-wis2/data/core/{heading}"
        message = json.loads(notification(item, "http://h"))
        assert message["properties"]["gts"] == {"ttaaii": ttaaii, "cccc": cccc}
    assert {"content" in json.loads(notification(item, "http://h"))["properties"]
            for item in bulletins} == {True, False}  # fmt: skip


def test_all_that_a_burst_at_the_full_hour_has_more_is_the_gateways() -> None:
    def at(minute: int) -> tuple[float, int, int]:
        author = Author(DEFAULT_MIX, random.Random(3))
        now = START.replace(minute=minute)
        kinds = Counter(author.next_item(now).kind for _ in range(4000))
        return author.rate_factor(now), kinds[Kind.GATEWAY], 4000 - kinds[Kind.GATEWAY]

    factor, gateway, others = at(0)
    usual, _, usual_others = at(30)
    assert (factor, usual) == (BURST_FACTOR, 1)
    assert factor * others == pytest.approx(usual_others, rel=0.1)
    assert gateway > others
    quiet = Author(parse_mix("gateway=0"), random.Random(3))
    assert quiet.rate_factor(START.replace(minute=0)) == 1


def test_a_data_id_of_two_centres_is_two_items() -> None:
    shared = [item for item in invented(1000) if item.data_id.startswith("shared/")]
    by_data_id: dict[str, list[WorldItem]] = {}
    for item in shared:
        by_data_id.setdefault(item.data_id, []).append(item)
    assert len(by_data_id) > 10
    for one, other, *_ in by_data_id.values():
        assert one.centre != other.centre
        assert make_data(one.name) != make_data(other.name)
        assert one.key != other.key


def test_what_is_announced_daily_is_new_once_in_half_a_day_and_else_a_repeat() -> None:
    author = Author(parse_mix("daily=1000000"), random.Random(4))
    new: dict[str, datetime] = {}
    repeats = days = 0
    for minutes in range(0, 3 * 24 * 60, 7):
        now = START + timedelta(minutes=minutes)
        item = author.next_item(now)
        if item.kind is not Kind.DAILY:
            continue
        assert item.rel == "canonical"
        since = now - new[item.data_id] if item.data_id in new else None
        if item.outcome is WorldOutcome.NEVER:
            assert since is not None
            assert since is not None
            assert since < timedelta(hours=12)
            repeats += 1
        else:
            assert since is None or since > timedelta(hours=12)
            days += since is not None
            new[item.data_id] = now
    assert repeats > 50
    assert days > 50


def test_old_nodes_say_by_a_uri_beside_a_canonical_link_what_has_changed() -> None:
    items = invented(3000, parse_mix("deletion=10"))
    changed = [item for item in items if item.centre.is_old and item.rel != "canonical"]
    assert {item.rel for item in changed} == {"update", "deletion"}
    for item in changed:
        links = json.loads(notification(item, "http://h"))["links"]
        rels = [link["rel"] for link in links]
        assert rels == ["canonical", "via", f"http://def.wmo.int/def/rel/wnm/-/{item.rel}"]


def test_a_deleted_item_may_come_back_a_moment_later() -> None:
    items = invented(4000)
    pairs = itertools.pairwise(items)
    back = [
        (one, other)
        for one, other in pairs
        if one.rel == "deletion" and other.key[:2] == one.key[:2] and other.rel == "canonical"
    ]
    assert back
    for one, other in back:
        assert parse_pubtime(other.pubtime) > parse_pubtime(one.pubtime)
        assert other.outcome is WorldOutcome.CACHED


def test_all_kinds_faults_and_outcomes_occur() -> None:
    items = invented(4000, parse_mix("model=5,faults=20"))
    assert {item.kind for item in items} == set(Kind)
    assert {item.fault for item in items} == set(Fault)
    assert {item.outcome for item in items} == set(WorldOutcome)
    assert {item.centre for item in items} == set(CENTRES)


def test_the_same_seed_gives_the_same_world() -> None:
    assert invented(200, seed=3) == invented(200, seed=3)
    assert invented(200, seed=3) != invented(200, seed=4)


def test_two_worlds_of_one_seed_give_no_id_twice() -> None:
    # As two runs on one state do; the cache drops an id that it has seen for another item.
    ids = [
        json.loads(notification(item, "http://h", source=source))["id"]
        for items in (invented(50), invented(50))
        for item in items
        for source in (ORIGIN, *OTHER_CACHES)
    ]
    assert len(set(ids)) == len(ids) == 700


def test_weights_are_proportions() -> None:
    kinds = Counter(item.kind for item in invented(2000, parse_mix("linked=50")))
    assert kinds[Kind.INLINE] == pytest.approx(kinds[Kind.LINKED], rel=0.2)
    assert not any(item.fault is not Fault.NONE for item in invented(500, parse_mix("faults=0")))


def test_what_changes_came_out_before_and_has_a_later_pubtime() -> None:
    earlier: dict[tuple[str, str], int] = {}
    changed = 0
    for item in invented(2000):
        topic = parse_topic(item.topic)
        pubtime = parse(topic, notification(item, "http://h")).pubtime_ns
        if item.rel != "canonical":
            changed += 1
            assert pubtime > earlier[item.key[:2]]
        earlier[item.key[:2]] = pubtime
    assert changed > 20


def test_what_nobody_gives_never_comes_out() -> None:
    for item in invented(3000, parse_mix("faults=30")):
        expects_nothing = item.outcome is WorldOutcome.NEVER
        is_given = not item.fault.is_lasting or item.has_copy
        if item.kind is not Kind.DAILY:
            assert expects_nothing == (item.kind is Kind.RECOMMENDED or not is_given)


def test_every_item_reaches_a_broker_from_every_source_it_has() -> None:
    chance = random.Random(5)
    brokers = ["alpha", "beta"]
    repeats = lost = 0
    for item in invented(1000):
        plan = publications(item, brokers, chance)
        wanted = set()
        if item.has_origin:
            wanted.add(ORIGIN)
        wanted.update(item.copies)
        assert {source for source, _ in plan} == wanted
        assert wanted
        repeats += len(plan) - len(set(plan))
        lost += len(set(plan)) < len(wanted) * len(brokers)
    assert repeats > 0
    assert lost > 0
