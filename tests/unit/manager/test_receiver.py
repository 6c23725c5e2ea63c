"""Slots, pauses, redeliveries, and the way out."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import Workbench, envelope_of
from testkit.waiting import until
from wis2_gc_common.errors import Reason, SourceError, Unavailable
from wis2_gc_manager import receiver as receiver_module
from wis2_gc_manager.pipeline.in_flight import InFlight, Item
from wis2_gc_manager.pipeline.outage_gate import MAX_REPEATS
from wis2_gc_manager.pipeline.retry import MAX_DELIVERIES, SUSPECT_DELIVERIES
from wis2_gc_manager.receiver import SUSPECT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wis2_gc_common.ports.queue import Received


DATA = b"BUFR" * 100


def href(number: int) -> str:
    return f"https://node.yy.test/data/{number}.bufr"


@asynccontextmanager
async def receiving(bench: Workbench) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bench.receiver.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await bench.gate.close()


class TestReceiving:
    async def test_what_is_queued_is_worked_on(self) -> None:
        bench = Workbench()
        for number in range(50):
            bench.downloader.serves(href(number), DATA)
            bench.queue.add(envelope_of(data_id=f"d{number}", href=href(number)))
        async with receiving(bench):
            await until(lambda: len(bench.registry.commits) == 50)
            await until(lambda: len(bench.queue.deleted) == 50)
        assert len(bench.in_flight) == 0

    async def test_never_more_than_there_are_slots(self) -> None:
        bench = Workbench(slots=3)
        holds = [bench.downloader.holds(href(number)) for number in range(5)]
        bench.queue.add(*(envelope_of(data_id=f"d{n}", href=href(n)) for n in range(5)))
        async with receiving(bench):
            await asyncio.gather(*(hold.started.wait() for hold in holds[:3]))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(bench.in_flight) == 3
            assert sum(bench.queue.asked) == 3
            holds[0].end.set_result(DATA)
            await holds[3].started.wait()
            assert len(bench.in_flight) == 3
            for hold in holds[1:]:
                hold.end.set_result(DATA)
            await until(lambda: len(bench.registry.commits) == 5)

    async def test_bulk_never_holds_all_slots(self) -> None:
        bench = Workbench(slots=16)
        holds = [bench.downloader.holds(href(number)) for number in range(20)]
        flood = [envelope_of(data_id=f"d{n}", href=href(n)) for n in range(20)]
        bench.queue.add(*(replace(envelope, is_bulk=True) for envelope in flood))
        async with receiving(bench):
            await until(lambda: len(bench.in_flight) == 14)
            await until(lambda: len(bench.queue.asked) > 5)  # it goes on looking for others
            assert len(bench.in_flight) == bench.in_flight.bulk == 14
            bench.downloader.serves("https://node.yy.test/canary", DATA)
            bench.queue.add(envelope_of(data_id="canary", href="https://node.yy.test/canary"))
            await until(lambda: bench.registry.commits)
            assert bench.in_flight.bulk == 14
            for hold in holds:
                hold.end.set_result(DATA)
            await until(lambda: len(bench.registry.commits) == 21)
        assert bench.in_flight.bulk == 0

    async def test_while_a_part_is_away_nothing_is_received(self) -> None:
        bench = Workbench()
        bench.downloader.serves(href(1), DATA)
        bench.traps.before("check", *[Unavailable("store")] * 200)
        bench.gate.report(Unavailable("store", "disk full"))
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench):
            for _ in range(50):
                await asyncio.sleep(0)
            assert bench.queue.asked == []
            assert not bench.receiver.is_receiving
            await until(lambda: bench.registry.commits)
            assert bench.receiver.is_receiving

    async def test_a_queue_that_goes_away_closes_the_gate_until_it_is_back(self) -> None:
        bench = Workbench()
        bench.downloader.serves(href(1), DATA)
        bench.traps.before("receive", Unavailable("queue"))
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench):
            await until(lambda: bench.registry.commits)

    async def test_a_bug_in_receiving_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receiver_module, "PAUSE_S", 0)
        bench = Workbench()
        bench.downloader.serves(href(1), DATA)
        bench.traps.before("receive", ZeroDivisionError())
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench):
            await until(lambda: bench.registry.commits)

    async def test_a_redelivery_of_what_is_in_work_only_brings_a_new_receipt(self) -> None:
        bench = Workbench()
        hold = bench.downloader.holds(href(1))
        envelope = envelope_of(data_id="d", href=href(1))
        bench.queue.add(envelope)
        async with receiving(bench):
            await hold.started.wait()
            bench.queue.held.clear()  # its visibility ran out
            bench.queue.add(envelope, deliveries=2)
            await until(lambda: bench.queue.held)
            [receipt] = bench.queue.held
            await asyncio.sleep(0)
            hold.end.set_result(DATA)
            await until(lambda: bench.queue.deleted)
        assert bench.queue.deleted == [receipt]
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1

    async def test_what_comes_back_before_its_return_is_answered_is_worked_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Workbench()
        put_back = bench.queue.put_back

        async def slow_put_back(received: Received, **options: Any) -> None:
            # As on SQS: the message is sent again, and the old one is still to be deleted.
            await put_back(received, **options)
            bench.queue.return_delayed()
            await until(lambda: bench.queue.held)
            await asyncio.sleep(0)

        monkeypatch.setattr(bench.queue, "put_back", slow_put_back)
        bench.downloader.serves(href(1), SourceError(Reason.NOT_FOUND, "404"), DATA)
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench):
            await until(lambda: bench.registry.commits)
            await until(lambda: bench.queue.deleted)
        assert len(bench.in_flight) == 0

    async def test_what_is_delivered_again_while_it_is_buried_is_buried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receiver_module, "SUSPECT_S", 0.01)
        bench = Workbench()
        bury = bench.queue.dead_letter
        envelope = envelope_of(data_id="d", href=href(1))

        async def late(received: Received, **options: Any) -> None:
            monkeypatch.setattr(bench.queue, "dead_letter", bury)
            bench.queue.held.clear()  # its visibility ran out
            bench.queue.add(envelope, deliveries=MAX_DELIVERIES + 2)
            await until(lambda: bench.queue.held)
            await asyncio.sleep(0)
            await bury(received, **options)

        monkeypatch.setattr(bench.queue, "dead_letter", late)
        bench.queue.add(envelope, deliveries=MAX_DELIVERIES + 1)
        async with receiving(bench):
            await until(lambda: bench.queue.dead)
        assert not bench.queue.held

    async def test_what_comes_back_while_we_stop_goes_back_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Workbench()
        put_back = bench.queue.put_back
        returning, answered = asyncio.Event(), asyncio.Event()

        async def slow_put_back(received: Received, **options: Any) -> None:
            await put_back(received, **options)
            if not returning.is_set():
                bench.queue.return_delayed()
                await until(lambda: bench.queue.held)
                returning.set()
                await answered.wait()

        monkeypatch.setattr(bench.queue, "put_back", slow_put_back)
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench):
            await returning.wait()
        draining = asyncio.create_task(bench.receiver.drain(0.0, hurry=asyncio.Event()))
        await asyncio.sleep(0)
        answered.set()
        assert await draining == 1
        assert not bench.queue.held
        assert len(bench.queue.delayed) == 1


class TestSuspects:
    """What was delivered so often may be what kills its workers."""

    async def test_it_is_worked_on_alone_and_its_like_go_back_as_new(self) -> None:
        bench = Workbench()
        holds = [bench.downloader.holds(href(number)) for number in range(4)]
        envelopes = [envelope_of(data_id=f"d{n}", href=href(n)) for n in range(4)]
        bench.queue.add(envelopes[0], deliveries=SUSPECT_DELIVERIES)
        bench.queue.add(*envelopes[1:3], deliveries=SUSPECT_DELIVERIES + 1)
        async with receiving(bench):
            await asyncio.gather(*(hold.started.wait() for hold in holds[:2]))
            returned = [(delay_s, e.uid) for delay_s, e in bench.queue.delayed]
            assert returned == [(SUSPECT_S, envelopes[2].uid)]
            asked = len(bench.queue.asked)
            bench.queue.add(envelopes[3])
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(bench.queue.asked) == asked
            assert not holds[3].started.is_set()
            holds[1].end.set_result(DATA)
            await holds[3].started.wait()
            for hold in (holds[0], holds[3]):
                hold.end.set_result(DATA)
            await until(lambda: len(bench.registry.commits) == 3)

    async def test_one_that_takes_long_does_not_stop_the_manager(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receiver_module, "SUSPECT_S", 0.01)
        bench = Workbench()
        slow = bench.downloader.holds(href(0))
        bench.downloader.serves(href(1), DATA)
        bench.queue.add(envelope_of(data_id="d0", href=href(0)), deliveries=SUSPECT_DELIVERIES + 1)
        async with receiving(bench):
            await slow.started.wait()
            bench.queue.add(envelope_of(data_id="d1", href=href(1)))
            await until(lambda: bench.registry.commits)
            slow.end.set_result(DATA)
            await until(lambda: len(bench.registry.commits) == 2)


class TestDraining:
    async def stopped(self, bench: Workbench, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task})

    async def test_what_is_in_work_may_finish(self) -> None:
        bench = Workbench()
        hold = bench.downloader.holds(href(1))
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench) as task:
            await hold.started.wait()
            await self.stopped(bench, task)
            draining = asyncio.create_task(bench.receiver.drain(60, hurry=asyncio.Event()))
            await asyncio.sleep(0)
            hold.end.set_result(DATA)
            assert await draining == 0
        await bench.settle()
        assert len(bench.registry.commits) == 1
        assert bench.queue.held == {}

    async def test_what_does_not_finish_in_time_goes_back_untouched(self) -> None:
        bench = Workbench()
        holds = [bench.downloader.holds(href(number)) for number in range(3)]
        bench.queue.add(*(envelope_of(data_id=f"d{n}", href=href(n)) for n in range(3)))
        async with receiving(bench) as task:
            await asyncio.gather(*(hold.started.wait() for hold in holds))
            await self.stopped(bench, task)
            assert await bench.receiver.drain(0, hurry=asyncio.Event()) == 3
        assert [(delay, e.attempts) for delay, e in bench.queue.delayed] == [(0.0, 0)] * 3
        assert bench.registry.releases == [{"error": "", "is_final": False}] * 3
        assert bench.queue.held == {}
        assert bench.registry.fails == []

    async def test_in_a_hurry_it_does_not_wait(self) -> None:
        bench = Workbench()
        hold = bench.downloader.holds(href(1))
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        hurry = asyncio.Event()
        async with receiving(bench) as task:
            await hold.started.wait()
            await self.stopped(bench, task)
            draining = asyncio.create_task(bench.receiver.drain(3600, hurry=hurry))
            await asyncio.sleep(0)
            hurry.set()
            assert await draining == 1

    async def test_what_waits_for_a_part_that_is_away_goes_back_too(self) -> None:
        bench = Workbench()
        bench.downloader.serves(href(1), DATA)
        bench.traps.before("broker", *[Unavailable("broker")] * 10_000)
        bench.traps.before("publish", *[Unavailable("broker")] * 10)
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench) as task:
            await until(lambda: not bench.gate.is_open)
            await self.stopped(bench, task)
            assert await bench.receiver.drain(0, hurry=asyncio.Event()) == 1
        assert len(bench.queue.delayed) == 1

    async def test_a_stopped_items_successor_gets_the_item_at_once(self) -> None:
        bench = Workbench()
        hold = bench.downloader.holds(href(1))
        bench.queue.add(envelope_of(data_id="d", href=href(1)))
        async with receiving(bench) as task:
            await hold.started.wait()
            await self.stopped(bench, task)
            await bench.receiver.drain(0, hurry=asyncio.Event())
        bench.new_process()
        bench.downloader.serves(href(1), DATA)
        bench.queue.return_delayed()
        async with receiving(bench):
            await until(lambda: bench.registry.commits)

    async def test_with_nothing_in_work_it_is_over_at_once(self) -> None:
        bench = Workbench()
        assert await bench.receiver.drain(3600, hurry=asyncio.Event()) == 0


class TestSlots:
    def item(self, bench: Workbench) -> Item:
        return bench.item(envelope_of(data_id="d"))

    async def test_a_free_batch_is_not_waited_for(self) -> None:
        in_flight = InFlight(64)
        assert await in_flight.wait_free(64, 56, patience_s=3600) == 64

    async def test_the_first_free_slot_waits_a_moment_for_company(self) -> None:
        bench, in_flight = Workbench(), InFlight(2)
        items = [self.item(bench), self.item(bench)]
        for item in items:
            in_flight.add(item)
        waiting = asyncio.create_task(in_flight.wait_free(2, 2, patience_s=3600))
        in_flight.remove(items[0])
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        in_flight.remove(items[1])
        assert await waiting == 2

    async def test_half_of_what_bulk_may_hold_is_waited_for_too(self) -> None:
        bench, in_flight = Workbench(), InFlight(64)
        items = [bench.item(replace(envelope_of(data_id="d"), is_bulk=True)) for _ in range(8)]
        for item in items:
            in_flight.add(item)
        waiting = asyncio.create_task(in_flight.wait_free(16, 8, patience_s=3600))
        for item in items[:3]:
            in_flight.remove(item)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        in_flight.remove(items[3])
        assert await waiting == 60

    async def test_but_not_for_ever(self) -> None:
        bench, in_flight = Workbench(), InFlight(2)
        in_flight.add(self.item(bench))
        assert await in_flight.wait_free(2, 2, patience_s=0.001) == 1

    async def test_a_stranger_is_not_adopted(self) -> None:
        bench, in_flight = Workbench(), InFlight(2)
        assert not in_flight.adopt(self.item(bench).received)


@pytest.mark.parametrize("error", [Unavailable("queue"), ZeroDivisionError()])
async def test_a_message_that_cannot_be_deleted_does_not_stop_the_others(
    error: Unavailable | ZeroDivisionError,
) -> None:
    bench = Workbench()
    first, second = (bench.queue.deliver(envelope_of(data_id="d")) for _ in range(2))
    bench.traps.before("delete", *[error] * (MAX_REPEATS if isinstance(error, Unavailable) else 1))
    bench.finished_messages.delete(first.receipt)
    await bench.finished_messages.flush()
    bench.finished_messages.delete(second.receipt)
    await bench.finished_messages.flush()
    assert bench.queue.deleted == [second.receipt]
    assert bench.finished_messages.receipts == []


async def test_messages_are_deleted_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench()
    calls = []
    delete = bench.queue.delete

    async def counted(receipts: list[str]) -> None:
        calls.append(len(receipts))
        await delete(receipts)

    monkeypatch.setattr(bench.queue, "delete", counted)
    for _ in range(250):
        bench.finished_messages.delete(bench.queue.deliver(envelope_of(data_id="d")).receipt)
    await bench.finished_messages.flush()
    assert calls == [100, 100, 50]
    assert len(bench.queue.deleted) == 250


async def test_closing_gives_up_what_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Workbench()

    async def never(_receipts: list[str]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.queue, "delete", never)
    bench.finished_messages.delete("one")
    await asyncio.sleep(0)
    await bench.finished_messages.close()
    await bench.finished_messages.close()
    assert bench.finished_messages.receipts == ["one"]
