"""A process that dies between any two steps: the next one makes it good, under one id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.fakes.manager import Killed, Workbench, envelope_of
from testkit.messages.wnm import inline
from wis2_gc_common.errors import Reason, SourceError
from wis2_gc_manager.pipeline.in_flight import Item

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Envelope


HREF = "https://node.yy.test/data/obs.bufr"
SMALL = b"BUFR" * 1000
LARGE = bytes(2_000_000)

MOMENTS = [
    (when, step)
    for step in ("claim", "fetch", "put", "size", "publish", "commit", "delete")
    for when in ("before", "after")
]


async def handle_until_killed(bench: Workbench, envelope: Envelope) -> None:
    """Work on the message; everything in memory is gone afterwards."""
    with pytest.raises(Killed):
        await handle_and_delete(bench, envelope)
    bench.new_process()


async def handle_and_delete(bench: Workbench, envelope: Envelope) -> None:
    await bench.pipeline.handle(bench.item(envelope))
    # The message is deleted by a task of its own, which dies with its process.
    assert bench.finished_messages._task is not None
    await bench.finished_messages._task


def ids(bench: Workbench) -> set[str]:
    return {message["id"] for message in bench.publisher.announced}


@pytest.mark.parametrize(("when", "step"), MOMENTS)
@pytest.mark.parametrize("is_lease_over", [True, False], ids=["lease over", "lease alive"])
async def test_killed_at_any_step_an_item_is_announced_under_one_id_and_counted_once(
    when: str, step: str, is_lease_over: bool
) -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, SMALL)
    getattr(bench.traps, when)(step, Killed())
    envelope = envelope_of(data_id="d", href=HREF)
    await handle_until_killed(bench, envelope)
    if is_lease_over:
        bench.registry.expire_leases()
    for received in bench.queue.redeliver():
        await bench.pipeline.handle(Item(received))
    await bench.settle()
    assert len(ids(bench)) == 1
    assert [commit.outcome for commit in bench.registry.commits] == ["cached"]
    assert list(bench.store.objects.values()) == [SMALL]
    assert bench.registry.fails == []
    assert bench.queue.held == {}
    assert bench.queue.delayed == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_while_a_large_object_is_completed_it_is_there_once_in_the_end(
    when: str,
) -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, LARGE)
    getattr(bench.traps, when)("complete", Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF))
    await bench.redeliver()
    assert list(bench.store.objects.values()) == [LARGE]
    assert len(bench.publisher.announced) == 1
    assert len(bench.registry.commits) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["publish", "delete_object", "commit", "delete"])
async def test_killed_within_a_deletion_the_object_goes_and_one_id_is_announced(
    when: str, step: str
) -> None:
    bench = Workbench()
    await bench.handle(
        envelope_of(data_id="d", content=inline(b"x"), pubtime="2026-11-23T12:00:00Z")
    )
    bench.publisher.sent.clear()
    getattr(bench.traps, when)(step, Killed())
    await handle_until_killed(
        bench,
        envelope_of(data_id="d", rel="deletion", href=HREF, pubtime="2026-11-23T13:00:00Z"),
    )
    await bench.redeliver()
    assert bench.store.objects == {}
    assert len(ids(bench)) == 1
    assert [commit.outcome for commit in bench.registry.commits] == ["cached", "deleted"]
    assert bench.queue.held == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["publish", "commit", "delete"])
async def test_killed_within_an_uncached_item_one_id_is_announced_and_counted_once(
    when: str, step: str
) -> None:
    bench = Workbench()
    getattr(bench.traps, when)(step, Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF, cache=False))
    await bench.redeliver()
    assert len(ids(bench)) == 1
    assert [commit.outcome for commit in bench.registry.commits] == ["uncached"]


async def test_killed_between_an_override_and_its_event_the_event_is_sent() -> None:
    bench = Workbench(max_object_bytes=100)
    bench.traps.before("publish_event", Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF, length=101))
    await bench.redeliver()
    assert len(bench.publisher.events) == 1
    assert [commit.outcome for commit in bench.registry.commits] == ["override"]


async def test_an_override_repeated_after_a_crash_has_the_same_event_id() -> None:
    bench = Workbench(max_object_bytes=100)
    bench.traps.before("commit", Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF, length=101))
    await bench.redeliver()
    assert len(bench.publisher.events) == 2
    assert len({event["id"] for _, event in bench.publisher.events}) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["fail", "release", "put_back"])
async def test_killed_while_a_failure_is_recorded_it_is_counted_once_and_tried_again(
    when: str, step: str
) -> None:
    bench = Workbench()
    bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT))
    getattr(bench.traps, when)(step, Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF))
    await bench.redeliver()
    assert len(bench.registry.fails) == 1
    assert [envelope.attempts for _, envelope in bench.queue.delayed] == [1]
    assert bench.queue.held == {}


async def test_the_successor_of_a_dead_holder_takes_the_parked_sources_over() -> None:
    bench = Workbench()
    other = "https://cache.zz.test/data/obs.bufr"
    pubtime = "2026-11-23T12:00:00Z"
    bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT))
    bench.downloader.serves(other, SMALL)
    bench.traps.before("fail", Killed())
    await handle_until_killed(bench, envelope_of(data_id="d", href=HREF, pubtime=pubtime))
    await bench.handle(envelope_of(data_id="d", href=other, pubtime=pubtime))  # parked
    await bench.redeliver()
    assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]
