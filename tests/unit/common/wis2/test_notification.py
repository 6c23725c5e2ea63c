from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.messages.sample_notification import ABSENT, TOPIC, sample, sample_bytes
from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.wis2.notification import (
    MAX_CONTENT_CHARS,
    MAX_DATA_ID_CHARS,
    MAX_DEPTH,
    MAX_NOTIFICATION_BYTES,
    Announcer,
    Link,
    Notification,
    parse,
    republish,
)
from wis2_gc_common.wis2.topic import parse_topic

OURSELVES = Announcer("xx-test-global-cache", b"secret")
WMO = "http://def.wmo.int/def/rel/wnm/-/"


def parsed(**changes: Any) -> Notification:
    return parse(TOPIC, sample_bytes(**changes))


def poison(payload: bytes) -> Reason:
    with pytest.raises(Poison) as caught:
        parse(TOPIC, payload)
    assert len(caught.value.detail) <= 200
    assert caught.value.detail.isprintable()
    return caught.value.reason


def link(rel: str, href: str = "https://example.org/x", **members: Any) -> dict[str, Any]:
    return {"rel": rel, "href": href, **members}


# What a valid notification says


def test_a_valid_notification_is_understood() -> None:
    notification = parsed()
    assert notification.topic is TOPIC
    assert notification.id == "31e9d66a-cd83-4174-9429-b932f1abe1be"
    assert notification.data_id == "ca-eccc-msc/synop/CWAO_200445.bufr4"
    assert notification.pubtime_ns == 1_773_982_218_314_854_383
    assert notification.rel == "canonical"
    assert notification.link == Link(
        "https://example.org/data/CWAO_200445.bufr4", "application/bufr", None
    )
    assert notification.cache
    assert notification.global_cache is None
    assert notification.integrity is None
    assert notification.content is None
    assert not notification.drops_content
    assert notification.source_centre_id == "ca-eccc-msc"


def test_what_came_from_another_cache_has_that_cache_as_its_source() -> None:
    payload = sample_bytes(properties={"global-cache": "jp-jma-global-cache"})
    assert parse(parse_topic(TOPIC.to_cache), payload).source_centre_id == "jp-jma-global-cache"


def test_on_origin_another_caches_name_makes_up_no_source() -> None:
    notification = parsed(properties={"global-cache": "jp-jma-global-cache"})
    assert notification.global_cache == "jp-jma-global-cache"
    assert notification.source_centre_id == "ca-eccc-msc"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "no-uuid"},
        {"geometry": None},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}},
        {"conformsTo": ABSENT, "version": "v04"},
        {"version": "v04"},
        {"version": 5},
        {"conformsTo": ["http://wis.wmo.int/spec/wnm/1/conf/core", 7]},
        {"properties": {"datetime": None}},
        {"properties": {"start_datetime": "2026-01-01T00:00:00Z"}},
        {
            "properties": {
                "datetime": ABSENT,
                "start_datetime": "2026-01-01T00:00:00Z",
                "end_datetime": "2026-01-02T00:00:00Z",
            }
        },
        {"properties": {"pubtime": "2026-03-20T04:50:18:314+00:00"}},
        {"properties": {"metadata_id": ABSENT}},
        {"properties": {"gts": {"ttaaii": "ISIA21"}, "wigos_station_identifier": "0-1-2-3"}},
        {"properties": {"data_id": "a b%20c/" + "d" * 200}},
        {"properties": {"data_id": "origin/a/wis2/x"}},
        {"link": {"type": ABSENT}},
        {"link": {"length": None}},
        {"unknown": [1, 2.5e300, {"a": None}]},
    ],
)
def test_what_is_seen_in_the_wild_is_accepted(changes: dict[str, Any]) -> None:
    assert parsed(**changes).rel == "canonical"


@pytest.mark.parametrize("text", ["größe", "a\u00a0b", "東京", "a\u200bb", "🌧", " "])
def test_letters_and_spaces_of_any_script_may_be_in_a_data_id(text: str) -> None:
    assert parsed(properties={"data_id": text}).data_id == text


@pytest.mark.parametrize("length", [0, 7, "7", "007", 7.0, 2**53])
def test_a_length_is_a_whole_number_also_as_text(length: object) -> None:
    assert parsed(link={"length": length}).link.length == int(str(length).removesuffix(".0"))


def test_cache_false_is_understood() -> None:
    assert not parsed(properties={"cache": False}).cache
    assert parsed(properties={"cache": True}).cache


