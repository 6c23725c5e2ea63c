"""Checksums of data items (wis2-rules.md 18)."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]

#: The method of our own checksum, if the publisher gives none.
DEFAULT_METHOD: Method = "sha512"


class Hash(Protocol):
    """The interface of hashlib's objects."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Feed the next bytes."""

    def digest(self) -> bytes:
        """Return the checksum of all bytes so far."""


_METHODS: dict[str, tuple[Method, Callable[[], Hash], int]] = {
    "sha256": ("sha256", hashlib.sha256, 32),
    "sha384": ("sha384", hashlib.sha384, 48),
    "sha512": ("sha512", hashlib.sha512, 64),
    "sha3-256": ("sha3-256", hashlib.sha3_256, 32),
    "sha3-384": ("sha3-384", hashlib.sha3_384, 48),
    "sha3-512": ("sha3-512", hashlib.sha3_512, 64),
}


@dataclass(frozen=True, slots=True)
class Integrity:
    """An announced checksum, decoded."""

    method: Method
    digest: bytes

    def matches(self, digest: bytes) -> bool:
        """Whether `digest`, made with `self.method`, is the announced one."""
        return hmac.compare_digest(self.digest, digest)


def new_hash(method: Method) -> Hash:
    """Return a fresh hash object for `method`."""
    return _METHODS[method][1]()


class BrokenIntegrity(ValueError):
    """`properties.integrity` is there, but no data can pass it: a failed check (wis2-rules.md 18).

    `is_valid_form`: the schema of the WNM still accepts it.
    """

    def __init__(self, problem: str, *, is_valid_form: bool = False) -> None:
        super().__init__(problem)
        self.is_valid_form = is_valid_form


def parse_integrity(integrity: object) -> Integrity:
    """Decode `properties.integrity`; its value is base64 (also URL-safe, also unpadded) or hex.

    Raises BrokenIntegrity: not an object, an unknown method, or a value that no digest of the
    method can have. Source: wis2-rules.md 18.
    """
    if not isinstance(integrity, dict):
        raise BrokenIntegrity("not an object")
    method, value = integrity.get("method"), integrity.get("value")
    # Exact spelling: we cannot know what others do with `SHA512`.
    if not isinstance(method, str) or method not in _METHODS:
        raise BrokenIntegrity(f"unknown method {str(method)[:32]!r}")
    if not isinstance(value, str):
        raise BrokenIntegrity("the value is not a text")
    name, _, size = _METHODS[method]
    text = value.strip()
    try:
        digest = bytes.fromhex(text) if len(text) == 2 * size else _decode_base64(text)
    except ValueError:
        digest = b""
    if len(digest) != size:
        raise BrokenIntegrity(f"the value is not one of {method}", is_valid_form=True)
    return Integrity(name, digest)


def _decode_base64(text: str) -> bytes:
    """Return the decoded bytes. Raises ValueError (binascii.Error is one): not base64."""
    padded = text.rstrip("=")
    if "-" in padded or "_" in padded:
        padded = padded.replace("-", "+").replace("_", "/")
    return binascii.a2b_base64(padded + "=" * (-len(padded) % 4), strict_mode=True)
