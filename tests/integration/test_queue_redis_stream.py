"""What only the Redis-stream queue does: bounds, outages of its Redis, former lives."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
import redis

from wis2_gc_common.errors import PartError, SettingsError, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports.lanes import bulk_lane
from wis2_gc_common.ports.queue import Envelope, Received, Sent
from wis2_gc_common.redis import connection, memory
from wis2_gc_common.redis import queue as redis_stream
from wis2_gc_common.redis.queue_keys import GROUP, queue_keys
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from testkit.servers.redis import RedisServer
    from wis2_gc_common.ports.queue import Queue, Sender

pytest_plugins = ("testkit.servers.redis",)

QUEUE = QueueUrl("redis-stream", "notifications")
DEAD = QueueUrl("redis-stream", "dead-letters")
KEYS = queue_keys("notifications", "dead-letters")
#: Long enough that nothing comes back by itself.
LONG_S = 60.0


def new_queue(redis_url: str, consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue:
    return open_queue(
        QUEUE, DEAD, redis_url=redis_url, consumer=consumer, visibility_s=visibility_s
    )


def new_sender(redis_url: str, *, max_length: int = 1_000_000) -> Sender:
    return open_sender(QUEUE, redis_url=redis_url, max_length=max_length)


@pytest.fixture
async def open_() -> AsyncIterator[Callable[..., Queue]]:
    """Open queues that are closed at the end."""
    opened: list[Queue] = []

    def open_one(redis_url: str, consumer: str = "a", *, visibility_s: float = LONG_S) -> Queue:
        opened.append(new_queue(redis_url, consumer, visibility_s=visibility_s))
        return opened[-1]

    yield open_one
    for queue in opened:
        await queue.close()


@pytest.fixture
def sending() -> Iterator[Callable[..., Sender]]:
    """Open senders that are closed at the end."""
    opened: list[Sender] = []

    def open_one(redis_url: str, *, max_length: int = 1_000_000) -> Sender:
        opened.append(new_sender(redis_url, max_length=max_length))
        return opened[-1]

    yield open_one
    for sender in opened:
        sender.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """The shared server itself."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def envelopes(count: int, *, size: int = 100) -> list[Envelope]:
    return [Envelope(f"topic/{n}", b"x" * size, "fr", n) for n in range(count)]


async def receive(queue: Queue, count: int, *, within_s: float = 20.0) -> list[Received]:
    messages: list[Received] = []
    deadline = time.monotonic() + within_s
    while len(messages) < count and time.monotonic() < deadline:
        messages += await queue.receive(
            count - len(messages), wait_s=max(0.0, deadline - time.monotonic())
        )
    assert len(messages) == count
    return messages


def uids(found: Sequence[Envelope | Received]) -> set[str]:
    return {one.uid if isinstance(one, Envelope) else one.envelope.uid for one in found}


