"""What every queue adapter does (`wis2_gc_common.ports.queue`)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import pytest

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.ports.queue import Depth, Envelope, Received, Sent
from wis2_gc_common.redis import queue as redis_stream
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from testkit.servers.sqs_server import Queues
    from wis2_gc_common.ports.queue import DeadLetters, Queue, Sender

pytest_plugins = ("testkit.servers.redis", "testkit.servers.sqs_server")

#: Long enough that no visibility ends by itself in a test that does not wait for it.
LONG_S = 60.0
#: For what comes at once: long on a busy machine, and short of all that comes by itself.
SOON_S = 10.0


class Adapter(Protocol):
    """One kind of queue, on a server of the test's own."""

    short_s: float
    """A visibility that is short enough to wait for."""
    heir_s: float
    """The visibility of who takes over soon, and then holds on to it.

    A Redis stream asks the taker how soon that is; SQS asks it how long it intends to hold.
    """
    empty: Depth
    """Of a queue with nothing in it; `oldest_s` is None where the age is not told."""
    deliveries_after_close: int
    """What a message that was handed over by `close` counts."""

    def sender(self, *, max_length: int = 1_000_000) -> Sender: ...
    def queue(self, consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue: ...
    def dead_letters(self) -> DeadLetters: ...


class RedisStreamAdapter:
    short_s = 0.5
    heir_s = short_s
    empty = Depth(ready=0, in_flight=0, delayed=0, dead=0, oldest_s=0.0)
    deliveries_after_close = 1

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.queue_url = QueueUrl("redis-stream", "notifications")
        self.dead_url = QueueUrl("redis-stream", "dead-letters")

    def sender(self, *, max_length: int = 1_000_000) -> Sender:
        return open_sender(self.queue_url, redis_url=self.redis_url, max_length=max_length)

    def queue(self, consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue:
        return open_queue(
            self.queue_url,
            self.dead_url,
            redis_url=self.redis_url,
            consumer=consumer,
            visibility_s=visibility_s,
        )

    def dead_letters(self) -> DeadLetters:
        return open_dead_letters(self.queue_url, self.dead_url, redis_url=self.redis_url)


class SqsAdapter:
    # SQS knows whole seconds only.
    short_s = 2.0
    heir_s = LONG_S
    empty = Depth(ready=0, in_flight=0, delayed=0, dead=0, oldest_s=None)
    deliveries_after_close = 2

    def __init__(self, queues: Queues) -> None:
        self.queue_url = QueueUrl("sqs", queues.queue_url)
        self.dead_url = QueueUrl("sqs", queues.dead_letter_queue_url)

    def sender(self, *, max_length: int = 1_000_000) -> Sender:
        return open_sender(self.queue_url, redis_url="", max_length=max_length)

    def queue(self, consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue:
        return open_queue(
            self.queue_url,
            self.dead_url,
            redis_url="",
            consumer=consumer,
            visibility_s=visibility_s,
        )

    def dead_letters(self) -> DeadLetters:
        return open_dead_letters(self.queue_url, self.dead_url, redis_url="")


@pytest.fixture(params=["redis-stream", "sqs"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    if request.param == "sqs":
        return SqsAdapter(request.getfixturevalue("sqs"))
    return RedisStreamAdapter(request.getfixturevalue("redis_url"))


@pytest.fixture
def short_s(adapter: Adapter) -> float:
    return adapter.short_s


@pytest.fixture
def heir_s(adapter: Adapter) -> float:
    return adapter.heir_s


@pytest.fixture
def sender(adapter: Adapter) -> Iterator[Sender]:
    sender = adapter.sender()
    yield sender
    sender.close()


@pytest.fixture
def dead_letters(adapter: Adapter) -> Iterator[DeadLetters]:
    dead_letters = adapter.dead_letters()
    yield dead_letters
    dead_letters.close()


@pytest.fixture
async def open_(adapter: Adapter) -> AsyncIterator[Callable[..., Queue]]:
    """Open queues that are closed at the end."""
    opened: list[Queue] = []

    def open_one(consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue:
        queue = adapter.queue(consumer, visibility_s=visibility_s)
        opened.append(queue)
        return queue

    yield open_one
    for queue in opened:
        await queue.close()


@pytest.fixture
def queue(open_: Callable[..., Queue]) -> Queue:
    return open_()


def envelope(number: int = 0, *, payload: bytes | None = None) -> Envelope:
    return Envelope(
        topic=f"origin/a/wis2/de-dwd/data/core/weather/{number}",
        payload=payload if payload is not None else b"payload %d" % number,
        broker="fr",
        arrived_ms=1_790_000_000_000 + number,
    )


def send(sender: Sender, *envelopes: Envelope) -> None:
    for start in range(0, len(envelopes), sender.max_batch):
        batch = envelopes[start : start + sender.max_batch]
        assert sender.send(batch) == [Sent.ACCEPTED] * len(batch)


async def receive(queue: Queue, count: int, *, within_s: float = 20.0) -> list[Received]:
    """Return `count` messages, however many calls that takes."""
    messages: list[Received] = []
    deadline = time.monotonic() + within_s
    while len(messages) < count and time.monotonic() < deadline:
        messages += await queue.receive(
            count - len(messages), wait_s=max(0.0, deadline - time.monotonic())
        )
    assert len(messages) == count
    return messages


async def nothing_comes(queue: Queue, *, for_s: float = 0.2) -> bool:
    return await queue.receive(10, wait_s=for_s) == []


# Sending and receiving


async def test_what_is_sent_is_received_unchanged(sender: Sender, queue: Queue) -> None:
    sent = [envelope(number) for number in range(5)]
    send(sender, *sent)
    received = await receive(queue, 5)
    assert {message.envelope.uid: message.envelope for message in received} == {
        one.uid: one for one in sent
    }
    assert [message.deliveries for message in received] == [1] * 5
    assert len({message.receipt for message in received}) == 5
    for message in received:
        assert message.packed in {None, encode_envelope(message.envelope)}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"a\x00b\r\n$5\r\n",
        bytes(range(256)) * 8,
        "żółw 台風 🌀".encode(),
        b"\xff\xfe",
    ],
    ids=["empty", "NUL", "line ends", "every byte", "unicode", "no unicode"],
)
async def test_every_byte_of_a_payload_survives(
    sender: Sender, queue: Queue, payload: bytes
) -> None:
    sent = replace(envelope(payload=payload), topic="origin/a/wis2/\u00fc/\x00/台", broker="b-ß")
    send(sender, sent)
    [message] = await receive(queue, 1)
    assert message.envelope == sent


async def test_no_more_is_handed_out_than_asked_for(sender: Sender, queue: Queue) -> None:
    send(sender, *[envelope(number) for number in range(10)])
    assert len(await queue.receive(3, wait_s=1)) == 3
    assert await queue.receive(0, wait_s=1) == []
    assert len(await receive(queue, 7)) == 7


async def test_every_message_goes_to_one_consumer_only(
    sender: Sender, open_: Callable[..., Queue]
) -> None:
    send(sender, *[envelope(number) for number in range(200)])
    queues = [open_(name) for name in "abc"]
    uids: list[str] = []

    async def work(queue: Queue) -> None:
        while messages := await queue.receive(7, wait_s=0.2):
            uids.extend(message.envelope.uid for message in messages)
            await queue.delete([message.receipt for message in messages])

    await asyncio.gather(*map(work, queues))
    assert len(uids) == len(set(uids)) == 200


async def test_an_empty_queue_answers_when_the_wait_is_over(queue: Queue) -> None:
    before = time.monotonic()
    assert await queue.receive(5, wait_s=0.3) == []
    assert 0.25 < time.monotonic() - before < 20
    assert await asyncio.wait_for(queue.receive(5, wait_s=0), 20) == []


async def test_a_waiting_consumer_gets_a_message_at_once(sender: Sender, queue: Queue) -> None:
    waiting = asyncio.create_task(queue.receive(5, wait_s=60))
    await nothing_but_waiting(waiting)
    send(sender, envelope())
    assert len(await asyncio.wait_for(waiting, 20)) == 1


async def nothing_but_waiting(task: asyncio.Task[list[Received]]) -> None:
    """Give a receive the time to begin its wait."""
    done, _ = await asyncio.wait({task}, timeout=0.2)
    assert not done


async def test_every_entry_has_its_own_answer(sender: Sender, queue: Queue) -> None:
    poison = replace(envelope(1), topic="\ud800")
    huge = replace(envelope(2), payload=b"x" * 2**20)
    answers = sender.send([envelope(0), poison, huge, envelope(3)])
    assert answers == [Sent.ACCEPTED, Sent.POISON, Sent.POISON, Sent.ACCEPTED]
    received = await receive(queue, 2)
    assert [message.envelope.arrived_ms % 10 for message in received] == [0, 3]


def test_bulk_of_one_centre_is_taken_in_where_nothing_bounds_the_memory(sender: Sender) -> None:
    bulk = [replace(envelope(number), is_bulk=True) for number in range(200)]
    for start in range(0, len(bulk), sender.max_batch):
        batch = bulk[start : start + sender.max_batch]
        assert sender.send(batch) == [Sent.ACCEPTED] * len(batch)


def test_a_batch_of_nothing_is_answered_with_nothing(sender: Sender) -> None:
    assert sender.send([]) == []


def test_a_batch_beyond_the_limit_is_a_bug_of_the_caller(sender: Sender) -> None:
    with pytest.raises(ValueError, match="batch"):
        sender.send([envelope()] * (sender.max_batch + 1))


# Deleting, extending, visibility


async def test_a_deleted_message_never_comes_again(
    adapter: Adapter, sender: Sender, open_: Callable[..., Queue], short_s: float
) -> None:
    queue = open_(visibility_s=short_s)
    send(sender, envelope(1), envelope(2))
    messages = await receive(queue, 2)
    await queue.delete([message.receipt for message in messages])
    await queue.delete([message.receipt for message in messages])
    assert await nothing_comes(queue, for_s=short_s * 2.5)
    assert await queue.depth() == adapter.empty


async def test_a_message_that_is_not_deleted_comes_again_when_its_visibility_ends(
    sender: Sender, open_: Callable[..., Queue], short_s: float
) -> None:
    queue = open_(visibility_s=short_s)
    send(sender, envelope())
    before = time.monotonic()
    [first] = await receive(queue, 1)
    [second] = await receive(queue, 1)
    assert time.monotonic() - before > short_s * 0.7
    assert second.envelope == first.envelope
    assert (first.deliveries, second.deliveries) == (1, 2)
    assert second.receipt != first.receipt


async def test_an_extended_message_stays_invisible(
    sender: Sender, open_: Callable[..., Queue], heir_s: float
) -> None:
    # Long enough that a busy machine does not stand still for all of it between two extensions.
    visibility_s = 3.0
    holder = open_("a", visibility_s=visibility_s)
    other = open_("b", visibility_s=max(heir_s, visibility_s))
    send(sender, envelope(1), envelope(2))
    kept, left = await receive(holder, 2)

    seen: list[Received] = []
    until = time.monotonic() + 2 * visibility_s
    while time.monotonic() < until:
        await holder.extend([kept.receipt, "junk", "1-1/1"])
        # On SQS any wait takes a whole second, a third of what is extended.
        seen += await other.receive(5, wait_s=0)
        await asyncio.sleep(0.1)
    assert {message.envelope.uid for message in seen} == {left.envelope.uid}

    await holder.delete([kept.receipt])
    assert (await holder.depth()).in_flight == 1


async def test_the_messages_of_a_dead_consumer_go_to_another(
    sender: Sender, open_: Callable[..., Queue], short_s: float, heir_s: float
) -> None:
    dead, living = open_("dead", visibility_s=short_s), open_("living", visibility_s=heir_s)
    sent = [envelope(number) for number in range(30)]
    send(sender, *sent)
    await receive(dead, 30)
    taken = await receive(living, 30)
    assert {message.envelope.uid for message in taken} == {one.uid for one in sent}
    assert {message.deliveries for message in taken} == {2}


async def test_an_old_receipt_does_nothing_to_the_new_delivery(
    sender: Sender, open_: Callable[..., Queue], short_s: float, heir_s: float
) -> None:
    slow, quick = open_("slow", visibility_s=short_s), open_("quick", visibility_s=heir_s)
    send(sender, envelope())
    [old] = await receive(slow, 1)
    received_s = time.monotonic()
    [new] = await receive(quick, 1)
    # The server's clock began before ours; on SQS it is ours that tells an old receipt.
    await asyncio.sleep(received_s + short_s - time.monotonic())

    await slow.delete([old.receipt])
    await slow.put_back(old, delay_s=0, attempts=9)
    await slow.put_back(old, delay_s=1000, attempts=9)
    await slow.dead_letter(old, reason="unexpected", last_error="")
    await slow.extend([old.receipt])
    depth = await slow.depth()
    assert (depth.ready, depth.in_flight, depth.delayed, depth.dead) == (0, 1, 0, 0)

    await quick.delete([new.receipt])
    assert (await slow.depth()).in_flight == 0


async def test_receipts_of_nobody_are_ignored(sender: Sender, queue: Queue) -> None:
    send(sender, envelope())
    await receive(queue, 1)
    for receipts in ([], ["", "junk", "1-1/1", "\x00", "1-1"], ["1-1/1"] * 1200):
        await queue.delete(receipts)
        await queue.extend(receipts)
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight) == (0, 1)


async def test_thousands_are_deleted_in_one_call(
    adapter: Adapter, sender: Sender, queue: Queue
) -> None:
    send(sender, *[envelope(number) for number in range(3000)])
    messages = await receive(queue, 3000)
    await queue.extend([message.receipt for message in messages])
    await queue.delete([message.receipt for message in messages])
    assert await queue.depth() == adapter.empty


# Handing back


async def test_a_message_put_back_comes_again_at_once_as_a_first_delivery(
    sender: Sender,
    queue: Queue,
    open_: Callable[..., Queue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Who waits does not look again by itself.
    monkeypatch.setattr(redis_stream, "MAX_BLOCK_S", LONG_S)
    monkeypatch.setattr(redis_stream, "_MAX_LOOK_INTERVAL_S", LONG_S)
    send(sender, envelope())
    [first] = await receive(queue, 1)
    waiting = asyncio.create_task(open_("b").receive(1, wait_s=LONG_S))
    await nothing_but_waiting(waiting)
    await queue.put_back(first, delay_s=0, attempts=3)
    [again] = await asyncio.wait_for(waiting, SOON_S)
    assert again.envelope == replace(first.envelope, attempts=3)
    assert again.deliveries == 1


async def test_hundreds_put_back_at_once_all_come_again(sender: Sender, queue: Queue) -> None:
    sent = [envelope(number) for number in range(300)]
    send(sender, *sent)
    messages = await receive(queue, 300)
    depths = [queue.depth() for _ in range(50)]
    put_backs = [
        queue.put_back(m, delay_s=0, attempts=m.envelope.arrived_ms % 1000) for m in messages
    ]
    await asyncio.gather(*put_backs, *depths)
    again = await receive(queue, 300)
    expected = {(one.uid, one.arrived_ms % 1000) for one in sent}
    assert {(m.envelope.uid, m.envelope.attempts) for m in again} == expected
    assert {m.deliveries for m in again} == {1}


async def test_hundreds_die_at_once_each_with_its_reason(
    sender: Sender, queue: Queue, dead_letters: DeadLetters
) -> None:
    sent = [envelope(number) for number in range(120)]
    send(sender, *sent)
    messages = await receive(queue, 120)
    await asyncio.gather(
        *(queue.dead_letter(m, reason="unexpected", last_error=m.envelope.uid) for m in messages)
    )
    letters = dead_letters.list(200)
    assert {letter.last_error for letter in letters} == {one.uid for one in sent}
    assert all(letter.last_error == letter.envelope.uid for letter in letters)
    assert (await queue.depth()).in_flight == 0


async def test_delayed_messages_come_when_they_are_due_in_that_order(
    sender: Sender, queue: Queue
) -> None:
    send(sender, *[envelope(number) for number in range(3)])
    messages = await receive(queue, 3)
    before = time.monotonic()
    # In one call, so that it is the delays alone that count.
    delays_s = dict(zip((3, 1, 2), messages, strict=True))
    await asyncio.gather(
        *(queue.put_back(one, delay_s=delay_s, attempts=1) for delay_s, one in delays_s.items())
    )

    arrivals: list[tuple[int, float]] = []
    while len(arrivals) < 3:
        for message in await queue.receive(10, wait_s=5):
            arrivals.append((message.envelope.arrived_ms % 10, time.monotonic() - before))
            assert (message.deliveries, message.envelope.attempts) == (1, 1)
    assert [number for number, _ in arrivals] == [1, 2, 0]
    for (_, waited_s), delay_s in zip(arrivals, (1, 2, 3), strict=True):
        assert delay_s - 0.05 <= waited_s < delay_s + SOON_S


async def test_a_message_delayed_while_others_wait_comes_soon_after_its_time(
    sender: Sender,
    queue: Queue,
    open_: Callable[..., Queue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A consumer that waits does not find it when it looks for what the dead left behind.
    monkeypatch.setattr(redis_stream, "_MAX_LOOK_INTERVAL_S", LONG_S)
    send(sender, envelope())
    [message] = await receive(queue, 1)
    waiting = asyncio.create_task(open_("b").receive(1, wait_s=LONG_S))
    await nothing_but_waiting(waiting)
    await queue.put_back(message, delay_s=0.1, attempts=1)
    assert len(await asyncio.wait_for(waiting, SOON_S)) == 1


async def test_a_repeated_put_back_makes_one_message(sender: Sender, queue: Queue) -> None:
    send(sender, envelope())
    [message] = await receive(queue, 1)
    for _ in range(3):
        await queue.put_back(message, delay_s=0, attempts=1)
    assert (await queue.depth()).ready == 1


# Dead letters


async def test_a_dead_letter_keeps_its_reason_and_can_be_sent_again(
    sender: Sender, queue: Queue, dead_letters: DeadLetters
) -> None:
    send(sender, replace(envelope(), attempts=5))
    [message] = await receive(queue, 1)
    before_ms = time.time_ns() // 1_000_000
    await queue.dead_letter(message, reason="not_found", last_error="404 \u2013 \ud800 gone")
    await queue.dead_letter(message, reason="not_found", last_error="again")
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight, depth.dead) == (0, 0, 1)

    [letter] = dead_letters.list(10)
    assert letter.envelope == message.envelope
    assert letter.reason == "not_found"
    assert letter.last_error.startswith("404 \u2013 ")
    assert before_ms - 1000 <= letter.died_ms <= time.time_ns() // 1_000_000 + 1000

    assert dead_letters.redrive() == 1
    assert dead_letters.list(10) == []
    [again] = await receive(queue, 1)
    # As bulk: dead letters have waited long, and there may be many.
    assert again.envelope == replace(message.envelope, attempts=0, is_bulk=True)
    assert again.deliveries == 1


async def test_the_oldest_dead_letters_come_first(
    sender: Sender, queue: Queue, dead_letters: DeadLetters
) -> None:
    send(sender, *[envelope(number) for number in range(250)])
    for message in await receive(queue, 250):
        await queue.dead_letter(message, reason="timeout", last_error="")
    letters = dead_letters.list(1000)
    assert len(letters) == 250
    assert dead_letters.list(3) == letters[:3]
    assert dead_letters.list(0) == []

    assert dead_letters.redrive(2) == 2
    assert dead_letters.list(1000) == letters[2:]
    assert dead_letters.redrive() == 248
    assert dead_letters.redrive() == 0
    assert len(await receive(queue, 250)) == 250


# Cancelling and closing


async def test_a_cancelled_receive_loses_nothing(sender: Sender, queue: Queue) -> None:
    waiting = asyncio.create_task(queue.receive(10, wait_s=10))
    await nothing_but_waiting(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    send(sender, *[envelope(number) for number in range(20)])
    assert len(await receive(queue, 20)) == 20


async def test_receives_cancelled_at_any_moment_lose_nothing(
    sender: Sender, queue: Queue, open_: Callable[..., Queue]
) -> None:
    sent = [envelope(number) for number in range(150)]
    got: list[Received] = []
    for number, one in enumerate(sent):
        task = asyncio.create_task(queue.receive(2, wait_s=5))
        if number % 3:
            await asyncio.sleep(0.0005 * (number % 7))
        send(sender, one)
        if number % 2:
            await asyncio.sleep(0.0005 * (number % 5))
        task.cancel()
        try:
            got += await task
        except asyncio.CancelledError:
            continue
    missing = len(sent) - len(got)
    got += await receive(open_("b"), missing) if missing else []
    assert {message.envelope.uid for message in got} == {one.uid for one in sent}
    assert len(got) == len(sent)


async def test_what_a_cancelled_receive_was_given_goes_to_others_at_once(
    sender: Sender, queue: Queue, open_: Callable[..., Queue]
) -> None:
    waiting = asyncio.create_task(queue.receive(10, wait_s=10))
    await nothing_but_waiting(waiting)
    send(sender, envelope(1), envelope(2))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(await receive(open_("b"), 2)) == 2


async def test_closing_hands_over_at_once_what_is_held(
    sender: Sender, adapter: Adapter, open_: Callable[..., Queue]
) -> None:
    leaving, staying = adapter.queue("leaving"), open_("staying")
    sent = [envelope(number) for number in range(250)]
    send(sender, *sent)
    messages = await receive(leaving, 250)
    await leaving.delete([message.receipt for message in messages[:10]])

    waiting = asyncio.create_task(staying.receive(1, wait_s=LONG_S))
    await nothing_but_waiting(waiting)
    before = time.monotonic()
    await leaving.close()
    taken = await waiting
    taken += await receive(staying, 239)
    # Long before what is held would come back by itself.
    assert time.monotonic() - before < LONG_S / 3
    assert {message.envelope.uid for message in taken} == {one.uid for one in sent[10:]}
    assert {message.deliveries for message in taken} == {adapter.deliveries_after_close}


async def test_closing_ends_a_receive_that_waits(
    sender: Sender, adapter: Adapter, open_: Callable[..., Queue]
) -> None:
    leaving = adapter.queue("leaving")
    waiting = asyncio.create_task(leaving.receive(1, wait_s=LONG_S))
    await nothing_but_waiting(waiting)
    await leaving.close()
    assert await asyncio.wait_for(waiting, SOON_S) == []
    send(sender, envelope())
    assert len(await receive(open_("staying"), 1)) == 1
    with pytest.raises(Unavailable):
        await leaving.receive(1, wait_s=0)


async def test_closing_right_after_a_cancellation_leaves_nothing_running(
    sender: Sender, adapter: Adapter, open_: Callable[..., Queue]
) -> None:
    leaving = adapter.queue("leaving")
    waiting = asyncio.create_task(leaving.receive(1, wait_s=30))
    await nothing_but_waiting(waiting)
    send(sender, envelope())
    waiting.cancel()
    await leaving.close()
    await asyncio.wait({waiting})
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(await receive(open_("staying"), 1)) == 1


async def test_a_queue_that_never_received_takes_nothing_from_others_when_it_closes(
    sender: Sender, queue: Queue, adapter: Adapter
) -> None:
    send(sender, envelope())
    await receive(queue, 1)
    looking = adapter.queue("a")
    assert (await looking.depth()).in_flight == 1
    await looking.close()
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight) == (0, 1)


# Bulk


def bulk(number: int, centre_id: str = "xx-flood") -> Envelope:
    topic = f"origin/a/wis2/{centre_id}/data/core/weather"
    return replace(envelope(number), topic=topic, is_bulk=True)


async def test_bulk_is_received_as_it_was_sent(sender: Sender, queue: Queue) -> None:
    # The second travels otherwise where a queue takes no such bytes.
    sent = [bulk(1), replace(bulk(2), payload=b"\xff")]
    send(sender, *sent)
    messages = await receive(queue, 2)
    assert {m.envelope.uid: m.envelope for m in messages} == {one.uid: one for one in sent}
    await queue.put_back(messages[0], delay_s=0, attempts=1)
    [again] = await receive(queue, 1)
    assert again.envelope == replace(messages[0].envelope, attempts=1)


async def test_no_more_bulk_comes_than_there_is_room_for(sender: Sender, queue: Queue) -> None:
    now_ms = time.time_ns() // 1_000_000  # what goes back goes by its age
    send(sender, *(replace(bulk(number), arrived_ms=now_ms) for number in range(5)))
    assert len(await queue.receive(5, wait_s=2, max_bulk=2)) == 2
    assert await queue.receive(5, wait_s=0, max_bulk=0) == []
    send(sender, envelope(9))
    deadline = time.monotonic() + 20
    while not (messages := await queue.receive(5, wait_s=1, max_bulk=0)):
        assert time.monotonic() < deadline
    assert [m.envelope.arrived_ms % 1000 for m in messages] == [9]
    # What there was no room for comes later.
    assert all(m.envelope.is_bulk for m in await receive(queue, 3))


async def test_a_message_can_become_bulk_when_it_is_put_back(sender: Sender, queue: Queue) -> None:
    send(sender, envelope(1))
    [message] = await receive(queue, 1)
    await queue.put_back(message, delay_s=0.1, attempts=1, is_bulk=True)
    [again] = await receive(queue, 1)
    assert again.envelope == replace(message.envelope, attempts=1, is_bulk=True)
    await queue.put_back(again, delay_s=0, attempts=1, is_bulk=False)
    [last] = await receive(queue, 1)
    assert not last.envelope.is_bulk


async def test_who_waits_is_woken_by_bulk_too(
    sender: Sender, queue: Queue, open_: Callable[..., Queue]
) -> None:
    waiting = asyncio.create_task(queue.receive(10, wait_s=30, max_bulk=5))
    await nothing_but_waiting(waiting)
    send(sender, bulk(1))
    [message] = await asyncio.wait_for(waiting, 20)
    await queue.delete([message.receipt])
    await depth_is(queue, lambda depth: (depth.ready, depth.in_flight) == (0, 0))


async def test_the_bulk_of_a_dead_consumer_is_handed_out_again(
    sender: Sender, open_: Callable[..., Queue], short_s: float, heir_s: float
) -> None:
    send(sender, *(bulk(number, f"xx-{number}") for number in range(4)))
    await receive(open_("dead", visibility_s=short_s), 4)
    heir = open_("heir", visibility_s=heir_s)
    messages = await receive(heir, 4)
    assert {m.deliveries for m in messages} == {2}
    await heir.delete([m.receipt for m in messages])
    await depth_is(heir, lambda depth: (depth.ready, depth.in_flight) == (0, 0))


async def test_bulk_that_dies_is_a_dead_letter_like_others(
    sender: Sender, queue: Queue, dead_letters: DeadLetters
) -> None:
    send(sender, bulk(1))
    [message] = await receive(queue, 1)
    await queue.dead_letter(message, reason="unexpected", last_error="why")
    [letter] = dead_letters.list(10)
    assert letter.envelope == message.envelope


# How much waits


async def depth_is(queue: Queue, expected: Callable[[Depth], bool]) -> Depth:
    """Wait for a depth: SQS tells an approximate one, and late."""
    deadline = time.monotonic() + 20
    while not expected(depth := await queue.depth()):
        assert time.monotonic() < deadline, depth
        await asyncio.sleep(0.05)
    return depth


async def test_the_depth_tells_what_waits_where(
    sender: Sender, queue: Queue, adapter: Adapter
) -> None:
    assert await queue.depth() == adapter.empty
    send(sender, *[envelope(number) for number in range(6)])
    await depth_is(queue, lambda depth: (depth.ready, depth.in_flight) == (6, 0))

    one, two, _ = await receive(queue, 3)
    await queue.put_back(one, delay_s=100, attempts=1)
    await queue.dead_letter(two, reason="timeout", last_error="")
    depth = await depth_is(
        queue, lambda d: (d.ready, d.in_flight, d.delayed, d.dead) == (3, 1, 1, 1)
    )
    if adapter.empty.oldest_s is None:
        assert depth.oldest_s is None
    else:
        assert depth.oldest_s is not None
        assert 0 <= depth.oldest_s < LONG_S
        await depth_is(queue, lambda later: (later.oldest_s or 0) > (depth.oldest_s or 0))
