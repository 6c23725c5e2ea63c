from __future__ import annotations

import asyncio

import pytest

from wis2_gc_common.store.s3_part_memory import PartMemory


async def test_what_is_free_is_taken_at_once():
    memory = PartMemory(10)
    assert memory.take_now("a", 4)
    assert memory.take_now("b", 6)
    assert not memory.take_now("c", 1)
    memory.give_back("a")
    assert memory.take_now("c", 4)
    assert memory.free_bytes == 0


async def test_one_holder_at_a_time_may_exceed_so_nobody_waits_for_ever():
    memory = PartMemory(10)
    for holder in "ab":
        await memory.take(holder, 5)
    await asyncio.wait_for(memory.take("a", 3), 5)
    assert memory.free_bytes == -3
    waiting = asyncio.create_task(memory.take("b", 3))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert memory.take_now("a", 2)  # until its part is full
    memory.give_back("a")
    await waiting
    assert memory.free_bytes == 10 - 8


async def test_who_came_first_is_served_first():
    memory = PartMemory(4)
    await memory.take("full", 4)
    await memory.take("exceeds", 2)
    order: list[str] = []

    async def take(holder: str) -> None:
        await memory.take(holder, 2)
        order.append(holder)

    tasks = [asyncio.create_task(take(holder)) for holder in ("first", "second")]
    await asyncio.sleep(0)
    assert not memory.take_now("later", 0)
    memory.give_back("exceeds")
    memory.give_back("full")
    await asyncio.gather(*tasks)
    assert order == ["first", "second"]


@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_cancelled_wait_keeps_nothing_once_its_holder_gives_back(is_granted):
    memory = PartMemory(4)
    await memory.take("full", 4)
    await memory.take("exceeds", 2)
    waiting = asyncio.create_task(memory.take("cancelled", 3))
    other = asyncio.create_task(memory.take("other", 1))
    await asyncio.sleep(0)
    if is_granted:
        memory.give_back("exceeds")
        memory.give_back("full")
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    for holder in ("cancelled", "exceeds", "full"):
        memory.give_back(holder)
    await other
    memory.give_back("other")
    assert memory.free_bytes == 4
    memory.give_back("nobody")
    assert memory.free_bytes == 4
