"""In which lane of the queue a message waits, whatever the queue runs on. Pure."""

from __future__ import annotations

import zlib

#: Bulk waits in lanes, each centre in one of them, and the lanes take turns: no centre keeps the
#: bulk of all others off. The first lane is that of what is not bulk.
LANES = 9
READY = 0
_CENTRE_ID_LEVEL = 3


def centre_in(topic: str) -> str:
    """Return the centre-id in a topic, of which nothing is known yet; "" where it has none."""
    levels = topic.split("/", _CENTRE_ID_LEVEL + 1)
    return levels[_CENTRE_ID_LEVEL] if len(levels) > _CENTRE_ID_LEVEL else ""


def bulk_lane(topic: str) -> int:
    """Return the bulk lane of the centre in a topic."""
    return 1 + zlib.crc32(centre_in(topic).encode()) % (LANES - 1)
