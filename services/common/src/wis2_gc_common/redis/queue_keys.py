"""The Redis keys of a queue.

All keys of one queue carry one hash tag, its dead letters' too although they have a name of their
own: so every move between them is one script on one node, in cluster mode as well. The price: the
dead letters NAME of queue A and those of queue B are two streams.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """Where one queue lives."""

    lanes: tuple[str, ...]
    """Streams, one for each lane; one entry a message, field `e` its envelope. Entries leave when
    they are done."""
    delayed: str
    """Sorted set of envelopes by the time they are due, in ms since 1970."""
    dead: str
    """Stream of dead letters: fields `e`, `reason`, `error`, `died_ms`."""


#: The one consumer group; every manager is a consumer in it.
GROUP = "managers"


def queue_keys(name: str, dead_letter_name: str) -> QueueKeys:
    """Return the keys of the queue `redis-stream:{name}` and of its dead letters."""
    tag = f"{{gc-queue:{name}}}"
    return QueueKeys(
        lanes=(f"{tag}:stream", *(f"{tag}:bulk-{lane}" for lane in range(1, LANES))),
        delayed=f"{tag}:delayed",
        dead=f"{tag}:dead:{dead_letter_name}",
    )