# The link that decides (wis2-rules.md 7)


@pytest.mark.parametrize("rel", ["canonical", "update", "deletion"])
def test_the_one_decisive_link_is_found_among_others(rel: str) -> None:
    links = [link("item"), link("via"), link(rel, "https://example.org/it"), link("license")]
    notification = parsed(links=links)
    assert notification.rel == rel
    assert notification.link.href == "https://example.org/it"


@pytest.mark.parametrize("order", [1, -1])
def test_where_both_are_sent_the_update_link_counts(order: int) -> None:
    links = [link("canonical", "https://example.org/c"), link("update", "https://example.org/u")]
    notification = parsed(links=links[::order])
    assert notification.rel == "update"
    assert notification.link.href == "https://example.org/u"


def test_of_two_links_of_one_kind_the_first_counts() -> None:
    links = [link("canonical", "https://example.org/1"), link("canonical", "https://example.org/2")]
    assert parsed(links=links).link.href == "https://example.org/1"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("beside", [[], ["canonical"], ["via", "canonical"]])
@pytest.mark.parametrize("rel", ["update", "deletion"])
def test_old_nodes_write_update_and_deletion_as_uris(
    rel: str, beside: list[str], scheme: str
) -> None:
    it = link(f"{scheme}://def.wmo.int/def/rel/wnm/-/{rel}", "https://example.org/it")
    notification = parsed(links=[*(link(other) for other in beside), it])
    assert notification.rel == rel
    assert notification.link.href == "https://example.org/it"


