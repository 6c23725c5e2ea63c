"""Items that were not tried: another version is in work, or their centre holds too many slots."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING

from testkit.fakes.manager import Workbench, envelope_of
from wis2_gc_common.metrics import ITEMS_DROPPED
from wis2_gc_manager.pipeline.fairness import SLOW_AFTER_S
from wis2_gc_manager.pipeline.retry import CROWDED, WAITING

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Envelope

SLOW = "http://slow/"


def version(number: int, arrived_ms: int) -> Envelope:
    pubtime = f"2026-11-23T12:{number // 60:02}:{number % 60:02}Z"
    return envelope_of(data_id="d", href=SLOW, pubtime=pubtime, rel="update", arrived_ms=arrived_ms)


async def begun() -> Workbench:
    """A manager with the first version of an item in work."""
    bench = Workbench()
    hold = bench.downloader.holds(SLOW)
    bench.begin(version(0, bench.now_ns // 1_000_000))
    await hold.started.wait()
    return bench


async def test_a_thousand_versions_of_an_item_go_round_a_few_times_each() -> None:
    bench = await begun()
    began_ns, count = bench.now_ns, 1000
    arrived_ms = began_ns // 1_000_000
    waiting = [(0.0, n, version(n, arrived_ms)) for n in range(1, count + 1)]
    heapq.heapify(waiting)
    round_trips = 0
    while waiting[0][0] < 30:
        now_s, number, envelope = heapq.heappop(waiting)
        bench.now_ns = began_ns + int(now_s * 1e9)
        await bench.pipeline.handle(bench.item(envelope))
        [(delay_s, again)] = bench.queue.delayed
        bench.queue.delayed.clear()
        round_trips += 1
        heapq.heappush(waiting, (now_s + delay_s, number, again))
    assert round_trips <= 7 * count
    assert all(envelope.is_bulk for _, _, envelope in waiting)


async def test_the_first_wait_for_another_version_is_short_and_does_not_make_it_bulk() -> None:
    bench = await begun()
    await bench.handle(version(1, bench.now_ns // 1_000_000))
    [(delay_s, again)] = bench.queue.delayed
    assert delay_s <= 1
    assert not again.is_bulk


async def test_what_waits_for_longer_than_it_is_of_use_is_given_up_on_record() -> None:
    bench = await begun()
    day_ago_ms = bench.now_ns // 1_000_000 - 24 * 3_600_000
    await bench.handle(version(1, day_ago_ms))
    assert bench.queue.delayed == []
    assert len(bench.queue.deleted) == 1
    assert await bench.counted(ITEMS_DROPPED, WAITING) == 1
    assert bench.settling.given_up == 1
    [event] = bench.publisher.events
    assert "other versions of it were in work" in str(event)


async def test_a_centre_has_only_so_many_waiting_for_other_versions() -> None:
    bench = await begun()
    bench.delayed.limit = 5
    now_ms = bench.now_ns // 1_000_000
    for number in range(1, 9):
        await bench.handle(version(number, now_ms))
    assert len(bench.queue.delayed) == 5
    assert await bench.counted(ITEMS_DROPPED, WAITING) == 3


def crowd(bench: Workbench) -> None:
    for _ in range(4):
        other = bench.item(envelope_of(data_id="slow", href=SLOW))
        other.centre_id, other.since_s = "yy-met", bench.monotonic_s - SLOW_AFTER_S - 1
        bench.in_flight.add(other)
    bench.fairness.look()


async def test_the_items_of_a_centre_that_crowds_come_back_as_bulk() -> None:
    bench = Workbench(slots=4)
    crowd(bench)
    await bench.handle(envelope_of(data_id="next", href="http://quick/"))
    assert [envelope.is_bulk for _, envelope in bench.queue.delayed] == [True]


async def test_the_items_of_a_centre_that_crowds_are_given_up_when_they_are_of_no_use() -> None:
    bench = Workbench(slots=4)
    crowd(bench)
    envelope = envelope_of(data_id="next", href="http://quick/")
    await bench.handle(replace(envelope, arrived_ms=envelope.arrived_ms - 24 * 3_600_000))
    assert bench.queue.delayed == []
    assert await bench.counted(ITEMS_DROPPED, CROWDED) == 1


async def test_what_has_to_leave_its_slot_and_is_of_no_use_later_is_given_up() -> None:
    bench = Workbench()
    hold = bench.downloader.holds(SLOW)
    envelope = envelope_of(data_id="old", href=SLOW)
    item = bench.begin(replace(envelope, arrived_ms=envelope.arrived_ms - 24 * 3_600_000))
    await hold.started.wait()
    item.preempt()
    assert item.task is not None
    await item.task
    await bench.settle()
    assert bench.queue.delayed == []
    assert [release["is_final"] for release in bench.registry.releases] == [True]
    assert await bench.counted(ITEMS_DROPPED, CROWDED) == 1


async def test_a_bug_in_giving_it_up_leaves_it_to_its_visibility() -> None:
    bench = Workbench()
    hold = bench.downloader.holds(SLOW)
    envelope = envelope_of(data_id="old", href=SLOW)
    item = bench.begin(replace(envelope, arrived_ms=envelope.arrived_ms - 24 * 3_600_000))
    await hold.started.wait()
    bench.traps.before("release", ZeroDivisionError("a bug"))
    item.preempt()
    assert item.task is not None
    await item.task
    assert list(bench.queue.held) == [item.received.receipt]


async def test_a_retry_comes_back_as_bulk_and_the_quick_one_as_it_was() -> None:
    bench = Workbench()
    await bench.handle(envelope_of(data_id="gone", href="http://nothing-there/"))
    [(_, again)] = bench.queue.delayed
    assert again.attempts == 1
    assert again.is_bulk
