"""Which lane of the queue a message waits in, on every kind of queue. Pure."""

from __future__ import annotations

import zlib

from wis2_gc_common.wis2.topic import centre_in

#: Bulk waits in lanes. Each centre uses one lane, and the lanes take turns: no centre blocks the
#: bulk of all others. The first lane is for messages that are not bulk.
LANES = 9
READY = 0


def bulk_lane(topic: str) -> int:
    """Return the bulk lane of the centre in a topic."""
    return 1 + zlib.crc32(centre_in(topic).encode()) % (LANES - 1)
