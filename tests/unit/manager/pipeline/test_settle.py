"""How the work on an item ends: what registry and queue are told of each ending."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import Killed, Workbench, envelope_of, lease_of
from wis2_gc_common.errors import Cause, Poison, Reason, Unavailable
from wis2_gc_common.metrics import CACHE_OVERRIDE, DEAD_LETTERS, INVALID, ITEMS, ITEMS_DROPPED
from wis2_gc_common.ports.registry import Commit
from wis2_gc_manager.pipeline.endings import (
    Buried,
    Dropped,
    Finished,
    GivenUp,
    HandedBack,
    LeaseLost,
    Parked,
    PassedOn,
    PutBack,
)
from wis2_gc_manager.pipeline.source import notice_of, read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_common.ports.queue import Received
    from wis2_gc_manager.pipeline.endings import Ending
    from wis2_gc_manager.pipeline.in_flight import Item

PUBTIME = "2026-11-23T12:00:00Z"
ENVELOPE = envelope_of(data_id="d", pubtime=PUBTIME, attempts=1)
NOTIFICATION = read_source(ENVELOPE).notification
CAUSE = Cause(Reason.TIMEOUT, "5 s")
DONE = Finished(Commit("cached", "yy-met", False, "host", "key", 5, 0.5))
GIVEN_UP = GivenUp(NOTIFICATION, CAUSE)
RETRY = PutBack(10.0, 2, cause=CAUSE)
BURIED = Buried(Cause(Reason.UNEXPECTED, "a bug"))
DELETED, DELAYED, DEAD = "deleted", "delayed", "dead"


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


async def claimed(bench: Workbench) -> Item:
    item = bench.item(ENVELOPE)
    answer = await bench.registry.claim(
        notice_of(NOTIFICATION), owner=ENVELOPE.uid, worker="w", attempt=1, source=b""
    )
    item.lease = answer.lease
    return item


def messages(bench: Workbench) -> list[str]:
    """Return where each message is that is not in work."""
    queue = bench.queue
    return (
        [DELETED] * len(queue.deleted) + [DELAYED] * len(queue.delayed) + [DEAD] * len(queue.dead)
    )


@pytest.mark.parametrize(
    ("ending", "releases", "where"),
    [
        (DONE, [], DELETED),
        (RETRY, [{"error": "timeout: 5 s", "is_final": False}], DELAYED),
        (PutBack(10.0, 1), [{"error": "", "is_final": False}], DELAYED),
        (HandedBack(), [{"error": "", "is_final": False}], DELAYED),
        (GIVEN_UP, [{"error": "timeout: 5 s", "is_final": True}], DELETED),
        (BURIED, [{"error": "unexpected: a bug", "is_final": True}], DEAD),
    ],
)
async def test_an_item_of_ours_leaves_the_registry_first_and_then_the_queue(
    bench: Workbench,
    ending: Ending,
    releases: list[dict[str, bool | str]],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = await claimed(bench)
    put_back, dead_letter = bench.queue.put_back, bench.queue.dead_letter
    seen = []

    async def noted(call: Callable[..., Any], *arguments: Received, **options: Any) -> None:
        seen.append(list(bench.registry.releases))
        await call(*arguments, **options)

    monkeypatch.setattr(bench.queue, "put_back", lambda *a, **o: noted(put_back, *a, **o))
    monkeypatch.setattr(bench.queue, "dead_letter", lambda *a, **o: noted(dead_letter, *a, **o))
    assert await bench.settling.settle(item, ending)
    await bench.settle()
    assert item.is_settling
    assert bench.registry.releases == releases
    assert seen in ([], [releases])
    assert len(bench.registry.commits) == (ending is DONE)
    assert messages(bench) == [where]
    assert bench.queue.held == {}


@pytest.mark.parametrize(
    ("ending", "where"),
    [
        (Dropped("duplicate"), DELETED),
        (Parked(), DELETED),
        (PassedOn("override", "yy-met"), DELETED),
        (PutBack(10.0, 1), DELAYED),
        (HandedBack(), DELAYED),
        (GIVEN_UP, DELETED),
        (BURIED, DEAD),
    ],
)
async def test_of_an_item_without_a_lease_the_registry_hears_nothing(
    bench: Workbench, ending: Ending, where: str
) -> None:
    bench.traps.before("release", ZeroDivisionError())
    bench.traps.before("commit", ZeroDivisionError())
    item = bench.item(ENVELOPE)
    assert await bench.settling.settle(item, ending)
    await bench.settle()
    assert item.is_settling
    assert messages(bench) == [where]


@pytest.mark.parametrize("ending", [RETRY, GIVEN_UP])
async def test_more_parked_sources_keep_the_item_with_us(
    bench: Workbench, ending: GivenUp | PutBack
) -> None:
    item = await claimed(bench)
    bench.registry.park("d", b"another", pubtime=PUBTIME)
    assert not await bench.settling.settle(item, replace(ending, parked_seen=0))
    await bench.settle()
    assert not item.is_settling
    assert item.parked == 1
    assert messages(bench) == []
    assert await bench.settling.settle(item, replace(ending, parked_seen=1))


@pytest.mark.parametrize("ending", [DONE, RETRY, GIVEN_UP, BURIED])
async def test_what_was_lost_meanwhile_leaves_the_message_alone(
    bench: Workbench, ending: Ending
) -> None:
    item = await claimed(bench)
    bench.registry.expire_leases()
    await bench.registry.claim(
        lease_of(item).notice, owner="another", worker="another", attempt=2, source=b""
    )
    with pytest.raises(LeaseLost):
        await bench.settling.settle(item, ending)
    await bench.settle()
    assert messages(bench) == []
    assert bench.settling.given_up == bench.settling.cached == 0


async def test_handing_back_waits_for_no_part_that_is_away(bench: Workbench) -> None:
    item = await claimed(bench)
    bench.traps.before("release", Unavailable("registry"))
    assert await bench.settling.settle(item, HandedBack())
    assert bench.gate.is_open
    assert list(bench.queue.held) == [item.received.receipt]


@pytest.mark.parametrize("ending", [DONE, RETRY, GIVEN_UP, BURIED])
async def test_killed_before_the_registry_has_it_nothing_is_counted_or_moved(
    bench: Workbench, ending: Ending
) -> None:
    item = await claimed(bench)
    for step in ("commit", "release"):
        bench.traps.before(step, Killed())
    with pytest.raises(Killed):
        await bench.settling.settle(item, ending)
    await bench.settle()
    assert messages(bench) == []
    await bench.counts.flush(bench.registry)
    assert bench.registry.counts == {}


async def test_each_ending_is_counted_where_the_commit_does_not(bench: Workbench) -> None:
    poison = Poison(Reason.INVALID_JSON, "x", centre_id="yy-met")
    for ending in (
        DONE,
        Dropped("duplicate"),
        Dropped(poison.reason, poison),
        Parked(),
        PassedOn("deleted", "yy-met"),
        PassedOn("override", "yy-met"),
        RETRY,
        HandedBack(),
        GIVEN_UP,
        GivenUp(NOTIFICATION, CAUSE, dropped_as="waited_in_vain", invalid_of="zz-met"),
        BURIED,
    ):
        item = await claimed(bench) if ending is DONE else bench.item(ENVELOPE)
        await bench.settling.settle(item, ending)
    counted = {
        (ITEMS_DROPPED, "duplicate"): 1,
        (ITEMS_DROPPED, "invalid_json"): 1,
        (ITEMS_DROPPED, "waited_in_vain"): 1,
        (INVALID, "yy-met"): 1,
        (INVALID, "zz-met"): 1,
        (ITEMS, "deleted"): 1,
        (ITEMS, "override"): 1,
        (CACHE_OVERRIDE, "yy-met"): 1,
        (DEAD_LETTERS, "unexpected"): 1,
    }
    assert {name: await bench.counted(*name) for name in counted} == counted
    assert sum(bench.registry.counts.values()) == sum(counted.values())
    assert (bench.settling.cached, bench.settling.given_up) == (1, 3)
