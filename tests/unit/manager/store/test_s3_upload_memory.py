"""Whose parts wait in memory: bounds, turns, and what becomes of the slow."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import HostBusy, Reason
from wis2_gc_manager.store.s3 import upload_memory as s3_upload_memory
from wis2_gc_manager.store.s3.upload_memory import (
    MAX_WAIT_S,
    MAX_WAITS_S,
    SMALL_BYTES,
    Share,
    UploadMemory,
)

MB = 1_000_000
PART = 8 * MB
TOTAL = 32 * MB


class Clock:
    """A clock in our hands; `step_s` goes by at each look."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self._step_s = step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


@pytest.fixture(autouse=True)
def _looks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload_memory, "_LOOK_S", 0.001)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> UploadMemory:
    return UploadMemory(TOTAL, part_bytes=PART, clock=clock)


class Losses:
    """Whose memory was taken away."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, memory: UploadMemory, name: str) -> Share:
        return memory.share(lambda: self.names.append(name))


@pytest.fixture
def losses() -> Losses:
    return Losses()


def receive(memory: UploadMemory, clock: Clock, share: Share, size: int, seconds: float) -> None:
    """Take `size` bytes as they come, in `seconds`."""
    for _ in range(10):
        assert memory.take_now(share, size // 10)
        clock.now_s += seconds / 10


async def soon(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(20):
        await task


async def turns() -> None:
    """Let everybody that can go on."""
    for _ in range(20):
        await asyncio.sleep(0.002)


def fill(memory: UploadMemory, clock: Clock, losses: Losses, *, bytes_per_s: float) -> list[Share]:
    """Fill what large ones may have with half-full parts of sources that give so much."""
    shares = [losses.of(memory, f"filler{number}") for number in range(8)]
    size = 3 * MB
    for step in range(10):
        for share in shares:
            assert memory.take_now(share, size // 10)
        if step < 9:
            clock.now_s += size / 10 / bytes_per_s
    assert not memory.take_now(losses.of(memory, "large"), 3 * MB)
    return shares


async def test_what_is_free_is_taken_at_once(memory: UploadMemory, losses: Losses) -> None:
    one, two = losses.of(memory, "one"), losses.of(memory, "two")
    assert memory.take_now(one, 20 * MB)
    assert memory.take_now(two, 4 * MB)
    assert not memory.take_now(two, 1 * MB)
    memory.give_back(one)
    assert memory.take_now(two, 20 * MB)
    assert memory.free_bytes == 8 * MB


async def test_small_objects_need_not_wait_for_large_ones(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=2 * MB)
    exceeding = asyncio.create_task(memory.take(holders[0], MB))
    waiting = asyncio.create_task(memory.take(holders[1], MB))
    await turns()
    assert exceeding.done()
    assert not waiting.done()
    for number in range(3):
        small = losses.of(memory, f"small{number}")
        assert memory.take_now(small, SMALL_BYTES)
        assert not memory.take_now(small, 1)
    assert not losses.names
    memory.give_back(holders[0])
    await soon(waiting)


async def test_one_at_a_time_may_exceed_so_that_equals_go_on_in_turn(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=2 * MB)
    first = asyncio.create_task(memory.take(holders[0], MB))
    second = asyncio.create_task(memory.take(holders[1], MB))
    await turns()
    assert first.done()
    assert not second.done()
    assert memory.take_now(holders[0], 4 * MB)  # until its part is full
    memory.sending(holders[0])
    memory.give_back(holders[0])
    await soon(second)
    assert not losses.names


async def test_a_fast_upload_takes_the_memory_of_slow_ones_that_lose_least(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=50_000)
    holders[3].total -= 1  # the least to lose
    await memory.take(holders[0], MB)  # exceeds
    fast = losses.of(memory, "fast")
    receive(memory, clock, fast, SMALL_BYTES // 10 * 10, 0.2)
    await soon(asyncio.create_task(memory.take(fast, MB)))
    assert losses.names == ["filler3", "filler1"]
    with pytest.raises(HostBusy) as caught:
        memory.take_now(holders[3], 1)
    assert caught.value.reason is Reason.HOST_QUEUE
    assert caught.value.retry_after_s
    with pytest.raises(HostBusy):
        memory.sending(holders[3])
    assert memory.take_now(holders[0], 1)


async def test_an_upload_of_which_nothing_is_known_takes_that_of_crawling_ones(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=50_000)
    await memory.take(holders[0], MB)  # exceeds
    await soon(asyncio.create_task(memory.take(losses.of(memory, "new"), 3 * MB)))
    assert losses.names == ["filler1", "filler2"]


@pytest.mark.parametrize(
    ("bytes_per_s", "is_sending"),
    [(2 * MB, False), (50_000, True)],
    ids=["soon full", "on their way"],
)
async def test_what_is_about_to_come_free_is_waited_for(
    memory: UploadMemory, clock: Clock, losses: Losses, bytes_per_s: float, is_sending: bool
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=bytes_per_s)
    exceeds = losses.of(memory, "exceeds")
    await memory.take(exceeds, SMALL_BYTES + MB)
    for share in [*holders, exceeds] if is_sending else []:
        memory.sending(share)
    fast = losses.of(memory, "fast")
    receive(memory, clock, fast, SMALL_BYTES // 10 * 10, 0.01)
    waiting = asyncio.create_task(memory.take(fast, MB))
    await turns()
    assert not waiting.done()
    assert not losses.names
    memory.give_back(exceeds)
    await soon(waiting)


async def test_equally_slow_ones_take_nothing_from_each_other(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    holders = fill(memory, clock, losses, bytes_per_s=50_000)
    tasks = [asyncio.create_task(memory.take(share, MB)) for share in holders]
    await turns()
    assert [task.done() for task in tasks] == [True] + 7 * [False]
    assert not losses.names
    clock.now_s += MAX_WAIT_S
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, HostBusy) for result in results[1:])


async def test_who_stands_still_loses_what_came_quickly(
    memory: UploadMemory, clock: Clock, losses: Losses
) -> None:
    fill(memory, clock, losses, bytes_per_s=100 * MB)
    new = losses.of(memory, "new")
    assert memory.take_now(new, SMALL_BYTES)
    exceeds = losses.of(memory, "exceeds")
    await memory.take(exceeds, 3 * MB)
    waiting = asyncio.create_task(memory.take(new, MB))
    await turns()
    assert not waiting.done()
    clock.now_s += 29.0
    await soon(waiting)
    assert losses.names


async def test_nobody_waits_without_end(memory: UploadMemory, clock: Clock, losses: Losses) -> None:
    sending = losses.of(memory, "sending")
    assert memory.take_now(sending, 24 * MB)
    memory.sending(sending)
    exceeds = losses.of(memory, "exceeds")
    await memory.take(exceeds, 9 * MB)
    memory.sending(exceeds)
    waiter = losses.of(memory, "waiter")
    waiting = asyncio.create_task(memory.take(waiter, 3 * MB))
    await turns()
    assert not waiting.done()
    clock.now_s += MAX_WAIT_S
    with pytest.raises(HostBusy):
        await soon(waiting)
    waiter.waited_s = MAX_WAITS_S
    with pytest.raises(HostBusy):
        await soon(asyncio.create_task(memory.take(waiter, 3 * MB)))
    for share in (waiter, sending, exceeds):
        memory.give_back(share)
    assert memory.free_bytes == TOTAL


@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_cancelled_wait_keeps_nothing_once_its_holder_gives_back(
    memory: UploadMemory, losses: Losses, is_granted: bool
) -> None:
    full, exceeds = losses.of(memory, "full"), losses.of(memory, "exceeds")
    assert memory.take_now(full, 24 * MB)
    memory.sending(full)
    await memory.take(exceeds, 9 * MB)
    memory.sending(exceeds)
    gone, other = losses.of(memory, "gone"), losses.of(memory, "other")
    waiting = asyncio.create_task(memory.take(gone, 3 * MB))
    following = asyncio.create_task(memory.take(other, 3 * MB))
    await asyncio.sleep(0)
    if is_granted:
        memory.give_back(full)
        memory.give_back(exceeds)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    for share in (gone, full, exceeds):
        memory.give_back(share)
    await soon(following)
    memory.give_back(other)
    memory.give_back(other)
    assert memory.free_bytes == TOTAL


@given(seed=st.integers(0, 2**32), uploads=st.integers(1, 24), step_s=st.sampled_from([0.0, 0.02]))
def test_with_all_uploads_the_bound_holds_all_end_and_all_is_given_back(
    seed: int, uploads: int, step_s: float
) -> None:
    draw = random.Random(seed)
    memory = UploadMemory(TOTAL, part_bytes=PART, clock=Clock(step_s))
    chunk = MB
    ended = 0

    async def one(share: Share) -> None:
        nonlocal ended
        collected = 0
        try:
            for _ in range(draw.randrange(30)):
                size = draw.randint(1, chunk)
                await memory.take(share, size)
                assert memory.free_bytes >= -(PART + chunk)
                collected += size
                if draw.random() < 0.1:
                    await asyncio.sleep(0)
                if collected >= PART:
                    memory.sending(share)
                    await asyncio.sleep(0)
                    memory.give_back(share)
                    collected = 0
        except HostBusy:
            assert step_s
        finally:
            memory.give_back(share)
            ended += 1

    async def run() -> None:
        async with asyncio.timeout(60):
            tasks = [asyncio.create_task(one(memory.share(lambda: None))) for _ in range(uploads)]
            await asyncio.sleep(0)
            if draw.random() < 0.5:
                draw.choice(tasks).cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                assert task.cancelled() or task.exception() is None

    asyncio.run(run())
    assert ended >= uploads - 1
    assert memory.free_bytes == TOTAL
