"""Hostile notifications: topics, payloads, and each member that we read."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from testkit.hostile.catalogue import (
    Message,
    Place,
    cached,
    deleted,
    failed,
    messages,
    poison,
    refused,
    uncached,
    wrong,
)
from testkit.messages import nasty_inputs
from testkit.messages.wnm import ABSENT, inline, integrity_of, wnm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = b"inline and right"
INLINE = inline(DATA)
FINE = cached(DATA)
#: Served by a good server.
LINKED = b"the link is right" * 100


def _with(name: str, value: Any) -> Callable[[bytes], bytes]:
    """Return what gives a notification that property."""

    def change(text: bytes) -> bytes:
        message = json.loads(text)
        message["properties"][name] = value
        return json.dumps(message).encode()

    return change


def _with_x(value: bytes) -> Callable[[bytes], bytes]:
    """Return what writes that text for the value of the member `x`, which is 0."""
    return lambda text: text.replace(b'"x": 0', b'"x":' + value)


# Topics


@messages
def topics_outside_the_hierarchy(place: Place) -> Iterator[Message]:
    for topic in (
        "origin/a/wis2",
        "origin/a/wis2/",
        f"origin/a/wis2/{place.centre}",
        f"origin/a/wis2/{place.centre}/",
        f"origin/a/wis2/{place.centre}/data",
        f"origin/a/wis2/{place.centre}/data/core",
        f"origin/a/wis2/{place.centre}/data/core/",
        f"origin/a/wis2/{place.centre}/data/core//",
        f"origin/a/wis2/{place.centre}/data/corex/weather",
        f"origin/a/wis2/{place.centre}/data//core/weather",
        f"origin/a/wis2/{place.centre}/metadata/core",
        f"origin/a/wis2/{place.centre}/Metadata",
        "origin/a/wis2//data/core/weather",
        "origin/a/wis2/XX-EVIL/data/core/weather",
        "origin/a/wis2/xx evil/data/core/weather",
        "origin/a/wis2/../data/core/weather",
        "origin/a/wis2/-evil/data/core/weather",
        "origin/a/wis2/" + "a" * 65 + "/data/core/weather",
        "origin/a/wis2/xx-evil\u202e/data/core/weather",
        "origin/a/wis2/xx-ev\u0456l/data/core/weather",
    ):
        yield place.item(topic, refused("invalid_topic"), topic=topic, content=INLINE)


@messages
def topics_too_deep_or_too_long(place: Place) -> Iterator[Message]:
    for name, below in {
        "33 levels": "/".join("a" * 27),
        "190 levels": "/".join("a" * 184),
        "190 empty levels": "x" + "/" * 184,
        "a level of 129 bytes": "a" * 129,
        "a level of 65 letters of two bytes": "ä" * 65,
        "over 512 bytes": "/".join(["a" * 100] * 6),
        "60,000 bytes": "/".join(["a" * 4000] * 15),
    }.items():
        topic = f"origin/a/wis2/{place.centre}/data/core/{below}"
        yield place.item(name, refused("invalid_topic"), topic=topic, content=INLINE)


@messages
def topics_that_look_like_paths_or_code(place: Place) -> Iterator[Message]:
    for below in (
        "../../../../etc/passwd",
        "./.",
        "..",
        "a//b",
        "%2e%2e%2f%2e%2e%2fetc",
        "..\\..\\windows",
        "C:",
        "$SYS/broker",
        "a b\u00a0c",
        "'; drop table items; --",
        "<script>alert(1)</script>",
        "${jndi:ldap:~127.0.0.2}",
        "\u202egnp.exe",
        "\U0001f4a9",
        ".htaccess",
        "~root",
        "nul",
        "a\u0301" * 20,
    ):
        topic = f"origin/a/wis2/{place.centre}/data/core/{below}"
        yield place.item(below, FINE, topic=topic, content=INLINE)


@messages
def recommended_data_full_of_garbage(place: Place) -> Iterator[Message]:
    for name, payload in {
        "not JSON": b"\xff\xfe\x00",
        "brackets": b"[" * 5000,
        "too long": b" " * 9000,
    }.items():
        yield place.payload(
            name, payload, refused("recommended"),
            topic=f"origin/a/wis2/{place.centre}/data/recommended/weather",
        )  # fmt: skip
    yield place.payload(
        "nothing below", b"{}", refused("recommended"),
        topic=f"origin/a/wis2/{place.centre}/data/recommended",
    )  # fmt: skip


# Payloads


@messages
def payloads_that_are_not_json(place: Place) -> Iterator[Message]:
    good = json.dumps(wnm(data_id="x")).encode()
    for name, payload in {
        "a NUL": b"\x00",
        "not UTF-8": b"\xff\xfe",
        "UTF-16": good.decode().encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + good,
        "a number that JSON does not know": b"NaN",
        "infinity": b'{"type":Infinity}',
        "cut in the middle": good[: len(good) // 2],
        "two of them": good + good,
        "a comma too many": good[:-1] + b",}",
        "single quotes": good.replace(b'"', b"'"),
        "a comment": b"/* */" + good,
        "gzip": gzip.compress(good),
        "base64": base64.b64encode(good),
        "a BUFR message": b"BUFR\x00\x00\x10\x04" + bytes(100) + b"7777",
        "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00cos\nsystem\n",
        "XML with an entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "YAML": b"!!python/object/apply:os.system ['true']",
        "an overlong slash": good.replace(b"/", b"\xc0\xaf", 1),
        "a NUL in a text": good.replace(b"Feature", b"Feat\x00ure"),
        "a line break in a text": good.replace(b"Feature", b"Feat\nure"),
        "an exponent that is not a number": good.replace(b"6.146255", b"1e99999"),
    }.items():
        yield place.payload(name, payload, refused("invalid_json"))


@messages
def json_that_is_not_a_feature(place: Place) -> Iterator[Message]:
    for payload in (
        b"[]", b"{}", b"null", b"true", b"0", b'"Feature"', b'[{"type":"Feature"}]',
        b'{"type":"FeatureCollection"}', b'{"type":["Feature"]}', b'{"Type":"Feature"}',
        b'{"type":"feature"}', b'{"type":{"$ne":null}}', b'{"type":"Feature\\u0000"}',
    ):  # fmt: skip
        yield place.payload(payload.decode(), payload, refused("not_a_feature"))


@messages
def json_that_is_deep(place: Place) -> Iterator[Message]:
    yield place.payload("8000 brackets", b"[" * 8000, refused("invalid_json"))
    yield place.payload("braces", b'{"a":' * 1500, refused("invalid_json"))
    yield place.payload("closed", b"[" * 4000 + b"]" * 4000, refused("invalid_json"))
    for depth, outcome in ((1500, "invalid_json"), (70, "invalid_json"), (40, "")):
        yield place.item(
            f"{depth} deep in a member of nobody",
            refused(outcome) if outcome else FINE,
            content=INLINE, members={"x": 0},
            text=_with_x(b"[" * depth + b"]" * depth),
        )  # fmt: skip


@messages
def payloads_that_are_empty(place: Place) -> Iterator[Message]:
    yield place.payload("empty", b"", refused("empty"))
    yield place.payload("a blank", b" ", refused("invalid_json"))
    yield place.payload(
        "empty on no topic of ours", b"", refused("empty"), topic="origin/a/wis2/XX"
    )


@messages
def payloads_at_the_limit_of_8192_bytes(place: Place) -> Iterator[Message]:
    def padded(size: int, blank: bytes = b"x") -> Any:
        def pad(text: bytes) -> bytes:
            return text.replace(b"PAD", blank * (size - len(text) + 3))

        return pad

    for size in (8193, 8200, 100_000):
        yield place.item(
            f"{size} bytes", refused("oversize"), members={"x": "PAD"}, text=padded(size)
        )
    yield place.payload("8193 blanks", b" " * 8193, refused("oversize"))
    # Our href is longer than theirs: it cannot be announced with a copy of ours.
    href = place.servers.body(LINKED)
    yield place.link(href, cached(LINKED), "7700 bytes", members={"x": "PAD"}, text=padded(7700))
    yield place.item(
        "8192 bytes, inline", FINE, content=INLINE | {"value": INLINE["value"]},
        members={"x": "PAD"}, text=padded(7700),
    )  # fmt: skip


@messages
def names_that_are_there_twice(place: Place) -> Iterator[Message]:
    def twice(old: bytes, new: bytes) -> Any:
        return lambda text: text.replace(old, new, 1)

    yield place.item(
        "properties", FINE, content=INLINE, text=twice(b"{", b'{"properties":{"data_id":"other"},')
    )
    yield place.item(
        "links", FINE, content=INLINE,
        text=twice(b"{", b'{"links":[{"rel":"canonical","href":"file:///etc/passwd"}],'),
    )  # fmt: skip
    yield place.item(
        "href", FINE, content=INLINE, text=twice(b'{"href"', b'{"href":"file:///etc/shadow","href"')
    )
    yield place.item("rel", FINE, content=INLINE, text=twice(b'"rel"', b'"rel":"deletion","rel"'))
    yield place.item("id", FINE, content=INLINE, text=twice(b'"id"', b'"id":7,"id"'))
    yield place.item(
        "data_id", FINE, content=INLINE, text=twice(b'"data_id"', b'"data_id":"theirs","data_id"')
    )
    yield place.item(
        "type, the last of which is none", refused("not_a_feature"),
        text=lambda text: text[:-1] + b',"type":"None"}',
    )  # fmt: skip


@messages
def numbers_that_are_huge(place: Place) -> Iterator[Message]:
    for digits in (400, 4000, 6000):
        # Of more than 4300 digits, no reader in Python makes a number.
        yield place.item(
            f"of {digits} digits in a member of nobody",
            FINE if digits < 4300 else refused("invalid_json"), content=INLINE, members={"x": 0},
            text=_with_x(b"9" * digits),
        )  # fmt: skip
    for name, payload in nasty_inputs.huge_numbers().items():
        yield place.payload(name, payload, refused("invalid_json"))
    for name, reason in {
        "pubtime": "invalid_pubtime", "data_id": "invalid_data_id",
        "global-cache": "invalid_global_cache", "metadata_id": "invalid_properties",
    }.items():  # fmt: skip
        yield place.item(
            f"as {name}", refused(reason), content=INLINE,
            text=_with(name, int("9" * 4000)),
        )  # fmt: skip
    yield place.item(
        "an exponent beyond all", refused("invalid_json"), members={"x": 0},
        text=_with_x(b"1e999"),
    )  # fmt: skip


@messages
def texts_with_half_characters(place: Place) -> Iterator[Message]:
    for name, properties in {
        "in the data_id": {"data_id": "a\ud800"},
        "in an unknown member": {"x": "\udfff"},
        "in the pubtime": {"pubtime": "\ud800"},
    }.items():
        message = wnm(data_id="a") | {}
        message["properties"] |= properties
        yield place.payload(name, json.dumps(message).encode(), refused("invalid_json"))
    message = wnm(data_id="a", href="http://127.0.0.1/\udc80")
    yield place.payload("in the href", json.dumps(message).encode(), refused("invalid_json"))


# The envelope


@messages
def versions_that_are_not_ours(place: Place) -> Iterator[Message]:
    core = "http://wis.wmo.int/spec/wnm/1/conf/core"
    for name, members in {
        "none at all": {"conformsTo": ABSENT},
        "a text": {"conformsTo": core},
        "an object": {"conformsTo": {core: 1}},
        "an empty list": {"conformsTo": []},
        "another": {"conformsTo": ["http://wis.wmo.int/spec/wnm/2/conf/core"]},
        "with a blank": {"conformsTo": [core + " "]},
        "an old one": {"conformsTo": ABSENT, "version": "v03"},
        "a number": {"conformsTo": ABSENT, "version": 4},
        "null": {"conformsTo": None},
    }.items():
        message = wnm(data_id="a") | members
        message = {key: value for key, value in message.items() if value is not ABSENT}
        yield place.payload(name, json.dumps(message).encode(), refused("invalid_version"))
    yield place.item("both", FINE, content=INLINE, members={"version": "v04"})


@messages
def geometries_that_are_none(place: Place) -> Iterator[Message]:
    geometry: Any
    for name, geometry in {
        "a text": "Point",
        "a list": [1, 2],
        "of many points": {"type": "MultiPoint", "coordinates": [[1, 2]]},
        "no type": {"coordinates": [1, 2]},
        "a type that is a list": {"type": ["Point"], "coordinates": [1, 2]},
        "no coordinates": {"type": "Point"},
        "texts": {"type": "Point", "coordinates": ["1", "2"]},
        "one number": {"type": "Point", "coordinates": [1]},
        "nothing": {"type": "Point", "coordinates": []},
        "null": {"type": "Point", "coordinates": [None, None]},
        "deep": {"type": "Point", "coordinates": [[[[1]]]]},
        "a ring of three": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [1, 2]]]},
        "a ring of texts": {"type": "Polygon", "coordinates": [["a", "b", "c", "d"]]},
        "objects": {"type": "Point", "coordinates": [{}, {}]},
        "booleans": {"type": "Point", "coordinates": [True, False]},
    }.items():
        yield place.item(name, refused("invalid_geometry"), members={"geometry": geometry})
    for name, geometry in {
        "far outside of the earth": {"type": "Point", "coordinates": [1e308, -1e308, 1e308]},
        "no place": None,
        "with members of nobody": {"type": "Point", "coordinates": [1, 2], "crs": {"x": [1]}},
        "a ring of 900 points": {"type": "Polygon", "coordinates": [[[1, 2]] * 900]},
    }.items():
        yield place.item(name, FINE, content=INLINE, members={"geometry": geometry})


@messages
def message_ids_that_are_none(place: Place) -> Iterator[Message]:
    odd: Any
    for name, odd in {
        "null": None, "a number": 7, "a list": [], "empty": "", "257 letters": "a" * 257,
        "a line break": "a\nb", "a NUL": "a\x00b", "an escape": "\x1b[31m", "U+2028": "a\u2028b",
        "an object": {"$gt": ""},
    }.items():  # fmt: skip
        yield place.item(name, refused("invalid_id"), members={"id": odd})
    for odd in (
        "not a UUID", "a" * 256, "\U0001f4a9 \u202e", "../../etc/passwd", "*", "' OR 1=1 --",
        "{wis2}:registry", "31e9d66a-cd83-4174-9429-b932f1abe1be ",
    ):  # fmt: skip
        yield place.item(
            odd[:40],
            FINE,
            content=INLINE,
            members={"id": odd + place.centre[-3:] if len(odd) < 200 else odd},
        )


@messages
def data_ids_that_are_none(place: Place) -> Iterator[Message]:
    for name, odd in {
        "null": None, "a number": 7, "a list": ["a"], "empty": "", "2049 letters": "a" * 2049,
        "a NUL": "a\x00", "a line break": "a\r\nSet-Cookie: x", "an escape": "\x1b]0;x\x07",
        "an object": {"a": 1}, "true": True,
    }.items():  # fmt: skip
        yield place.item(
            name, refused("invalid_data_id"),
            text=_with("data_id", odd),
        )  # fmt: skip


@messages
def data_ids_that_look_like_paths_or_code(place: Place) -> Iterator[Message]:
    for odd in (
        "../../../etc/passwd",
        "/etc/passwd",
        "C:\\windows\\system32",
        "%00%0a%0d",
        "a" * 2048,
        "<script>alert(document.domain)</script>",
        '"><img src=x onerror=alert(1)>',
        "${jndi:ldap://127.0.0.2/a}",
        "{{7*7}}%s%n%x",
        "'; DROP TABLE items; --",
        "* KEYS *",
        "|other|series",
        "\u202eelif",
        "\U0001f4a9" * 500,
        "e\u0301" * 900,
        " ",
        "http://169.254.169.254/latest/meta-data/",
        "wis2/a/b?c=d#e",
    ):
        yield place.item(odd[:40], FINE, content=INLINE, data_id=f"{odd[:2040]}{place.centre[-3:]}")


# Times


@messages
def pubtimes_that_are_none(place: Place) -> Iterator[Message]:
    odd: Any
    for odd in (
        "", "yesterday", "2026-11-27", "2026-11-27T00:00:00", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-11-27T24:00:00Z", "2026-11-27T00:60:00Z",
        "2026-11-27T00:00:61Z", "1969-12-31T23:59:59Z", "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z", "-2026-11-27T00:00:00Z", "2026-11-27T00:00:00.Z",
        "2026-11-27T00:00:00.1234567890Z", "2026-11-27T00:00:00+99:99", " 2026-11-27T00:00:00Z",
        "2026-11-27T00:00:00Z\n", "\u0662\u0660\u0662\u0666-11-27T00:00:00Z",
        "2026-11-27T00:00:00.\u0661Z", "2026-W48-5T00:00:00Z", "1e10", "9" * 6000,
        "2026-11-27T00:00:00." + "0" * 6000 + "Z",
    ):  # fmt: skip
        yield place.item(
            odd[:40],
            refused("invalid_pubtime"),
            text=_with("pubtime", odd),
        )
    for odd in (None, 0, 1764288000, True, [], {}, 1.5):
        yield place.item(
            repr(odd),
            refused("invalid_pubtime"),
            text=_with("pubtime", odd),
        )


@messages
def pubtimes_far_away(place: Place) -> Iterator[Message]:
    for far in (
        "9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999999999-23:59", "2100-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00", "1999-12-31t23:59:60z",
        "2000-02-29T00:00:00:123Z",
    ):  # fmt: skip
        data_id = place.data_id()
        yield place.item(far, FINE, content=INLINE, data_id=data_id, pubtime=far)
        if far > "2050":
            # It locks nothing (wis2-rules.md 6): what comes after it counts.
            soon = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
            yield place.item(
                f"an update after {far}", FINE, content=INLINE, data_id=data_id, rel="update",
                pubtime=soon, after=True,
            )  # fmt: skip


@messages
def datetimes_that_are_none(place: Place) -> Iterator[Message]:
    kinds: dict[str, dict[str, Any]] = {
        "a number": {"datetime": 7},
        "a list": {"datetime": []},
        "a begin that is a number": {"start_datetime": 7},
        "an end that is an object": {"end_datetime": {}},
        "both a moment and a period": {
            "start_datetime": "2026-01-01T00:00:00Z", "end_datetime": "2026-01-02T00:00:00Z",
        },
    }  # fmt: skip
    for name, properties in kinds.items():
        yield place.item(name, refused("invalid_datetime"), content=INLINE, **properties)
    yield place.item("no time that any calendar knows", FINE, content=INLINE, datetime="\u202e")


# Flags and other properties


@messages
def properties_that_are_none(place: Place) -> Iterator[Message]:
    odd: Any
    for odd in (None, [], "x", 7, True):
        yield place.item(
            f"properties: {odd!r}", refused("invalid_properties"), members={"properties": odd}
        )
    for name in ("metadata_id", "producer"):
        for odd in (7, [], {}, None):
            properties: dict[str, Any] = {name: odd}
            yield place.item(
                f"{name}: {odd!r}", refused("invalid_properties"), content=INLINE, **properties
            )
    for odd in ("false", 0, 1, None, [], {}):
        yield place.item(f"cache: {odd!r}", refused("invalid_cache_flag"), cache=odd)


@messages
def members_with_names_that_look_like_code(place: Place) -> Iterator[Message]:
    for name in (
        "__proto__", "constructor", "$ref", "$where", "", " ", "a.b", "a\u202eb", "\U0001f4a9",
        "<script>", "@context", "xmlns:x", "../..", "x" * 3000,
    ):  # fmt: skip
        odd: dict[str, Any] = {name: {"x": [1]}}
        yield place.item(name[:30], FINE, content=INLINE, **odd)
    yield place.item("600 of them", FINE, content=INLINE, members={f"x{n}": n for n in range(600)})


@messages
def claims_to_be_a_global_cache(place: Place) -> Iterator[Message]:
    odd: Any
    cache_topic = f"cache/a/wis2/{place.centre}/data/core/weather"
    for odd in (7, [], {}, "", "XX", "a b", "a/b", "a" * 65, "xx\n", "../", "$SYS", "\u0430-b"):
        yield place.item(
            f"as {odd!r}", refused("invalid_global_cache"), topic=cache_topic, content=INLINE,
            global_cache=odd,
        )  # fmt: skip
    for topic in (cache_topic, place.topic):
        yield place.item(
            f"as ours on {topic[:6]}", refused("own"), topic=topic, content=INLINE,
            global_cache="xx-test-global-cache",
        )  # fmt: skip
    # Not counted as another centre's: on `origin/…` the property is anybody's to write.
    yield place.item(
        "as another cache on a topic of a node", FINE, content=INLINE,
        global_cache="cn-cma-global-cache",
    )  # fmt: skip


# Links


@messages
def links_that_are_none(place: Place) -> Iterator[Message]:
    good = {"rel": "canonical", "href": "http://127.0.0.1:9/"}
    links: Any
    for name, links in {
        "null": None, "a text": "http://127.0.0.1:9/", "an object": good, "an empty list": [],
        "a list of texts": ["http://127.0.0.1:9/"], "a list of lists": [[good]], "of null": [None],
        "no href": [{"rel": "canonical"}], "no rel": [{"href": "http://127.0.0.1:9/"}],
        "a href that is a number": [{"rel": "canonical", "href": 7}],
        "a href that is null": [{"rel": "canonical", "href": None}],
        "a rel that is a list": [{"rel": ["canonical"], "href": "http://127.0.0.1:9/"}],
        "a type that is a number": [good | {"type": 7}],
        "a title that is an object": [good | {"title": {}}],
        "a language that is null": [good | {"hreflang": None}],
        "a good one and a text": [good, "x"],
        "security that is a text": [good | {"security": "none"}],
        "security of no form": [good | {"security": {"a": {"type": "magic"}}}],
        "security that is deep": [good | {"security": {"a": {"type": "oauth2", "flows": []}}}],
    }.items():  # fmt: skip
        yield place.item(name, refused("invalid_links"), members={"links": links})


@messages
def rels_that_decide_nothing_or_too_much(place: Place) -> Iterator[Message]:
    rels: tuple[str, ...]
    href = place.servers.body(LINKED)

    def links(*rels: str) -> dict[str, Any]:
        return {"links": [{"rel": rel, "href": href} for rel in rels]}

    for rels in (
        ("alternate",), ("CANONICAL",), ("canonical ",), ("",), ("canonical\u0000",),
        ("http://127.0.0.1/rel/canonical",), ("update,canonical",), ("item", "via", "next"),
        ("updates",), ("/rel/wnm/-/canonical",),
    ):  # fmt: skip
        yield place.item(f"{rels}", refused("no_decisive_link"), members=links(*rels))
    for rels in (
        ("canonical", "deletion"), ("update", "deletion"), ("deletion", "canonical", "update"),
        ("update", "http://x.example/rel/wnm/-/deletion"),
    ):  # fmt: skip
        yield place.item(f"{rels}", refused("contradictory_links"), members=links(*rels))
    for rels in (
        ("canonical", "canonical"), ("canonical",) * 20, ("canonical", "update"),
        ("item", "via", "canonical"), ("http://x.example/rel/wnm/-/update",),
    ):  # fmt: skip
        yield place.item(f"{rels}"[:60], cached(LINKED), members=links(*rels))


@messages
def lengths_that_are_none(place: Place) -> Iterator[Message]:
    odd: Any
    for odd in (
        -1, "-1", 1.5, "1.5", "abc", "", " 7", "0x10", "1e3", "\u0667", True, False, [], {}, 2**60,
        "9" * 17, 1e308, -0.5, "7\n",
    ):  # fmt: skip
        yield place.item(repr(odd)[:40], refused("invalid_links"), length=odd)


@messages
def lengths_that_are_wrong(place: Place) -> Iterator[Message]:
    href = place.servers.body(LINKED)
    for odd in (0, 1, len(LINKED) - 1, len(LINKED) + 1, "1", 1.0, 2_999_999):
        yield place.link(href, failed("length", "empty"), f"{odd!r}", length=odd)
    for right in (len(LINKED), str(len(LINKED)), float(len(LINKED)), None):
        yield place.link(href, cached(LINKED), f"right: {right!r}", length=right)


# Checksums


@messages
def checksums_that_nothing_has(place: Place) -> Iterator[Message]:
    right = integrity_of(LINKED)
    for name, integrity in {
        "a method of nobody": right | {"method": "md5"},
        "a method in capitals": right | {"method": "SHA512"},
        "a method that is a list": right | {"method": ["sha512"]},
        "no method": {"value": right["value"]},
        "no value": {"method": "sha512"},
        "a value of another method": {"method": "sha512", **integrity_of(LINKED, "sha256")}
        | {"method": "sha512"},
        "a value that is not base64": right | {"value": "!" * 88},
        "an empty value": right | {"value": ""},
        "a value that is a list": right | {"value": [right["value"]]},
        "a value of blanks": right | {"value": " " * 5000},
        "a value of equals": right | {"value": "=" * 5000},
        "hex that is too short": right | {"value": "ab" * 63},
        "of other data": integrity_of(b"other"),
        "of other data, in hex": integrity_of(b"other", spelling="hex"),
        "a text": "sha512",
        "null": None,
        "a list": [right],
    }.items():
        yield place.link(place.servers.body(LINKED), wrong(), name, integrity=integrity)


@messages
def checksums_in_odd_spellings(place: Place) -> Iterator[Message]:
    for method in ("sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"):
        spellings: dict[str, Callable[[str], str]] = {
            "hex": lambda value: base64.b64decode(value).hex(),
            "HEX": lambda value: base64.b64decode(value).hex().upper(),
            "for URLs, without its end": lambda value: value.translate(
                str.maketrans("+/", "-_")
            ).rstrip("="),
            "blanks around": lambda value: f" {value}\t",
        }
        for name, change in spellings.items():
            value = integrity_of(DATA, method)["value"]
            yield place.item(
                f"{method} as {name}", FINE, content=INLINE,
                integrity={"method": method, "value": change(value)},
            )  # fmt: skip


# Inline data


def _bomb(size: int) -> str:
    return base64.b64encode(gzip.compress(bytes(size), 9)).decode()


def _broken_contents() -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(DATA)).decode()
    cut = base64.b64encode(gzip.compress(DATA * 50)[:-4]).decode()
    garbage = base64.b64encode(gzip.compress(DATA) + b"garbage").decode()
    flipped = bytearray(gzip.compress(DATA * 50))
    flipped[20] ^= 255
    size = len(DATA)
    return {
        "a size too small": INLINE | {"size": size - 1},
        "a size too large": INLINE | {"size": size + 1},
        "a size of null": INLINE | {"size": None},
        "a size below zero": INLINE | {"size": -1},
        "a size that is a list": INLINE | {"size": [size]},
        "a huge size": INLINE | {"size": 2**53},
        "not base64": INLINE | {"value": "!!!!"},
        "base64 cut short": INLINE | {"value": INLINE["value"].rstrip("=")[:-1]},
        "base64 with line breaks": INLINE | {"value": "aW5s\r\naW5l"},
        "letters beyond base64": INLINE | {"value": "\u0430" * 100},
        "not gzip": INLINE | {"encoding": "gzip"},
        "gzip cut short": {"encoding": "gzip", "value": cut, "size": size * 50},
        "gzip and garbage": {"encoding": "gzip", "value": garbage, "size": size},
        "gzip with a flipped byte": {
            "encoding": "gzip", "value": base64.b64encode(flipped).decode(), "size": size * 50,
        },
        "gzip of another size": {"encoding": "gzip", "value": packed, "size": 1},
        "an encoding of nobody": INLINE | {"encoding": "rot13"},
        "an encoding in capitals": INLINE | {"encoding": "BASE64"},
        "an encoding that is a list": INLINE | {"encoding": ["base64"]},
        "a value that is a number": INLINE | {"value": 7},
        "a value that is too long": {"encoding": "utf-8", "value": "a" * 4097, "size": 4097},
        "content that is a text": "x",
        "content that is null": None,
        "content that is a list": [INLINE],
    }  # fmt: skip


@messages
def inline_data_that_is_broken(place: Place) -> Iterator[Message]:
    href = place.servers.body(LINKED)
    for name, content in _broken_contents().items():
        yield place.link(href, cached(LINKED), name, content=content)


@messages
def inline_bombs(place: Place) -> Iterator[Message]:
    href = place.servers.raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    members = base64.b64encode(gzip.compress(b"") * 140).decode()
    for name, content in {
        "that says its size": {"encoding": "gzip", "value": _bomb(2_900_000), "size": 2_900_000},
        "that says another": {"encoding": "gzip", "value": _bomb(2_900_000), "size": 9},
        "just above what we take": {"encoding": "gzip", "value": _bomb(262_145), "size": 262_145},
        "of a hundred members": {"encoding": "gzip", "value": members, "size": 9},
        "in a bomb": {
            "encoding": "gzip",
            "value": base64.b64encode(gzip.compress(gzip.compress(bytes(10**7), 9), 9)).decode(),
            "size": 10**7,
        },
    }.items():
        yield place.link(
            href, failed("content_size", "content_encoding", "not_found"), name, content=content
        )
    yield place.item(
        "as large as we take", cached(bytes(262_144)),
        content={"encoding": "gzip", "value": _bomb(262_144), "size": 262_144},
    )  # fmt: skip


@messages
def inline_data_that_is_odd_and_right(place: Place) -> Iterator[Message]:
    for name, data in {
        "a NUL": b"\x00",
        "a page": b"<html><script>alert(1)</script></html>",
        "a program": b"\x7fELF" + bytes(100),
        "line breaks": b"\r\n" * 500,
        "every byte": bytes(range(256)),
    }.items():
        yield place.item(name, cached(data), content=inline(data), media_type="text/html")
        yield place.item(f"{name}, packed", cached(data), content=inline(data, encoding="gzip"))
    text = "\u202e\U0001f4a9</script>"
    yield place.item(
        "letters beyond ASCII", cached(text.encode()),
        content={"encoding": "utf-8", "value": text, "size": len(text.encode())},
    )  # fmt: skip
    yield place.item("a size that is a text", FINE, content=INLINE | {"size": str(len(DATA))})
    yield place.item(
        "two gzip members", cached(b"ab"),
        content={
            "encoding": "gzip", "size": 2,
            "value": base64.b64encode(gzip.compress(b"a") + gzip.compress(b"b")).decode(),
        },
    )  # fmt: skip


@messages
def types_that_a_browser_would_run(place: Place) -> Iterator[Message]:
    data = b"<html><script>alert(document.domain)</script></html>"
    for odd in (
        "text/html", "TEXT/HTML", "text/html;charset=utf-7", "image/svg+xml", "text/javascript",
        "application/xhtml+xml", "text/xml", "application/x-httpd-php", "multipart/x-mixed-replace",
        "text/html\r\nX-Evil: 1", "a" * 5000, "", "../../x", "message/rfc822", "text/html;" * 200,
    ):  # fmt: skip
        yield place.item(odd[:40], cached(data), content=inline(data), media_type=odd)


# Others' items


@messages
def items_of_other_centres(place: Place) -> Iterator[Message]:
    """The victim is a centre of its own, out of reach for the attacker's topic: wis2-rules.md 6."""
    href = place.servers.body(b"forged" * 100)
    victim = f"origin/a/wis2/{place.centre}-victim/data/core/weather"
    for name, rel, outcome in (
        ("published as new", "canonical", cached(b"forged" * 100)),
        ("updated", "update", cached(b"forged" * 100)),
        ("deleted", "deletion", deleted()),
    ):
        data_id = place.data_id("victim")
        yield place.item(
            f"an item that is {name}", cached(DATA), topic=victim, data_id=data_id, content=INLINE
        )
        yield place.link(href, outcome, name, data_id=data_id, rel=rel, after=True)


