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

Who retries: a command that fails on a broken connection is sent once more, on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from wis2_gc_common.errors import NotAnEnvelope, PartError, Reason, Unavailable, Unsendable
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.lanes import READY, bulk_lane
from wis2_gc_common.ports.queue import DeadLetter, Depth, Received, Sent
from wis2_gc_common.redis import queue_scripts as scripts
from wis2_gc_common.redis.connection import closed_is_lost, verify_certificates
from wis2_gc_common.redis.errors import translate
from wis2_gc_common.redis.queue_keys import GROUP
from wis2_gc_common.runtime.batching import Batcher
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.redis.queue_keys import QueueKeys
    from wis2_gc_common.redis.scripts import Script

_log = get_logger(__name__)

#: Envelopes per call of `send`.
MAX_BATCH = 100
#: A notification has at most 8192 bytes, a topic 512; a much larger entry was never checked.
MAX_ENTRY_BYTES = 64 * 1024
#: How many dead letters are kept, and for how long (SQS: 14 days); the oldest go first. An outage
#: elsewhere must not fill the memory of the registry with them.
MAX_DEAD_LETTERS = 100_000
DEAD_LETTER_DAYS = 14
#: Seconds that Redis has to accept a connection, and to answer.
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
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
#: Calls at once; each has a connection. A further call waits until one ends: a lack of connections
#: must not look like an outage of Redis.
_MAX_CALLS = 4
_MAX_ERROR_CHARS = 1000
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
_LOOK_AT_MEMORY_EVERY_S = 0.25
_LOOK_AT_MEMORY_EVERY = 500
_NO_CURSOR = b"0-0"


@contextlib.contextmanager
def _outages_translated() -> Iterator[None]:
    try:
        with closed_is_lost():
            yield
    except (RedisError, OSError) as error:
        raise translate("queue", error) from error


def _options(*, longest_wait_s: float = 0.0) -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": longest_wait_s + ANSWER_TIMEOUT_S,
        # Replies have the shape of RESP2; the library may prefer another.
        "protocol": 2,
        "decode_responses": False,
    }


def _sync_client(redis_url: str) -> redis.Redis:
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    client = redis.Redis.from_url(redis_url, retry=retry, **_options())
    verify_certificates(client.connection_pool)
    return client


