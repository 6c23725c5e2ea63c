"""How much a centre may hold, and what is done with what comes beyond."""

from __future__ import annotations

import pytest

from testkit.fakes.manager import CENTRE_ID, SECRET, Workbench, envelope_of
from testkit.messages.wnm import inline
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.metrics import CACHE_OVERRIDE, ITEMS, MONITORING_EVENTS, NO_CACHE
from wis2_gc_common.wis2.message_id import message_id
from wis2_gc_common.wis2.pubtime import parse_pubtime
from wis2_gc_manager.pipeline.quota import ENDLESS_BYTES, bytes_of_a_centre, items_of_a_centre
from wis2_gc_manager.store.port import Capacity

HREF = "https://node.yy.test/data/obs.bufr"
PUBTIME = "2026-11-23T12:00:00Z"
MB = 1024 * 1024
DISK = Capacity(size_bytes=1000 * MB, files=1_000_000)


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


@pytest.mark.parametrize(
    ("setting", "memory_bytes", "capacity", "items"),
    [
        (5, 1024 * MB, DISK, 5),
        (0, 1024 * MB, DISK, None),
        (None, 1024 * MB, None, 1024 * 1024),
        (None, 1024 * MB, DISK, 500_000),
        (None, 100 * MB, DISK, 100 * 1024),
        (None, 0, DISK, 500_000),
        (None, 1024 * MB, Capacity(1000 * MB, 0), 1024 * 1024),
        (None, 0, None, None),
    ],
)
def test_one_centre_may_hold_half_of_what_there_is_room_for(
    setting: int | None, memory_bytes: int, capacity: Capacity | None, items: int | None
) -> None:
    found = items_of_a_centre(setting, memory_bytes=memory_bytes, capacity=capacity)
    assert found == items


@pytest.mark.parametrize(
    ("setting", "capacity", "size"),
    [(5, DISK, 5), (0, DISK, None), (None, DISK, 500 * MB), (None, None, ENDLESS_BYTES)],
)
def test_one_centre_may_hold_half_of_the_disk(
    setting: int | None, capacity: Capacity | None, size: int | None
) -> None:
    assert bytes_of_a_centre(setting, capacity=capacity) == size


class TestItems:
    async def test_an_item_beyond_the_quota_is_announced_as_it_came_and_counted(
        self, bench: Workbench
    ) -> None:
        bench.registry.left = {"items_left": 0}
        for _ in range(2):
            await bench.handle(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME))
        assert bench.downloader.fetched == []
        assert bench.store.objects == {}
        assert bench.registry.commits == []
        expected = message_id(
            SECRET,
            centre_id=CENTRE_ID,
            topic_centre_id="yy-met",
            data_id="d",
            pubtime_ns=parse_pubtime(PUBTIME),
            rel="canonical",
        )
        assert [message["id"] for message in bench.publisher.announced] == [expected] * 2
        [link] = bench.publisher.announced[0]["links"]
        assert link["href"] == HREF
        assert await bench.counted(CACHE_OVERRIDE, "yy-met") == 2
        assert await bench.counted(ITEMS, "override") == 2
        assert bench.queue.held == {}

    async def test_deletions_and_uncached_items_are_announced_beyond_the_quota(
        self, bench: Workbench
    ) -> None:
        bench.registry.left = {"items_left": 0}
        await bench.handle(envelope_of(data_id="d", href=HREF, rel="deletion"))
        await bench.handle(envelope_of(data_id="e", href=HREF, cache=False))
        assert len(bench.publisher.announced) == 2
        assert await bench.counted(ITEMS, "deleted") == 1
        assert await bench.counted(ITEMS, "uncached") == 1
        assert await bench.counted(NO_CACHE, "yy-met") == 1
        assert await bench.counted(CACHE_OVERRIDE, "yy-met") == 0
        assert bench.publisher.events == []

    async def test_a_link_that_is_refused_is_not_passed_on_beyond_the_quota(
        self, bench: Workbench
    ) -> None:
        bench.registry.left = {"items_left": 0}
        await bench.handle(envelope_of(data_id="d", href="http://10.1.2.3/x"))
        assert bench.publisher.announced == []
        assert bench.queue.held == {}

    async def test_a_message_that_is_not_announced_stays(self, bench: Workbench) -> None:
        bench.registry.left = {"items_left": 0}
        bench.traps.before("publish", *[Unavailable("broker", "no")] * 20)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert len(bench.queue.delayed) == 1

    async def test_an_update_of_what_is_held_is_an_override_on_record(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(data_id="d", content=inline(b"data"), pubtime=PUBTIME))
        bench.registry.left = {"items_left": 0}
        later = PUBTIME.replace("12:", "13:")
        await bench.handle(envelope_of(data_id="d", href=HREF, rel="update", pubtime=later))
        outcomes = [commit.outcome for commit in bench.registry.commits]
        assert outcomes == ["cached", "override"]


