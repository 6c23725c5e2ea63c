from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.messages.sample_notification import ABSENT, TOPIC, sample, sample_bytes
from wis2_gc_common.errors import Reason, Unannounceable
from wis2_gc_common.wis2.message_id import message_id
from wis2_gc_common.wis2.notification import (
    MAX_NOTIFICATION_BYTES,
    Announcer,
    Cached,
    parse,
    republish,
)

CENTRE = "xx-test-global-cache"
SECRET = b"a secret of this deployment"
DIGEST = hashlib.sha512(b"data").digest()
CACHED = Cached(href="https://cache.example.org/2026-03-20/04/a/b.bufr4", length=4, digest=DIGEST)
#: With both settings off.
OURS_ALONE = Announcer(CENTRE, SECRET, adds_length=False)
ADDED_INTEGRITY = {"method": "sha512", "value": base64.b64encode(DIGEST).decode()}


def rewritten(
    payload: bytes,
    *,
    cached: Cached | None = CACHED,
    drop_content: bool = False,
    announcer: Announcer = OURS_ALONE,
) -> bytes:
    """Return our notification, after checking what holds for each."""
    notification = parse(TOPIC, payload)
    new_id, result = republish(
        notification, announcer=announcer, cached=cached, drop_content=drop_content
    )
    assert len(result) <= MAX_NOTIFICATION_BYTES
    again = parse(TOPIC, result)
    assert again.id == new_id
    assert again.global_cache == CENTRE
    assert (again.data_id, again.pubtime_ns) == (notification.data_id, notification.pubtime_ns)
    assert again.rel == notification.rel
    return result


def id_of(message: dict[str, Any], rel: Any) -> str:
    return message_id(
        SECRET,
        centre_id=CENTRE,
        topic_centre_id="ca-eccc-msc",
        data_id=message["properties"]["data_id"],
        pubtime_ns=1_773_982_218_314_854_383,
        rel=rel,
    )


def changed_by_republishing(message: dict[str, Any], **options: Any) -> Any:
    return json.loads(rewritten(json.dumps(message).encode(), **options))


def test_id_href_and_global_cache_change_and_nothing_else() -> None:
    message = sample(
        links=[
            {"href": "https://example.org/portal", "rel": "via", "title": "Portal"},
            {"href": "https://example.org/a", "rel": "canonical", "type": "application/bufr"},
            {"href": "https://example.org/license", "rel": "license", "length": 9.0},
        ],
        properties={"gts": {"ttaaii": "ISIA21"}, "wigos_station_identifier": "0-20000-0-1"},
        extra={"deep": [{"er": None}]},
    )
    result = changed_by_republishing(message)
    expected = json.loads(json.dumps(message))
    expected["id"] = id_of(message, "canonical")
    expected["links"][1]["href"] = CACHED.href
    expected["properties"]["global-cache"] = CENTRE
    assert result == expected
    assert list(result) == list(message), "the order of members stays"


def test_a_length_is_added_to_our_link_where_that_is_set() -> None:
    message = sample(links=[{"href": "a", "rel": "via"}, {"href": "b", "rel": "canonical"}])
    links = changed_by_republishing(message, announcer=Announcer(CENTRE, SECRET))["links"]
    assert [link.get("length") for link in links] == [None, 4]


INLINE = {"encoding": "utf-8", "value": "data", "size": 4}


@pytest.mark.parametrize(
    ("changes", "is_added"),
    [
        ({}, False),
        ({"link": {"length": 4}}, True),
        ({"properties": {"content": INLINE}}, True),
        ({"properties": {"integrity": ADDED_INTEGRITY | {"value": "QUJD"}}}, False),
    ],
)
def test_a_checksum_is_added_only_where_that_is_set_and_the_publisher_gave_a_size(
    changes: dict[str, Any], is_added: bool
) -> None:
    message = sample(**changes)
    own = message["properties"].get("integrity")
    for adds in (False, True):
        announcer = Announcer(CENTRE, SECRET, adds_integrity=adds)
        result = changed_by_republishing(message, announcer=announcer)
        found = result["properties"].get("integrity")
        assert found == (ADDED_INTEGRITY if adds and is_added else own)