async def until_it_works(queue: Queue, *, within_s: float = 20.0) -> list[Received]:
    """Receive through an outage."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await queue.receive(100, wait_s=0.5)
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


# Bounded, and never at the price of a message


async def test_a_full_queue_refuses_and_keeps_what_it_has(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender, queue = sending(redis_url, max_length=10), open_(redis_url)
    sent = envelopes(14)
    assert sender.send(sent[:8]) == [Sent.ACCEPTED] * 8
    assert sender.send(sent[8:14]) == [Sent.ACCEPTED] * 2 + [Sent.REFUSED] * 4
    assert sender.send(sent[10:14]) == [Sent.REFUSED] * 4

    messages = await receive(queue, 10)
    assert uids(messages) == uids(sent[:10])
    assert sender.send(sent[10:]) == [Sent.REFUSED] * 4  # being worked on is not done
    await queue.put_back(messages[0], delay_s=100, attempts=1)
    # What waits for a retry makes room: one dead server must not stop all intake.
    await queue.delete([message.receipt for message in messages[1:3]])
    assert sender.send(sent[10:]) == [Sent.ACCEPTED] * 3 + [Sent.REFUSED]


def test_poison_takes_no_room(redis_url: str, sending: Callable[..., Sender]) -> None:
    sender = sending(redis_url, max_length=2)
    poison = Envelope("\ud800", b"", "fr", 1)
    assert sender.send([poison, *envelopes(3), poison]) == [
        Sent.POISON,
        Sent.ACCEPTED,
        Sent.ACCEPTED,
        Sent.REFUSED,
        Sent.POISON,
    ]


async def test_memory_returns_when_messages_are_deleted(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    sender, queue = sending(redis_url), open_(redis_url)
    await queue.receive(1, wait_s=0)

    def stream_bytes() -> int:
        return int(raw.memory_usage(KEYS.lanes[0], samples=0) or 0)

    before = stream_bytes()
    for _ in range(30):
        sender.send(envelopes(100, size=4000))
    assert stream_bytes() > 30 * 100 * 4000
    messages = await receive(queue, 3000)
    await queue.delete([message.receipt for message in messages])
    assert stream_bytes() < before + 20_000
    assert raw.zcard(KEYS.delayed) == 0


async def test_dead_letters_are_bounded_and_the_oldest_go_first(
    redis_url: str,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_stream, "MAX_DEAD_LETTERS", 3)
    sender, queue = sending(redis_url), open_(redis_url)
    sent = envelopes(5)
    sender.send(sent)
    for message in await receive(queue, 5):
        await queue.dead_letter(message, reason="timeout", last_error="")
    dead_letters = open_dead_letters(QUEUE, DEAD, redis_url=redis_url)
    assert [letter.envelope for letter in dead_letters.list(10)] == sent[2:]
    dead_letters.close()


async def test_dead_letters_older_than_two_weeks_go(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    now_ms = time.time_ns() // 1_000_000
    raw.xadd(KEYS.dead, {"e": b"old"}, id=f"{now_ms - 15 * 86_400_000}-0")
    raw.xadd(KEYS.dead, {"e": b"young"}, id=f"{now_ms - 13 * 86_400_000}-0")
    sender, queue = sending(redis_url), open_(redis_url)
    sender.send(envelopes(1))
    [message] = await receive(queue, 1)
    await queue.dead_letter(message, reason="timeout", last_error="")
    [[_, oldest], *_] = cast("Any", raw.xrange(KEYS.dead))
    assert oldest == {b"e": b"young"}
    assert raw.xlen(KEYS.dead) == 2


async def test_with_redis_full_what_is_queued_is_still_worked_off(
    own_redis: RedisServer, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender, queue = sending(own_redis.url), open_(own_redis.url)
    sender.send(envelopes(10))
    [delayed] = await receive(queue, 1)
    await queue.put_back(delayed, delay_s=0.001, attempts=1)
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.config_set("maxmemory", "1mb")
        raw.config_set("maxmemory-policy", "noeviction")
        messages = await receive(queue, 10)
        returned, dead, *done = messages
        await queue.put_back(returned, delay_s=3600, attempts=1)
        await queue.dead_letter(dead, reason="timeout", last_error="")
        await queue.extend([message.receipt for message in done])
        await queue.delete([message.receipt for message in done])
        depth = await queue.depth()
        assert (depth.ready, depth.in_flight, depth.delayed, depth.dead) == (0, 0, 1, 1)
    assert delayed.envelope.uid in uids(messages)


async def test_a_redis_that_is_nearly_full_takes_nothing_in(
    own_redis: RedisServer, sending: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LOOK_EVERY_S", 0.0)
    sender = sending(own_redis.url)
    with redis.Redis.from_url(own_redis.url) as raw:
        # In small values: Redis counts the buffer of a large one, for a second or so.
        with raw.pipeline(transaction=False) as weights:
            for number in range(2500):
                weights.set(f"weight-{number}", b"x" * 8000)
            weights.execute()
        used = raw.info("memory")["used_memory"]
        raw.config_set("maxmemory", round(used / 0.78))
        assert sender.send(envelopes(1)) == [Sent.ACCEPTED]
        raw.config_set("maxmemory", round(used / 0.9))
        assert sender.send(envelopes(2)) == [Sent.REFUSED] * 2
        raw.config_set("maxmemory", round(used / 0.5))
        assert sender.send(envelopes(1)) == [Sent.ACCEPTED]
        assert raw.xlen(KEYS.lanes[0]) == 2


def test_what_waits_for_memory_is_bounded_between_two_looks_at_it(
    own_redis: RedisServer, sending: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LOOK_EVERY_S", 3600.0)
    sender = sending(own_redis.url)
    assert sender.send(envelopes(1)) == [Sent.ACCEPTED]
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.9))
        answers = [sender.send(envelopes(100))[-1] for _ in range(6)]
    assert answers[-1] is Sent.REFUSED


def bulk_of(centre_id: str, count: int, *, size: int = 100) -> list[Envelope]:
    topic = f"origin/a/wis2/{centre_id}/metadata"
    return [Envelope(topic, b"x" * size, "fr", n, is_bulk=True) for n in range(count)]


def in_other_lanes(centre_id: str) -> str:
    """Return a centre whose bulk waits in another lane."""
    lane = bulk_lane(bulk_of(centre_id, 1)[0].topic)
    names = (f"xx-{n}" for n in range(1000))
    return next(one for one in names if bulk_lane(bulk_of(one, 1)[0].topic) != lane)


async def test_a_lane_that_holds_its_share_of_the_memory_takes_no_more_until_it_is_worked_off(
    own_redis: RedisServer,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_LOOK_EVERY_S", 0.0)
    sender, queue = sending(own_redis.url), open_(own_redis.url)
    with redis.Redis.from_url(own_redis.url) as raw:
        empty = raw.info("memory")["used_memory"]
        assert sender.send(bulk_of("flood", 100, size=8000)) == [Sent.ACCEPTED] * 100
        used = raw.info("memory")["used_memory"]
        # Of others, so that room for all is scarce. Large values would show their buffers, too.
        for number in range(2 * (used - empty) // 8000):
            raw.set(f"weight-{number}", b"x" * 8000)
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.7))
        flood, quiet = bulk_of("flood", 1), bulk_of(in_other_lanes("flood"), 1)
        ready = [replace(flood[0], is_bulk=False)]
        answers = [Sent.OVER_QUOTA, Sent.ACCEPTED, Sent.ACCEPTED, Sent.OVER_QUOTA]
        assert sender.send([*flood, *quiet, *ready, *bulk_of("flood", 1)]) == answers
        # Those that hold nothing back come first to their answer, also where no more is taken in.
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.85))
        assert sender.send([*flood, *quiet, *ready]) == [
            Sent.OVER_QUOTA,
            Sent.REFUSED,
            Sent.REFUSED,
        ]
        raw.config_set("maxmemory", 0)
        assert sender.send(flood) == [Sent.ACCEPTED]

        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.7))
        messages = await receive(queue, 103)
        await queue.delete([message.receipt for message in messages])
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.7))
        assert sender.send(flood) == [Sent.ACCEPTED]


@pytest.mark.parametrize(
    ("used", "max_bytes", "full"),
    [(51, 100, {2, 3}), (50, 100, set()), (79, 100, {2, 3}), (200, 400, set()), (51, 0, set())],
)
def test_a_lane_is_full_above_a_tenth_where_half_the_memory_is_used(
    used: int, max_bytes: int, full: set[int]
) -> None:
    lane_bytes = [30, 10, 11, 12, 0, 1, 2, 3, 4]  # the first is not bulk
    assert memory.full_lanes(lane_bytes, used=used, max_bytes=max_bytes) == full


def test_where_redis_does_not_tell_what_a_lane_takes_bulk_is_taken_in(
    own_redis: RedisServer, sending: Callable[..., Sender]
) -> None:
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.execute_command("ACL SETUSER", "cache", "on", ">word", "~*", "+@all", "-memory|usage")
        raw.config_set("maxmemory", round(raw.info("memory")["used_memory"] / 0.7))
    sender = sending(own_redis.url.replace("redis://", "redis://cache:word@"))
    assert sender.send(bulk_of("flood", 1)) == [Sent.ACCEPTED]


def test_where_redis_does_not_tell_its_memory_messages_are_taken_in(
    own_redis: RedisServer, sending: Callable[..., Sender]
) -> None:
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.execute_command("ACL SETUSER", "cache", "on", ">word", "~*", "+@all", "-@dangerous")
    sender = sending(own_redis.url.replace("redis://", "redis://cache:word@"))
    assert sender.send(envelopes(1)) == [Sent.ACCEPTED]


# Former lives, and names


async def test_who_has_no_name_receives_nothing(redis_url: str) -> None:
    queue = new_queue(redis_url, "")
    with pytest.raises(ValueError, match="name"):
        await queue.receive(1, wait_s=0)
    assert (await queue.depth()).ready == 0
    await queue.close()


async def test_a_consumer_that_comes_back_gets_its_own_messages_at_once(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender = sending(redis_url)
    sent = envelopes(250)
    for start in range(0, 250, 50):
        sender.send(sent[start : start + 50])
    former = open_(redis_url, "a")
    old = await receive(former, 230)

    back = open_(redis_url, "a")
    messages = await receive(back, 250)
    assert uids(messages) == uids(sent)
    assert sorted(message.deliveries for message in messages) == [1] * 20 + [2] * 230
    await former.delete([message.receipt for message in old])
    assert (await back.depth()).in_flight == 250
    await back.delete([message.receipt for message in messages])
    assert (await back.depth()).in_flight == 0


async def test_a_consumer_that_comes_back_leaves_the_others_alone(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sending(redis_url).send(envelopes(2))
    await receive(open_(redis_url, "b"), 2)
    assert await open_(redis_url, "a").receive(10, wait_s=0.1) == []


async def test_consumers_that_own_nothing_are_forgotten(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    # 20 visibility times of 20 ms
    living = open_(redis_url, "living", visibility_s=0.02)
    await living.receive(1, wait_s=0)
    raw.xgroup_createconsumer(KEYS.lanes[0], GROUP, "idle")
    sending(redis_url).send(envelopes(1))
    raw.xreadgroup(GROUP, "owner", {KEYS.lanes[0]: ">"})

    def names() -> set[bytes]:
        return {consumer["name"] for consumer in raw.xinfo_consumers(KEYS.lanes[0], GROUP)}

    deadline = time.monotonic() + 20
    while b"idle" in names():
        assert time.monotonic() < deadline
        await living.receive(1, wait_s=0.05)
    assert b"living" in names()


async def test_what_a_closed_queue_hands_over_takes_no_room_twice(
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
    redis_url: str,
    raw: redis.Redis,
) -> None:
    leaving, staying = new_queue(redis_url, "leaving"), open_(redis_url, "staying")
    sending(redis_url).send(envelopes(5))
    await receive(leaving, 3)
    await leaving.close()
    assert raw.xlen(KEYS.lanes[0]) == 5
    await staying.delete([message.receipt for message in await receive(staying, 5)])
    assert raw.xlen(KEYS.lanes[0]) == 0


async def test_a_closed_queue_leaves_no_consumer_behind(redis_url: str, raw: redis.Redis) -> None:
    queue = new_queue(redis_url, "a")
    await queue.receive(1, wait_s=0)
    await queue.close()
    assert raw.xinfo_consumers(KEYS.lanes[0], GROUP) == []


async def test_closing_never_raises(
    redis_url: str, raw: redis.Redis, sending: Callable[..., Sender]
) -> None:
    sending(redis_url).send(envelopes(1))
    queue = new_queue(redis_url, "a")
    assert len(await queue.receive(1, wait_s=0)) == 1
    # From here on Redis refuses to add to the stream: nothing can be handed over.
    last = f"{2**64 - 1}-{2**64 - 1}"
    raw.execute_command("XSETID", KEYS.lanes[0], last)  # type: ignore[no-untyped-call]
    await queue.close()


async def test_an_entry_of_strangers_is_dropped_and_holds_up_nothing(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    queue = open_(redis_url)
    raw.xadd(KEYS.lanes[0], {"e": b"junk"})
    raw.xadd(KEYS.lanes[0], {"other": b"field", "and": b"more"})
    waiting = asyncio.create_task(queue.receive(10, wait_s=5))
    await asyncio.wait({waiting}, timeout=0.2)
    raw.xadd(KEYS.lanes[0], {"e": b""})
    sent = envelopes(1)
    sending(redis_url).send(sent)
    assert uids(await waiting) == uids(sent)
    assert (await queue.depth()).in_flight == 1


def known_ids(queue: Queue) -> set[str]:
    return set(cast("Any", queue)._held)


async def test_the_ids_of_messages_that_went_to_others_are_forgotten(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sending(redis_url).send(envelopes(30))
    slow = open_(redis_url, "slow", visibility_s=0.1)
    await receive(slow, 30)
    assert len(known_ids(slow)) == 30
    quick = open_(redis_url, "quick", visibility_s=0.1)
    await quick.delete([message.receipt for message in await receive(quick, 30)])
    deadline = time.monotonic() + 20
    while known_ids(slow):
        assert time.monotonic() < deadline
        assert await slow.receive(1, wait_s=0.05) == []


async def test_what_is_extended_stays_known_and_is_not_handed_out_twice(
    redis_url: str, raw: redis.Redis, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sending(redis_url).send(envelopes(1))
    # Long enough that a busy machine does not stand still for all of it between two extensions.
    queue = open_(redis_url, visibility_s=2)
    [message] = await receive(queue, 1)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        await queue.extend([message.receipt, "1-1/1"])
        assert await queue.receive(1, wait_s=0.1) == []
    assert len(known_ids(queue)) == 1
    # After an error it asks for what it does not know to be its own.
    raw.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(Unavailable):
        await queue.receive(1, wait_s=0)
    await queue.extend([message.receipt])
    assert await queue.receive(1, wait_s=0) == []
    await queue.delete([message.receipt])
    assert not known_ids(queue)


# Bulk


def bulk(count: int, centre_id: str = "xx-flood") -> list[Envelope]:
    topic = f"origin/a/wis2/{centre_id}/data/core/weather"
    return [replace(one, topic=topic, is_bulk=True) for one in envelopes(count)]


def centres(messages: Sequence[Received]) -> Counter[str]:
    return Counter(message.envelope.topic.split("/")[3] for message in messages)


async def test_what_is_not_bulk_comes_first_however_much_bulk_waits(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender, queue = sending(redis_url), open_(redis_url)
    for _ in range(10):
        sender.send(bulk(100))
    canaries = envelopes(5)
    sender.send(canaries)
    assert uids(await queue.receive(5, wait_s=1)) == uids(canaries)
    assert len(await queue.receive(60, wait_s=1, max_bulk=50)) == 50


async def test_the_bulk_of_several_centres_takes_turns(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender, queue = sending(redis_url), open_(redis_url)
    for _ in range(5):
        sender.send(bulk(100, "xx-flood"))
    # Each in a lane of its own; the last has less than its share.
    assert len({bulk_lane(f"o/a/w/{name}/d") for name in ("xx-flood", "aa-one", "bb-two")}) == 3
    sender.send(bulk(30, "aa-one"))
    sender.send(bulk(4, "bb-two"))
    first = await queue.receive(30, wait_s=1)
    assert len(first) == 30
    assert centres(first)["bb-two"] == 4
    assert centres(first)["aa-one"] >= 10
    assert centres(first)["xx-flood"] >= 10
    # With room for one at a time each has its turn now and then.
    seen: Counter[str] = Counter()
    while seen["aa-one"] + centres(first)["aa-one"] < 20:
        seen += centres(await queue.receive(1, wait_s=1))
    assert seen["xx-flood"] < 300


async def test_a_waiting_manager_gets_no_more_than_it_asked_for(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    queue = open_(redis_url)
    waiting = asyncio.create_task(queue.receive(1, wait_s=30))
    await asyncio.wait({waiting}, timeout=0.2)
    sent = [*bulk(1, "aa-one"), *bulk(1, "bb-two"), *envelopes(1)]
    sending(redis_url).send(sent)
    messages = await waiting
    assert len(messages) == 1
    messages += await receive(queue, 2)
    assert uids(messages) == uids(sent)
    assert {message.deliveries for message in messages} == {1}


async def test_a_full_queue_counts_all_lanes(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender = sending(redis_url, max_length=4)
    sender.send(bulk(3))
    assert sender.send(envelopes(2)) == [Sent.ACCEPTED, Sent.REFUSED]


async def test_messages_of_before_there_were_lanes_are_worked_on(
    redis_url: str, raw: redis.Redis, open_: Callable[..., Queue]
) -> None:
    def old(number: int) -> bytes:
        return msgspec.msgpack.encode([1, "topic", b"payload", "fr", 5, number, f"{number:032x}"])

    raw.xgroup_create(KEYS.lanes[0], GROUP, "0", mkstream=True)
    for number in range(2):
        raw.xadd(KEYS.lanes[0], {"e": old(number)})
    raw.xreadgroup(GROUP, "a", {KEYS.lanes[0]: ">"}, count=1)  # in work at the upgrade
    raw.zadd(KEYS.delayed, {old(2): 1})
    queue = open_(redis_url, "a")
    messages = await receive(queue, 3)
    assert [m.envelope.attempts for m in messages] == [0, 1, 2]
    assert not any(m.envelope.is_bulk for m in messages)
    await queue.delete([m.receipt for m in messages])
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight, depth.delayed) == (0, 0, 0)


async def test_bulk_of_a_former_life_comes_back_at_once(
    redis_url: str, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sent = [*bulk(3, "aa-one"), *bulk(3, "bb-two"), *envelopes(3)]
    sending(redis_url).send(sent)
    await receive(open_(redis_url, "a"), 9)
    messages = await receive(open_(redis_url, "a"), 9)
    assert uids(messages) == uids(sent)
    assert {message.deliveries for message in messages} == {2}


# Outages


async def test_after_flushall_sending_and_receiving_go_on(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    sender, queue = sending(redis_url), open_(redis_url)
    sender.send(envelopes(3))
    lost = await receive(queue, 3)
    waiting = asyncio.create_task(queue.receive(10, wait_s=10))
    await asyncio.wait({waiting}, timeout=0.2)
    raw.flushall()
    raw.script_flush()
    sent = envelopes(2)
    assert sender.send(sent) == [Sent.ACCEPTED] * 2
    messages = await waiting
    messages += await receive(queue, 2 - len(messages))
    assert uids(messages) == uids(sent)
    await queue.delete([message.receipt for message in lost + messages])
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight) == (0, 0)


async def test_redis_away_is_unavailable_at_once_and_works_again_when_it_is_back(
    own_redis: RedisServer, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    sender, queue = sending(own_redis.url), open_(own_redis.url)
    sent = envelopes(20)
    sender.send(sent)
    [held, *_] = await receive(queue, 5)
    waiting = asyncio.create_task(open_(own_redis.url, "b").receive(0, wait_s=10))
    await waiting

    own_redis.kill()
    before = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        sender.send(envelopes(1))
    assert raised.value.part == "queue"
    for call in (
        queue.receive(1, wait_s=LONG_S),
        queue.extend([held.receipt]),
        queue.delete([held.receipt]),
        queue.put_back(held, delay_s=1, attempts=1),
        queue.dead_letter(held, reason="timeout", last_error=""),
        queue.depth(),
    ):
        with pytest.raises(Unavailable):
            await call
    dead_letters = open_dead_letters(QUEUE, DEAD, redis_url=own_redis.url)
    with pytest.raises(Unavailable):
        dead_letters.list(1)
    with pytest.raises(Unavailable):
        dead_letters.redrive()
    assert time.monotonic() - before < LONG_S / 3

    own_redis.start()
    await queue.delete([held.receipt])
    rest = await receive(queue, 15)
    assert len(uids(rest) & uids(sent)) == 15
    assert sender.send(envelopes(1)) == [Sent.ACCEPTED]
    assert dead_letters.list(1) == []
    dead_letters.close()


async def test_what_redis_has_against_one_command_is_not_an_outage(
    redis_url: str,
    raw: redis.Redis,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
) -> None:
    sending(redis_url).send(envelopes(2))
    queue = open_(redis_url)
    first, second = await queue.receive(2, wait_s=5)
    raw.set(KEYS.delayed, "not a sorted set")
    with pytest.raises(PartError, match="WRONGTYPE"):
        await queue.put_back(first, delay_s=10, attempts=0)
    await queue.delete([second.receipt])
    raw.delete(KEYS.delayed)
    # It is still what it was.
    await queue.put_back(first, delay_s=10, attempts=0)
    assert (await queue.depth()).delayed == 1


async def test_a_wait_that_redis_breaks_off_is_unavailable(
    own_redis: RedisServer, open_: Callable[..., Queue], sending: Callable[..., Sender]
) -> None:
    queue = open_(own_redis.url)
    waiting = asyncio.create_task(queue.receive(1, wait_s=30))
    await asyncio.wait({waiting}, timeout=0.2)
    own_redis.kill()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 20)
    own_redis.start()
    sending(own_redis.url).send(envelopes(1))
    assert len(await receive(queue, 1)) == 1


async def test_a_redis_that_does_not_answer_is_unavailable_in_time(
    own_redis: RedisServer,
    open_: Callable[..., Queue],
    sending: Callable[..., Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(redis_stream, "MAX_BLOCK_S", 0.2)
    monkeypatch.setattr(memory, "_LOOK_EVERY_S", 3600.0)
    queue = open_(own_redis.url)
    sender = sending(own_redis.url)
    # A busy machine may need longer than that; a client that is connected gets as far as asking.
    assert await until_it_works(queue) == []
    while True:
        try:
            sender.send(envelopes(1))
            break
        except Unavailable:
            continue
    own_redis.pause()
    try:
        for call in (queue.depth(), queue.receive(1, wait_s=0), queue.receive(1, wait_s=0)):
            with pytest.raises(Unavailable):
                await asyncio.wait_for(call, 20)
        with pytest.raises(Unavailable):
            await asyncio.to_thread(sender.send, envelopes(1))
    finally:
        own_redis.resume()
    # The answers that nobody read had handed out the message: it is found again.
    messages = await until_it_works(queue)
    while len(uids(messages)) < 2:
        messages += await until_it_works(queue)
    assert min(message.envelope.arrived_ms for message in messages) == 0


async def test_closing_while_redis_is_away_ends(own_redis: RedisServer) -> None:
    queue, sender = new_queue(own_redis.url), new_sender(own_redis.url)
    await queue.receive(1, wait_s=0)
    waiting = asyncio.create_task(queue.receive(1, wait_s=LONG_S))
    await asyncio.wait({waiting}, timeout=0.2)
    own_redis.kill()
    before = time.monotonic()
    await queue.close()
    sender.close()
    assert time.monotonic() - before < LONG_S / 3
    with pytest.raises(Unavailable):
        await waiting


@pytest.mark.parametrize("kills", [5])
async def test_what_was_accepted_comes_at_least_once_however_often_redis_is_killed(
    tmp_path_factory: pytest.TempPathFactory, open_: Callable[..., Queue], kills: int
) -> None:
    from testkit.servers.redis import RedisServer, require_redis

    require_redis()
    # What ACCEPTED promises on a machine that may crash, too.
    options = ("--appendfsync", "always")
    server = RedisServer(tmp_path_factory.mktemp("killed"), options=options).start()
    sender = new_sender(server.url)
    accepted: set[str] = set()
    done: set[str] = set()
    is_over = False

    def send_on() -> None:
        while not is_over:
            batch = envelopes(20)
            try:
                answers = sender.send(batch)
            except Unavailable:
                time.sleep(0.01)
                continue
            assert answers == [Sent.ACCEPTED] * 20
            accepted.update(one.uid for one in batch)
            time.sleep(0.002)

    async def work(queue: Queue) -> None:
        turn = 0
        while not (is_over and accepted <= done):
            for message in await until_it_works(queue):
                turn += 1
                try:
                    if turn % 5 == 0 and message.envelope.attempts < 2:
                        delay_s = 0.05 * (turn % 3)
                        attempts = message.envelope.attempts + 1
                        await queue.put_back(message, delay_s=delay_s, attempts=attempts)
                    else:
                        # Done is done, also where the answer to the delete is lost.
                        done.add(message.envelope.uid)
                        await queue.delete([message.receipt])
                except Unavailable:
                    await asyncio.sleep(0.01)

    queues = [open_(server.url, name, visibility_s=1) for name in "ab"]
    try:
        async with asyncio.timeout(100):
            workers = [asyncio.create_task(work(queue)) for queue in queues]
            sending = asyncio.create_task(asyncio.to_thread(send_on))
            for _ in range(kills):
                seen = len(accepted)
                while len(accepted) < seen + 200:  # noqa: ASYNC110 - a thread counts up
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(server.restart)
            is_over = True
            await asyncio.gather(sending, *workers)
        assert accepted <= done
        depth = await queues[0].depth()
        assert depth.dead == 0
    finally:
        is_over = True
        for queue in queues:
            await queue.close()
        sender.close()
        server.stop()


# Settings


@pytest.mark.parametrize("kind", ["queue", "dead letters"])
def test_queue_and_dead_letters_are_of_one_kind(kind: str) -> None:
    sqs = QueueUrl("sqs", "https://sqs.eu-west-1.amazonaws.com/123456789012/q")
    queue_url, dead_url = (sqs, DEAD) if kind == "queue" else (QUEUE, sqs)
    options = {"redis_url": "redis://127.0.0.1:1/0"}
    with pytest.raises(SettingsError) as raised:
        open_queue(queue_url, dead_url, **options, consumer="a", visibility_s=1)
    assert raised.value.variable == "GC_DEAD_LETTER_QUEUE_URL"
    with pytest.raises(SettingsError):
        open_dead_letters(queue_url, dead_url, **options)
