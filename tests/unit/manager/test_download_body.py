"""Memory and time of bodies on their way in."""

from __future__ import annotations

import asyncio

import pytest

from wis2_gc_manager.download.body import MemoryBudget
from wis2_gc_manager.download.timeouts import sooner, stopped


async def test_memory_is_given_out_in_the_order_of_asking() -> None:
    budget = MemoryBudget(100)
    await budget.take(60)
    large = asyncio.create_task(budget.take(70))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.take(10))
    await asyncio.sleep(0)
    assert not budget.take_now(10)
    assert not small.done()
    budget.give_back(60)
    await asyncio.gather(large, small)
    assert budget.free_bytes == 20


async def test_who_gives_up_waiting_for_memory_takes_none() -> None:
    budget = MemoryBudget(100)
    await budget.take(100)
    gone = asyncio.create_task(budget.take(100))
    other = asyncio.create_task(budget.take(50))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    budget.give_back(50)
    await other
    budget.give_back(50)
    assert budget.free_bytes == 50


async def test_who_gives_up_as_memory_comes_gives_it_back() -> None:
    budget = MemoryBudget(100)
    await budget.take(100)
    gone = asyncio.create_task(budget.take(100))
    await asyncio.sleep(0)
    budget.give_back(100)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert budget.free_bytes == 100


async def test_a_stopped_deadline_does_not_run() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(0.05) as deadline:
        with stopped(deadline):
            await asyncio.sleep(0.1)
        when = deadline.when()
        assert when is not None
        assert when - loop.time() == pytest.approx(0.05, abs=0.04)


async def test_a_step_may_have_less_time_but_never_more() -> None:
    async with asyncio.timeout(50) as deadline:  # noqa: ASYNC100 - only its clock is looked at
        whole = deadline.when()
        with sooner(deadline, 100):
            assert deadline.when() == whole
        with sooner(deadline, 1):
            assert deadline.when() != whole
        assert deadline.when() == whole


async def test_a_step_that_takes_too_long_ends_the_whole() -> None:
    async def step() -> None:
        async with asyncio.timeout(100) as deadline:
            with sooner(deadline, 0.01):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await step()
