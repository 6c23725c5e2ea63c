from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison
from wis2_gc_common.wis2.object_key import (
    MAX_FILE_NAME_CHARS,
    MAX_OBJECT_KEY_CHARS,
    file_name,
    hour_folder,
    object_key,
    object_url,
)
from wis2_gc_common.wis2.topic import MAX_TOPIC_BYTES, Topic, parse_topic
from wis2_gc_manager.store.keys import checked_key

CENTRE = "xx-test-global-cache"
TOPIC = parse_topic("origin/a/wis2/de-dwd/data/core/weather/surface-based-observations/synop")
SAFE_NAME = re.compile(r"[A-Za-z0-9_+=@,-][A-Za-z0-9._+=@,-]*")


def key(
    *,
    hour: str = "2026-03-01/12",
    topic: Topic = TOPIC,
    data_id: str = "item",
    pubtime_ns: int = 1,
    href: str = "https://example.org/a.bufr",
) -> str:
    return object_key(hour=hour, topic=topic, data_id=data_id, pubtime_ns=pubtime_ns, href=href)


def test_the_hour_folder_is_date_and_hour() -> None:
    assert hour_folder(datetime(2026, 3, 1, 5, 59, 59, tzinfo=UTC)) == "2026-03-01/05"


def test_an_object_key_is_hour_topic_digest_and_file_name() -> None:
    assert re.fullmatch(
        "2026-03-01/12/de-dwd/data/core/weather/surface-based-observations/synop"
        r"/[0-9a-f]{12}/a\.bufr",
        key(),
    )


def test_items_with_the_same_file_name_on_one_topic_do_not_collide() -> None:
    keys = {
        key(data_id=data_id, pubtime_ns=pubtime_ns)
        for data_id in ("a", "b", "a1")
        for pubtime_ns in (0, 1, 10)
    }
    assert len(keys) == 9


def test_two_centres_items_of_one_data_id_do_not_share_a_digest() -> None:
    other = parse_topic(TOPIC.text.replace("de-dwd", "ca-eccc-msc"))
    assert key().split("/")[-2] != key(topic=other).split("/")[-2]


def test_a_second_attempt_has_the_same_key() -> None:
    assert key() == key()


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("https://example.org/data/A_ISIA21.bufr4", "A_ISIA21.bufr4"),
        ("https://example.org/data/a.bufr?token=1#top", "a.bufr"),
        ("https://example.org/get?file=/etc/passwd", "get"),
        ("https://example.org/a%20b%2Bc.grib", "a_b+c.grib"),
        ("https://example.org/caf%C3%A9.txt", "caf_.txt"),
        ("https://example.org/a;version=1.nc", "a_version=1.nc"),
        ("ftp://example.org/pub/obs.csv", "obs.csv"),
        ("https://example.org", "data"),
        ("https://example.org/", "data"),
        ("https://example.org/data/", "data"),
        ("https://example.org/..", "data"),
        ("https://example.org/...", "data"),
        ("https://example.org/%2e%2e", "data"),
        ("https://example.org/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "passwd"),
        ("https://example.org/..%5c..%5cboot.ini", "boot.ini"),
        ("https://example.org/%00", "data"),
        ("https://example.org/%ff%fe.bin", "__.bin"),
        ("https://example.org/.htaccess", "htaccess"),
        ("https://example.org/%252e%252e", "_2e_2e"),
        ("https://example.org/a%0d%0aSet-Cookie:x", "a__Set-Cookie_x"),
        ("https://example.org/a.~bufr", "a._bufr"),
        ("https://[::1/a.bufr", "data"),
        ("", "data"),
        ("\x00", "data"),
        ("https://example.org/\ud800", "data"),
    ],
)
def test_a_hostile_file_name_is_only_a_name(href: str, name: str) -> None:
    assert file_name(href) == name


def test_a_long_file_name_keeps_its_ends() -> None:
    name = file_name("https://example.org/" + "A" * 5000 + ".bufr4")
    assert name.startswith("AAA")
    assert name.endswith("A.bufr4")
    assert len(name) <= MAX_FILE_NAME_CHARS


@given(
    href=st.text(max_size=300) | st.text(max_size=300).map(lambda t: "https://example.org/" + t),
    data_id=st.text(min_size=1),
    pubtime_ns=st.integers(0, 2**70),
)
def test_no_link_leads_out_of_its_folder(href: str, data_id: str, pubtime_ns: int) -> None:
    made = key(href=href, data_id=data_id, pubtime_ns=pubtime_ns)
    folder, _, name = made.rpartition("/")
    assert folder.rpartition("/")[0] == "2026-03-01/12/" + TOPIC.levels_after_wis2
    assert SAFE_NAME.fullmatch(name)
    assert len(name) <= MAX_FILE_NAME_CHARS


@given(below=st.lists(st.text(max_size=8) | st.sampled_from([".", "..", "...", "a b", "é"])))
def test_a_key_is_safe_with_every_topic(below: list[str]) -> None:
    try:
        topic = parse_topic("/".join(["origin/a/wis2/de-dwd/data/core", *below]))
    except Poison:
        return
    made = key(topic=topic)
    assert checked_key(made) == made
    assert all(SAFE_NAME.fullmatch(part) for part in made.split("/"))


def test_a_topic_of_dots_leads_out_of_no_folder() -> None:
    made = key(topic=parse_topic("origin/a/wis2/de-dwd/data/core/../.x//a b/"))
    assert made.startswith("2026-03-01/12/de-dwd/data/core/_/x/_/a_b/_/")


def test_the_longest_key_fits_a_file_system_and_an_object_store() -> None:
    text = "origin/a/wis2/" + "d" * 64 + "/data/core"
    while len(text) + 129 <= MAX_TOPIC_BYTES:
        text += "/" + "x" * 128
    text += "/" + "x" * (MAX_TOPIC_BYTES - len(text) - 1)
    made = key(topic=parse_topic(text), href="https://example.org/" + "n" * 999)
    assert len(made) <= MAX_OBJECT_KEY_CHARS
    assert max(map(len, made.split("/"))) <= 128


@pytest.mark.parametrize(
    "base_url", ["https://data.example.org/gc", "https://data.example.org/gc/"]
)
def test_an_object_url_is_base_and_key_and_leads_back_to_the_key(base_url: str) -> None:
    made = key(href="https://example.org/a+b=c@d,e.bufr")
    url = object_url(base_url, made)
    assert url.startswith("https://data.example.org/gc/2026-03-01/12/")
    assert unquote(urlsplit(url).path).removeprefix("/gc/") == made
