from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison
from wis2_gc_common.wis2.ids import (
    MAX_FILE_NAME_CHARS,
    MAX_OBJECT_KEY_CHARS,
    file_name,
    hour_folder,
    item_digest,
    message_id,
    mqtt_client_id,
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


SECRET = b"0123456789abcdef"
ID_OF: dict[str, Any] = {
    "secret": SECRET, "centre_id": CENTRE, "topic_centre_id": "de-dwd", "data_id": "item",
    "pubtime_ns": 1_772_366_400_000_000_001, "rel": "canonical",
}  # fmt: skip


def made_id(**changes: Any) -> str:
    options = ID_OF | changes
    return message_id(options.pop("secret"), **options)


def test_the_message_id_is_a_uuid_and_never_changes_between_versions_of_this_project() -> None:
    assert made_id() == "3685c820-9eed-43d5-8453-be81d344f128"
    assert uuid.UUID(made_id()).version == 4
    assert uuid.UUID(made_id()).variant == uuid.RFC_4122


@pytest.mark.parametrize(
    "change",
    [
        {"secret": b"fedcba9876543210"},
        {"centre_id": "yy-global-cache"},
        {"topic_centre_id": "jp-jma"},
        {"data_id": "item2"},
        {"pubtime_ns": 1_772_366_400_000_000_002},
        {"rel": "update"},
    ],
)
def test_each_part_of_an_item_and_the_secret_make_the_message_id(change: dict[str, Any]) -> None:
    assert made_id(**change) != made_id()


names = st.text("abc-", min_size=1)
versions = st.tuples(names, st.text(), st.integers(0), st.sampled_from(["canonical", "update"]))


@given(first=versions, second=versions)
def test_two_message_ids_are_equal_only_for_the_same_item_version_and_kind(
    first: tuple[Any, ...], second: tuple[Any, ...]
) -> None:
    parts = ("topic_centre_id", "data_id", "pubtime_ns", "rel")
    one, two = (made_id(**dict(zip(parts, x, strict=True))) for x in (first, second))
    assert (one == two) == (first == second)


def test_an_item_digest_is_32_hex_digits_however_long_the_data_id() -> None:
    digests = {item_digest("de-dwd", data_id) for data_id in ("", "a", "b", "é" * 5000)}
    digests.add(item_digest("ca-eccc-msc", "a"))
    assert len(digests) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)


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
def test_a_key_is_safe_whatever_the_topic_is(below: list[str]) -> None:
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


def test_a_client_id_says_who_we_are_and_ends_in_what_only_the_secret_tells() -> None:
    # This very text: another one after an upgrade would leave the session behind.
    client_id = mqtt_client_id(
        b"0123456789abcdef", centre_id="de-dwd-global-cache", broker_name="fr"
    )
    assert client_id == "de-dwd-global-cache-fr-972dc1f32c232df0"
    other = mqtt_client_id(b"0123456789abcdeF", centre_id="de-dwd-global-cache", broker_name="fr")
    assert other[:-16] == client_id[:-16]
    assert other[-16:] != client_id[-16:]


def test_a_client_id_has_at_most_100_characters_and_no_two_brokers_the_same() -> None:
    long = {"centre_id": "x" * 64, "secret": b"0123456789abcdef"}
    ids = {mqtt_client_id(broker_name="y" * 31 + end, **long) for end in "ab"}  # type: ignore[arg-type]
    assert len(ids) == 2
    assert {len(client_id) for client_id in ids} == {100}
