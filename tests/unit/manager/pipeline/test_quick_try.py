"""The quick second try of what broke off, before the delays of GC_RETRY_DELAYS begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import Workbench, envelope_of
from wis2_gc_common.errors import Reason, SourceError, Unavailable
from wis2_gc_manager.pipeline.outage_gate import MAX_REPEATS

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Envelope


HREF = "https://node.yy.test/data/obs.bufr"
OTHER = "https://cache.zz.test/data/obs.bufr"
PUBTIME = "2026-11-23T12:00:00Z"
TOPIC = "cache/a/wis2/yy-met/data/core/weather/surface-based-observations/synop"
DATA = b"BUFR 7777"
RESET = SourceError(Reason.CONNECT, "connection reset by peer", is_fleeting=True)


def own(**more: Any) -> Envelope:
    return envelope_of(data_id="d", href=HREF, pubtime=PUBTIME, **more)


def other() -> Envelope:
    return envelope_of(
        topic=TOPIC, data_id="d", href=OTHER, pubtime=PUBTIME, global_cache="zz-other-global-cache"
    )


async def again(bench: Workbench) -> None:
    """Work on what was put back, as if its delay were over."""
    delayed, bench.queue.delayed = bench.queue.delayed, []
    for _, envelope in delayed:
        await bench.handle(envelope)


async def test_it_comes_after_a_second_and_costs_no_attempt() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET, DATA)
    await bench.handle(own())
    # It need not wait behind bulk.
    assert [(delay, e.attempts, e.is_bulk) for delay, e in bench.queue.delayed] == [(1.0, 0, False)]
    await again(bench)
    assert list(bench.store.objects.values()) == [DATA]
    assert bench.queue.delayed == []


async def test_the_first_failure_is_counted_and_told_although_the_second_try_succeeds() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET, DATA)
    await bench.handle(own())
    assert len(bench.publisher.events) == 1
    await again(bench)
    assert len(bench.registry.fails) == 1
    assert [commit.outcome for commit in bench.registry.commits] == ["cached"]
    assert len(bench.publisher.events) == 1


async def test_there_is_one_and_then_all_the_delays_follow() -> None:
    bench = Workbench(retry_delays_s=(10.0, 30.0))
    bench.downloader.serves(HREF, RESET)
    await bench.handle(own())
    delays = []
    while bench.queue.delayed:
        delays.append(bench.queue.delayed[0][0])
        await again(bench)
    assert delays == [1.0, 10.0, 30.0]
    assert len(bench.registry.fails) == 1
    assert bench.registry.releases[-1]["is_final"]


async def test_a_parked_source_is_tried_at_once_and_the_second_is_not_waited_for() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET)
    bench.downloader.serves(OTHER, DATA)
    bench.registry.park("d", other())
    await bench.handle(own())
    assert bench.downloader.fetched == [HREF, OTHER]
    assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]
    assert bench.queue.delayed == []


async def test_while_it_waits_nothing_keeps_another_source_from_being_used() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET)
    bench.downloader.serves(OTHER, DATA)
    await bench.handle(own())
    await bench.handle(other())
    assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]
    await again(bench)
    assert bench.downloader.fetched == [HREF, OTHER]
    assert len(bench.publisher.announced) == 1


async def test_the_host_hears_of_the_second_try_that_it_is_one() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET)
    await bench.handle(own())
    assert bench.downloader.again == []
    await again(bench)
    await again(bench)
    assert bench.downloader.again == [HREF]


async def test_the_host_hears_of_it_although_the_queue_s_reply_to_the_first_was_lost() -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, RESET)
    bench.traps.after("put_back", *[Unavailable("queue", "reply lost")] * MAX_REPEATS)
    await bench.handle(own())
    await again(bench)
    assert bench.downloader.again == [HREF]


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.TIMEOUT, Reason.CIRCUIT_OPEN])
async def test_what_is_not_over_in_a_second_waits_its_delay(reason: Reason) -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, SourceError(reason))
    await bench.handle(own())
    assert [(delay, e.attempts) for delay, e in bench.queue.delayed] == [(10.0, 1)]


async def test_it_can_be_switched_off() -> None:
    bench = Workbench(quick_delay_s=0)
    bench.downloader.serves(HREF, RESET)
    await bench.handle(own())
    assert [(delay, e.attempts) for delay, e in bench.queue.delayed] == [(10.0, 1)]