def test_no_checksum_is_added_where_the_inline_data_and_its_size_were_wrong() -> None:
    message = sample(properties={"content": INLINE})
    announcer = Announcer(CENTRE, SECRET, adds_integrity=True)
    result = changed_by_republishing(message, announcer=announcer, drop_content=True)
    assert not {"integrity", "content"} & result["properties"].keys()


def test_the_id_is_the_same_on_every_attempt_and_from_every_source() -> None:
    ids = {
        json.loads(rewritten(sample_bytes(id=incoming, link={"href": href})))["id"]
        for incoming in ("a", "b")
        for href in ("https://example.org/1", "https://example.org/2")
    }
    assert len(ids) == 1


def test_another_secret_gives_other_ids_and_shows_nowhere() -> None:
    other = Announcer(CENTRE, b"another secret")
    one, two = (
        json.loads(rewritten(sample_bytes(), announcer=announcer))["id"]
        for announcer in (OURS_ALONE, other)
    )
    assert one != two
    assert "secret" not in repr(other)


def test_another_caches_name_is_replaced_by_ours() -> None:
    message = sample(properties={"global-cache": "jp-jma-global-cache"})
    assert changed_by_republishing(message)["properties"]["global-cache"] == CENTRE


def test_update_and_canonical_in_one_message_get_the_same_new_href() -> None:
    message = sample(
        links=[
            {"href": "https://example.org/c", "rel": "canonical"},
            {"href": "https://example.org/i", "rel": "item"},
            {"href": "https://example.org/u", "rel": "update", "length": "7"},
        ]
    )
    links = changed_by_republishing(message)["links"]
    assert [link["rel"] for link in links] == ["canonical", "item", "update"]
    assert [link["href"] for link in links] == [CACHED.href, "https://example.org/i", CACHED.href]
    assert [link.get("length") for link in links] == [None, None, 4]


@pytest.mark.parametrize("envelope", [{"version": "v04", "conformsTo": ABSENT}, {}])
def test_version_and_conformance_stay_as_they_came(envelope: dict[str, Any]) -> None:
    message = sample(**envelope)
    result = changed_by_republishing(message)
    for name in ("version", "conformsTo"):
        assert result.get(name, ABSENT) == message.get(name, ABSENT)


@pytest.mark.parametrize("version", ["v04", "v05", 7])
def test_of_both_the_outdated_version_goes_because_the_schema_takes_one(version: object) -> None:
    result = changed_by_republishing(sample(version=version), cached=None)
    assert "version" not in result
    assert "conformsTo" in result


@pytest.mark.parametrize("cached", [CACHED, None])
def test_lengths_become_numbers_on_every_link(cached: Cached | None) -> None:
    links = [
        {"href": "https://example.org/c", "rel": "canonical", "length": "4"},
        {"href": "https://example.org/i", "rel": "item", "length": "007"},
        {"href": "https://example.org/j", "rel": "item", "length": None},
        {"href": "https://example.org/k", "rel": "item", "length": -1},
    ]
    result = changed_by_republishing(sample(links=links), cached=cached)
    assert [link.get("length", "none") for link in result["links"]] == [4, 7, "none", -1]


@pytest.mark.parametrize("content", [None, "x", INLINE | {"size": "4"}, INLINE | {"size": 4097}])
@pytest.mark.parametrize("cached", [CACHED, None])
def test_content_that_the_schema_refuses_is_not_passed_on(
    content: object, cached: Cached | None
) -> None:
    message = sample(properties={"content": content})
    assert "content" not in changed_by_republishing(message, cached=cached)["properties"]


@pytest.mark.parametrize("beside", [[], [{"href": "https://example.org/c", "rel": "canonical"}]])
def test_an_update_written_as_a_uri_gets_our_href_and_keeps_its_spelling(
    beside: list[dict[str, str]],
) -> None:
    rel = "http://def.wmo.int/def/rel/wnm/-/update"
    message = sample(links=[*beside, {"href": "https://example.org/u", "rel": rel}])
    links = changed_by_republishing(message)["links"]
    assert links[-1]["rel"] == rel
    assert {link["href"] for link in links} == {CACHED.href}


