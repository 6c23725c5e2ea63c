"""Which lane of the queue a message waits in, on every kind of queue. Pure."""

from __future__ import annotations

import zlib

#: Bulk waits in lanes. Each centre uses one lane, and the lanes take turns: no centre blocks the
#: bulk of all others. The first lane is for messages that are not bulk.
LANES = 9
READY = 0
_CENTRE_ID_LEVEL = 3


def centre_in(topic: str) -> str:
    """Return the centre-id in a topic that nobody has checked yet; "" if it has none."""
    levels = topic.split("/", _CENTRE_ID_LEVEL + 1)
    return levels[_CENTRE_ID_LEVEL] if len(levels) > _CENTRE_ID_LEVEL else ""


def bulk_lane(topic: str) -> int:
    """Return the bulk lane of the centre in a topic."""
    return 1 + zlib.crc32(centre_in(topic).encode()) % (LANES - 1)
