from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import NotAnEnvelope, Unsendable
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.lanes import LANES, bulk_lane
from wis2_gc_common.ports.queue import Envelope

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
_whole = st.integers(0, 2**63 - 1)


@given(
    st.builds(
        Envelope,
        topic=_text,
        payload=st.binary(max_size=200),
        broker=_text,
        arrived_ms=_whole,
        attempts=_whole,
        uid=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
        is_bulk=st.booleans(),
    )
)
def test_what_is_encoded_is_decoded_again(envelope: Envelope) -> None:
    assert decode_envelope(encode_envelope(envelope)) == envelope


@given(st.binary(max_size=300))
def test_junk_is_an_envelope_or_is_not_ours(data: bytes) -> None:
    try:
        decoded = decode_envelope(data)
    except NotAnEnvelope:
        return
    assert isinstance(decoded, Envelope)


@pytest.mark.parametrize(
    "wire",
    [
        [],
        [1],
        {"topic": "t"},
        [2, "t", b"p", "b", 1, 0, "u"],
        [1, b"t", b"p", "b", 1, 0, "u"],
        [1, "t", "p", "b", 1, 0, "u"],
        [1, "t", b"p", "b", "1", 0, "u"],
        [1, "t", b"p", "b", -1, 0, "u"],
        [1, "t", b"p", "b", 1, -1, "u"],
        [1, "t", b"p", "b", 1, 0, ""],
        [1, "t", b"p", "b", 1, 0, "u" * 65],
        [1, "t", None, "b", 1, 0, "u"],
    ],
    ids=repr,
)
def test_a_message_of_another_shape_is_not_ours(wire: object) -> None:
    with pytest.raises(NotAnEnvelope):
        decode_envelope(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize("tail", [b"\x00", b"junk"])
def test_bytes_behind_the_message_are_not_ours(tail: bytes) -> None:
    encoded = encode_envelope(Envelope("t", b"p", "b", 1))
    with pytest.raises(NotAnEnvelope):
        decode_envelope(encoded + tail)


def test_a_cut_message_is_not_ours_wherever_it_is_cut() -> None:
    encoded = encode_envelope(Envelope("topic", b"payload", "broker", 1))
    for length in range(len(encoded)):
        with pytest.raises(NotAnEnvelope):
            decode_envelope(encoded[:length])


def test_deep_nesting_is_not_ours() -> None:
    with pytest.raises(NotAnEnvelope):
        decode_envelope(b"\x91" * 100_000)


def test_members_of_a_later_version_are_ignored() -> None:
    wire = [1, "t", b"p", "b", 1, 0, "u", 0, "new", {"more": 1}]
    assert decode_envelope(msgspec.msgpack.encode(wire)).uid == "u"


@pytest.mark.parametrize(
    "envelope",
    [Envelope("\ud800", b"", "b", 1), Envelope("t", b"", "b", 2**70)],
    ids=["lone surrogate", "beyond 64 bits"],
)
def test_what_cannot_be_written_is_refused(envelope: Envelope) -> None:
    with pytest.raises(Unsendable):
        encode_envelope(envelope)


def test_an_envelope_of_before_there_were_lanes_is_not_bulk() -> None:
    old = msgspec.msgpack.encode([1, "t", b"p", "b", 1, 0, "u"])
    assert decode_envelope(old) == Envelope("t", b"p", "b", 1, uid="u")


@given(_text, st.booleans())
def test_the_last_byte_is_the_lane(topic: str, is_bulk: bool) -> None:
    last = encode_envelope(Envelope(topic, b"p", "b", 1, is_bulk=is_bulk))[-1]
    assert last == (bulk_lane(topic) if is_bulk else 0)
    assert last < LANES <= 32


def test_a_centre_has_one_lane_and_centres_have_many() -> None:
    lanes = {bulk_lane(f"origin/a/wis2/xx-{number}/data/core") for number in range(100)}
    assert lanes == set(range(1, LANES))
    assert bulk_lane("origin/a/wis2/xx-1/data") == bulk_lane("cache/a/wis2/xx-1/metadata")
    assert bulk_lane("no-centre") == bulk_lane("")


def test_an_envelope_costs_little_more_than_its_payload() -> None:
    envelope = Envelope("t" * 100, b"p" * 4000, "fr", 1_790_000_000_000)
    assert len(encode_envelope(envelope)) < 4000 + 100 + 120
