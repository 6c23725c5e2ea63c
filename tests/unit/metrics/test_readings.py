from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

import pytest

from testkit.fakes.reader import EMPTY_QUEUE, FakeQueue, FakeReader
from testkit.waiting import until
from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.runtime.logs import configure_logging
from wis2_gc_metrics.exposition import Reading
from wis2_gc_metrics.readings import Readings, SharedRead


async def test_requests_that_come_during_a_read_share_the_next_one() -> None:
    gate = asyncio.Event()
    reader = FakeReader(gate=gate)
    readings = Readings(reader, FakeQueue())
    first = asyncio.create_task(readings.now())
    await until(lambda: reader.snapshots == 1)
    others = [asyncio.create_task(readings.now()) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert reader.snapshots == 2


async def test_a_reading_is_never_older_than_its_request() -> None:
    reader = FakeReader()
    readings = Readings(reader, FakeQueue())
    await readings.now()
    await readings.now()
    assert reader.snapshots == 2


async def test_a_caller_may_accept_an_older_reading() -> None:
    moment = 100.0
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        return reads

    shared = SharedRead(read, clock=lambda: moment)
    assert await shared.get() == 1
    moment = 100.9
    assert await shared.get(max_age_s=1.0) == 1
    moment = 101.1
    assert await shared.get(max_age_s=1.0) == 2


async def test_a_failed_read_is_shared_too_and_the_next_one_tries_again() -> None:
    reader = FakeReader(is_away=True)
    readings = Readings(reader, FakeQueue())
    results = await asyncio.gather(
        *(readings.now(max_age_s=60) for _ in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unavailable] * 5
    assert results[0] is not results[1]
    reader.is_away = False
    await readings.now()


async def test_a_refusal_stays_one_for_all_who_share_it() -> None:
    async def read() -> int:
        raise Misconfigured("queue", "GC_QUEUE_URL", "AccessDenied")

    shared = SharedRead(read)
    results = await asyncio.gather(
        *(shared.get(max_age_s=60) for _ in range(3)), return_exceptions=True
    )
    refusals = [result for result in results if isinstance(result, Misconfigured)]
    assert len(refusals) == len(results) == 3
    assert {refusal.variable for refusal in refusals} == {"GC_QUEUE_URL"}
    assert len({id(result) for result in results}) == 3


async def test_a_registry_that_does_not_answer_in_time_is_away() -> None:
    reader = FakeReader(gate=asyncio.Event())
    readings = Readings(reader, FakeQueue(), timeout_s=0.01)
    with pytest.raises(Unavailable, match="no answer within"):
        await readings.now()


@pytest.mark.parametrize("is_slow", [False, True])
async def test_what_was_counted_is_read_also_while_the_queue_is_away(is_slow: bool) -> None:
    queue = FakeQueue(is_away=not is_slow, gate=asyncio.Event() if is_slow else None)
    readings = Readings(FakeReader(), queue, timeout_s=0.01)
    reading = await readings.now()
    assert reading.snapshot == FakeReader().content
    assert isinstance(reading.depth, Unavailable)
    assert reading.depth.part == "queue"


async def test_what_was_counted_is_read_also_while_the_queue_refuses_to_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(_queue: FakeQueue) -> None:
        raise PartError("queue", "WRONGTYPE Operation against a key")

    monkeypatch.setattr(FakeQueue, "depth", refuse)
    reading = await Readings(FakeReader(), FakeQueue()).now()
    assert reading.snapshot == FakeReader().content
    assert isinstance(reading.depth, Unavailable)


async def test_nobody_asks_the_queue_any_more_when_the_registry_is_away() -> None:
    queue = FakeQueue(gate=asyncio.Event())
    with pytest.raises(Unavailable, match="registry"):
        await Readings(FakeReader(is_away=True), queue).now()
    await until(lambda: queue.asking == 0)


async def test_each_change_of_what_is_away_is_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="info", log_format="json", service="metrics")
    reader, queue = FakeReader(), FakeQueue()
    ticks = itertools.count(1000.0, 10.0)
    readings = Readings(reader, queue, clock=lambda: next(ticks))
    sampling = asyncio.create_task(readings.sample_for_ever(interval_s=0))
    logged: list[tuple[str, str | None]] = []

    def said() -> list[tuple[str, str | None]]:
        lines = map(json.loads, capsys.readouterr().err.splitlines())
        logged.extend((line["event"], line.get("part")) for line in lines)
        return logged

    try:
        queue.is_away = True
        await until(lambda: len(said()) == 1)
        reader.is_away = True
        await until(lambda: len(said()) == 2)
        queue.is_away = reader.is_away = False
        await until(lambda: len(said()) == 3)
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    assert said() == [
        ("readings_unavailable", "queue"),
        ("readings_unavailable", "registry"),
        ("readings_available", None),
    ]


async def test_the_history_grows_without_visitors_and_survives_an_outage() -> None:
    ticks = itertools.count(1000.0, 10.0)
    reader = FakeReader(is_away=True)
    readings = Readings(
        reader, FakeQueue(), clock=lambda: next(ticks), wall_clock=lambda: next(ticks)
    )
    sampling = asyncio.create_task(readings.sample_for_ever(interval_s=0))
    try:
        await until(lambda: reader.refused > 1)
        reader.is_away = False
        await until(lambda: reader.snapshots > 1)
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    assert readings.history.recent(Reading(next(ticks), reader.content, EMPTY_QUEUE)) is not None


async def test_closing_closes_both_connections() -> None:
    reader, queue = FakeReader(), FakeQueue()
    await Readings(reader, queue).close()
    assert reader.is_closed
    assert queue.is_closed
