"""Heartbeats, counters, expiry, and the sign of life."""

from __future__ import annotations

import asyncio

import pytest

from testkit.fakes.housekeeping import STATUS, housekeeping_of
from testkit.fakes.manager import Workbench
from testkit.waiting import until
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.metrics import ITEMS_DROPPED, field
from wis2_gc_common.ports.registry import Refusal
from wis2_gc_manager.upkeep.housekeeping import STUCK_S, Pulse


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


async def test_it_says_that_it_lives_writes_its_counts_and_expires_objects(
    bench: Workbench,
) -> None:
    bench.counts.add(ITEMS_DROPPED, "duplicate")
    running = asyncio.create_task(housekeeping_of(bench).run())
    await until(lambda: bench.registry.statuses and bench.store.expirations)
    await until(lambda: bench.registry.counts)
    running.cancel()
    await asyncio.wait({running})
    assert bench.registry.statuses[0] == STATUS
    assert bench.registry.counts == {field(ITEMS_DROPPED, "duplicate"): 1}
    assert bench.store.expirations[0].tzinfo is not None


async def test_the_centres_of_the_list_go_to_the_registry_unless_it_is_away(
    bench: Workbench,
) -> None:
    keeping = housekeeping_of(bench)
    await keeping.keep_labels()
    assert bench.registry.known == {"de-dwd"}
    bench.registry.known = None
    bench.gate.report(Unavailable("registry"))
    await keeping.keep_labels()
    assert bench.registry.known is None


async def test_quotas_go_to_the_registry_unless_a_part_that_bounds_them_is_away(
    bench: Workbench,
) -> None:
    keeping = housekeeping_of(bench)
    await keeping.keep_quotas()
    assert bench.registry.quotas == (500, 7_000)
    bench.registry.quotas = None
    bench.gate.report(Unavailable("store"))
    await keeping.keep_quotas()
    assert bench.registry.quotas is None


async def test_centres_are_told_of_what_listeners_refused(bench: Workbench) -> None:
    bench.registry.refused = [
        Refusal(f"centre-{number}", "origin/a/wis2/x/metadata", 1_795_435_200_000, "oversize")
        for number in range(2)
    ]
    await housekeeping_of(bench).tell()
    await until(lambda: len(bench.publisher.events) == 2)
    assert [topic for topic, _ in bench.publisher.events] == [
        "monitor/a/wis2/centre-0",
        "monitor/a/wis2/centre-1",
    ]
    data = bench.publisher.events[0][1]["data"]
    assert data["content"] == {"title": "Invalid notification", "description": "oversize"}
    assert data["channel"] == "origin/a/wis2/x/metadata"
    assert data["time"]["interval"][0] == "2026-11-23T12:00:00.000Z"
    assert bench.registry.refused == []


async def test_a_centre_over_its_share_of_the_queue_is_not_called_invalid(bench: Workbench) -> None:
    bench.registry.refused = [Refusal("centre", "origin/a/wis2/x/metadata", 0, "quota: many")]
    await housekeeping_of(bench).tell()
    await until(lambda: bench.publisher.events)
    content = bench.publisher.events[0][1]["data"]["content"]
    assert content == {"title": "Notification over quota", "description": "quota: many"}


async def test_a_registry_known_to_be_away_is_not_asked_for_refusals(bench: Workbench) -> None:
    bench.registry.refused = [Refusal("centre", "origin/a/wis2/x/metadata", 0, "oversize")]
    bench.traps.before("ping", *[Unavailable("registry")] * 1000)
    bench.gate.report(Unavailable("registry"))
    await housekeeping_of(bench).tell()
    await bench.gate.close()
    assert len(bench.registry.refused) == 1


async def test_it_outlives_outages_and_bugs_and_reports_the_outages(bench: Workbench) -> None:
    bench.traps.before("heartbeat", Unavailable("registry", "away"), ZeroDivisionError())
    bench.traps.before("expire", Unavailable("store"), ZeroDivisionError())
    bench.traps.before("count", Unavailable("registry"))
    bench.traps.before("refusals", Unavailable("registry"), ZeroDivisionError())
    bench.registry.refused = [Refusal("centre", "origin/a/wis2/x/metadata", 0, "oversize")]
    bench.counts.add(ITEMS_DROPPED, "duplicate")
    running = asyncio.create_task(housekeeping_of(bench).run())
    await until(lambda: bench.registry.statuses and bench.store.expirations)
    await until(lambda: bench.registry.counts and bench.publisher.events)
    running.cancel()
    await asyncio.wait({running})
    await bench.gate.wait_open()
    assert bench.registry.counts[field(ITEMS_DROPPED, "duplicate")] == 1


async def test_an_idle_manager_notices_that_the_registry_is_away(bench: Workbench) -> None:
    bench.traps.before("heartbeat", Unavailable("registry", "away"))
    bench.traps.before("ping", *[Unavailable("registry", "away")] * 1000)

    async def one_turn(_delay_s: float) -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(housekeeping_of(bench, one_turn).run())
    await until(lambda: not bench.gate.is_open)
    running.cancel()
    await bench.gate.close()
    assert bench.gate.problems == {"registry": "away"}


async def test_counts_that_were_not_written_are_kept_with_those_that_followed(
    bench: Workbench,
) -> None:
    bench.traps.before("count", Unavailable("registry"))
    bench.counts.add(ITEMS_DROPPED, "stale")
    with pytest.raises(Unavailable):
        await bench.counts.flush(bench.registry)
    bench.counts.add(ITEMS_DROPPED, "stale")
    await bench.counts.flush(bench.registry)
    await bench.counts.flush(bench.registry)
    assert bench.registry.counts == {field(ITEMS_DROPPED, "stale"): 2}


def test_a_loop_that_does_not_come_round_is_stuck() -> None:
    now_s = 100.0
    pulse = Pulse(lambda: now_s)
    assert pulse.problem == ""
    now_s += STUCK_S + 1
    assert "stuck" in pulse.problem
    pulse.beat()
    assert pulse.problem == ""
