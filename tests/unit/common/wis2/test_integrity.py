from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.integrity import (
    BrokenIntegrity,
    Integrity,
    Method,
    new_hash,
    parse_integrity,
)

if TYPE_CHECKING:
    from collections.abc import Callable


METHODS: list[Method] = ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]
DATA = b"some data"


def digest_of(method: Method) -> bytes:
    return hashlib.new(method.replace("sha3-", "sha3_"), DATA).digest()


def parsed(method: object, value: object) -> Integrity:
    return parse_integrity({"method": method, "value": value})


def broken(integrity: object) -> BrokenIntegrity:
    with pytest.raises(BrokenIntegrity) as caught:
        parse_integrity(integrity)
    assert len(str(caught.value)) < 100
    return caught.value


SPELLINGS: dict[str, Callable[[bytes], str]] = {
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
    integrity = parsed(method, SPELLINGS[spelling](digest_of(method)))
    right, wrong = new_hash(method), new_hash(method)
    right.update(DATA)
    wrong.update(DATA + b"!")
    assert integrity.method == method
    assert integrity.matches(right.digest())
    assert not integrity.matches(wrong.digest())


def test_data_hashed_in_pieces_matches_too() -> None:
    integrity = parsed("sha512", digest_of("sha512").hex())
    hashing = new_hash("sha512")
    hashing.update(memoryview(DATA)[:4])
    hashing.update(DATA[4:])
    assert integrity.matches(hashing.digest())


@pytest.mark.parametrize(
    "method",
    [
        "",
        "md5",
        "sha1",
        "SHA512",
        "sha512 ",
        "sha3_512",
        "none",
        "\x00",
        "x" * 9000,
        None,
        ["sha512"],
    ],
)
def test_a_method_that_the_standard_does_not_know_is_broken(method: object) -> None:
    value = base64.b64encode(digest_of("sha512")).decode()
    assert not broken({"method": method, "value": value}).is_valid_form


@pytest.mark.parametrize(
    "integrity",
    [None, "sha512", [], {}, {"method": "sha512"}, {"value": ""}, {"method": "sha512", "value": 7}],
)
def test_what_is_not_a_checksum_at_all_is_broken(integrity: object) -> None:
    assert not broken(integrity).is_valid_form


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
def test_a_value_that_no_data_has_is_broken_though_the_schema_takes_it(
    method: Method, value: str
) -> None:
    assert broken({"method": method, "value": value}).is_valid_form


@given(method=st.sampled_from(METHODS), value=st.text(max_size=200))
def test_no_text_matches_data_it_is_not_the_checksum_of(method: Method, value: str) -> None:
    try:
        integrity = parsed(method, value)
    except BrokenIntegrity:
        return
    assert not integrity.matches(digest_of(method))