def _run(client: redis.Redis, script: Script, keys: Sequence[str], *args: object) -> Any:
    execute: Callable[..., Any] = client.execute_command
    with _outages_translated():
        try:
            try:
                return execute("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:  # Redis is new or restarted
                return execute("EVAL", script.source, len(keys), *keys, *args)
        except ReadOnlyError:
            # After a failover the server behind this connection is a replica; a new one goes where
            # the name points now.
            client.connection_pool.disconnect()
            raise


class RedisStreamSender:
    """`Sender` on a Redis stream."""

    def __init__(self, redis_url: str, *, keys: QueueKeys, max_length: int) -> None:
        self._keys = keys.lanes
        self._max_length = max_length
        self._client = _sync_client(redis_url)
        self._memory = _MemoryWatch(self._client, keys.lanes)

    @property
    def max_batch(self) -> int:
        """How many envelopes one call may take."""
        return MAX_BATCH

    def check(self) -> None:
        """Ask whether Redis answers. Raises Unavailable."""
        with _outages_translated():
            self._client.ping()

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
            accepted = _run(self._client, scripts.SEND, self._keys, self._max_length, *good)
        for index, answer in enumerate(answers):
            if answer is Sent.REFUSED and accepted > 0:
                answers[index] = Sent.ACCEPTED
                accepted -= 1
        return answers

    def close(self) -> None:
        """Release connections. Never raises."""
        with contextlib.suppress(RedisError, OSError):
            self._client.close()


def full_lanes(lane_bytes: Sequence[int], *, used: int, max_bytes: int) -> frozenset[int]:
    """Return the numbers of the bulk lanes that may accept no more.

    `lane_bytes`: memory of every lane; `used`, `max_bytes`: of all of Redis, 0 means no bound.
    While there is room for all, no lane is full: an outage of the managers alone harms nobody.
    """
    if used <= max_bytes * LANES_SHARE or not max_bytes:
        return frozenset()
    most = max_bytes * LANE_SHARE
    return frozenset(lane for lane, size in enumerate(lane_bytes) if lane != READY and size > most)


class _MemoryWatch:
    """The memory use of Redis, as last read: whether little is left, and which lanes are full."""

    def __init__(self, client: redis.Redis, lanes: Sequence[str]) -> None:
        self._client = client
        self._lanes = lanes
        self.is_short = False
        self.full_lanes: frozenset[int] = frozenset()
        self._look_again_at = 0.0
        self._sent = 0

    def look(self, more: int) -> None:
        """Read it again if it is time; `more` messages are about to be sent. Raises Unavailable."""
        now = time.monotonic()
        self._sent += more
        if now < self._look_again_at and self._sent < _LOOK_AT_MEMORY_EVERY:
            return
        self._look_again_at, self._sent = now + _LOOK_AT_MEMORY_EVERY_S, 0
        with _outages_translated():
            try:
                facts: dict[str, Any] = self._client.info("memory")
            except NoPermissionError:
                # Then only `maxmemory` itself bounds the intake.
                facts = {}
        limit = facts.get("maxmemory", 0)
        # Redis itself does not count its temporary buffers when it compares the two.
        used = facts.get("used_memory", 0) - facts.get("mem_not_counted_for_evict", 0)
        was_short, self.is_short = self.is_short, 0 < limit * INTAKE_SHARE < used
        if self.is_short and not was_short:
            _log.warning("redis_memory_short", used_bytes=used, max_bytes=limit)
        lane_bytes = self._lane_bytes() if 0 < limit * LANES_SHARE < used else []
        self.full_lanes = full_lanes(lane_bytes, used=used, max_bytes=limit)

    def _lane_bytes(self) -> list[int]:
        pipeline = self._client.pipeline(transaction=False)
        for lane in self._lanes:
            pipeline.memory_usage(lane, samples=_SAMPLES)
        with _outages_translated():
            try:
                return [size or 0 for size in pipeline.execute()]
            except NoPermissionError:
                return []


def _entry(envelope: Envelope) -> bytes | None:
    try:
        entry = encode_envelope(envelope)
    except Unsendable:
        return None
    return entry if len(entry) <= MAX_ENTRY_BYTES else None


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
        self._commands = redis.asyncio.Redis.from_url(
            redis_url,
            retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            max_connections=_MAX_CALLS,
            **_options(),
        )
        self._calls = asyncio.Semaphore(_MAX_CALLS)
        self._returns: Batcher[tuple[str, int, bytes], None] = Batcher(
            self._put_back, max_batch=_RETURNS_PER_CALL, max_in_flight=1
        )
        self._deaths: Batcher[tuple[str, bytes, str, bytes], None] = Batcher(
            self._dead_letter, max_batch=_RETURNS_PER_CALL, max_in_flight=1
        )
        # Sends nothing twice: a lost reply may have handed out messages (see _recover).
        self._receiver = redis.asyncio.Redis.from_url(
            redis_url,
            retry=AsyncRetry(NoBackoff(), 0),
            single_connection_client=True,
            **_options(longest_wait_s=MAX_BLOCK_S),
        )
        for client in (self._commands, self._receiver):
            verify_certificates(client.connection_pool)
        # Keep the raw reply: it has the same shape in every version of the library.
        self._receiver.set_response_callback("XREADGROUP", cast("Any", _unchanged))
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

    @property
    def visibility_s(self) -> float:
        """How long a received message stays invisible unless it is extended."""
        return self._visibility_s

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        """Return up to `max_messages`, `max_bulk` of them bulk, waiting at most `wait_s`.

        If cancelled, it hands back the messages received meanwhile: none is lost, none waits.
        """
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
            await self._call(scripts.EXTEND, *some)
            now = time.monotonic()
            self._held.update((one, now) for one in map(_id_of, some) if one in self._held)

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget these messages for good. Unknown ones are ignored."""
        for start in range(0, len(receipts), _RECEIPTS_PER_CALL):
            some = receipts[start : start + _RECEIPTS_PER_CALL]
            await self._call(scripts.DELETE, *some)
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

    async def _put_back(self, returns: list[tuple[str, int, bytes]]) -> list[Exception | None]:
        await self._call(scripts.PUT_BACK, *chain.from_iterable(returns), other=self._keys.delayed)
        self._let_go(receipt for receipt, _, _ in returns)
        return [None] * len(returns)

    async def _dead_letter(
        self, deaths: list[tuple[str, bytes, str, bytes]]
    ) -> list[Exception | None]:
        trimmed = await self._call(
            scripts.DEAD_LETTER,
            MAX_DEAD_LETTERS,
            DEAD_LETTER_DAYS * 86_400_000,
            *chain.from_iterable(deaths),
            other=self._keys.dead,
        )
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
        async with self._calls:
            ready, in_flight, delayed, dead, oldest_ms = await _run_async(
                self._commands, scripts.DEPTH, keys, GROUP
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
                        await self._call(scripts.HAND_BACK)
        for batcher in (self._returns, self._deaths):
            await batcher.close()
        for client in (self._receiver, self._commands):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    async def _call(self, script: Script, *args: object, other: str | None = None) -> Any:
        keys = self._keys.lanes if other is None else (*self._keys.lanes, other)
        async with self._calls:
            return await _run_async(self._commands, script, keys, GROUP, self._consumer, *args)

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
        with _outages_translated():
            try:
                self._receiver_id = await _execute(self._receiver, "CLIENT ID")
            except ResponseError:
                # We may not ask: then `close` waits for the end of a receive, up to MAX_BLOCK_S.
                self._receiver_id = None
        has_more, *flat = await _run_async(
            self._receiver,
            scripts.RECOVER,
            self._keys.lanes,
            GROUP,
            self._consumer,
            max_messages,
            *self._held,
        )
        self._must_recover = bool(has_more)
        return await self._accept(flat)

    async def _ask(self, max_messages: int, max_bulk: int) -> tuple[list[Received], float]:
        """Return the messages ready now, and in how many seconds a delayed one may be due."""
        now = time.monotonic()
        is_looking = now >= self._next_look_at or self._cursor != _NO_CURSOR
        is_forgetting = now >= self._next_forget_at
        next_due_ms, cursor, *flat = await _run_async(
            self._receiver,
            scripts.RECEIVE,
            (*self._keys.lanes, self._keys.delayed),
            GROUP,
            self._consumer,
            max_messages,
            max_bulk,
            round(self._visibility_s * 1000),
            self._cursor if is_looking else "",
            round(self._forget_after_s * 1000) if is_forgetting else "",
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
        try:
            with _outages_translated():
                reply = await _execute(
                    self._receiver,
                    "XREADGROUP",
                    *("GROUP", GROUP, self._consumer),
                    *("COUNT", count),
                    *("BLOCK", max(1, round(wait_s * 1000))),
                    *("STREAMS", *lanes, *[">"] * len(lanes)),
                )
        except (Unavailable, PartError) as error:
            # FLUSHALL removed the stream during the wait: the next `_ask` makes a new one.
            if isinstance(error.__cause__, ResponseError) and (
                "UNBLOCKED" in error.detail or "NOGROUP" in error.detail
            ):
                self._next_look_at = 0.0  # the look makes the groups of all lanes
                return []
            raise
        flat = []
        for stream, entries in reply or ():
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
            async with self._calls:
                with _outages_translated(), contextlib.suppress(ResponseError):
                    await _execute(self._commands, "CLIENT UNBLOCK", self._receiver_id)


async def _run_async(
    client: redis.asyncio.Redis, script: Script, keys: Sequence[str], *args: object
) -> Any:
    with _outages_translated():
        try:
            return await _execute(client, "EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await _execute(client, "EVAL", script.source, len(keys), *keys, *args)


async def _execute(client: redis.asyncio.Redis, *command: object) -> Any:
    execute: Callable[..., Awaitable[Any]] = client.execute_command
    try:
        return await execute(*command)
    except ReadOnlyError:
        # As in `_run`. The receiver's only connection is always in use; other users notice by
        # themselves.
        with contextlib.suppress(RedisError, OSError):
            await client.connection_pool.disconnect(inuse_connections=client.connection is not None)
        raise


def _id_of(receipt: str) -> str:
    return receipt.partition("/")[0]


def _unchanged(reply: Any, **_: Any) -> Any:
    return reply


class RedisStreamDeadLetters:
    """`DeadLetters` on a Redis stream."""

    def __init__(self, redis_url: str, *, keys: QueueKeys) -> None:
        self._keys = keys
        self._client = _sync_client(redis_url)

    def redrive(self, limit: int | None = None) -> int:
        """Move dead letters (all there are now, or the oldest `limit`) back as new messages.

        Their attempts start again at 0. Those that fail again meanwhile are not moved again.
        """
        with _outages_translated():
            left: int = self._client.xlen(self._keys.dead)
        if limit is not None:
            left = min(left, limit)
        moved = 0
        for page in self._pages(left):
            args: list[object] = []
            for entry_id, letter in page:
                if letter is not None:
                    envelope = letter.envelope.again(attempts=0, is_bulk=True)
                    args += [entry_id, encode_envelope(envelope)]
            moved += _run(
                self._client, scripts.REDRIVE, [*self._keys.lanes, self._keys.dead], *args
            )
        return moved

    def close(self) -> None:
        """Release connections. Never raises."""
        with contextlib.suppress(RedisError, OSError):
            self._client.close()

    def _pages(self, limit: int) -> Iterator[list[tuple[bytes, DeadLetter | None]]]:
        """Yield ids and dead letters, oldest first; None for an entry that is not ours."""
        start = b"-"
        while limit > 0:
            count = min(MAX_BATCH, limit)
            reply = _run(self._client, scripts.DEAD_PAGE, [self._keys.dead], start, count)
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
