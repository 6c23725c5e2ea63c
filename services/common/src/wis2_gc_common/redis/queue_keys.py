"""The Redis keys of a queue.

All keys of one queue carry one hash tag; so do its dead letters, although they have their own name.
So every move between them is one script on one node, also in cluster mode. The price: the dead
letters NAME of queue A and those of queue B are two streams.
"""

from __future__ import annotations

from dataclasses import dataclass

from wis2_gc_common.ports.lanes import LANES


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """Where one queue lives."""

    lanes: tuple[str, ...]
    """Streams, one for each lane. One entry is one message; its field `e` is the envelope. Done
    entries are deleted."""
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
