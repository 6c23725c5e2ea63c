"""What is a key, for every store: one rule, so that any item can live in any of them."""

from __future__ import annotations

#: What S3 allows; and what a file system allows in one name, less the longest marker.
MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 200

#: First parts that a store keeps for itself: what is being written or thrown away, and probes.
INCOMING = ".incoming"
TRASH = ".trash"

_OURS = (INCOMING.encode(), TRASH.encode())
_NO_PARTS = frozenset({b"", b".", b".."})

#: Between an object's name and the marker of its type (`media_type.suffix_for`).
MARKER = ".~"


def checked_key(key: str) -> str:
    """Return `key`. Raises ValueError, for a bug of ours: no key made by `ids` looks like that."""
    encoded = key.encode()
    parts = encoded.split(b"/")
    if (
        len(encoded) > MAX_KEY_BYTES
        or b"\0" in encoded
        or not _NO_PARTS.isdisjoint(parts)
        or len(max(parts, key=len)) > MAX_PART_BYTES
        or parts[0] in _OURS
        or MARKER in key
    ):
        raise ValueError(f"not a key: {key!r}"[:300])
    return key
