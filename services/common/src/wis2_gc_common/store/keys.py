"""What is a key, for every store: one rule, so that any item can live in any of them."""

from __future__ import annotations

#: What S3 allows; and what a file system allows in one name, less the longest marker.
MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 200

#: First parts that a store keeps for itself: what is being written or thrown away, and probes.
INCOMING = ".incoming"
TRASH = ".trash"

#: Between an object's name and the marker of its type (`media_type.suffix_for`).
MARKER = ".~"


def checked_key(key: str) -> str:
    """Return `key`. Raises ValueError, for a bug of ours: no key made by `ids` looks like that."""
    parts = key.split("/")
    if (
        len(key.encode()) > MAX_KEY_BYTES
        or "\0" in key
        or any(part in ("", ".", "..") or len(part.encode()) > MAX_PART_BYTES for part in parts)
        or parts[0] in (INCOMING, TRASH)
        or MARKER in key
    ):
        raise ValueError(f"not a key: {key!r}"[:300])
    return key
