from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.wis2.topic import (
    MAX_LEVEL_BYTES,
    MAX_LEVELS,
    MAX_TOPIC_BYTES,
    Topic,
    is_centre_id,
    parse_topic,
)


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


@pytest.mark.parametrize(
    "text",
    [
        # The gateways carry all GTS traffic on TTAAii/CCCC levels.
        "origin/a/wis2/de-dwd-gts-to-wis2/data/core/I/S/A/I/01/SBBR",
        "cache/a/wis2/jp-jma-gts-to-wis2/data/core/S/M/I/N/01/DEMS",
        "origin/a/wis2/de-dwd/data/core/weather",
        "origin/a/wis2/de-dwd/data/core/metadata",
        "origin/a/wis2/de-dwd/data/core/weather/X",
        "origin/a/wis2/de-dwd/data/core/weather/a b",
        "origin/a/wis2/de-dwd/data/core/weather/é/\u0661/\U0001f300",
        "origin/a/wis2/de-dwd/data/core/weather/..",
        "origin/a/wis2/de-dwd/data/core/weather/.hidden",
        "origin/a/wis2/de-dwd/data/core/weather/$SYS",
        "origin/a/wis2/de-dwd/data/core/weather/",
        "origin/a/wis2/de-dwd/data/core//x",
    ],
)
def test_levels_from_7_on_are_copied_as_they_came(text: str) -> None:
    topic = parse_topic(text)
    assert topic.to_cache == "cache/" + text.split("/", 1)[1]
    assert topic.levels_after_wis2 == text.split("/", 3)[3]


def test_a_huge_topic_is_refused_before_it_is_taken_apart() -> None:
    with pytest.raises(Poison, match="over 512 bytes") as caught:
        parse_topic("origin/a/wis2/de-dwd/data/core/" + "/" * 65_000)
    assert caught.value.centre_id == "de-dwd"


def test_a_topic_may_have_as_many_levels_as_every_broker_takes() -> None:
    text = "origin/a/wis2/de-dwd/data/core" + "/x" * (MAX_LEVELS - 6)
    assert parse_topic(text).text == text
    with pytest.raises(Poison, match="33 levels, 32 at most"):
        parse_topic(text + "/x")