# What is poison, and why


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "feature"}, Reason.NOT_A_FEATURE),
        ({"type": ABSENT}, Reason.NOT_A_FEATURE),
        ({"type": ["Feature"]}, Reason.NOT_A_FEATURE),
        ({"conformsTo": ABSENT}, Reason.INVALID_VERSION),
        ({"conformsTo": []}, Reason.INVALID_VERSION),
        ({"conformsTo": [1]}, Reason.INVALID_VERSION),
        ({"conformsTo": "http://wis.wmo.int/spec/wnm/1/conf/core"}, Reason.INVALID_VERSION),
        ({"conformsTo": ABSENT, "version": 4}, Reason.INVALID_VERSION),
        ({"conformsTo": ABSENT, "version": "v03"}, Reason.INVALID_VERSION),
        ({"conformsTo": ["http://wis.wmo.int/spec/wnm/2/conf/core"]}, Reason.INVALID_VERSION),
        ({"conformsTo": None, "version": "v04"}, Reason.INVALID_VERSION),
        ({"geometry": ABSENT}, Reason.INVALID_GEOMETRY),
        ({"geometry": "POINT (1 2)"}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Point"}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": [], "coordinates": []}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Point", "coordinates": [1]}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Point", "coordinates": [1, "2"]}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Point", "coordinates": [1, True]}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1]]]}},
         Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "Polygon", "coordinates": [1, 2]}}, Reason.INVALID_GEOMETRY),
        ({"geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}},
         Reason.INVALID_GEOMETRY),
        ({"properties": {"metadata_id": None}}, Reason.INVALID_PROPERTIES),
        ({"properties": {"producer": 7}}, Reason.INVALID_PROPERTIES),
        ({"id": ABSENT}, Reason.INVALID_ID),
        ({"id": ""}, Reason.INVALID_ID),
        ({"id": 7}, Reason.INVALID_ID),
        ({"id": "a\nb"}, Reason.INVALID_ID),
        ({"id": "x" * 257}, Reason.INVALID_ID),
        ({"properties": {"data_id": ABSENT}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": ""}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": ["a"]}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "a\x00b"}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "a\nb"}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "a\x1b[2J"}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "a\x85b"}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "a\u2028b"}}, Reason.INVALID_DATA_ID),
        ({"properties": {"data_id": "x" * (MAX_DATA_ID_CHARS + 1)}}, Reason.INVALID_DATA_ID),
        ({"properties": {"pubtime": ABSENT}}, Reason.INVALID_PUBTIME),
        ({"properties": {"pubtime": 1}}, Reason.INVALID_PUBTIME),
        ({"properties": {"pubtime": "now"}}, Reason.INVALID_PUBTIME),
        ({"properties": {"datetime": ABSENT}}, Reason.INVALID_DATETIME),
        ({"properties": {"datetime": 7}}, Reason.INVALID_DATETIME),
        (
            {"properties": {"datetime": ABSENT, "start_datetime": "2026-01-01T00:00:00Z"}},
            Reason.INVALID_DATETIME,
        ),
        ({"properties": {"start_datetime": None}}, Reason.INVALID_DATETIME),
        (
            {"properties": {"start_datetime": "2026-01-01T00:00:00Z",
                            "end_datetime": "2026-01-02T00:00:00Z"}},
            Reason.INVALID_DATETIME,
        ),
        ({"properties": {"cache": "false"}}, Reason.INVALID_CACHE_FLAG),
        ({"properties": {"cache": 0}}, Reason.INVALID_CACHE_FLAG),
        ({"properties": {"cache": None}}, Reason.INVALID_CACHE_FLAG),
        ({"properties": {"global-cache": 7}}, Reason.INVALID_GLOBAL_CACHE),
        ({"properties": {"global-cache": ""}}, Reason.INVALID_GLOBAL_CACHE),
        ({"properties": {"global-cache": "a|b"}}, Reason.INVALID_GLOBAL_CACHE),
        ({"links": ABSENT}, Reason.INVALID_LINKS),
        ({"links": []}, Reason.INVALID_LINKS),
        ({"links": {"rel": "canonical"}}, Reason.INVALID_LINKS),
        ({"links": ["https://example.org/x"]}, Reason.INVALID_LINKS),
        ({"links": [{"rel": "canonical"}]}, Reason.INVALID_LINKS),
        ({"links": [{"href": "https://example.org/x"}]}, Reason.INVALID_LINKS),
        ({"links": [{"href": "x", "rel": ["canonical"]}]}, Reason.INVALID_LINKS),
        ({"links": [{"href": {}, "rel": "canonical"}]}, Reason.INVALID_LINKS),
        ({"link": {"length": -1}}, Reason.INVALID_LINKS),
        ({"link": {"length": True}}, Reason.INVALID_LINKS),
        ({"link": {"length": 7.5}}, Reason.INVALID_LINKS),
        ({"link": {"length": "7 kB"}}, Reason.INVALID_LINKS),
        ({"link": {"length": "\u0667"}}, Reason.INVALID_LINKS),
        ({"link": {"length": 10**30}}, Reason.INVALID_LINKS),
        ({"link": {"length": 1e300}}, Reason.INVALID_LINKS),
        ({"link": {"length": [7]}}, Reason.INVALID_LINKS),
        ({"link": {"type": 7}}, Reason.INVALID_LINKS),
        ({"link": {"title": None}}, Reason.INVALID_LINKS),
        ({"links": [link("canonical"), link("via", hreflang=[])]}, Reason.INVALID_LINKS),
        ({"links": [link("canonical"), link("via", length="9 kB")]}, Reason.INVALID_LINKS),
        ({"links": [link("canonical"), link("via", security="no")]}, Reason.INVALID_LINKS),
        ({"links": [link("item")]}, Reason.NO_DECISIVE_LINK),
        ({"links": [link("Canonical")]}, Reason.NO_DECISIVE_LINK),
        ({"links": [link("canonical"), link("deletion")]}, Reason.CONTRADICTORY_LINKS),
        ({"links": [link("deletion"), link("update")]}, Reason.CONTRADICTORY_LINKS),
        ({"links": [link(WMO + "deletion"), link(WMO + "update")]}, Reason.CONTRADICTORY_LINKS),
        ({"links": [link(WMO + "updates")]}, Reason.NO_DECISIVE_LINK),
        ({"links": [link(WMO + "Update")]}, Reason.NO_DECISIVE_LINK),
    ],
)  # fmt: skip
def test_a_notification_that_breaks_the_standard_is_poison_with_the_reason(
    changes: dict[str, Any], reason: Reason
) -> None:
    assert poison(sample_bytes(**changes)) is reason


@pytest.mark.parametrize("value", [None, 7, "x", [], ["data_id"]])
def test_properties_must_be_an_object(value: object) -> None:
    message = sample()
    message["properties"] = value
    assert poison(json.dumps(message).encode()) is Reason.INVALID_PROPERTIES


@pytest.mark.parametrize("payload", [b"[]", b"{}", b"null", b"7", b'"Feature"', b'["Feature"]'])
def test_json_that_is_not_a_feature_is_poison(payload: bytes) -> None:
    assert poison(payload) is Reason.NOT_A_FEATURE


