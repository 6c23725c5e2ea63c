"""What a Global Broker delivers that no broker should: topics in bytes, flags, properties."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from testkit.hostile.catalogue import Delivery, Place, cached, messages, refused
from testkit.messages.wnm import inline, wnm

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = b"delivered"


def _delivery(place: Place, name: str, topic: bytes = b"", **more: object) -> Delivery:
    """Return a notification that is right, but for what is said."""
    data_id = place.data_id()
    payload = json.dumps(wnm(data_id=data_id, content=inline(DATA))).encode()
    given = {"payload": payload, "outcome": cached(DATA), "data_id": data_id} | more
    return Delivery(name, topic or place.topic.encode(), **given)  # type: ignore[arg-type]


@messages
def topics_that_no_broker_should_pass_on(place: Place) -> Iterator[Delivery]:
    begin = place.topic.encode()
    for name, topic in {
        "with a plus": begin + b"/+",
        "with a hash": begin + b"/#",
        "only a hash": b"#",
        "with a NUL": begin + b"/\x00",
        "with a line break": begin + b"/a\nb",
        "with an escape": begin + b"/\x1b[31m",
        "with DEL": begin + b"/\x7f",
        "with a line separator": begin + "/\u2028".encode(),
        "with a noncharacter": begin + "/\uffff".encode(),
        "with half a character": begin + b"/\xed\xa0\x80",
        "not UTF-8": b"\xff\xfe\xfd",
        "not UTF-8 below the policy": begin + b"/\xff",
        "an overlong slash": begin + b"/\xc0\xaf",
        "of one byte": b"\x00",
        "of 60,000 bytes": begin + b"/" + b"a" * 60_000,
        "of 30,000 levels": begin + b"/" * 30_000,
        "of another channel": b"monitor/a/wis2/xx-evil",
        "of another system": begin.replace(b"wis2", b"wis3"),
        "of another version": begin.replace(b"/a/", b"/b/"),
        "of the broker": b"$SYS/broker/version",
    }.items():
        yield _delivery(place, name, topic, outcome=refused("invalid_topic"))


@messages
def messages_that_are_retained(place: Place) -> Iterator[Delivery]:
    for number in range(3):
        yield _delivery(place, f"a notification, {number}", is_retained=True)
        yield _delivery(
            place, f"cleared, {number}", is_retained=True, payload=b"", outcome=refused("empty")
        )
    yield _delivery(
        place, "garbage", is_retained=True, payload=b"\xff", outcome=refused("invalid_json")
    )


@messages
def properties_that_mqtt_forbids(place: Place) -> Iterator[Delivery]:
    for name, properties in {
        "a user property with U+FEFF": b"\x26\x00\x03\xef\xbb\xbf\x00\x01x",
        "a user property that is not UTF-8": b"\x26\x00\x01\xff\x00\x01\xff",
        "a user property with a NUL": b"\x26\x00\x01\x00\x00\x01\x00",
        "a property of nobody": b"\x7f\x7f\x7f",
        "a payload format of nobody": b"\x01\x09",
        "an expiry of no time": b"\x02\x00\x00\x00\x00",
        "a place to answer to with a wildcard": b"\x08\x00\x01#",
        "a property cut short": b"\x26\x00\xff",
        "the same twice": b"\x01\x01\x01\x01",
        "an identifier of 0": b"\x0b\x00",
    }.items():
        yield _delivery(place, name, properties=properties)


@messages
def messages_far_beyond_the_limit(place: Place) -> Iterator[Delivery]:
    for size in (8193, 100_000, 5_000_000):
        yield _delivery(place, f"{size} bytes", payload=b"x" * size, outcome=refused("oversize"))
