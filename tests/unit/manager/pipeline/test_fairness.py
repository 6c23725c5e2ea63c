"""A centre with slow sources leaves slots to the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from testkit.fakes.manager import Workbench, envelope_of
from wis2_gc_manager.pipeline.fairness import SLOW_AFTER_S, crowding
from wis2_gc_manager.pipeline.retry import CROWDED_S

if TYPE_CHECKING:
    from wis2_gc_manager.pipeline.in_flight import Item

NOW_S = 1000.0


def items_of(bench: Workbench, centre_id: str, count: int, *, age_s: float) -> list[Item]:
    items = []
    for number in range(count):
        item = bench.item(envelope_of(data_id=f"{centre_id}-{age_s}-{number}", href="http://a/"))
        item.centre_id = centre_id
        item.since_s = NOW_S - age_s - number
        items.append(item)
    return items


def test_while_slots_are_free_nobody_crowds() -> None:
    items = items_of(Workbench(), "aa", 48, age_s=100)
    assert crowding(items, slots=64, free=16, now_s=NOW_S) == (frozenset(), [])


def test_quick_work_may_use_every_slot() -> None:
    items = items_of(Workbench(), "aa", 4, age_s=SLOW_AFTER_S - 4)
    assert crowding(items, slots=4, free=0, now_s=NOW_S) == (frozenset(), [])


def test_slow_work_above_a_share_is_handed_back_the_youngest_first() -> None:
    items = items_of(Workbench(), "aa", 60, age_s=10)
    others = items_of(Workbench(), "bb", 4, age_s=10)
    crowded, excess = crowding(items + others, slots=64, free=0, now_s=NOW_S)
    assert crowded == {"aa"}
    assert len(excess) == 60 - 8
    assert max(item.since_s for item in items if item not in excess) < min(
        item.since_s for item in excess
    )


def test_what_is_being_recorded_is_left_alone() -> None:
    items = items_of(Workbench(), "aa", 64, age_s=10)
    for item in items:
        item.is_settling = True
    assert crowding(items, slots=64, free=0, now_s=NOW_S) == (frozenset(), [])


async def test_a_preempted_item_goes_back_untouched_and_its_centre_waits() -> None:
    bench = Workbench(slots=1)
    hold = bench.downloader.holds("http://slow/")
    slow = bench.begin(envelope_of(data_id="slow", href="http://slow/"))
    other_hold = bench.downloader.holds("http://more/")
    more = bench.begin(envelope_of(data_id="more", href="http://more/"))
    await hold.started.wait()
    await other_hold.started.wait()
    for item in (slow, more):
        bench.in_flight.add(item)
        item.since_s = bench.monotonic_s - SLOW_AFTER_S - 1
    slow.since_s -= 1
    assert bench.fairness.look() == 1
    assert more.task is not None
    await asyncio.wait({more.task})
    assert [envelope.attempts for _, envelope in bench.queue.delayed] == [0]
    assert bench.registry.fails == []
    assert bench.fairness.is_crowding("yy-met")
    await bench.handle(envelope_of(data_id="next", href="http://quick/"))
    assert bench.downloader.fetched.count("http://quick/") == 0
    assert len(bench.queue.delayed) == 2


async def test_what_is_being_recorded_is_not_preempted_however_late_that_began() -> None:
    bench = Workbench()
    hold = bench.downloader.holds("http://slow/")
    item = bench.begin(envelope_of(data_id="slow", href="http://slow/"))
    await hold.started.wait()
    item.is_settling = True
    item.preempt()
    item.lose()
    assert (item.is_preempted, item.is_lost) == (False, False)
    assert item.task is not None
    assert not item.task.cancelling()
    hold.end.set_result(b"x")
    await item.task
    assert len(bench.registry.commits) == 1


async def test_the_next_items_of_a_centre_that_crowds_wait_and_others_do_not() -> None:
    bench = Workbench(slots=4)
    for _ in range(4):
        other = bench.item(envelope_of(data_id="slow", href="http://slow/"))
        other.centre_id, other.since_s = "yy-met", bench.monotonic_s - SLOW_AFTER_S - 1
        bench.in_flight.add(other)
    bench.fairness.look()
    bench.downloader.serves("http://quick/", b"x")
    await bench.handle(envelope_of(data_id="next", href="http://quick/"))
    assert bench.downloader.fetched == []
    assert bench.registry.records == {}
    [(delay_s, _)] = bench.queue.delayed
    assert delay_s >= CROWDED_S
    topic = "origin/a/wis2/zz-met/data/core/weather/surface-based-observations/synop"
    await bench.handle(envelope_of(data_id="other", href="http://quick/", topic=topic))
    assert len(bench.registry.commits) == 1


async def test_an_item_on_its_way_back_is_not_stopped_a_second_time() -> None:
    bench = Workbench()
    bench.registry.claim_gate = asyncio.Event()
    item = bench.begin(envelope_of(data_id="d", href="http://slow/"))
    assert item.task is not None
    await asyncio.sleep(0)
    item.preempt()
    await asyncio.sleep(0)
    item.preempt()
    item.lose()
    bench.registry.claim_gate.set()
    await asyncio.wait({item.task})
    assert not item.task.cancelled()
    assert len(bench.queue.delayed) == 1
    assert not any(record.is_live for record in bench.registry.records.values())
