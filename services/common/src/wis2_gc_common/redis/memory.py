"""The memory of Redis: whether little is left, and which lanes of the queue take too much."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from wis2_gc_common.ports.lanes import READY
from wis2_gc_common.redis.errors import checked
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.errors import Part
    from wis2_gc_common.redis.connection import SyncConnection

_log = get_logger(__name__)

#: Above this share of Redis' `maxmemory` we accept no messages. The rest is for processing the
#: messages in the queue: a record takes less memory than its message.
INTAKE_SHARE = 0.8
#: Above this share, a lane that holds more than its own share accepts no more. If all lanes hold
#: their share, together they reach `INTAKE_SHARE`.
LANES_SHARE = 0.5
LANE_SHARE = 0.1
#: Entries of a lane from which Redis estimates the lane's memory.
_SAMPLES = 5
#: We read the memory use at this interval, or after this many messages: 500 of 8 kB are 4 MB.
_LOOK_EVERY_S = 0.25
_LOOK_EVERY = 500
#: The command whose answer `numbers` reads.
INFO = ("INFO", "memory")
_NUMBER = re.compile(rb"^(\w+):(\d+)\r?$", re.MULTILINE)


def numbers(part: Part, answer: Any) -> dict[bytes, int]:
    """Return the whole numbers in an answer to `INFO`; none when our account may not ask.

    Raises Unavailable, PartError: the answer is another error.
    """
    if isinstance(answer, NoPermissionError):
        return {}
    return {name: int(number) for name, number in _NUMBER.findall(checked(part, answer))}


def full_lanes(lane_bytes: Sequence[int], *, used: int, max_bytes: int) -> frozenset[int]:
    """Return the numbers of the bulk lanes that may accept no more.

    `lane_bytes`: memory of every lane; `used`, `max_bytes`: of all of Redis, 0 means no bound.
    While there is room for all, no lane is full: an outage of the managers alone harms nobody.
    """
    if used <= max_bytes * LANES_SHARE or not max_bytes:
        return frozenset()
    most = max_bytes * LANE_SHARE
    return frozenset(lane for lane, size in enumerate(lane_bytes) if lane != READY and size > most)


class MemoryWatch:
    """The memory use of Redis, as last read: whether little is left, and which lanes are full."""

    def __init__(self, connection: SyncConnection, lanes: Sequence[str]) -> None:
        self._connection = connection
        self._lanes = lanes
        self.is_short = False
        self.full_lanes: frozenset[int] = frozenset()
        self._look_again_at = 0.0
        self._sent = 0

    def look(self, more: int) -> None:
        """Read it again if it is time; `more` messages are about to be sent. Raises Unavailable."""
        now = time.monotonic()
        self._sent += more
        if now < self._look_again_at and self._sent < _LOOK_EVERY:
            return
        self._look_again_at, self._sent = now + _LOOK_EVERY_S, 0
        (answer,) = self._connection.exchange([INFO])
        # If we may not ask, only `maxmemory` itself bounds the intake.
        facts = numbers("queue", answer)
        limit = facts.get(b"maxmemory", 0)
        # Redis itself does not count its temporary buffers when it compares the two.
        used = facts.get(b"used_memory", 0) - facts.get(b"mem_not_counted_for_evict", 0)
        was_short, self.is_short = self.is_short, 0 < limit * INTAKE_SHARE < used
        if self.is_short and not was_short:
            _log.warning("redis_memory_short", used_bytes=used, max_bytes=limit)
        lane_bytes = self._lane_bytes() if 0 < limit * LANES_SHARE < used else []
        self.full_lanes = full_lanes(lane_bytes, used=used, max_bytes=limit)

    def _lane_bytes(self) -> list[int]:
        answers = self._connection.exchange(
            [("MEMORY", "USAGE", lane, "SAMPLES", _SAMPLES) for lane in self._lanes]
        )
        if isinstance(answers[0], NoPermissionError):
            return []
        return [checked("queue", size) or 0 for size in answers]