class TestBytes:
    async def test_what_is_announced_as_larger_than_what_is_left_is_not_fetched(
        self, bench: Workbench
    ) -> None:
        bench.registry.left = {"bytes_left": 1000}
        await bench.handle(envelope_of(data_id="d", href=HREF, length=1001))
        assert bench.downloader.fetched == []
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]

    async def test_inline_data_counts_by_its_size(self, bench: Workbench) -> None:
        bench.registry.left = {"bytes_left": 9}
        await bench.handle(envelope_of(data_id="d", href=HREF, content=inline(b"0123456789")))
        await bench.handle(envelope_of(data_id="e", href=HREF, content=inline(b"012345678")))
        outcomes = [commit.outcome for commit in bench.registry.commits]
        assert outcomes == ["override", "cached"]

    async def test_inline_data_that_lies_about_its_size_is_not_kept_out(
        self, bench: Workbench
    ) -> None:
        bench.registry.left = {"bytes_left": 10 * MB}
        bench.downloader.serves(HREF, b"data")
        content = inline(b"data", size=2**50)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME, content=content))
        assert bench.downloader.fetched == [HREF]
        assert [commit.outcome for commit in bench.registry.commits] == ["cached"]

    @pytest.mark.parametrize(("left", "outcome"), [(0, "override"), (1, "cached")])
    async def test_an_unknown_size_is_judged_by_what_is_held_before(
        self, bench: Workbench, left: int, outcome: str
    ) -> None:
        bench.downloader.serves(HREF, b"BUFR" * 100)
        bench.registry.left = {"bytes_left": left}
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [commit.outcome for commit in bench.registry.commits] == [outcome]

    async def test_a_deletion_always_works(self, bench: Workbench) -> None:
        await bench.handle(envelope_of(data_id="d", content=inline(b"data"), pubtime=PUBTIME))
        bench.registry.left = {"bytes_left": -5, "items_left": -5}
        later = PUBTIME.replace("12:", "13:")
        await bench.handle(envelope_of(data_id="d", href=HREF, rel="deletion", pubtime=later))
        assert [commit.outcome for commit in bench.registry.commits] == ["cached", "deleted"]
        assert bench.store.objects == {}


async def test_a_centre_hears_of_its_quota_now_and_then_and_others_of_theirs(
    bench: Workbench,
) -> None:
    bench.registry.left = {"items_left": 0}
    topic = "origin/a/wis2/zz-met/data/core/weather/synop"
    for number in range(5):
        await bench.handle(envelope_of(data_id=f"d{number}", href=HREF))
        await bench.handle(envelope_of(topic=topic, data_id=f"d{number}", href=HREF))
    assert [topic for topic, _ in bench.publisher.events] == [
        "monitor/a/wis2/yy-met",
        "monitor/a/wis2/zz-met",
    ]
    event = bench.publisher.events[0][1]
    assert event["data"]["subtype"] == "gc-alert"
    assert event["data"]["content"]["description"].startswith("d0: quota: its centre has as many")
    assert await bench.counted(MONITORING_EVENTS, "gc-alert") == 2


async def test_another_manager_has_told_the_centre(bench: Workbench) -> None:
    bench.registry.told = {"yy-met quota"}
    bench.registry.left = {"bytes_left": 0}
    await bench.handle(envelope_of(data_id="d", href=HREF))
    assert bench.publisher.events == []
