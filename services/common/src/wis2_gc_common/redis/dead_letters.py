"""The operator's side of the queue on a Redis stream: its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import NotAnEnvelope, Reason
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.queue import DeadLetter
from wis2_gc_common.redis import queue_scripts as scripts
from wis2_gc_common.redis.connection import SyncConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wis2_gc_common.redis.queue_keys import QueueKeys

#: Dead letters in one script call.
_PAGE = 100


class RedisStreamDeadLetters:
    """`DeadLetters` on a Redis stream."""

    def __init__(self, redis_url: str, *, keys: QueueKeys) -> None:
        self._keys = keys
        self._connection = SyncConnection(redis_url, "queue")

    def redrive(self, limit: int | None = None) -> int:
        """Move dead letters (all there are now, or the oldest `limit`) back as new messages.

        Their attempts start again at 0. Those that fail again meanwhile are not moved again.
        """
        left: int = self._connection.command("XLEN", self._keys.dead)
        if limit is not None:
            left = min(left, limit)
        moved = 0
        for page in self._pages(left):
            arguments: list[bytes] = []
            for entry_id, letter in page:
                if letter is not None:
                    envelope = letter.envelope.again(attempts=0, is_bulk=True)
                    arguments += (entry_id, encode_envelope(envelope))
            moved += self._connection.call(
                scripts.REDRIVE, (*self._keys.lanes, self._keys.dead), arguments
            )
        return moved

    def close(self) -> None:
        """Release connections. Never raises."""
        self._connection.close()

    def _pages(self, limit: int) -> Iterator[list[tuple[bytes, DeadLetter | None]]]:
        """Yield ids and dead letters, oldest first; None for an entry that is not ours."""
        start = b"-"
        while limit > 0:
            count = min(_PAGE, limit)
            reply = self._connection.call(scripts.DEAD_PAGE, (self._keys.dead,), (start, count))
            if not reply:
                return
            yield [(entry_id, _dead_letter(fields)) for entry_id, fields in reply]
            limit -= len(reply)
            start = b"(" + reply[-1][0]

    # Last, because the name hides the type inside the class.
    def list(self, limit: int) -> list[DeadLetter]:
        """Return the oldest `limit` dead letters without removing them."""
        return [letter for page in self._pages(limit) for _, letter in page if letter is not None]


def _dead_letter(fields: Sequence[bytes]) -> DeadLetter | None:
    facts = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        return DeadLetter(
            envelope=decode_envelope(facts.get(b"e", b"")),
            reason=facts.get(b"reason", Reason.UNEXPECTED.encode()).decode(errors="replace"),
            last_error=facts.get(b"error", b"").decode(errors="replace"),
            died_ms=int(facts.get(b"died_ms", b"0")),
        )
    except (NotAnEnvelope, ValueError):
        return None