def test_the_bounds_of_length_count_bytes() -> None:
    begin = "origin/a/wis2/de-dwd/data/core/"
    text = begin + "é" * (MAX_LEVEL_BYTES // 2)
    assert parse_topic(text).text == text
    with pytest.raises(Poison, match="a level of 130 bytes"):
        parse_topic(begin + "é" * (MAX_LEVEL_BYTES // 2 + 1))
    level = "é" * 15
    longest = begin + "/".join([level] * 15) + "/"
    longest += "x" * (MAX_TOPIC_BYTES - len(longest.encode()))
    assert parse_topic(longest).text == longest
    with pytest.raises(Poison, match="513 bytes"):
        parse_topic(longest + "x")


@pytest.mark.parametrize(
    ("below", "folder"),
    [
        ("I/S/A/I/01/SBBR", "I/S/A/I/01/SBBR"),
        ("a b/é%/x~y", "a_b/__/x_y"),
        ("..//./.hidden/...x/", "_/_/_/hidden/x/_"),
        ("a+b", None),
        ("A.b_c=@,-", "A.b_c=@,-"),
        ("\\x:y|z", "_x_y_z"),
    ],
)
def test_the_folder_of_a_topic_is_made_of_safe_levels(below: str, folder: str | None) -> None:
    text = f"origin/a/wis2/de-dwd/data/core/{below}"
    if folder is None:
        with pytest.raises(Poison):
            parse_topic(text)
    else:
        assert parse_topic(text).folder == f"de-dwd/data/core/{folder}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin",
        "origin/a/wis2",
        "origin/a/wis2/de-dwd",
        "origin/a/wis2/de-dwd/data",
        "origin/a/wis2/de-dwd/data/core",
        "origin/a/wis2/de-dwd/data/core/",
        "origin/a/wis2/de-dwd/data/core//",
        "origin/a/wis2/de-dwd/metadata/",
        "origin/a/wis2/de-dwd/metadata/core",
        "origin/a/wis2/de-dwd/Metadata",
        "origin/a/wis2/de-dwd/data/secret/weather/x",
        "origin/a/wis2/de-dwd/data/Core/weather/x",
        "origin/a/wis2/de-dwd/DATA/core/weather/x",
        "origin/a/wis2//data/core/weather/x",
        "origin/b/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis3/de-dwd/data/core/weather/x",
        "monitor/a/wis2/de-dwd/data/core/weather/x",
        "Origin/a/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis2/DE-dwd/data/core/weather/x",
        "/origin/a/wis2/de-dwd/data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/+",
        "origin/a/wis2/de-dwd/data/core/weather/#",
        "origin/a/wis2/de-dwd/data/core/weather/a+b",
        "origin/a/wis2/../data/core/weather/x",
        "origin/a/wis2/de-dwd/data/core/weather/x\n",
        "origin/a/wis2/de-dwd/data/core/weather\n/x",
        "origin/a/wis2/de-dwd/data/core/weather/x\x00",
        "origin/a/wis2/de-dwd/data/core/weather/x\x7f",
        "origin/a/wis2/de-dwd/data/core/weather/x\x9b",
        "origin/a/wis2/de-dwd/data/core/weather/x\u2028",
        "origin/a/wis2/de-dwd/data/core/weather/x\u2029",
        "origin/a/wis2/de-dwd/data/core/weather/x\ud800",
        "origin/a/wis2/de-dwd/data/core/weather/x\ufdd0",
        "origin/a/wis2/de-dwd/data/core/weather/x\ufffe",
        "origin/a/wis2/de-dwd/data/core/weather/x\U0010ffff",
        "origin/a/wis2/de-dwd-/data/core/weather/x",
        "origin/a/wis2/" + "d" * 65 + "/data/core/weather/x",
    ],
)
def test_what_is_not_a_wis2_topic_is_poison(text: str) -> None:
    with pytest.raises(Poison) as caught:
        parse_topic(text)
    assert caught.value.reason is Reason.INVALID_TOPIC


@pytest.mark.parametrize(
    ("text", "centre_id"),
    [
        ("origin/a/wis2/de-dwd", "de-dwd"),
        ("origin/a/wis2/de-dwd/", "de-dwd"),
        ("origin/a/wis2/de-dwd/data/secret/x", "de-dwd"),
        ("origin/a/wis2/de-dwd/data/core" + "/x" * 40, "de-dwd"),
        ("origin/a/wis2/de-dwd/data/core/\x00", "de-dwd"),
        ("origin/a/wis2/DWD/data/core/x", ""),
        ("origin/a/wis2//data/core/x", ""),
        ("origin/a/wis2/" + "d" * 65 + "/data/core/x", ""),
        ("origin/a/wis2", ""),
    ],
)
def test_a_refused_topic_names_its_centre_where_that_can_be_read(text: str, centre_id: str) -> None:
    with pytest.raises(Poison) as caught:
        parse_topic(text)
    assert caught.value.centre_id == centre_id


@given(text=st.text() | st.from_regex(r"(origin|cache)/a/wis2/x/data/core(/[^+#]{0,5}){0,9}\Z"))
def test_every_topic_is_valid_or_poison(text: str) -> None:
    topic: Topic | Poison
    try:
        topic = parse_topic(text)
    except Poison as poison:
        topic = poison
    if isinstance(topic, Poison):
        assert topic.reason is Reason.INVALID_TOPIC
        assert len(topic.detail) <= 2000
    else:
        assert topic.text == text
        assert parse_topic(topic.to_cache).levels_after_wis2 == topic.levels_after_wis2
        assert re.fullmatch(r"[a-z0-9_-]+(/[A-Za-z0-9_+=@,-][A-Za-z0-9._+=@,-]*)+", topic.folder)
        assert max(map(len, topic.folder.split("/"))) <= MAX_LEVEL_BYTES
        assert len(topic.folder.split("/")) == len(text.split("/")) - 3


@pytest.mark.parametrize("text", ["de-dwd", "ca-eccc-msc-global-cache", "x", "a_b", "d" * 64])
def test_a_centre_id_is_recognised(text: str) -> None:
    assert is_centre_id(text)


@pytest.mark.parametrize(
    "text", ["", "-", "De-dwd", "de dwd", "de/dwd", "de|dwd", "de-dwd\n", "d" * 65, "dé"]
)
def test_what_is_not_a_centre_id_is_recognised_too(text: str) -> None:
    assert not is_centre_id(text)
