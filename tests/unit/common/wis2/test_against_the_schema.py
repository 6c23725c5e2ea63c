"""What we announce is valid against the WMO's schema, and what the schema takes we take.

The schema is one of the samples (`testkit.messages.samples`). What must hold without it is in
test_notification.py and test_republish.py.
"""

from __future__ import annotations

import hashlib
import json

import pytest
from jsonschema_rs import Draft202012Validator

from testkit.messages.mutations import mutations
from testkit.messages.real_shapes import SHAPES, Message, real_messages
from testkit.messages.samples import sample_json
from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.wis2.notification import Announcer, Cached, Notification, parse, republish
from wis2_gc_common.wis2.topic import parse_topic

CACHED = Cached("https://cache.example.org/a", length=9, digest=hashlib.sha512(b"x").digest())
ANNOUNCERS = [
    Announcer("xx-test-global-cache", b"secret", adds_length=adds, adds_integrity=adds)
    for adds in (True, False)
]
#: What the schema takes, and we do not: `docs/decisions/20261123-domain.md` says why.
REFUSED_THOUGH_VALID = frozenset(
    {
        Reason.OVERSIZE,
        Reason.INVALID_ID,
        Reason.INVALID_DATA_ID,
        Reason.INVALID_PUBTIME,
        Reason.INVALID_GLOBAL_CACHE,
        Reason.NO_DECISIVE_LINK,
        Reason.CONTRADICTORY_LINKS,
    }
)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(sample_json("wis2-notification-message-bundled.json"))


def parsed(topic: str, message: Message) -> Notification | Poison:
    try:
        return parse(parse_topic(topic), json.dumps(message).encode())
    except Poison as poison:
        return poison


def announcements(notification: Notification) -> list[Message]:
    """Return all forms in which it may be announced."""
    if notification.integrity_problem and notification.cache and notification.rel != "deletion":
        return []
    copies = [None, CACHED] if notification.cache and notification.rel != "deletion" else [None]
    return [
        json.loads(republish(notification, announcer=announcer, cached=cached)[1])
        for announcer in ANNOUNCERS
        for cached in copies
    ]


def has_odd_length(message: Message) -> bool:
    return any(
        isinstance(link.get("length"), int) and not 0 <= link["length"] <= 2**53
        for link in message["links"]
    )


def problems(validator: Draft202012Validator, topic: str, what: str, message: Message) -> list[str]:
    result = parsed(topic, message)
    if isinstance(result, Poison):
        if not validator.is_valid(message) or result.reason in REFUSED_THOUGH_VALID:
            return []
        if result.reason is Reason.INVALID_LINKS and has_odd_length(message):
            return []
        return [f"{what}: valid, but {result}"]
    return [
        f"{what}: announced, but {error.instance_path}: {error.message[:200]}"
        for announced in announcements(result)
        for error in list(validator.iter_errors(announced))[:1]
    ][:1]


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_taken_and_announced_valid(
    validator: Draft202012Validator, name: str
) -> None:
    topic, message = SHAPES[name]
    assert isinstance(parsed(topic, message), Notification)
    assert problems(validator, topic, name, message) == []


@pytest.mark.parametrize("name", SHAPES)
def test_no_mutation_of_a_shape_is_announced_invalid_or_refused_though_valid(
    validator: Draft202012Validator, name: str
) -> None:
    topic, message = SHAPES[name]
    assert [
        problem
        for what, changed in mutations(message)
        for problem in problems(validator, topic, what, changed)
    ] == []


def test_every_real_message_is_taken_and_announced_valid(validator: Draft202012Validator) -> None:
    found = list(real_messages())
    assert len(found) > 30
    for topic, message in found:
        assert isinstance(parsed(topic, message), Notification)
        assert problems(validator, topic, topic, message) == []


def test_no_mutation_of_a_real_message_is_announced_invalid_or_refused_though_valid(
    validator: Draft202012Validator,
) -> None:
    of_one_form: dict[str, tuple[str, Message]] = {}
    for topic, message in real_messages():
        members = (sorted(message), sorted(message["properties"]), len(message["links"]))
        form = repr((members, (message["geometry"] or {}).get("type")))
        of_one_form.setdefault(form, (topic, message))
    assert [
        problem
        for topic, message in of_one_form.values()
        for what, changed in mutations(message)
        for problem in problems(validator, topic, what, changed)
    ] == []
