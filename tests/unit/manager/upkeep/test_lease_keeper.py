"""Leases and visibilities of what is in work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import Workbench, envelope_of, lease_of, next_turn, task_of
from testkit.waiting import until
from wis2_gc_common.errors import Unavailable
from wis2_gc_manager.upkeep.lease_keeper import LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testkit.fakes.manager import Hold
    from wis2_gc_common.ports.registry import Lease
    from wis2_gc_manager.pipeline.in_flight import Item


HREF = "https://node.yy.test/data/obs.bufr"
OTHER = "https://cache.zz.test/data/obs.bufr"
PUBTIME = "2026-11-23T12:00:00Z"


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


def keeper_of(
    bench: Workbench, sleep: Callable[[float], Awaitable[None]] = next_turn
) -> LeaseKeeper:
    return LeaseKeeper(
        in_flight=bench.in_flight,
        registry=bench.registry,
        queue=bench.queue,
        finished_messages=bench.finished_messages,
        gate=bench.gate,
        interval_s=10.0,
        sleep=sleep,
    )


async def start(bench: Workbench, **options: Any) -> tuple[Hold, Item]:
    """Begin one item that downloads, as the receiver would."""
    hold = bench.downloader.holds(HREF)
    item = bench.begin(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME, **options))
    bench.in_flight.add(item)
    await hold.started.wait()
    return hold, item


async def test_messages_in_work_and_those_not_deleted_yet_are_extended(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, item = await start(bench)
    stuck = asyncio.Event()

    async def delete(_receipts: list[str]) -> None:
        await stuck.wait()

    monkeypatch.setattr(bench.queue, "delete", delete)
    bench.finished_messages.delete("finished")
    await keeper_of(bench).extend()
    assert bench.queue.extended == [item.received.receipt, "finished"]
    stuck.set()
    hold.end.set_result(b"x")
    await task_of(item)


async def test_an_item_whose_lease_went_to_another_is_cancelled(bench: Workbench) -> None:
    hold, item = await start(bench)
    bench.registry.expire_leases()
    await bench.registry.claim(
        lease_of(item).notice, owner="another", worker="another", attempt=1, source=b""
    )
    await keeper_of(bench).renew()
    await task_of(item)
    assert item.is_lost
    assert hold.cancelled.is_set() or await asyncio.wait_for(hold.cancelled.wait(), 5)
    assert bench.queue.delayed == []


async def test_an_item_that_still_holds_its_lease_goes_on(bench: Workbench) -> None:
    hold, item = await start(bench)
    await keeper_of(bench).renew()
    assert not item.is_lost
    hold.end.set_result(b"x")
    await task_of(item)
    assert len(bench.registry.commits) == 1


async def test_newly_parked_sources_are_heard_of(bench: Workbench) -> None:
    hold, item = await start(bench)
    bench.registry.park("d", envelope_of(data_id="d", href=OTHER, pubtime=PUBTIME))
    await keeper_of(bench).renew()
    assert item.parked == 1
    hold.end.set_result(b"x")
    await task_of(item)


async def test_without_items_nothing_is_asked(bench: Workbench) -> None:
    bench.traps.before("renew", ZeroDivisionError())
    bench.traps.before("extend", ZeroDivisionError())
    await keeper_of(bench).renew()
    await keeper_of(bench).extend()


async def test_it_goes_on_through_outages_and_bugs(bench: Workbench) -> None:
    hold, item = await start(bench)
    bench.traps.before("renew", Unavailable("registry"), ZeroDivisionError())
    bench.traps.before("extend", *[Unavailable("queue")] * 6)
    turns = 0

    async def sleep(_delay_s: float) -> None:
        nonlocal turns
        turns += 1
        await asyncio.sleep(0.001)

    running = asyncio.create_task(keeper_of(bench, sleep).run())
    await until(lambda: turns > 8 and bench.queue.extended)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert not item.is_lost
    hold.end.set_result(b"x")
    await task_of(item)


async def test_a_registry_that_is_away_does_not_keep_messages_from_being_extended(
    bench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold, item = await start(bench)
    asked = asyncio.Event()

    async def renew(_leases: list[Lease]) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.registry, "renew", renew)
    running = asyncio.create_task(keeper_of(bench).run())
    await asked.wait()
    await until(lambda: bench.queue.extended)
    running.cancel()
    await asyncio.wait({running})
    hold.end.set_result(b"x")
    await task_of(item)
