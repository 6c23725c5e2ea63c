"""An envelope as a message of SQS, and back."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import NotAnEnvelope, Reason, Unsendable
from wis2_gc_common.ports.queue import Envelope
from wis2_gc_common.sqs.messages import (
    MAX_BYTES,
    decode_dead_letter,
    decode_message,
    encode_dead_letter,
    encode_message,
    message_group,
    size_bytes,
)

TOPIC = "origin/a/wis2/de-dwd/data/core/weather/surface-based-observations/synop"
ENVELOPE = Envelope(
    topic=TOPIC, payload=b'{"id": "1"}', broker="fr", arrived_ms=1_790_000_000_123, uid="a" * 32
)
NOW_MS = 1_790_000_000_000
#: https://docs.aws.amazon.com: "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 …"
ALLOWED = re.compile("[\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
envelopes = st.builds(
    Envelope,
    topic=texts,
    payload=st.one_of(st.binary(max_size=60), texts.map(str.encode)),
    broker=texts,
    arrived_ms=st.integers(0, 2**60),
    attempts=st.integers(0, 50),
    uid=st.text("0123456789abcdef", min_size=1, max_size=32),
)


def delivered(message: dict[str, Any], *, deliveries: int = 1) -> dict[str, Any]:
    """What ReceiveMessage makes of what SendMessage was given."""
    return {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": message["MessageBody"],
        "MessageAttributes": message["MessageAttributes"],
        "Attributes": {"ApproximateReceiveCount": str(deliveries), "SentTimestamp": "17"},
    }


def attributes(message: dict[str, Any]) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}


def test_an_operator_reads_the_payload_and_where_it_came_from() -> None:
    message = encode_message(ENVELOPE)
    assert message["MessageBody"] == '{"id": "1"}'
    assert message["MessageGroupId"] == "de-dwd"
    assert attributes(message) == {
        "topic": TOPIC,
        "broker": "fr",
        "arrived_ms": "1790000000123",
        "uid": "a" * 32,
    }
    assert "DelaySeconds" not in message


@given(envelopes)
def test_every_envelope_survives(envelope: Envelope) -> None:
    message = encode_message(envelope)
    arrived = decode_message(delivered(message, deliveries=3), now_ms=NOW_MS)
    assert arrived.received.envelope == envelope
    assert (arrived.received.receipt, arrived.received.deliveries) == ("r", 3)
    assert arrived.early_s == 0


@given(envelopes, texts)
def test_nothing_that_sqs_refuses_is_sent(envelope: Envelope, error: str) -> None:
    message = encode_dead_letter(envelope, reason="dns", last_error=error, died_ms=1)
    assert ALLOWED.fullmatch(message["MessageBody"])
    assert all(ALLOWED.fullmatch(text) for text in attributes(message).values())
    assert len(message["MessageAttributes"]) <= 10
    assert re.fullmatch(r"[!-~]{1,128}", message["MessageGroupId"])


@pytest.mark.parametrize(
    ("topic", "group"),
    [
        (TOPIC, "de-dwd"),
        ("cache/a/wis2/int-ecmwf/metadata", "int-ecmwf"),
        ("origin/a/wis2/B\u00e4r x", "B_r_x"),
        ("origin/a/wis2/" + "x" * 300, "x" * 128),
        ("origin/a/wis2", "none"),
        ("origin/a/wis2//data", "none"),
        ("", "none"),
    ],
)
def test_the_message_group_is_the_centre(topic: str, group: str) -> None:
    assert message_group(topic) == group


@pytest.mark.parametrize(
    ("delay_s", "seconds"), [(0.001, 1), (1, 1), (1.2, 2), (899.5, 900), (900, 900), (5000, 900)]
)
def test_delays_are_whole_seconds_up_to_what_sqs_takes(delay_s: float, seconds: int) -> None:
    assert encode_message(ENVELOPE, delay_s=delay_s, now_ms=NOW_MS)["DelaySeconds"] == seconds


def test_a_long_delay_goes_on_when_the_message_comes_too_early() -> None:
    message = delivered(encode_message(ENVELOPE, delay_s=1800, now_ms=NOW_MS))
    assert decode_message(message, now_ms=NOW_MS + 900_000).early_s == 900
    assert decode_message(message, now_ms=NOW_MS + 1_799_000).early_s == 1
    assert decode_message(message, now_ms=NOW_MS + 1_799_700).early_s == 0
    assert decode_message(message, now_ms=NOW_MS + 9_999_000).early_s == 0
    short = delivered(encode_message(ENVELOPE, delay_s=900, now_ms=NOW_MS))
    assert decode_message(short, now_ms=NOW_MS).early_s == 0


def test_a_dead_letter_says_why_it_died() -> None:
    dead = replace(ENVELOPE, attempts=5)
    message = encode_dead_letter(dead, reason="not_found", last_error="404\x00\ud800", died_ms=99)
    assert {name: attributes(message)[name] for name in ("reason", "attempts", "died_ms")} == {
        "reason": "not_found",
        "attempts": "5",
        "died_ms": "99",
    }
    letter = decode_dead_letter(delivered(message))
    assert letter.envelope == dead
    assert (letter.reason, letter.died_ms) == ("not_found", 99)
    assert letter.last_error == "404\ufffd\ufffd"


def test_an_error_without_words_is_none() -> None:
    message = encode_dead_letter(ENVELOPE, reason="", last_error="", died_ms=1)
    assert "last_error" not in attributes(message)
    letter = decode_dead_letter(delivered(message))
    assert (letter.reason, letter.last_error) == ("unexpected", "")


@given(envelopes)
def test_a_redriven_dead_letter_starts_again(envelope: Envelope) -> None:
    message = encode_dead_letter(envelope, reason="dns", last_error="x", died_ms=1)
    received = decode_message(delivered(message), now_ms=NOW_MS).received
    assert received.envelope == replace(envelope, attempts=0, is_bulk=True)


def test_what_sqs_itself_moved_is_unexpected() -> None:
    letter = decode_dead_letter(delivered(encode_message(replace(ENVELOPE, attempts=2))))
    assert letter.envelope == replace(ENVELOPE, attempts=2)
    assert (letter.reason, letter.died_ms) == (Reason.UNEXPECTED, 17)
    assert "SQS" in letter.last_error


def test_what_can_never_be_sent_is_refused() -> None:
    with pytest.raises(Unsendable):
        encode_message(replace(ENVELOPE, topic="\ud800"))
    fits = replace(ENVELOPE, payload=b"x" * (MAX_BYTES - size_bytes(encode_message(ENVELOPE)) + 11))
    assert size_bytes(encode_message(fits)) == MAX_BYTES
    with pytest.raises(Unsendable) as caught:
        encode_message(replace(fits, payload=fits.payload + b"x"))
    assert str(MAX_BYTES + 1) in str(caught.value)


GOOD = delivered(encode_message(ENVELOPE))


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": None},
        {"MessageAttributes": None},
        {"MessageAttributes": {}},
        {"MessageAttributes": {"topic": {"BinaryValue": b"x", "DataType": "Binary"}}},
        {"MessageAttributes": {"encoding": {"StringValue": "envelope-base64"}}},
        {"MessageAttributes": {**GOOD["MessageAttributes"], "arrived_ms": {"StringValue": "x"}}},
        {"MessageAttributes": {**GOOD["MessageAttributes"], "attempts": {"StringValue": ""}}},
        {"Attributes": {}},
        {"Attributes": {"ApproximateReceiveCount": "many"}},
        {"Body": "AAAA", "MessageAttributes": {"encoding": {"StringValue": "envelope-base64"}}},
    ],
)
def test_a_message_that_is_none_of_ours_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotAnEnvelope):
        decode_message({**GOOD, **changes}, now_ms=NOW_MS)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text() | st.none() | st.integers()))
def test_junk_raises_nothing_else(junk: dict[str, Any]) -> None:
    for decode in (lambda m: decode_message(m, now_ms=NOW_MS), decode_dead_letter):
        try:
            decode(junk)
        except NotAnEnvelope:
            continue
