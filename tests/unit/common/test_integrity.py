from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.integrity import Method, new_hash, parse_integrity

METHODS: list[Method] = ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]
DATA = b"some data"


def digest_of(method: Method) -> bytes:
    return hashlib.new(method.replace("sha3-", "sha3_"), DATA).digest()


SPELLINGS = {
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "base64 without padding": lambda digest: base64.b64encode(digest).decode().rstrip("="),
    "base64 for URLs": lambda digest: base64.urlsafe_b64encode(digest).decode(),
    "hex": lambda digest: digest.hex(),
    "HEX": lambda digest: digest.hex().upper(),
    "base64 between blanks": lambda digest: f" {base64.b64encode(digest).decode()}\n",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_method_and_spelling_matches_the_data_and_no_other(
    method: Method, spelling: str
) -> None:
    integrity = parse_integrity(method, SPELLINGS[spelling](digest_of(method)))
    right, wrong = new_hash(method), new_hash(method)
    right.update(DATA)
    wrong.update(DATA + b"!")
    assert integrity.method == method
    assert integrity.matches(right.digest())
    assert not integrity.matches(wrong.digest())


def test_data_hashed_in_pieces_matches_too() -> None:
    integrity = parse_integrity("sha512", digest_of("sha512").hex())
    hashing = new_hash("sha512")
    hashing.update(memoryview(DATA)[:4])
    hashing.update(DATA[4:])
    assert integrity.matches(hashing.digest())


@pytest.mark.parametrize("name", ["SHA512", "Sha512"])
def test_the_case_of_a_method_does_not_matter(name: str) -> None:
    assert parse_integrity(name, "").method == "sha512"


@pytest.mark.parametrize("name", ["", "md5", "sha1", "sha512 ", "none", "sha512\x00", "x" * 9000])
def test_an_unknown_method_is_poison(name: str) -> None:
    with pytest.raises(Poison) as caught:
        parse_integrity(name, base64.b64encode(digest_of("sha512")).decode())
    assert caught.value.reason is Reason.INVALID_INTEGRITY
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "=",
        "A2KNxvks...S8qfSCw==",
        "zz",
        "é" * 88,
        "\ud800",
        "\x00" * 64,
        digest_of("sha512").hex()[:-1],
        base64.b64encode(digest_of("sha512") + b"x").decode(),
        base64.b64encode(digest_of("sha512")[:-1]).decode(),
        base64.b64encode(digest_of("sha512").hex().encode()).decode(),
    ],
)
def test_a_malformed_value_matches_nothing(method: Method, value: str) -> None:
    integrity = parse_integrity(method, value)
    assert not integrity.matches(digest_of(method))
    assert not integrity.matches(b"")


@given(method=st.sampled_from(METHODS), value=st.text(max_size=200))
def test_no_text_matches_data_it_is_not_the_checksum_of(method: Method, value: str) -> None:
    assert not parse_integrity(method, value).matches(digest_of(method))
