from __future__ import annotations

import base64
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Reason, SourceError
from wis2_gc_common.wis2.inline import MAX_DECODED_BYTES, decode_content
from wis2_gc_common.wis2.notification import MAX_CONTENT_CHARS, Content, Encoding

DATA = b"BUFR\x00\x01\xff7777"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def failure(encoding: Encoding, value: str, size: int) -> Reason:
    with pytest.raises(SourceError) as caught:
        decode_content(Content(encoding, value, size))
    assert len(caught.value.detail) <= 100
    return caught.value.reason


def test_utf_8_is_the_text_itself_counted_in_bytes() -> None:
    assert decode_content(Content("utf-8", "früh", 5)) == "früh".encode()


def test_base64_is_decoded() -> None:
    assert decode_content(Content("base64", b64(DATA), len(DATA))) == DATA


def test_gzip_is_decoded() -> None:
    content = Content("gzip", b64(gzip.compress(DATA)), len(DATA))
    assert decode_content(content) == DATA


def test_gzip_in_several_members_is_decoded_as_gunzip_does() -> None:
    value = b64(gzip.compress(DATA) + gzip.compress(b"") + gzip.compress(b"more"))
    assert decode_content(Content("gzip", value, len(DATA) + 4)) == DATA + b"more"


@pytest.mark.parametrize("encoding", ["utf-8", "base64", "gzip"])
def test_no_data_at_all_is_data(encoding: Encoding) -> None:
    value = b64(gzip.compress(b"")) if encoding == "gzip" else ""
    assert decode_content(Content(encoding, value, 0)) == b""


@pytest.mark.parametrize("wrong", [-1, 1])
def test_another_size_than_announced_is_refused(wrong: int) -> None:
    size = len(DATA) + wrong
    assert failure("utf-8", "x" * len(DATA), size) is Reason.CONTENT_SIZE
    assert failure("base64", b64(DATA), size) is Reason.CONTENT_SIZE
    assert failure("gzip", b64(gzip.compress(DATA)), size) is Reason.CONTENT_SIZE


def test_the_size_of_the_encoded_text_is_not_the_size_of_the_data() -> None:
    assert failure("base64", b64(DATA), len(b64(DATA))) is Reason.CONTENT_SIZE
    assert failure("utf-8", "früh", 4) is Reason.CONTENT_SIZE


@pytest.mark.parametrize("value", ["a", "!!!!", "QUJD\nQUJD", "QUJ", "é===", "QQ"])
def test_what_is_not_base64_is_refused(value: str) -> None:
    assert failure("base64", value, 3) is Reason.CONTENT_ENCODING
    assert failure("gzip", value, 3) is Reason.CONTENT_ENCODING


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        DATA,
        zlib.compress(DATA),
        gzip.compress(DATA)[:-1],
        gzip.compress(DATA)[:12],
        gzip.compress(DATA)[:-8] + b"\x00" * 8,
        gzip.compress(DATA) + b"garbage",
        gzip.compress(DATA) + gzip.compress(DATA)[:5],
    ],
    # The bytes tell the time of day: two processes would name them differently.
    ids=["nothing", "plain", "zlib", "no end", "no data", "wrong sum", "garbage", "half a member"],
)
def test_what_is_not_whole_gzip_is_refused(packed: bytes) -> None:
    assert failure("gzip", b64(packed), len(DATA)) is Reason.CONTENT_ENCODING


def test_a_lone_surrogate_is_refused() -> None:
    assert failure("utf-8", "\ud800", 3) is Reason.CONTENT_ENCODING


def test_a_size_beyond_what_fits_a_notification_is_refused_unseen() -> None:
    assert failure("gzip", "", MAX_DECODED_BYTES + 1) is Reason.CONTENT_SIZE


@pytest.mark.parametrize("members", [1, 100])
def test_a_gzip_bomb_costs_no_more_memory_than_it_announces(members: int) -> None:
    packed = gzip.compress(b"\x00" * (3_000_000 // members))
    value = b64(packed * members)[: MAX_CONTENT_CHARS // 4 * 4]
    tracemalloc.start()
    try:
        assert failure("gzip", value, 1000) is Reason.CONTENT_SIZE
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_legitimate_content_that_unfolds_a_lot_is_decoded() -> None:
    data = b"\x00" * 250_000
    value = b64(gzip.compress(data))
    assert len(value) <= MAX_CONTENT_CHARS
    assert decode_content(Content("gzip", value, len(data))) == data


@given(
    encoding=st.sampled_from(["utf-8", "base64", "gzip"]),
    value=st.text(st.characters(), max_size=100)
    | st.binary(max_size=100).map(b64)
    | st.binary(max_size=100).map(lambda data: b64(gzip.compress(data)))
    | st.binary(max_size=50).map(lambda data: b64(gzip.compress(data)[:12] + data)),
    size=st.integers(0, 200),
)
def test_what_strangers_send_has_the_announced_size_or_is_refused(
    encoding: Encoding, value: str, size: int
) -> None:
    result: bytes | Reason
    try:
        result = decode_content(Content(encoding, value, size))
    except SourceError as error:
        result = error.reason
    if isinstance(result, bytes):
        assert len(result) == size
    else:
        assert result in (Reason.CONTENT_ENCODING, Reason.CONTENT_SIZE)
