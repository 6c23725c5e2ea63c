"""The listener's side of the queue on a Redis stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unsendable
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.ports.lanes import bulk_lane
from wis2_gc_common.ports.queue import Sent
from wis2_gc_common.redis import queue_scripts as scripts
from wis2_gc_common.redis.connection import SyncConnection
from wis2_gc_common.redis.memory import MemoryWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.redis.queue_keys import QueueKeys

#: Envelopes per call of `send`.
MAX_BATCH = 100
#: A notification has at most 8192 bytes, a topic 512; a much larger entry was never checked.
MAX_ENTRY_BYTES = 64 * 1024


class RedisStreamSender:
    """`Sender` on a Redis stream."""

    def __init__(self, redis_url: str, *, keys: QueueKeys, max_length: int) -> None:
        self._keys = keys.lanes
        self._max_length = max_length
        self._connection = SyncConnection(redis_url, "queue")
        self._memory = MemoryWatch(self._connection, keys.lanes)

    @property
    def max_batch(self) -> int:
        """How many envelopes one call may take."""
        return MAX_BATCH

    def check(self) -> None:
        """Ask whether Redis answers. Raises Unavailable."""
        self._connection.command("PING")

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        """Send up to `max_batch` envelopes in one round trip; one answer per entry, in order.

        REFUSED: `max_length` messages are ready or in work (the managers bound the delayed ones),
        or Redis has little memory left. OVER_QUOTA: see `full_lanes`.
        """
        if len(batch) > MAX_BATCH:
            raise ValueError(f"{len(batch)} envelopes in a batch of at most {MAX_BATCH}")
        self._memory.look(len(batch))
        full = self._memory.full_lanes
        answers = []
        good = []
        for envelope in batch:
            entry = _entry(envelope)
            if entry is None:
                answers.append(Sent.POISON)
            elif full and envelope.is_bulk and bulk_lane(envelope.topic) in full:
                answers.append(Sent.OVER_QUOTA)
            else:
                answers.append(Sent.REFUSED)
                good.append(entry)
        accepted = 0
        if good and not self._memory.is_short:
            accepted = self._connection.call(scripts.SEND, self._keys, (self._max_length, *good))
        for index, answer in enumerate(answers):
            if answer is Sent.REFUSED and accepted > 0:
                answers[index] = Sent.ACCEPTED
                accepted -= 1
        return answers

    def close(self) -> None:
        """Release connections. Never raises."""
        self._connection.close()


def _entry(envelope: Envelope) -> bytes | None:
    try:
        entry = encode_envelope(envelope)
    except Unsendable:
        return None
    return entry if len(entry) <= MAX_ENTRY_BYTES else None
