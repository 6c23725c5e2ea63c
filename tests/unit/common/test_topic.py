from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.topic import MAX_LEVEL_CHARS, MAX_TOPIC_CHARS, Topic, is_centre_id, parse_topic


def test_a_topic_of_core_data_is_taken_apart() -> None:
    topic = parse_topic("origin/a/wis2/de-dwd/data/core/weather/surface-based-observations/synop")
    assert topic.channel == "origin"
    assert topic.centre_id == "de-dwd"
    assert topic.policy == "core"
    assert not topic.is_metadata
    assert topic.levels_after_wis2 == "de-dwd/data/core/weather/surface-based-observations/synop"
    assert topic.to_cache == (
        "cache/a/wis2/de-dwd/data/core/weather/surface-based-observations/synop"
    )


def test_a_topic_of_metadata_is_taken_apart() -> None:
    topic = parse_topic("cache/a/wis2/de-dwd/metadata")
    assert topic.channel == "cache"
    assert topic.is_metadata
    assert topic.policy is None
    assert topic.to_cache == topic.text


def test_recommended_data_is_recognised() -> None:
    assert parse_topic("origin/a/wis2/de-dwd/data/recommended/ocean/x").policy == "recommended"


def test_only_the_first_level_changes_even_where_later_ones_read_origin() -> None:
    topic = parse_topic("origin/a/wis2/xx-origin/data/core/origin/origin/origin")
    assert topic.to_cache == "cache/a/wis2/xx-origin/data/core/origin/origin/origin"


def test_data_may_be_announced_at_level_8_and_far_below() -> None:
    for depth in (1, 2, 10, 30):
        assert parse_topic("origin/a/wis2/de-dwd/data/core/weather" + "/x" * depth)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin",
        "origin/a/wis2",
        "origin/a/wis2/de-dwd",
        "origin/a/wis2/de-dwd/data",
        "origin/a/wis2/de-dwd/data/core",
        "origin/a/wis2/de-dwd/data/core/weather",
        "origin/a/wis2/de-dwd/metadata/core",
        "origin/a/wis2/de-dwd/data/core/metadata",
        "origin/a/wis2/de-dwd/data/secret/weather/x",
        "origin/a/wis2//data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/",
        "origin/a/wis2/de-dwd/data/core//x",
        "origin/b/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis3/de-dwd/data/core/weather/x",
        "monitor/a/wis2/de-dwd/data/core/weather/x",
        "Origin/a/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis2/DE-dwd/data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/X",
        "/origin/a/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/+",
        "origin/a/wis2/de-dwd/data/core/weather/#",
        "origin/a/wis2/de-dwd/data/core/weather/..",
        "origin/a/wis2/de-dwd/data/core/weather/.hidden",
        "origin/a/wis2/../data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/x\n",
        "origin/a/wis2/de-dwd/data/core/weather/x\x00",
        "origin/a/wis2/de-dwd/data/core/weather/é",
        "origin/a/wis2/de-dwd/data/core/weather/\u0661",
        "origin/a/wis2/de-dwd/data/core/weather/a b",
        "origin/a/wis2/de-dwd-/data/core/weather/x",
        "origin/a/wis2/" + "d" * 65 + "/data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/" + "x" * (MAX_LEVEL_CHARS + 1),
        "origin/a/wis2/de-dwd/data/core/weather" + "/x" * MAX_TOPIC_CHARS,
    ],
)
def test_what_is_no_wis2_topic_is_poison(text: str) -> None:
    with pytest.raises(Poison) as caught:
        parse_topic(text)
    assert caught.value.reason is Reason.INVALID_TOPIC


@given(text=st.text() | st.from_regex(r"(origin|cache)/a/wis2(/[a-z0-9.+#_-]{0,5}){0,9}"))
def test_whatever_the_topic_it_is_valid_or_poison(text: str) -> None:
    topic: Topic | Poison
    try:
        topic = parse_topic(text)
    except Poison as poison:
        topic = poison
    if isinstance(topic, Poison):
        assert topic.reason is Reason.INVALID_TOPIC
        assert len(topic.detail) <= 200
    else:
        assert topic.text == text
        assert parse_topic(topic.to_cache).levels_after_wis2 == topic.levels_after_wis2
        assert re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9][a-z0-9._-]*)+", topic.levels_after_wis2)


@pytest.mark.parametrize("text", ["de-dwd", "ca-eccc-msc-global-cache", "x", "a_b", "d" * 64])
def test_a_centre_id_is_recognised(text: str) -> None:
    assert is_centre_id(text)


@pytest.mark.parametrize(
    "text", ["", "-", "De-dwd", "de dwd", "de/dwd", "de|dwd", "de-dwd\n", "d" * 65, "dé"]
)
def test_what_is_no_centre_id_is_recognised_too(text: str) -> None:
    assert not is_centre_id(text)
