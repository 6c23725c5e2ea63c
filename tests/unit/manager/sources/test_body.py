"""Time of bodies on their way in."""

from __future__ import annotations

import asyncio

import pytest

from wis2_gc_manager.sources.timeouts import sooner, stopped


async def test_a_stopped_deadline_does_not_run() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(50) as deadline:
        before = deadline.when()
        begun = loop.time()
        with stopped(deadline):
            stopped_at = loop.time()
            assert deadline.when() is None
            await asyncio.sleep(0.1)
            over_at = loop.time()
        when = deadline.when()
        assert before is not None
        assert when is not None
        # It has moved by as long as it was stopped for, and by no more than all this took: to the
        # millisecond of the loop's clock.
        assert over_at - stopped_at - 0.001 <= when - before <= loop.time() - begun + 0.001


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