def test_a_message_of_8192_bytes_is_accepted_and_one_more_is_poison() -> None:
    payload = sample_bytes(padding="")
    room = MAX_NOTIFICATION_BYTES - len(payload)
    assert parse(TOPIC, sample_bytes(padding="x" * room)).rel == "canonical"
    assert poison(sample_bytes(padding="x" * (room + 1))) is Reason.OVERSIZE


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"1e400",
        b"1" * 4500,
        b"01",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\x00"',
        b'"\n"',
        b"'x'",
        b"{7: 1}",
        b"{,}",
        b"[" * 3000,
        b'{"a":' * 1000,
        b"[" * 3000 + b"]" * 3000,
        b"/* */ 1",
        b"",
    ],
)
def test_what_is_not_strict_json_is_poison(value: bytes) -> None:
    payload = sample_bytes(unknown="HERE").replace(b'"HERE"', value)
    assert poison(payload) is Reason.INVALID_JSON


def test_deep_nesting_is_poison_at_a_depth_that_does_not_depend_on_the_stack() -> None:
    def nested(depth: int) -> bytes:
        # The message itself is one level.
        return sample_bytes(unknown="HERE").replace(
            b'"HERE"', b"[" * (depth - 1) + b"]" * (depth - 1)
        )

    assert parse(TOPIC, nested(MAX_DEPTH)).rel == "canonical"
    assert poison(nested(MAX_DEPTH + 1)) is Reason.INVALID_JSON
    assert poison(nested(900)) is Reason.INVALID_JSON


def test_many_brackets_side_by_side_are_not_deep() -> None:
    ring = [[float(n), float(n)] for n in range(300)]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    assert parsed(geometry=geometry).rel == "canonical"
    assert parsed(unknown="[" * 500 + "{" * 500).rel == "canonical"


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"{"])
def test_bytes_that_are_not_json_are_poison(payload: bytes) -> None:
    assert poison(payload) is Reason.INVALID_JSON


# Inline content (wis2-rules.md 16)


def test_usable_content_is_taken_over() -> None:
    content = {"encoding": "base64", "value": "QUJD", "size": 3}
    notification = parsed(properties={"content": content})
    assert notification.content is not None
    assert (notification.content.encoding, notification.content.value) == ("base64", "QUJD")
    assert notification.content.size == 3
    assert not notification.drops_content


@pytest.mark.parametrize(
    "content",
    [
        None,
        "QUJD",
        [],
        {},
        {"value": "x", "size": 1},
        {"encoding": "utf-8", "size": 1},
        {"encoding": "utf-8", "value": "x"},
        {"encoding": "rot13", "value": "x", "size": 1},
        {"encoding": ["utf-8"], "value": "x", "size": 1},
        {"encoding": {"utf-8": 1}, "value": "x", "size": 1},
        {"encoding": "utf-8", "value": 7, "size": 1},
        {"encoding": "utf-8", "value": "x", "size": -1},
        {"encoding": "utf-8", "value": "x", "size": True},
        {"encoding": "utf-8", "value": "x" * (MAX_CONTENT_CHARS + 1), "size": 4097},
    ],
)
def test_content_that_breaks_the_standard_leaves_only_the_link(content: object) -> None:
    notification = parsed(properties={"content": content})
    assert notification.content is None
    assert notification.drops_content


# Integrity (wis2-rules.md 18)


@pytest.mark.parametrize("spell", [bytes.hex, lambda d: base64.b64encode(d).decode()])
def test_an_announced_checksum_is_decoded(spell: Any) -> None:
    digest = hashlib.sha256(b"data").digest()
    integrity = {"method": "sha256", "value": spell(digest)}
    notification = parsed(properties={"integrity": integrity})
    assert notification.integrity is not None
    assert notification.integrity.matches(digest)


BROKEN: list[object] = [
    None, "sha512", {"method": "sha512"}, {"method": ["sha512"], "value": ""},
    {"method": "md5", "value": ""}, {"method": "SHA512", "value": "QUJD"},
    {"method": "sha512", "value": 7},
]  # fmt: skip
MALFORMED = {"method": "sha512", "value": "A2KNxvks...S8qfSCw=="}


@pytest.mark.parametrize("integrity", [*BROKEN, MALFORMED])
def test_a_checksum_that_no_data_can_pass_is_a_failed_check(integrity: object) -> None:
    notification = parsed(properties={"integrity": integrity})
    assert notification.integrity is None
    assert notification.integrity_problem


def test_a_checksum_that_is_absent_is_none() -> None:
    assert parsed().integrity is None
    assert not parsed().integrity_problem


