"""Which texts are keys, for every store: one rule, so that every store can hold every item."""

from __future__ import annotations

from wis2_gc_common.wis2.media_type import MARKER

#: The limit of S3; and the limit of a file system for one name, less the longest marker.
MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 200

#: First parts that a store keeps for itself: objects being written or removed, and probes.
INCOMING = ".incoming"
TRASH = ".trash"

_OURS = (INCOMING.encode(), TRASH.encode())
_NO_PARTS = frozenset({b"", b".", b".."})


def checked_key(key: str) -> str:
    """Return `key`. Raises ValueError for a bug of ours: `object_key` makes no such key."""
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
