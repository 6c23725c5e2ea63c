"""Objects fetched through their public URL: what is an outage, and what is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from testkit.fakes.housekeeping import housekeeping_of
from testkit.fakes.manager import BASE_URL, Workbench, envelope_of
from testkit.waiting import until
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.metrics import PUBLIC_CHECKS
from wis2_gc_manager.pipeline.public_check import OBJECTS, PUBLIC_URL, Sample, Shortage, choose

if TYPE_CHECKING:
    from wis2_gc_common.errors import Part


HREF = "https://node.yy.test/data/obs.bufr"
DATA = b"BUFR" * 1000


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


def sample_of(key: str, centre_id: str = "yy-met") -> Sample:
    return Sample(f"{BASE_URL}/{key}", key, centre_id, len(DATA), "sha512", b"")


def store(bench: Workbench, *keys: str) -> None:
    for key in keys:
        bench.store.objects[key] = DATA
        bench.public_check.offer(sample_of(key))


async def checks(bench: Workbench) -> tuple[int, int]:
    """Return how many have been counted as ok, and as failed."""
    ok, failed = [await bench.counted(PUBLIC_CHECKS, result) for result in ("ok", "failed")]
    return ok, failed


class TestLooking:
    async def test_the_object_stored_last_is_fetched_and_counted(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c", "d")
        await bench.public_check.look()
        assert bench.public_url.fetched == ["d"]
        assert await checks(bench) == (1, 0)
        assert bench.public_check.last_problem == ""

    async def test_nothing_stored_is_nothing_to_look_at(self, bench: Workbench) -> None:
        await bench.public_check.look()
        await bench.public_check.probe()
        assert await checks(bench) == (0, 0)

    async def test_one_object_that_fails_is_not_an_outage(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c", "d")
        bench.public_url.problems["d"] = "status 500"
        await bench.public_check.look()
        assert bench.public_url.fetched == ["d", "c", "b"]
        assert await checks(bench) == (2, 1)
        assert bench.public_check.last_problem == "status 500"

    async def test_two_that_fail_beside_one_that_works_are_not_an_outage(
        self, bench: Workbench
    ) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problems = {"c": "status 500", "b": "status 500"}
        await bench.public_check.look()
        assert await checks(bench) == (1, 2)

    async def test_several_that_fail_with_none_that_works_are_an_outage(
        self, bench: Workbench
    ) -> None:
        store(bench, "a", "b", "c", "d")
        bench.public_url.problem = "status 500"
        with pytest.raises(Unavailable, match="public URL unavailable: status 500"):
            await bench.public_check.look()
        assert await checks(bench) == (0, OBJECTS)

    async def test_the_same_object_failing_again_and_again_is_not_an_outage(
        self, bench: Workbench
    ) -> None:
        for _ in range(10):
            store(bench, "a", "b")
        bench.public_url.problem = "status 500"
        for _ in range(10):
            await bench.public_check.look()
        assert await checks(bench) == (0, 20)

    async def test_a_burst_of_one_centres_odd_objects_is_not_an_outage(
        self, bench: Workbench
    ) -> None:
        bench.store.objects["good"] = DATA
        bench.public_check.offer(sample_of("good", "zz-met"))
        odd = [f"wp-config.{number}.php" for number in range(1000)]
        store(bench, *odd)
        bench.public_url.problems = dict.fromkeys(odd, "status 403")
        await bench.public_check.look()
        assert await checks(bench) == (1, 2)

    async def test_what_is_remembered_is_bounded(self, bench: Workbench) -> None:
        for number in range(1000):
            bench.public_check.offer(sample_of(f"{number}", f"c{number}-met"))
        bench.public_url.problem = "status 500"
        while True:
            before = len(bench.public_url.fetched)
            await bench.public_check.look()  # none of them is in the store: each is forgotten
            if len(bench.public_url.fetched) == before:
                break
        assert len(bench.public_url.fetched) == 32

    async def test_objects_that_are_gone_are_not_a_failure_and_asked_for_no_more(
        self, bench: Workbench
    ) -> None:
        store(bench, "a", "b", "c", "d")
        for key in ("b", "c", "d"):
            del bench.store.objects[key]
        for _ in range(2):
            await bench.public_check.look()
        assert await checks(bench) == (1, 0)
        assert bench.public_url.fetched == ["d", "c", "b", "a"]

    async def test_an_object_replaced_by_another_size_is_not_a_failure(
        self, bench: Workbench
    ) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "5 bytes instead of 4000"
        bench.store.objects["b"] = b"short"
        await bench.public_check.look()
        assert await checks(bench) == (0, 2)

    async def test_a_store_that_does_not_answer_is_another_outage(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "status 500"
        bench.traps.before("size", *[Unavailable("store", "no answer")] * 3)
        with pytest.raises(Unavailable, match="store unavailable"):
            await bench.public_check.look()
        assert await checks(bench) == (0, 0)

    async def test_a_shortage_of_our_own_is_not_an_outage(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problems = dict.fromkeys("abc", Shortage("Too many open files"))
        await bench.public_check.look()
        assert await checks(bench) == (0, 0)


class TestProbing:
    async def test_it_fails_until_any_object_can_be_fetched(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "status 502"
        with pytest.raises(Unavailable, match="status 502"):
            await bench.public_check.probe()
        bench.public_url.problems["a"] = ""
        bench.public_url.problem = ""
        bench.public_url.problems = {"c": "status 500", "b": "status 500"}
        await bench.public_check.probe()

    async def test_one_object_that_is_left_and_fails_keeps_it_closed(
        self, bench: Workbench
    ) -> None:
        store(bench, "a")
        bench.public_url.problem = "status 502"
        with pytest.raises(Unavailable):
            await bench.public_check.probe()

    async def test_where_no_object_is_left_nothing_keeps_it_closed(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "status 502"
        bench.store.objects.clear()
        await bench.public_check.probe()


class TestChoosing:
    def test_the_newest_of_each_centre_comes_first(self) -> None:
        samples = [
            sample_of("1", "aa"),
            sample_of("2", "bb"),
            sample_of("3", "cc"),
            sample_of("4", "cc"),
            sample_of("5", "cc"),
        ]
        assert [sample.key for sample in choose(samples)] == ["5", "2", "1"]

    def test_of_one_centre_different_objects_are_chosen_the_newest_first(self) -> None:
        samples = [sample_of(key) for key in ("1", "2", "3", "4", "4", "3")]
        assert [sample.key for sample in choose(samples)] == ["4", "3", "2"]

    def test_fewer_are_all_there_is(self) -> None:
        assert choose([]) == []
        assert [sample.key for sample in choose([sample_of("1")] * 5)] == ["1"]


class TestAnnouncing:
    async def test_what_is_stored_is_offered_with_what_it_must_be(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        await bench.public_check.look()
        [key] = bench.store.objects
        assert bench.public_url.fetched == [key]
        sample = bench.public_url.samples[0]
        assert sample.url == bench.publisher.announced[0]["links"][0]["href"]
        assert (sample.size_bytes, sample.centre_id) == (len(DATA), "yy-met")

    async def test_while_the_url_fails_nothing_is_announced_and_nothing_lost(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        for number in range(OBJECTS):
            await bench.handle(envelope_of(data_id=f"before {number}", href=HREF))
        assert len(bench.publisher.announced) == OBJECTS
        bench.public_url.problem = "status 500"
        housekeeping = housekeeping_of(bench)
        with pytest.raises(Unavailable) as caught:
            await housekeeping.look_outside()
        bench.gate.report(caught.value)
        item = bench.begin(envelope_of(data_id="during", href=HREF))
        await until(lambda: len(bench.store.objects) == OBJECTS + 1)
        probes = len(bench.public_url.fetched)
        await until(lambda: len(bench.public_url.fetched) > probes + 10)
        assert len(bench.publisher.announced) == OBJECTS
        assert bench.gate.problems == {PUBLIC_URL: "status 500"}
        # What waits is among what each probe asks for.
        newest = list(bench.store.objects)[-1]
        assert bench.public_url.fetched[-OBJECTS:].count(newest) == 1
        bench.public_url.problem = ""
        assert item.task is not None
        await item.task
        ids = [message["properties"]["data_id"] for message in bench.publisher.announced]
        assert sorted(ids) == ["before 0", "before 1", "before 2", "during"]
        assert len(bench.registry.commits) == OBJECTS + 1

    async def test_deletions_and_what_is_not_cached_do_not_wait_for_it(
        self, bench: Workbench
    ) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "status 500"
        bench.gate.report(Unavailable(PUBLIC_URL, "status 500"))
        await bench.handle(envelope_of(data_id="d", href=HREF, cache=False))
        await bench.handle(envelope_of(data_id="e", href=HREF, rel="deletion"))
        assert len(bench.publisher.announced) == 2
        await bench.gate.close()


class TestHousekeeping:
    async def test_it_looks_every_interval_and_reports_an_outage(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        bench.public_url.problem = "status 500"
        running = asyncio.create_task(housekeeping_of(bench, interval_s=5).run())
        await until(lambda: bench.gate.problems)
        assert bench.gate.problems == {PUBLIC_URL: "status 500"}
        bench.public_url.problem = ""
        await bench.gate.wait_open()
        running.cancel()
        await asyncio.wait({running})

    async def test_an_interval_of_0_is_never(self, bench: Workbench) -> None:
        store(bench, "a", "b", "c")
        running = asyncio.create_task(housekeeping_of(bench, interval_s=0).run())
        await until(lambda: len(bench.registry.statuses) > 20)
        running.cancel()
        await asyncio.wait({running})
        assert bench.public_url.fetched == []

    @pytest.mark.parametrize("part", [PUBLIC_URL, "store"])
    async def test_it_does_not_look_while_the_gate_does(self, bench: Workbench, part: Part) -> None:
        store(bench, "a", "b", "c")
        bench.traps.before("check", *[Unavailable("store")] * 1000)
        bench.gate.report(Unavailable(part))
        await housekeeping_of(bench).look_outside()
        assert bench.public_url.fetched == []
        await bench.gate.close()
