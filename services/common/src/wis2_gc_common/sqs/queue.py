"""The queue on Amazon SQS: a standard queue and a dead letter queue (architecture.md#queue).

IAM permissions: the listener `sqs:SendMessage` on the queue; the manager `SendMessage`,
`ReceiveMessage`, `DeleteMessage`, `ChangeMessageVisibility` and `GetQueueAttributes` on the queue,
`SendMessage` and `GetQueueAttributes` on the dead letter queue; the metrics service
`GetQueueAttributes` on both; the operator also `StartMessageMoveTask` and `ListMessageMoveTasks`.

- SQS has no transactions. A move of a message first sends the new one, then deletes the old one: a
  crash in between leaves two messages with one `uid`, never none.
- Handing back is such a move, not a change of the visibility: deliveries that are nobody's fault (a
  busy host, an outage) must not add up to `maxReceiveCount` and flood the dead letters. Delays are
  whole seconds; a message carries the rest of a delay beyond 900 s.
- SQS silently accepts old receipts, so this class remembers which are still valid, and does nothing
  for the others: somebody else has the message.
- The message group is the centre-id: fair queues protect other centres from a flood by one. A
  receive cannot leave bulk in the queue and take other messages: bulk that the manager has no room
  for goes back, with a longer delay each time.
- If all entries of a call fail for the same reason, a setting is wrong, not the messages.

Who retries: botocore (see `client`); this class, a few times, single entries of a batch that SQS
throttles.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wis2_gc_common.errors import NotAnEnvelope, PartError, Unavailable, Unsendable
from wis2_gc_common.ports.queue import Depth, Sent
from wis2_gc_common.runtime.batching import Batcher
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.sqs.batches import (
    BAD_CONTENT,
    MAX_BATCH,
    all_refused,
    in_batches,
    is_senders_fault,
    receipt_entries,
    send_batch,
)
from wis2_gc_common.sqs.client import LONG_POLL_S, SqsClient, error_code
from wis2_gc_common.sqs.messages import (
    SYSTEM_ATTRIBUTES,
    decode_message,
    encode_dead_letter,
    encode_message,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wis2_gc_common.ports.queue import Envelope, Received
    from wis2_gc_common.sqs.client import QueuePlace

T = TypeVar("T")

_log = get_logger(__name__)

#: Calls of a manager at once; a long poll is one of them.
THREADS = 10
#: Deletions wait this many seconds for others: a call costs as much for one as for ten, and a done
#: message that is not deleted yet costs nothing.
LINGER_S = 0.1
#: After a receive of fewer than ten messages, the next one waits this many seconds for more.
PATIENCE_S = 0.01
#: Pause in seconds after a receive that returned bulk without room.
EXCESS_PAUSE_S = 0.1
#: Such bulk comes again after this share of its age, within these bounds in seconds.
EXCESS_SHARE = 0.25
EXCESS_MIN_S, EXCESS_MAX_S = 1.0, 30.0
#: Seconds between tries of single entries that SQS refuses while it accepts others (throttling).
PAUSES_S = (0.1, 0.3, 0.9)
#: Visible, in flight, delayed.
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
#: Seconds for everything that `close` sends.
CLOSE_S = LONG_POLL_S + 5.0


class SqsSender:
    """`Sender` on SQS."""

    max_batch = MAX_BATCH

    def __init__(self, queue: QueuePlace) -> None:
        self._queue = queue
        self._client = SqsClient(queue, connections=1)
        self._known_good: Envelope | None = None
        """One that the queue has accepted."""

    def check(self) -> None:
        """Send nothing with the only call we may make. Raises Misconfigured, Unavailable."""
        try:
            self._client.call("send_message_batch", self._queue, Entries=[])
        except Unavailable as error:
            if error_code(error) not in {"EmptyBatchRequest", *BAD_CONTENT}:
                raise

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        """Send up to `max_batch` envelopes; one answer per entry, in order."""
        if len(batch) > MAX_BATCH:
            raise ValueError(f"{len(batch)} envelopes in a batch of at most {MAX_BATCH}")
        answers = [Sent.POISON] * len(batch)
        entries: list[dict[str, Any]] = []
        for index, envelope in enumerate(batch):
            with contextlib.suppress(Unsendable):
                entries.append({"Id": str(index), **encode_message(envelope)})
        first = True
        for some in in_batches(entries):
            try:
                answered = self._send(some)
            except Unavailable:
                if first:
                    raise
                # The others are in the queue: only these are sent again.
                answered = {entry["Id"]: Sent.REFUSED for entry in some}
            first = False
            for key, answer in answered.items():
                answers[int(key)] = answer
                if answer is Sent.ACCEPTED:
                    self._known_good = batch[int(key)]
        return answers

    def _send(self, entries: Sequence[dict[str, Any]]) -> dict[str, Sent]:
        answers = send_batch(self._client, self._queue, entries)
        # An endpoint or a setting may make all messages fail. Then none is poison: an acknowledged
        # message would be lost.
        if answers.is_suspicious and not self._takes_what_it_took():
            raise all_refused(self._queue, answers.code)
        return answers.sent

    def _takes_what_it_took(self) -> bool:
        """Send a message that was accepted before again; the managers see a duplicate."""
        if self._known_good is None:
            return False
        again = dataclasses.replace(self._known_good, uid=uuid.uuid4().hex)
        entry = {"Id": "0", **encode_message(again)}
        return send_batch(self._client, self._queue, [entry]).has_accepted

    def close(self) -> None:
        """Release connections. Never raises."""
        self._client.close()


@dataclass(slots=True)
class _Delivery:
    """One message that SQS gave us."""

    until_s: float
    """On the monotonic clock: when another consumer may get it."""
    is_replaced: bool = False
    """The new message is sent; this one only has to be deleted."""
    moving: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """The result for one batch of receipts."""

    settled: list[str]
    left: int
    code: str
    """Code of one that is left."""


class SqsQueue:
    """`Queue` on SQS. Used by one event loop; boto3 blocks in a few threads of its own."""

    def __init__(self, queue: QueuePlace, dead_letters: QueuePlace, *, visibility_s: float) -> None:
        self._queue = queue
        self._dead = dead_letters
        self._visibility_s = max(1, math.ceil(visibility_s))
        self._client = SqsClient(queue, connections=THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sqs")
        #: The messages that we hold, by receipt.
        self._held: dict[str, _Delivery] = {}
        self._receiving = asyncio.Lock()
        #: The running fetch. It continues when a receive is cancelled: its answer must not be lost,
        #: and the next receive may use it.
        self._fetching: asyncio.Task[list[Received]] | None = None
        self._is_attended = False
        self._closing = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._fetch_not_before_s = 0.0
        #: Messages put back, or moved to the dead letters, go in batches and leave threads free.
        self._sending: dict[QueuePlace, Batcher[dict[str, Any], None]] = {
            place: Batcher(
                partial(self._send_together, place), max_batch=MAX_BATCH, max_in_flight=2
            )
            for place in (queue, dead_letters)
        }
        self._deleting: Batcher[str, None] = Batcher(
            self._delete_together, max_batch=MAX_BATCH, max_in_flight=2
        )

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        """Return up to `max_messages`, waiting at most `wait_s` (in whole seconds, rounded up).

        If there is room for bulk, it asks for no more than that, so that no bulk has to go back.

        If cancelled, messages that still arrive become visible again at once.
        """
        if max_messages < 1:
            return []
        async with self._receiving:
            if self._closing.is_set():
                raise Unavailable("queue", "closed")
            deadline_s = time.monotonic() + wait_s
            if max_bulk is not None:
                max_messages = min(max_messages, max_bulk or MAX_BATCH)
            while True:
                messages = await self._attend(max_messages, deadline_s)
                if max_bulk is not None:
                    messages = self._without_excess(messages, max_bulk)
                if messages or self._closing.is_set() or time.monotonic() >= deadline_s:
                    return messages

    def _without_excess(self, messages: list[Received], max_bulk: int) -> list[Received]:
        """Put back the bulk beyond `max_bulk`; return the rest."""
        bulk = [message for message in messages if message.envelope.is_bulk]
        excess = bulk[max_bulk:]
        for message in excess:
            envelope = message.envelope
            delay_s = excess_delay_s((_now_ms() - envelope.arrived_ms) / 1000)
            self._in_background(self.put_back(message, delay_s=delay_s, attempts=envelope.attempts))
        if excess:
            self._fetch_not_before_s = time.monotonic() + EXCESS_PAUSE_S
        return [message for message in messages if message not in excess]

    async def _attend(self, max_messages: int, deadline_s: float) -> list[Received]:
        """Return the messages of one fetch."""
        if self._fetching is None:
            await asyncio.sleep(self._fetch_not_before_s - time.monotonic())
            wait_s = min(LONG_POLL_S, max(0, math.ceil(deadline_s - time.monotonic())))
            self._fetching = asyncio.create_task(self._fetch(max_messages, wait_s))
            self._fetching.add_done_callback(self._fetched)
        fetching = self._fetching
        closing = asyncio.ensure_future(self._closing.wait())
        self._is_attended = True
        try:
            await asyncio.wait({fetching, closing}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if fetching.done():
                self._give_back_result(fetching)
            raise
        finally:
            closing.cancel()
            self._is_attended = False
            if fetching.done():
                self._fetching = None
        if not fetching.done():  # closing
            return []
        messages = fetching.result()
        if self._closing.is_set():
            return []  # `close` hands over all held messages
        self._give_back(messages[max_messages:])
        return messages[:max_messages]

    def _fetched(self, fetching: asyncio.Task[list[Received]]) -> None:
        if fetching is self._fetching and not self._is_attended:
            self._fetching = None
            self._give_back_result(fetching)

    def _give_back_result(self, fetching: asyncio.Task[list[Received]]) -> None:
        if not fetching.cancelled() and fetching.exception() is None:
            self._give_back(fetching.result())

    def _give_back(self, messages: Sequence[Received]) -> None:
        """Make messages visible again that nobody waits for."""
        if messages and not self._closing.is_set():
            self._in_background(self._show([message.receipt for message in messages]))

    def _in_background(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            # If this fails, they come again when their visibility ends.
            with contextlib.suppress(Unavailable, PartError):
                await work

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _fetch(self, max_messages: int, wait_s: int) -> list[Received]:
        """Ask for ten; if ten come, there are more: ask for them at once."""
        first = await self._receive(min(MAX_BATCH, max_messages), wait_s)
        messages = self._accept(first)
        left = max_messages - len(first)
        if len(first) < MAX_BATCH:
            pause_s = PATIENCE_S if first else 0.0
            self._fetch_not_before_s = time.monotonic() + pause_s
            return messages
        if left > 0:
            sizes = [min(MAX_BATCH, left - done) for done in range(0, left, MAX_BATCH)]
            for answer in await asyncio.gather(
                *(self._receive(size, 0) for size in sizes), return_exceptions=True
            ):
                # The next receive shows the failure again; we hold the messages of the other calls.
                if not isinstance(answer, BaseException):
                    messages += self._accept(answer)
        return messages

    async def _receive(self, max_messages: int, wait_s: int) -> list[dict[str, Any]]:
        answer = await self._call(
            "receive_message",
            self._queue,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=self._visibility_s,
            AttributeNames=SYSTEM_ATTRIBUTES[:1],
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages") or []
        return messages

    def _accept(self, messages: Sequence[dict[str, Any]]) -> list[Received]:
        """Return the messages that are due; put early ones back, drop those that are not ours."""
        until_s = time.monotonic() + self._visibility_s
        due = []
        for message in messages:
            receipt = message.get("ReceiptHandle", "")
            self._held[receipt] = _Delivery(until_s)
            try:
                arrived = decode_message(message, now_ms=_now_ms())
            except NotAnEnvelope as error:
                _log.error(
                    "queue_entry_undecodable",
                    entry=message.get("MessageId", ""),
                    detail=error.detail,
                )
                self._in_background(self._delete([receipt]))
                continue
            if arrived.early_s:
                attempts = arrived.received.envelope.attempts
                self._in_background(
                    self.put_back(arrived.received, delay_s=arrived.early_s, attempts=attempts)
                )
            else:
                due.append(arrived.received)
        return due

    async def extend(self, receipts: Sequence[str]) -> None:
        """Restart the visibility of these deliveries now. Unknown ones are ignored."""
        until_s = time.monotonic() + self._visibility_s
        settled, problem = await self._change_visibility(self._live(receipts), self._visibility_s)
        for receipt in settled:
            if receipt in self._held:
                self._held[receipt].until_s = until_s
        if problem is not None:
            raise problem

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget these messages for good. Unknown ones are ignored."""
        live = self._live(receipts)
        if not live:
            return
        if len(live) < MAX_BATCH:
            await asyncio.sleep(LINGER_S)
        await self._delete(live)

    async def put_back(
        self, received: Received, *, delay_s: float, attempts: int, is_bulk: bool | None = None
    ) -> None:
        """Hand the message back; it comes again after `delay_s` (0: now), as a first delivery."""
        envelope = received.envelope.again(attempts=attempts, is_bulk=is_bulk)
        message = encode_message(envelope, delay_s=delay_s, now_ms=_now_ms())
        await self._replace(received.receipt, self._queue, message)

    async def dead_letter(self, received: Received, *, reason: str, last_error: str) -> None:
        """Move the message to the dead letter queue."""
        message = encode_dead_letter(
            received.envelope, reason=reason, last_error=last_error, died_ms=_now_ms()
        )
        await self._replace(received.receipt, self._dead, message)

    async def depth(self) -> Depth:
        """Return approximately how many messages wait. SQS does not tell the age."""
        # One after the other: a problem of both is then reported for the queue.
        ready, in_flight, delayed = await self._counts(self._queue)
        dead = await self._counts(self._dead)
        return Depth(ready, in_flight, delayed, sum(dead), oldest_s=None)

    async def _counts(self, place: QueuePlace) -> list[int]:
        answer = await self._call("get_queue_attributes", place, AttributeNames=_COUNTS)
        try:
            return [int(answer["Attributes"][name]) for name in _COUNTS]
        except (KeyError, ValueError):
            raise Unavailable("queue", f"{place}: an answer without counts") from None

    async def close(self) -> None:
        """Release connections; messages still held are handed to others at once. Never raises."""
        self._closing.set()
        # If SQS is away, held messages come back when their visibility ends.
        with contextlib.suppress(Unavailable, PartError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while pending := {*self._background, *filter(None, [self._fetching])}:
                    await asyncio.wait(pending)
                    if self._fetching is not None and self._fetching.done():
                        self._fetching = None
                await self._show(list(self._held))
        for sending in self._sending.values():
            await sending.close()
        await self._deleting.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _live(self, receipts: Sequence[str]) -> list[str]:
        """Return the receipts that are still valid, each once; forget the others."""
        now_s = time.monotonic()
        live = []
        for receipt in dict.fromkeys(receipts):
            delivery = self._held.get(receipt)
            if delivery is None:
                continue
            if delivery.until_s > now_s:
                live.append(receipt)
            else:
                del self._held[receipt]
        return live

    async def _replace(self, receipt: str, place: QueuePlace, message: dict[str, Any]) -> None:
        """Send `message`, then delete the one that has `receipt`. May be called repeatedly."""
        if not self._live([receipt]):
            return
        delivery = self._held[receipt]
        if delivery.moving is None:
            # A task of its own: if it were cancelled in the middle, the state would be unknown.
            moving = asyncio.create_task(self._move(receipt, delivery, place, message))
            delivery.moving = moving
            self._in_background(_outcome_of(moving))
        await asyncio.shield(delivery.moving)

    async def _move(
        self, receipt: str, delivery: _Delivery, place: QueuePlace, message: dict[str, Any]
    ) -> None:
        try:
            if not delivery.is_replaced:
                await self._sending[place].ask(message)
                delivery.is_replaced = True
            await self._deleting.ask(receipt)
        finally:
            delivery.moving = None

    async def _send_together(
        self, place: QueuePlace, messages: list[dict[str, Any]]
    ) -> list[Exception | None]:
        left = [{"Id": str(index), **message} for index, message in enumerate(messages)]
        answers: list[Exception | None] = [None] * len(messages)
        has_accepted, code = False, ""
        for pause_s in (*PAUSES_S, None):
            refused = []
            for batch in in_batches(left):
                answered = await self._in_thread(partial(send_batch, self._client, place, batch))
                has_accepted |= answered.has_accepted
                code = answered.code or code
                for entry in batch:
                    sent = answered.sent[entry["Id"]]
                    if sent is Sent.REFUSED:
                        refused.append(entry)
                    elif sent is Sent.POISON:
                        answers[int(entry["Id"])] = PartError("queue", f"{place}: {answered.code}")
            left = refused
            if not left or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        if not has_accepted and (code or left):
            raise all_refused(place, code) if code else Unavailable("queue", f"{place}: throttled")
        for entry in left:
            answers[int(entry["Id"])] = PartError("queue", f"{place}: throttled")
        return answers

    async def _delete_together(self, receipts: list[str]) -> list[Exception | None]:
        settled, problem = await self._forget(receipts)
        if problem is not None and not settled:
            raise problem
        return [None if receipt in settled else problem for receipt in receipts]

    async def _delete(self, receipts: Sequence[str]) -> None:
        _, problem = await self._forget(receipts)
        if problem is not None:
            raise problem

    async def _forget(self, receipts: Sequence[str]) -> tuple[set[str], Exception | None]:
        settled, problem = await self._in_batches("delete_message_batch", receipts)
        for receipt in settled:
            self._held.pop(receipt, None)
        return set(settled), problem

    async def _show(self, receipts: Sequence[str]) -> None:
        """Make messages visible to all, and forget them."""
        live = self._live(receipts)
        for receipt in live:
            del self._held[receipt]
        _, problem = await self._change_visibility(live, 0)
        if problem is not None:
            raise problem

    async def _change_visibility(
        self, receipts: Sequence[str], visibility_s: int
    ) -> tuple[list[str], Exception | None]:
        return await self._in_batches(
            "change_message_visibility_batch", receipts, VisibilityTimeout=visibility_s
        )

    async def _in_batches(
        self, operation: str, receipts: Sequence[str], **parameters: Any
    ) -> tuple[list[str], Exception | None]:
        """Do it to all; return those that are done or that SQS no longer knows, and the error.

        Single entries that SQS throttles are tried again. If that fails too, the error is PartError
        if others succeeded, and Unavailable if none did.
        """
        batches = [
            receipts[start : start + MAX_BATCH] for start in range(0, len(receipts), MAX_BATCH)
        ]
        results = await asyncio.gather(
            *(self._in_one_batch(operation, batch, parameters) for batch in batches),
            return_exceptions=True,
        )
        settled: list[str] = []
        problem: Exception | None = None
        left = 0
        code = ""
        for result in results:
            if isinstance(result, Exception):
                problem = problem or result
            elif isinstance(result, BaseException):
                raise result
            else:
                settled += result.settled
                left += result.left
                code = result.code or code
        if problem is None and left:
            text = f"{operation} failed for {left} of {len(receipts)}, {code}"
            problem = PartError("queue", text) if settled else Unavailable("queue", text)
        return settled, problem

    async def _in_one_batch(
        self, operation: str, receipts: Sequence[str], parameters: dict[str, Any]
    ) -> _Done:
        settled: list[str] = []
        code = ""
        for pause_s in (*PAUSES_S, None):
            entries = receipt_entries(receipts, parameters)
            answer = await self._call(operation, self._queue, Entries=entries)
            failures = answer.get("Failed", ())
            # A sender's fault means that the receipt is no longer valid: somebody else has the
            # message, or it is gone. But SQS accepts the deletion of a message that is gone: if it
            # faults every receipt, the receipts are not the cause.
            is_suspicious = (
                operation == "delete_message_batch"
                and len(failures) == len(receipts) > 1
                and all(entry.get("Code") in BAD_CONTENT for entry in failures)
            )
            left = set()
            for entry in failures:
                if is_suspicious or not is_senders_fault(entry):
                    left.add(int(entry["Id"]))
                    code = entry.get("Code", "")
            settled += [receipt for index, receipt in enumerate(receipts) if index not in left]
            receipts = [receipt for index, receipt in enumerate(receipts) if index in left]
            if not receipts or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        return _Done(settled, len(receipts), code)

    async def _call(self, operation: str, place: QueuePlace, **parameters: Any) -> dict[str, Any]:
        return await self._in_thread(partial(self._client.call, operation, place, **parameters))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except RuntimeError:  # the threads are gone
            raise Unavailable("queue", "closed") from None


def excess_delay_s(age_s: float) -> float:
    """Return in how many seconds bulk without room comes again. Pure."""
    return min(max(age_s * EXCESS_SHARE, EXCESS_MIN_S), EXCESS_MAX_S)


async def _outcome_of(task: asyncio.Task[None]) -> None:
    """Wait for a task that may continue without its starter."""
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