def test_an_announced_checksum_stays_as_it_came_hex_included() -> None:
    integrity = {"method": "sha256", "value": hashlib.sha256(b"data").hexdigest()}
    message = sample(properties={"integrity": integrity})
    assert changed_by_republishing(message)["properties"]["integrity"] == integrity


@pytest.mark.parametrize(
    "number", ["1.10", "46.22329661822744455", "1E5", "-0.0", "1e-7", "12345678901234567890123"]
)
def test_numbers_keep_their_spelling(number: str) -> None:
    payload = sample_bytes(geometry="GEO", properties={"x": "X"}, extra="E")
    for mark, text in (
        ('"GEO"', f'{{"type": "Point", "coordinates": [{number}, {number}]}}'),
        ('"X"', number),
        ('"E"', number),
    ):
        payload = payload.replace(mark.encode(), text.encode())
    assert rewritten(payload).count(number.encode()) == 4


def test_strings_keep_their_spelling() -> None:
    payload = sample_bytes(extra="E").replace(b'"E"', rb'"\u00e9\/\u0041"')
    assert rb'"\u00e9\/\u0041"' in rewritten(payload)


def test_of_doubled_members_the_one_that_was_judged_is_announced() -> None:
    payload = sample_bytes()
    for name, first, second in (
        (b"data_id", b'"first"', b'"second"'),
        (b"rel", b'"deletion"', b'"update"'),
        (b"href", b'"https://example.org/1"', b'"https://example.org/2"'),
    ):
        start = payload.index(b'"' + name + b'":')
        end = payload.index(b",", start)
        twice = b'"%s": %s, "%s": %s' % (name, first, name, second)
        payload = payload[:start] + twice + payload[end:]
    payload = payload.replace(b'"links"', b'"links": [{"rel": "item", "href": ""}], "links"')
    payload = payload.replace(b'"id"', b'"id": "first", "\\u0069d"')
    notification = parse(TOPIC, payload)
    assert notification.data_id == "second"
    assert notification.rel == "update"
    result = rewritten(payload)
    message = json.loads(result, object_pairs_hook=lambda pairs: pairs)
    assert len(message) == len(dict(message)), "no member is there twice"
    assert parse(TOPIC, result).link.href == CACHED.href


# cache: false, overrides and deletions (wis2-rules.md 12 to 14)


def test_of_doubled_links_the_one_that_was_judged_is_announced_without_a_copy_too() -> None:
    payload = sample_bytes(properties={"cache": False})
    payload = payload.replace(b'"href"', b'"href": "file:///etc/shadow", "href"')
    assert b"shadow" in payload
    assert b"shadow" not in rewritten(payload, cached=None)


@pytest.mark.parametrize("rel", ["canonical", "update", "deletion"])
def test_without_a_copy_only_id_and_global_cache_change(rel: str) -> None:
    message = sample(properties={"cache": False}, link={"rel": rel, "length": 457})
    result = changed_by_republishing(message, cached=None)
    expected = json.loads(json.dumps(message))
    expected["id"] = id_of(message, rel)
    expected["properties"]["global-cache"] = CENTRE
    assert result == expected


# The limit of 8192 bytes (wis2-rules.md 23)

CONTENT = {"encoding": "utf-8", "value": "x" * 4000, "size": 4000}
LONG = Cached(href="https://cache.example.org/" + "k" * 600, length=4, digest=DIGEST)


def filled(total: int, **changes: Any) -> bytes:
    """Return a notification of exactly `total` bytes."""
    compact: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False}
    message = sample(**changes, padding="")
    rest = total - len(json.dumps(message, **compact).encode())
    message["padding"] = "p" * rest
    payload = json.dumps(message, **compact).encode()
    assert len(payload) == total
    return payload


def test_content_stays_while_there_is_room() -> None:
    result = json.loads(rewritten(filled(7000, properties={"content": CONTENT}), cached=LONG))
    assert result["properties"]["content"] == CONTENT