@pytest.mark.parametrize("properties", [{"cache": False}, {}])
def test_where_nothing_is_checked_the_checksum_must_still_be_valid(
    properties: dict[str, Any],
) -> None:
    rel = "canonical" if properties else "deletion"
    for integrity in BROKEN:
        changes = {"properties": properties | {"integrity": integrity}, "link": {"rel": rel}}
        assert poison(sample_bytes(**changes)) is Reason.INVALID_INTEGRITY
    found = parsed(properties=properties | {"integrity": MALFORMED}, link={"rel": rel})
    assert found.rel == rel


def test_content_of_which_the_schema_refuses_only_the_size_is_usable_but_not_announced() -> None:
    for size in ("3", 4097):
        content = {"encoding": "base64", "value": "QUJD", "size": size}
        notification = parsed(properties={"content": content})
        assert notification.content is not None
        assert notification.drops_content


# Nothing but a value or Poison


def notification_or_reason(payload: bytes) -> Notification | Reason:
    try:
        return parse(TOPIC, payload)
    except Poison as error:
        return error.reason


def assert_usable(result: Notification | Reason) -> None:
    """A notification that passed can be republished, and the result passes again."""
    if isinstance(result, Reason):
        return
    try:
        _, payload = republish(result, announcer=OURSELVES, cached=None)
    except Poison as error:
        reason: Reason | None = error.reason
    else:
        reason = None
        again = parse(TOPIC, payload)
        assert (again.data_id, again.pubtime_ns, again.rel, again.link) == (
            result.data_id,
            result.pubtime_ns,
            result.rel,
            result.link,
        )
    assert reason in (None, Reason.REPUBLISH_OVERSIZE)


@given(payload=st.binary(max_size=200))
def test_arbitrary_bytes_are_poison(payload: bytes) -> None:
    assert isinstance(notification_or_reason(payload), Reason)


numbers = st.integers() | st.floats() | st.sampled_from([2**53, 2**63, 2**64, 10**400, -0.0])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=json_values, ascii_only=st.booleans())
def test_arbitrary_json_is_poison(value: Any, ascii_only: bool) -> None:
    payload = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert isinstance(notification_or_reason(payload), Reason)


FULL: dict[str, Any] = sample(
    properties={
        "cache": True,
        "global-cache": "jp-jma-global-cache",
        "integrity": {"method": "sha256", "value": "A2KNxvks"},
        "content": {"encoding": "base64", "value": "QUJD", "size": 3},
        "start_datetime": "2026-03-20T04:45:00Z",
    },
    link={"length": "457"},
    version="v04",
)
PATHS: list[tuple[str | int, ...]] = []


def _collect(value: Any, path: tuple[str | int, ...]) -> None:
    PATHS.append(path)
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _collect(inner, (*path, name))


for _name, _value in FULL.items():
    _collect(_value, (_name,))

odd_values = json_values | st.sampled_from(
    ["canonical", "update", "deletion", "gzip", "Feature", "\x00", "\ud800", "a\u2028b", "x" * 300]
)


@given(data=st.data())
def test_a_valid_notification_with_any_members_exchanged_is_valid_or_poison(
    data: st.DataObject,
) -> None:
    message = json.loads(json.dumps(FULL))
    for path in data.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3)):
        place: Any = message
        for name in path[:-1]:
            if not isinstance(place, dict | list):
                break
            try:
                place = place[name]  # type: ignore[index] # a TypeError then
            except (KeyError, IndexError, TypeError):
                break
        else:
            if isinstance(place, dict):
                place[path[-1]] = data.draw(odd_values)
            elif isinstance(place, list) and place:
                place[0] = data.draw(odd_values)
    payload = json.dumps(message, ensure_ascii=data.draw(st.booleans()))
    assert_usable(notification_or_reason(payload.encode("utf-8", "surrogatepass")))


@given(
    cut=st.integers(0, 2000),
    drop=st.integers(0, 4),
    junk=st.binary(max_size=4)
    | st.sampled_from([b"{", b"[", b"\\", b'"', b"\\ud800", b",", b"null", b'"rel":"update",']),
)
def test_a_valid_notification_with_bytes_damaged_is_valid_or_poison(
    cut: int, drop: int, junk: bytes
) -> None:
    payload = json.dumps(FULL).encode()
    cut %= len(payload)
    assert_usable(notification_or_reason(payload[:cut] + junk + payload[cut + drop :]))
