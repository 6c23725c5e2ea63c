"""Checksums of data items (SPEC.md 18)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from wis2_gc_common.errors import Poison, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]

#: The method of the checksum we add where the publisher gave none.
DEFAULT_METHOD: Method = "sha512"


class Hash(Protocol):
    """What hashlib's objects can do."""

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
    """An announced checksum, already decoded."""

    method: Method
    digest: bytes
    """Empty where the announced value is none: it matches nothing."""

    def matches(self, digest: bytes) -> bool:
        """Whether `digest`, made with `self.method`, is the announced one."""
        return bool(self.digest) and hmac.compare_digest(self.digest, digest)


def new_hash(method: Method) -> Hash:
    """Return a fresh hash object for `method`."""
    return _METHODS[method][1]()


def parse_integrity(method: str, value: str) -> Integrity:
    """Decode an announced checksum, base64 (also URL-safe, also unpadded) or hex.

    A value that no digest of the method can have is kept as one that never matches: the
    notification announces a checksum, and the data cannot pass it.
    Raises Poison(INVALID_INTEGRITY): unknown method. Source: SPEC.md 18.
    """
    known = _METHODS.get(method.lower().replace("_", "-"))
    if known is None:
        raise Poison(Reason.INVALID_INTEGRITY, f"method {method[:32]!r}")
    name, _, size = known
    text = value.strip()
    for decode in (bytes.fromhex, _decode_base64):
        try:
            digest = decode(text)
        except ValueError:
            continue
        if len(digest) == size:
            return Integrity(name, digest)
    return Integrity(name, b"")


def _decode_base64(text: str) -> bytes:
    """Raise ValueError (binascii.Error is one) where `text` is not base64."""
    padded = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
