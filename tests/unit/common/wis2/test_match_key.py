"""Sensor centres and other caches know our notification for the origin's (wis2-rules.md 22)."""

from __future__ import annotations

import hashlib
import json

import pytest

from testkit.messages.real_shapes import SHAPES, Message, real_messages
from wis2_gc_common.wis2.notification import Announcer, Cached, parse, republish
from wis2_gc_common.wis2.topic import parse_topic

CACHED = Cached("https://cache.example.org/a", length=9, digest=hashlib.sha512(b"x").digest())
#: As set by default.
ANNOUNCER = Announcer("xx-test-global-cache", b"secret")


def match_key(message: Message) -> tuple[str, str, str]:
    """Return what the sensor centres compare."""
    properties = message["properties"]
    value = properties.get("integrity", {}).get("value", "")
    digits = "".join(filter(str.isdigit, properties["pubtime"]))
    return properties["data_id"], properties["pubtime"], value[:12] or digits


def announced(topic: str, message: Message) -> list[Message]:
    notification = parse(parse_topic(topic), json.dumps(message).encode())
    copies = [None, CACHED] if notification.rel != "deletion" else [None]
    return [
        json.loads(republish(notification, announcer=ANNOUNCER, cached=cached)[1])
        for cached in copies
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_our_match_key_is_the_origins(name: str) -> None:
    topic, message = SHAPES[name]
    for ours in announced(topic, message):
        assert match_key(ours) == match_key(message)


def test_our_match_key_is_that_of_every_real_message() -> None:
    for topic, message in real_messages():
        for ours in announced(topic, message):
            assert match_key(ours) == match_key(message)