def test_content_goes_when_our_link_would_push_the_message_over_the_limit() -> None:
    result = json.loads(rewritten(filled(8192, properties={"content": CONTENT}), cached=LONG))
    assert "content" not in result["properties"]
    assert result["links"][0]["href"] == LONG.href


def test_blanks_go_before_content_does() -> None:
    message = sample(properties={"content": CONTENT})
    message["extra"] = {"blanks": 1.10}
    payload = json.dumps(message).encode()
    payload = payload.replace(
        b'"blanks": 1.1', b'"blanks":' + b" " * (8192 - len(payload)) + b"1.10"
    )
    assert 8180 < len(payload) <= 8192
    result = rewritten(payload, cached=LONG)
    assert json.loads(result)["properties"]["content"] == CONTENT
    assert b'"blanks":1.10' in result


def test_our_own_checksum_goes_when_that_saves_the_message() -> None:
    short = Cached(href="https://c.example/k", length=4, digest=DIGEST)
    payload = filled(8192 - 60, link={"href": "https://example.org/" + "h" * 40, "length": 4})
    announcer = Announcer(CENTRE, SECRET, adds_integrity=True)
    result = json.loads(rewritten(payload, cached=short, announcer=announcer))
    assert "integrity" not in result["properties"]


def test_the_publishers_checksum_never_goes() -> None:
    integrity = {"method": "sha512", "value": base64.b64encode(DIGEST).decode()}
    with pytest.raises(Unannounceable) as caught:
        rewritten(filled(8192, properties={"integrity": integrity}), cached=LONG)
    assert caught.value.reason is Reason.REPUBLISH_OVERSIZE


def test_content_that_failed_its_check_is_not_passed_on() -> None:
    payload = sample_bytes(properties={"content": CONTENT})
    assert "content" not in json.loads(rewritten(payload, drop_content=True))["properties"]


def test_dropping_content_that_is_not_there_is_no_error() -> None:
    assert "content" not in json.loads(rewritten(sample_bytes(), drop_content=True))["properties"]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
names = st.text(min_size=1, max_size=12)
OURS = {"id", "properties", "links", "type", "geometry", "conformsTo", "version", "href", "rel"}
OURS |= {"length", "data_id", "pubtime", "datetime", "integrity", "global-cache", "content"}
OURS |= {"cache", "start_datetime", "end_datetime", "metadata_id", "producer"}
OURS |= {"hreflang", "title", "security"}
extras = st.dictionaries(names.filter(lambda name: name not in OURS), json_values, max_size=3)


def raw_members(payload: msgspec.Raw | bytes) -> dict[str, bytes]:
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    return {name: bytes(value) for name, value in members.items()}


@given(
    top=extras,
    inside=extras,
    on_link=extras,
    other_links=st.lists(extras, max_size=2),
    indent=st.sampled_from([None, 1]),
)
def test_what_we_do_not_know_stays_byte_for_byte(
    top: dict[str, Any],
    inside: dict[str, Any],
    on_link: dict[str, Any],
    other_links: list[dict[str, Any]],
    indent: int | None,
) -> None:
    message = sample(properties=inside, link=on_link, **top)
    message["links"] += [{"rel": "item", "href": "h", **extra} for extra in other_links]
    payload = json.dumps(message, indent=indent).encode()
    result = rewritten(payload)
    before, after = raw_members(payload), raw_members(result)
    for name in before.keys() - {"id", "properties", "links"}:
        assert after[name] == before[name]
    inner_before, inner_after = raw_members(before["properties"]), raw_members(after["properties"])
    for name in inner_before:
        assert inner_after[name] == inner_before[name]
    assert inner_after.keys() - inner_before.keys() == {"global-cache"}
    links_before = msgspec.json.decode(before["links"], type=list[msgspec.Raw])
    links_after = msgspec.json.decode(after["links"], type=list[msgspec.Raw])
    assert len(links_before) == len(links_after)
    for index, (one, two) in enumerate(zip(links_before, links_after, strict=True)):
        old, new = raw_members(one), raw_members(two)
        changed = {name for name in new if new[name] != old.get(name)}
        assert changed == (set() if index else {"href"})
        assert old.keys() <= new.keys()
