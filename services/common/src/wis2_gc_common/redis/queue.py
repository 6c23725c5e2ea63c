"""The queue on a Redis stream with a consumer group (architecture.md#queue). Redis 7.0 or later.

- A message is one entry in the stream of its lane (`queue_keys`), deleted when it is done. So the
  streams hold what waits and what is in work, and nothing is ever trimmed.
- The group's list of pending entries says who works on what. An entry that is idle for longer than
  the visibility goes to the next consumer that asks (XAUTOCLAIM).
- A consumer's name is stable. A manager that restarts under its name gets its old messages at once.
  So two running managers must not share a name: they would take each other's messages. That doubles
  work, but loses no message.
- Every change is one script that adds before it removes, and does nothing for a receipt that is not
  valid any more: it may be sent twice.
- Redis' `appendfsync` decides how durable ACCEPTED is: with `always` an accepted message survives a
  crash of the machine; with `everysec` a crash may lose up to two seconds of messages.

Who retries: a command that fails on a broken connection is sent once more, on a new one; `receive`
sends nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from wis2_gc_common.errors import NotAnEnvelope, PartError, Unavailable
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.queue import Depth, Received
from wis2_gc_common.redis import queue_scripts as scripts
from wis2_gc_common.redis.connection import ANSWER_TIMEOUT_S, Connections
from wis2_gc_common.redis.errors import checked
from wis2_gc_common.redis.queue_keys import GROUP
from wis2_gc_common.runtime.batching import Batcher
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wis2_gc_common.redis.queue_keys import QueueKeys
    from wis2_gc_common.redis.scripts import Argument, Script

_log = get_logger(__name__)

#: How many dead letters are kept, and for how long (SQS: 14 days); the oldest go first. An outage
#: elsewhere must not fill the memory of the registry with them.
MAX_DEAD_LETTERS = 100_000
DEAD_LETTER_DAYS = 14
#: Longest single wait for new messages. A message that another process delays during the wait may
#: come this much late, and only on an idle queue.
MAX_BLOCK_S = 1.0
#: How many times per visibility time we look for messages of dead consumers, and the longest
#: interval in seconds.
_LOOKS_PER_VISIBILITY = 4
_MAX_LOOK_INTERVAL_S = 5.0
#: Consumers that own nothing are forgotten after this many visibility times.
_FORGET_AFTER_VISIBILITIES = 20
#: A message that was neither extended nor finished for this many visibility times belongs to
#: another consumer, or comes to us again.
_LOST_AFTER_VISIBILITIES = 2
#: Receipts in one script call: bounds the time that Redis spends in it.
_RECEIPTS_PER_CALL = 500
#: Envelopes put back, or moved to the dead letters, in one script call.
_RETURNS_PER_CALL = 100
_MAX_ERROR_CHARS = 1000
_NO_CURSOR = b"0-0"
#: Receipt, delay in ms, envelope.
_Return = tuple[str, int, bytes]
#: Receipt, envelope, reason, last error.
_Death = tuple[str, bytes, str, bytes]


class RedisStreamQueue:
    """`Queue` on a Redis stream. Used by one event loop.

    Two kinds of connections: one on which `receive` asks and waits, and a few for everything else,
    so that a wait delays nothing. Messages that are handed back at the same time go in one call.
    """

    def __init__(
        self, redis_url: str, *, keys: QueueKeys, consumer: str, visibility_s: float
    ) -> None:
        self._keys = keys
        self._consumer = consumer
        self._visibility_s = visibility_s
        self._connections = Connections(redis_url, "queue")
        # A lost answer may have handed out messages (see `_recover`).
        self._receiver = Connections(
            redis_url, "queue", longest_wait_s=MAX_BLOCK_S, sends_twice=False
        )
        self._returns: Batcher[_Return, None] = Batcher(
            self._put_back, max_batch=_RETURNS_PER_CALL, max_in_flight=1
        )
        self._deaths: Batcher[_Death, None] = Batcher(
            self._dead_letter, max_batch=_RETURNS_PER_CALL, max_in_flight=1
        )
        self._receiver_id: int | None = None
        self._receiving = asyncio.Lock()
        self._fetching: asyncio.Task[list[Received]] | None = None
        self._withdrawing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._has_received = False
        #: Redis may have given us messages that we do not know: at start, and after errors.
        self._must_recover = True
        #: Ids of the messages that we hold, and when each was last received or extended.
        self._held: dict[str, float] = {}
        self._look_interval_s = min(_MAX_LOOK_INTERVAL_S, visibility_s / _LOOKS_PER_VISIBILITY)
        self._next_look_at = 0.0
        self._next_forget_at = 0.0
        self._cursor = _NO_CURSOR

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        """Return up to `max_messages`, `max_bulk` of them bulk, waiting at most `wait_s`.

        If cancelled, it hands back the messages received meanwhile: none is lost, none waits.
        Raises ValueError: without a consumer's name, others would share what is ours.
        """
        if not self._consumer:
            raise ValueError("a queue without a consumer's name only tells its depth")
        if max_messages < 1:
            return []
        async with self._receiving:
            if self._withdrawing is not None:
                await asyncio.shield(self._withdrawing)
                self._withdrawing = None
            if self._closing.is_set():
                raise Unavailable("queue", "closed")
            self._has_received = True
            # A task of its own: if the exchange with Redis were cancelled, its answer and the
            # messages in it would be lost until their visibility ends.
            fetching = asyncio.create_task(
                self._fetch(max_messages, max_messages if max_bulk is None else max_bulk, wait_s)
            )
            self._fetching = fetching
            try:
                messages = await asyncio.shield(fetching)
            except asyncio.CancelledError:
                self._must_recover = True
                if not fetching.cancelling():  # the whole loop is ending
                    self._withdrawing = asyncio.create_task(self._withdraw(fetching))
                raise
            finally:
                self._fetching = None
            return [] if self._closing.is_set() else messages

    async def extend(self, receipts: Sequence[str]) -> None:
        """Restart the visibility of these deliveries now. Unknown ones are ignored."""
        for start in range(0, len(receipts), _RECEIPTS_PER_CALL):
            some = receipts[start : start + _RECEIPTS_PER_CALL]
            await self._call(scripts.EXTEND, some)
            now = time.monotonic()
            self._held.update((one, now) for one in map(_id_of, some) if one in self._held)

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget these messages for good. Unknown ones are ignored."""
        for start in range(0, len(receipts), _RECEIPTS_PER_CALL):
            some = receipts[start : start + _RECEIPTS_PER_CALL]
            await self._call(scripts.DELETE, some)
            self._let_go(some)

    async def put_back(
        self, received: Received, *, delay_s: float, attempts: int, is_bulk: bool | None = None
    ) -> None:
        """Hand the message back; it comes again after `delay_s` (0: now), as a first delivery."""
        envelope = encode_envelope(received.envelope.again(attempts=attempts, is_bulk=is_bulk))
        delay_ms = max(0, round(delay_s * 1000))
        await self._returns.ask((received.receipt, delay_ms, envelope))

    async def dead_letter(self, received: Received, *, reason: str, last_error: str) -> None:
        """Move the message to the dead letters, atomically."""
        envelope = received.packed or encode_envelope(received.envelope)
        error = last_error[:_MAX_ERROR_CHARS].encode(errors="replace")
        await self._deaths.ask((received.receipt, envelope, reason, error))

    async def _put_back(self, returns: list[_Return]) -> list[Exception | None]:
        arguments = [word for one in returns for word in one]
        await self._call(scripts.PUT_BACK, arguments, self._keys.delayed)
        self._let_go(receipt for receipt, _, _ in returns)
        return [None] * len(returns)

    async def _dead_letter(self, deaths: list[_Death]) -> list[Exception | None]:
        limits = (MAX_DEAD_LETTERS, DEAD_LETTER_DAYS * 86_400_000)
        arguments = [*limits, *(word for one in deaths for word in one)]
        trimmed = await self._call(scripts.DEAD_LETTER, arguments, self._keys.dead)
        if trimmed:
            _log.warning("dead_letters_expired", count=trimmed)
        self._let_go(receipt for receipt, _, _, _ in deaths)
        return [None] * len(deaths)

    def _let_go(self, receipts: Iterable[str]) -> None:
        for message_id in map(_id_of, receipts):
            self._held.pop(message_id, None)

    async def depth(self) -> Depth:
        """Return how many messages wait, in one round trip."""
        keys = (*self._keys.lanes, self._keys.delayed, self._keys.dead)
        ready, in_flight, delayed, dead, oldest_ms = await self._connections.call(
            scripts.DEPTH, keys, (GROUP,)
        )
        return Depth(
            ready=ready,
            in_flight=in_flight,
            delayed=delayed,
            dead=dead,
            oldest_s=oldest_ms / 1000,
        )

    async def close(self) -> None:
        """Release connections; messages still held are handed to others at once. Never raises."""
        self._closing.set()
        # If Redis is away, held messages come back when their visibility ends.
        with contextlib.suppress(Unavailable, PartError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._fetching is not None:
                    await self._unblock()
                async with self._receiving:  # until the last receive has ended, cancelled or not
                    if self._withdrawing is not None:
                        await self._withdrawing
                    if self._has_received:
                        await self._call(scripts.HAND_BACK, ())
        for batcher in (self._returns, self._deaths):
            await batcher.close()
        for connections in (self._receiver, self._connections):
            await connections.close()

    async def _call(self, script: Script, arguments: Iterable[Argument], *other_keys: str) -> Any:
        keys = (*self._keys.lanes, *other_keys)
        return await self._connections.call(script, keys, (GROUP, self._consumer, *arguments))

    async def _fetch(self, max_messages: int, max_bulk: int, wait_s: float) -> list[Received]:
        deadline = time.monotonic() + wait_s
        try:
            while True:
                if self._must_recover:
                    messages = await self._recover(max_messages)
                    if messages:
                        return messages
                messages, next_due_s = await self._ask(max_messages, max_bulk)
                left_s = deadline - time.monotonic()
                if messages or left_s <= 0 or self._closing.is_set():
                    return messages
                messages = await self._block(
                    max_messages, max_bulk, min(left_s, next_due_s, MAX_BLOCK_S)
                )
                if messages:
                    return messages
        except BaseException:
            self._must_recover = True
            raise

    async def _recover(self, max_messages: int) -> list[Received]:
        """Return messages that are ours in Redis and that we do not know."""
        # The receiver keeps its connection until an error, which brings us here again.
        (answer,) = await self._receiver.exchange([("CLIENT", "ID")])
        # If we may not ask, `close` waits for the end of a receive, up to MAX_BLOCK_S.
        self._receiver_id = None if isinstance(answer, ResponseError) else answer
        has_more, *flat = await self._receiver.call(
            scripts.RECOVER,
            self._keys.lanes,
            (GROUP, self._consumer, max_messages, *self._held),
        )
        self._must_recover = bool(has_more)
        return await self._accept(flat)

    async def _ask(self, max_messages: int, max_bulk: int) -> tuple[list[Received], float]:
        """Return the messages ready now, and in how many seconds a delayed one may be due."""
        now = time.monotonic()
        is_looking = now >= self._next_look_at or self._cursor != _NO_CURSOR
        is_forgetting = now >= self._next_forget_at
        next_due_ms, cursor, *flat = await self._receiver.call(
            scripts.RECEIVE,
            (*self._keys.lanes, self._keys.delayed),
            (
                GROUP,
                self._consumer,
                max_messages,
                max_bulk,
                round(self._visibility_s * 1000),
                self._cursor if is_looking else "",
                round(self._forget_after_s * 1000) if is_forgetting else "",
            ),
        )
        self._cursor = cursor
        if is_looking:
            self._next_look_at = now + self._look_interval_s
            self._discard_lost(now)
        if is_forgetting:
            self._next_forget_at = now + self._forget_after_s
        next_due_s = next_due_ms / 1000 if next_due_ms >= 0 else self._look_interval_s
        return await self._accept(flat), min(next_due_s, self._look_interval_s)

    def _discard_lost(self, now: float) -> None:
        """Forget the ids of messages that went to others: our receipts cannot finish those."""
        since = now - self._visibility_s * _LOST_AFTER_VISIBILITIES
        self._held = {one: at for one, at in self._held.items() if at > since}

    @property
    def _forget_after_s(self) -> float:
        return self._visibility_s * _FORGET_AFTER_VISIBILITIES

    async def _block(self, max_messages: int, max_bulk: int, wait_s: float) -> list[Received]:
        """Wait for new messages on the receiver's connection."""
        lanes = self._keys.lanes if max_bulk > 0 else self._keys.lanes[:1]
        # From each lane; the next receive asks for the rest.
        count = max(1, min(max_messages, max_bulk or max_messages) // len(lanes))
        block_ms = max(1, round(wait_s * 1000))
        streams = [*lanes, *(">" for _ in lanes)]
        command = ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count)
        (reply,) = await self._receiver.exchange(
            [(*command, "BLOCK", block_ms, "STREAMS", *streams)]
        )
        if isinstance(reply, ResponseError) and re.search("UNBLOCKED|NOGROUP", str(reply)):
            # FLUSHALL removed the stream during the wait: the next `_ask` makes a new one.
            self._next_look_at = 0.0  # the look makes the groups of all lanes
            return []
        flat = []
        for stream, entries in checked("queue", reply) or ():
            lane = b"%d." % self._keys.lanes.index(stream.decode())
            for entry_id, fields in entries:
                flat += [lane + entry_id, fields[1] if fields[0] == b"e" else b"", 1]
        messages = await self._accept(flat)
        for extra in messages[max_messages:]:  # several lanes answered, one message was asked for
            await self.put_back(extra, delay_s=0, attempts=extra.envelope.attempts)
        return messages[:max_messages]

    async def _accept(self, flat: list[Any]) -> list[Received]:
        """Return the messages in `id, envelope, deliveries, …`; drop entries that are not ours."""
        messages = []
        junk = []
        parts = iter(flat)
        for entry_id, data, deliveries in zip(parts, parts, parts, strict=True):
            message_id = entry_id.decode()
            receipt = f"{message_id}/{deliveries}"
            try:
                envelope = decode_envelope(data)
            except NotAnEnvelope as error:
                junk.append(receipt)
                _log.error("queue_entry_undecodable", entry=message_id, detail=error.detail)
                continue
            self._held[message_id] = time.monotonic()
            messages.append(Received(envelope, receipt, deliveries, packed=data))
        if junk:
            await self.delete(junk)
        return messages

    async def _withdraw(self, fetching: asyncio.Task[list[Received]]) -> None:
        """End a receive that nobody waits for, and hand back its messages."""
        with contextlib.suppress(Unavailable, PartError):
            await self._unblock()
            for message in await fetching:
                await self.put_back(message, delay_s=0, attempts=message.envelope.attempts)

    async def _unblock(self) -> None:
        if self._receiver_id is not None:
            await self._connections.exchange([("CLIENT", "UNBLOCK", self._receiver_id)])


def _id_of(receipt: str) -> str:
    return receipt.partition("/")[0]