@messages
def message_ids_of_others(place: Place) -> Iterator[Message]:
    victim = f"origin/a/wis2/{place.centre}-victim/data/core/weather"
    for number in range(3):
        message_id = f"31e9d66a-cd83-4174-9429-{place.data_id()[-12:]:0>12}"
        yield place.item(f"taken first, {number}", FINE, content=INLINE, members={"id": message_id})
        yield place.item(
            f"the victim's own, {number}", FINE, topic=victim, content=INLINE,
            members={"id": message_id}, after=True,
        )  # fmt: skip
        yield place.item(
            f"used twice by one centre, {number}", poison("duplicate_id"), content=INLINE,
            members={"id": message_id}, after=True,
        )  # fmt: skip


# Links that are passed on


@messages
def links_that_would_be_laundered(place: Place) -> Iterator[Message]:
    for href, reason in (
        ("file:///etc/shadow", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
        ("data:text/html,<script>alert(1)</script>", "unsupported_scheme"),
        ("gopher://127.0.0.2/", "unsupported_scheme"),
        ("http://169.254.169.254/latest/meta-data/", "forbidden_address"),
        ("http://0x7f000002/", "forbidden_address"),
        ("http://10.0.0.1/", "forbidden_address"),
        ("ftp://[::1]/a", "forbidden_address"),
        ("http://example.org:6379/", "forbidden_port"),
        ("http:\\\\127.0.0.2\\", "invalid_url"),
        ("//127.0.0.2/", "invalid_url"),
        ("http://example.org/" + "a" * 4100, "invalid_url"),
        ("http://" + "a" * 300 + "/", "invalid_url"),
    ):
        for name, properties in (
            ("not cached", {"cache": False}), ("deleted", {"rel": "deletion"}),
        ):  # fmt: skip
            yield place.link(href, poison(reason), f"{name}: {href[:60]}", **properties)


@messages
def links_beside_that_run_at_the_reader(place: Place) -> Iterator[Message]:
    canonical = {"rel": "canonical", "href": "https://example.org/a"}
    for href in (
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)",
        "java\tscript:alert(1)", "\x01javascript:alert(1)", "vbscript:x", "data:text/html,x",
        "file:///etc/passwd", "view-source:http://a", "blob:http://a/b", "jar:http://a!/b",
        "intent://a#Intent;end", "smb://127.0.0.2/c$", "shell:startup",
    ):  # fmt: skip
        yield place.item(
            f"{href!r}", poison("unsupported_scheme"), content=INLINE,
            members={"links": [canonical, {"rel": "via", "href": href}]},
        )  # fmt: skip
    for href in ("http://192.168.0.10/station", "mailto:a@example.org", "urn:x", "#top", ""):
        yield place.item(
            f"harmless: {href!r}", FINE, content=INLINE,
            members={"links": [canonical, {"rel": "via", "href": href}]},
        )  # fmt: skip


@messages
def items_that_are_not_cached(place: Place) -> Iterator[Message]:
    kinds: dict[str, dict[str, Any]] = {
        "broken inline data": {"content": INLINE | {"size": 1}},
        "a port of its own": {"href": "http://example.org:8000/a?b=c"},
        "a name outside ASCII": {"href": "http://b\u00fccher.example/"},
        "a fragment": {"href": "http://example.org/a#http://169.254.169.254/"},
        "an address in the query": {"href": "http://example.org/?u=http://127.0.0.2/"},
    }
    for name, properties in kinds.items():
        yield place.item(
            name, uncached(), cache=False, **{"href": "http://example.org/a", **properties}
        )
