"""Which source gives the data: inline first, fall-back sources, a second download beside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import Killed, Workbench, envelope_of, task_of
from testkit.messages.wnm import inline, integrity_of
from testkit.waiting import until
from wis2_gc_common.errors import (
    HostBusy,
    IntegrityFailed,
    Overridden,
    Reason,
    SourceError,
    UnusableKey,
)
from wis2_gc_manager.pipeline import acquisition

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import Lease
    from wis2_gc_manager.sources.port import Payload

OWN = "https://node.yy.test/data/obs.bufr"
SECOND = "https://cache.zz.test/data/obs.bufr"
THIRD = "https://cache.ww.test/data/obs.bufr"
DATA = b"BUFR" * 1000
PUBTIME = "2026-11-23T12:00:00Z"
TOPIC = "cache/a/wis2/yy-met/data/core/weather/surface-based-observations/synop"


def own(**more: Any) -> Envelope:
    return envelope_of(data_id="d", href=OWN, pubtime=PUBTIME, **more)


def parked(href: str, **more: Any) -> Envelope:
    more.setdefault("global_cache", f"{href.split('.')[1]}-other-global-cache")
    options = {"topic": TOPIC, "data_id": "d", "href": href, "pubtime": PUBTIME, **more}
    return envelope_of(**options)


class TestFallingBack:
    async def test_a_parked_source_is_used_when_the_own_one_fails(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(SECOND, message_id="m-2", gts="from the second"))
        bench.downloader.serves(SECOND, DATA)
        await bench.handle(own(message_id="m-1"))
        assert [failure.message_id for failure in bench.registry.fails] == ["m-1"]
        [commit] = bench.registry.commits
        assert commit.centre_id == "zz-other-global-cache"
        assert commit.dataserver == "cache.zz.test"
        [message] = [message for topic, message in bench.publisher.sent if topic == TOPIC]
        assert message["properties"]["gts"] == "from the second"

    async def test_each_failing_source_counts_for_its_own_centre_and_host(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(SECOND, message_id="m-2"))
        await bench.handle(own(message_id="m-1"))
        assert [(f.message_id, f.centre_id, f.dataserver) for f in bench.registry.fails] == [
            ("m-1", "yy-met", "node.yy.test"),
            ("m-2", "zz-other-global-cache", "cache.zz.test"),
        ]
        assert [envelope.attempts for _, envelope in bench.queue.delayed] == [1]

    async def test_a_source_parked_while_the_last_one_failed_is_tried_too(self) -> None:
        bench = Workbench()
        bench.downloader.serves(SECOND, DATA)
        hold = bench.downloader.holds(OWN)
        item = bench.begin(own())
        await hold.started.wait()
        await bench.handle(parked(SECOND))
        hold.end.set_exception(SourceError(Reason.TIMEOUT))
        await task_of(item)
        assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]
        assert bench.registry.releases == []

    async def test_the_same_link_is_not_tried_twice(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(OWN))
        await bench.handle(own())
        assert bench.downloader.fetched == [OWN]

    async def test_a_corrected_notification_of_the_same_link_is_a_source_of_its_own(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(OWN, integrity=integrity_of(DATA)))
        bench.downloader.serves(OWN, IntegrityFailed(Reason.INTEGRITY), DATA)
        await bench.handle(own(integrity=integrity_of(b"other")))
        [message] = bench.publisher.announced
        assert message["properties"]["integrity"] == integrity_of(DATA)
        assert list(bench.store.objects.values()) == [DATA]

    @pytest.mark.parametrize(
        "integrity", [integrity_of(DATA) | {"method": "md5"}, integrity_of(DATA) | {"value": "x"}]
    )
    async def test_a_checksum_that_no_data_can_pass_fails_the_check_and_asks_for_no_data(
        self, integrity: dict[str, str]
    ) -> None:
        bench = Workbench()
        await bench.handle(own(integrity=integrity, content=inline(DATA[:100])))
        assert bench.downloader.fetched == []
        assert bench.store.objects == {}
        [failure] = bench.registry.fails
        assert (failure.kind, failure.reason) == ("integrity", Reason.INVALID_INTEGRITY)
        # It will never pass: no retries.
        assert bench.queue.delayed == []
        assert len(bench.queue.deleted) == 1
        [release] = bench.registry.releases
        assert release["is_final"]

    async def test_a_valid_copy_parked_beside_a_broken_checksum_is_used(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(OWN))
        bench.downloader.serves(OWN, DATA)
        await bench.handle(own(integrity=integrity_of(DATA) | {"method": "md5"}))
        assert [failure.kind for failure in bench.registry.fails] == ["integrity"]
        assert list(bench.store.objects.values()) == [DATA]

    async def test_inline_data_of_a_corrected_notification_is_looked_at(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(OWN, content=inline(b"small")))
        await bench.handle(own(content=inline(b"small", size=99)))
        assert bench.downloader.fetched == [OWN]
        [message] = bench.publisher.announced
        assert message["properties"]["content"] == inline(b"small")

    async def test_parked_inline_data_needs_no_download(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(SECOND, content=inline(b"small")))
        await bench.handle(own())
        assert bench.downloader.fetched == [OWN]
        assert list(bench.store.objects.values()) == [b"small"]

    async def test_parked_ones_about_other_data_are_skipped(self) -> None:
        bench = Workbench()
        for odd in (
            parked(SECOND, data_id="other"),
            parked(SECOND, pubtime="2026-11-23T12:00:01Z"),
            parked(SECOND, rel="deletion"),
            parked(SECOND, cache=False),
            parked(SECOND, topic=TOPIC.replace("yy-met", "zz-met")),
            envelope_of(topic=TOPIC, payload=b"{"),
            envelope_of(topic="nonsense", data_id="d"),
        ):
            bench.registry.park("d", odd)
        bench.registry.park("d", b"\xff")
        await bench.handle(own())
        assert bench.downloader.fetched == [OWN]
        assert len(bench.queue.delayed) == 1

    async def test_the_same_item_on_another_topic_of_its_centre_is_the_last_resort(self) -> None:
        bench = Workbench()
        other = "cache/a/wis2/yy-met/data/core/ocean/surface-based-observations"
        bench.downloader.serves(SECOND, DATA)
        bench.registry.park("d", parked(SECOND, topic=other))
        bench.registry.park("d", parked(THIRD))
        await bench.handle(own())
        assert bench.downloader.fetched == [OWN, THIRD, SECOND]
        announced = [topic for topic, _ in bench.publisher.sent if topic.startswith("cache/")]
        assert announced == [other]

    async def test_of_the_parked_ones_those_of_the_same_rel_come_first(self) -> None:
        bench = Workbench()
        bench.registry.park("d", parked(SECOND, rel="update"))
        bench.registry.park("d", parked(THIRD))
        await bench.handle(own())
        assert bench.downloader.fetched == [OWN, THIRD, SECOND]

    async def test_a_busy_own_host_lets_the_parked_source_go_first(self) -> None:
        bench = Workbench()
        bench.downloader.serves(OWN, HostBusy(Reason.HOST_QUEUE, retry_after_s=5))
        bench.downloader.serves(SECOND, DATA)
        bench.registry.park("d", parked(SECOND))
        await bench.handle(own())
        assert bench.registry.fails == []
        assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]

    async def test_the_last_attempt_is_not_the_last_while_a_source_was_only_busy(self) -> None:
        bench = Workbench()
        bench.downloader.serves(SECOND, HostBusy(Reason.HOST_QUEUE, retry_after_s=5))
        bench.registry.park("d", parked(SECOND))
        await bench.handle(own(attempts=2))
        assert [(delay, e.attempts) for delay, e in bench.queue.delayed] == [(5, 2)]

    async def test_a_parked_source_too_large_decides_when_all_others_failed(self) -> None:
        bench = Workbench()
        bench.downloader.serves(SECOND, Overridden(Reason.TOO_LARGE))
        bench.registry.park("d", parked(SECOND))
        await bench.handle(own())
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]
        assert bench.publisher.announced[0]["links"][0]["href"] == SECOND

    @pytest.mark.parametrize("end", ["lose", "preempt"])
    async def test_an_item_that_goes_on_with_a_source_parked_meanwhile_can_be_stopped(
        self, end: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Workbench()
        second = bench.downloader.holds(SECOND)
        release = bench.registry.release

        async def parked_just_before(lease: Lease, **options: Any) -> str:
            monkeypatch.setattr(bench.registry, "release", release)
            bench.registry.park("d", parked(SECOND))
            return await release(lease, **options)

        monkeypatch.setattr(bench.registry, "release", parked_just_before)
        item = bench.begin(own())
        await second.started.wait()
        # It was about to settle; now it is not.
        getattr(item, end)()
        assert item.is_lost or item.is_preempted
        await task_of(item)
        await bench.settle()
        assert second.cancelled.is_set()


class TestHedging:
    async def test_without_a_second_source_the_first_is_waited_for(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        hold = bench.downloader.holds(OWN)
        item = bench.begin(own())
        await hold.started.wait()
        await until(lambda: bench.registry.parked_reads == 1)
        hold.end.set_result(DATA)
        await task_of(item)
        assert bench.downloader.fetched == [OWN]
        assert bench.registry.parked_reads == 1

    async def test_a_second_source_overtakes_a_slow_first_one(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        slow = bench.downloader.holds(OWN)
        bench.downloader.serves(SECOND, DATA)
        bench.registry.park("d", parked(SECOND))
        await bench.handle(own())
        assert slow.cancelled.is_set()
        assert bench.registry.fails == []
        assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]

    async def test_the_first_one_may_still_win_and_the_second_is_cancelled(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        first.end.set_result(DATA)
        await task_of(item)
        await bench.settle()
        assert second.cancelled.is_set()
        assert [commit.dataserver for commit in bench.registry.commits] == ["node.yy.test"]
        assert len(bench.publisher.announced) == 1

    async def test_a_source_parked_after_the_delay_is_heard_of_by_the_renewal(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        slow = bench.downloader.holds(OWN)
        bench.downloader.serves(SECOND, DATA)
        item = bench.begin(own())
        await slow.started.wait()
        await until(lambda: bench.registry.parked_reads == 1)
        bench.registry.park("d", parked(SECOND))
        item.hear_parked(1)
        await task_of(item)
        assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]

    async def test_a_source_parked_after_the_delay_is_asked_for_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acquisition, "MIN_ASK_S", 0.001)
        bench = Workbench(hedge_delay_s=0)
        slow = bench.downloader.holds(OWN)
        bench.downloader.serves(SECOND, DATA)
        item = bench.begin(own())
        await slow.started.wait()
        await until(lambda: bench.registry.parked_reads >= 3)
        bench.registry.park("d", parked(SECOND))
        await task_of(item)
        assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]

    async def test_while_two_run_nobody_asks_for_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acquisition, "MIN_ASK_S", 0.001)
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        reads = bench.registry.parked_reads
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(0.02, later.set_result, None)
        await later
        assert bench.registry.parked_reads == reads
        first.end.set_result(DATA)
        await task_of(item)

    async def test_never_more_than_two_run_at_once(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        third = bench.downloader.holds(THIRD)
        bench.registry.park("d", parked(SECOND))
        bench.registry.park("d", parked(THIRD))
        item = bench.begin(own())
        await second.started.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not third.started.is_set()
        first.end.set_exception(SourceError(Reason.TIMEOUT))
        await third.started.wait()
        assert bench.downloader.running == 2
        third.end.set_result(DATA)
        await task_of(item)
        await bench.settle()
        assert bench.downloader.most_running == 2
        assert second.cancelled.is_set()
        assert [failure.reason for failure in bench.registry.fails] == ["timeout"]

    async def test_a_failing_first_one_leaves_the_field_to_the_second(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        first.end.set_exception(SourceError(Reason.TIMEOUT))
        await until(lambda: bench.registry.fails)
        assert not second.cancelled.is_set()
        second.end.set_result(DATA)
        await task_of(item)
        assert len(bench.registry.commits) == 1

    async def test_both_ending_at_once_the_loser_s_upload_is_aborted(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        first.end.set_result(bytes(2_000_000))
        second.end.set_result(bytes(2_000_000))
        await task_of(item)
        await bench.settle()
        assert sorted(upload.is_aborted for upload in bench.store.uploads) == [False, True]
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1

    async def test_a_lost_item_cancels_both(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        item.lose()
        await task_of(item)
        await bench.settle()
        assert first.cancelled.is_set()
        assert second.cancelled.is_set()

    async def test_a_bug_in_one_download_cancels_the_other(self) -> None:
        bench = Workbench(hedge_delay_s=0)
        first, second = bench.downloader.holds(OWN), bench.downloader.holds(SECOND)
        bench.registry.park("d", parked(SECOND))
        item = bench.begin(own())
        await second.started.wait()
        first.end.set_exception(ZeroDivisionError())
        await task_of(item)
        await bench.settle()
        assert second.cancelled.is_set()
        assert len(bench.queue.delayed) == 1

    async def test_a_discarded_download_that_fails_while_it_ends_harms_nobody(self) -> None:
        bench = Workbench(hedge_delay_s=0)

        async def fetch() -> Payload:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise SourceError(Reason.CONNECT) from None
            raise AssertionError("nobody cancels it")

        task = asyncio.create_task(fetch())
        await asyncio.sleep(0)
        bench.downloads.discard(task)
        await bench.downloads.close()
        assert task.done()

    async def test_how_many_hosts_are_busy_is_known(self) -> None:
        bench = Workbench()
        hold = bench.downloader.holds(OWN)
        item = bench.begin(own())
        await hold.started.wait()
        assert bench.downloads.hosts == 1
        hold.end.set_result(DATA)
        await task_of(item)
        assert bench.downloads.hosts == 0


async def test_a_killed_download_is_not_a_source_failure() -> None:
    bench = Workbench()
    bench.traps.before("fetch", Killed())
    item = bench.item(own())
    with pytest.raises(Killed):
        await bench.pipeline.handle(item)
    assert bench.registry.fails == []


@pytest.mark.parametrize(
    ("step", "data"), [("put", b"first"), ("open_upload", bytes(2_000_000))], ids=["small", "large"]
)
async def test_a_name_the_store_cannot_keep_gives_the_next_source_its_chance(
    step: str, data: bytes
) -> None:
    bench = Workbench()
    bench.downloader.serves(OWN, data)
    bench.downloader.serves(SECOND, DATA)
    bench.registry.park("d", parked(SECOND))
    bench.traps.before(step, UnusableKey("a folder is in the way"))
    await bench.handle(own())
    assert list(bench.store.objects.values()) == [DATA]
    assert bench.registry.fails == []
    assert [commit.dataserver for commit in bench.registry.commits] == ["cache.zz.test"]
