"""Every key that can be made of a topic and a link can be kept and signed by every store."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison
from wis2_gc_common.wis2.media_type import MARKER, suffix_for
from wis2_gc_common.wis2.object_key import file_name, object_key, object_url
from wis2_gc_common.wis2.topic import MAX_LEVELS, parse_topic
from wis2_gc_manager.store.keys import INCOMING, TRASH, checked_key
from wis2_gc_manager.store.s3.place import BucketPlace

AWKWARD = ("", ".", "..", ".incoming", ".trash", "a.~bin", "~", "%2e%2e", "\\", "é" * 60, "a b")
LEVELS = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.text(max_size=64)), min_size=1, max_size=MAX_LEVELS - 6
)
PLACE = BucketPlace("bucket", "", "eu-west-1", "https://bucket.s3.test", "", "")


def key_of(levels: list[str], href: str, data_id: str) -> str:
    """Return the key of an item. Raises Poison: there is none, for the topic is invalid."""
    text = "/".join(("origin/a/wis2/de-dwd-gts-to-wis2/data/core", *levels))
    topic = parse_topic(text)
    return object_key(hour="2026-11-27/23", topic=topic, data_id=data_id, pubtime_ns=1, href=href)


@given(LEVELS, st.text(max_size=300), st.text(max_size=50).filter(str.isprintable))
def test_every_topic_and_link_make_a_key_that_is_signed_and_announced_as_it_is(
    levels: list[str], tail: str, data_id: str
) -> None:
    try:
        key = key_of(levels, f"https://a.test/{tail}", data_id)
    except Poison:
        return
    assert checked_key(key) == key
    assert key.split("/")[0] not in (INCOMING, TRASH)
    assert MARKER not in key
    assert not any(part.startswith(".") for part in key.split("/"))
    assert unquote(PLACE.path(key)) == f"/{key}"
    url = object_url("https://cache.test/data", key)
    assert unquote(urlsplit(url).path) == f"/data/{key}"
    # With its marker a name still fits a file system.
    assert all(len(part) <= 128 for part in key.split("/"))
    name = key.rpartition("/")[2]
    assert len(name + suffix_for("application/prs.coverage+json", name)) <= 255


def test_the_gateways_topics_are_folders_as_they_are() -> None:
    key = key_of([*"ISAI", "01", "SBBR"], "https://a.test/A_ISAI01SBBR.bufr", "d")
    assert key.startswith("2026-11-27/23/de-dwd-gts-to-wis2/data/core/I/S/A/I/01/SBBR/")
    assert key.endswith("/A_ISAI01SBBR.bufr")


@given(st.text(max_size=300))
def test_a_name_that_nginx_would_hide_is_never_made(tail: str) -> None:
    assert not file_name(f"https://a.test/{tail}").startswith(".")
