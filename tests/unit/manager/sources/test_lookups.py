"""Whose turn it is to have a name looked up."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from testkit.waiting import until
from wis2_gc_common.errors import HostBusy, Reason, SourceError
from wis2_gc_manager.sources import lookups as module
from wis2_gc_manager.sources.lookups import (
    MAX_LOOKUPS,
    MAX_OF_CENTRE,
    MAX_OF_DOMAIN,
    MAX_WAITING_OF_CENTRE,
    RESERVED_FOR_KNOWN,
    Failed,
    Found,
    Lookups,
    domain_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADDRESS = ("8.8.8.8",)


class SilentNames:
    """Name servers of which those whose names begin with `slow` answer when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running: set[str] = set()
        self.over = threading.Event()

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        self.running.add(host)
        if host.startswith("slow"):
            assert self.over.wait(30)
        self.running.discard(host)
        if host.startswith("broken"):
            raise ValueError(host)
        return ADDRESS


class Bench:
    def __init__(self) -> None:
        self.names = SilentNames()
        self.ended: list[tuple[str, str, Found]] = []
        self.lookups = Lookups(self.names, lambda *found: self.ended.append(found))
        self.tasks: list[asyncio.Task[Found]] = []

    def ask(self, host: str, centre_id: str = "xx-a", *, is_known: bool = False) -> None:
        find = self.lookups.find(host, centre_id, is_known=is_known)
        self.tasks.append(asyncio.create_task(find))

    async def flood(self, centre_id: str, *, names: int, domain: str = "") -> None:
        """Name hosts whose name servers say nothing, each of a domain of its own."""
        for number in range(names):
            self.ask(f"slow{number}.{domain or f'{centre_id}{number}.example'}", centre_id)
        await asyncio.sleep(0)

    @property
    def refused(self) -> int:
        """How many were sent away."""
        return sum(task.done() and isinstance(task.exception(), HostBusy) for task in self.tasks)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    running = Bench()
    yield running
    running.names.over.set()
    for task in running.tasks:
        task.cancel()
    await asyncio.gather(*running.tasks, return_exceptions=True)
    running.lookups.close()


async def test_a_centre_whose_name_servers_say_nothing_holds_up_only_itself(bench: Bench) -> None:
    await bench.flood("xx-evil", names=1000)
    await until(lambda: len(bench.names.running) == MAX_OF_CENTRE)
    assert bench.refused == 1000 - MAX_OF_CENTRE - MAX_WAITING_OF_CENTRE
    waits_s = [
        error.retry_after_s or 0.0
        for task in bench.tasks
        if task.done() and isinstance(error := task.exception(), HostBusy)
    ]
    assert waits_s == sorted(waits_s)
    assert waits_s[0] < 10
    assert waits_s[-1] > 200
    for number in range(200):
        host = f"{number}.org"
        assert await bench.lookups.find(host, "xx-good", is_known=False) == ADDRESS
    assert len(bench.names.running) == MAX_OF_CENTRE


async def test_many_centres_with_names_of_one_domain_hold_up_only_that(bench: Bench) -> None:
    for number in range(50):
        await bench.flood(f"xx-{number}", names=4, domain=f"x{number}.evil.example")
    await until(lambda: len(bench.names.running) == MAX_OF_DOMAIN)
    assert await bench.lookups.find("a.org", "xx-good", is_known=False) == ADDRESS


async def test_threads_are_kept_for_the_names_we_know(bench: Bench) -> None:
    for number in range(50):
        await bench.flood(f"xx-{number}", names=5)
    await until(lambda: len(bench.names.running) == MAX_LOOKUPS - RESERVED_FOR_KNOWN)
    assert await bench.lookups.find("a.org", "xx-good", is_known=True) == ADDRESS
    bench.lookups.refresh("b.org", "xx-good")
    await until(lambda: ("b.org", "xx-good", ADDRESS) in bench.ended)
    assert len(bench.names.running) == MAX_LOOKUPS - RESERVED_FOR_KNOWN


async def test_who_waits_for_a_thread_is_busy_after_a_while_and_not_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.flood("xx-evil", names=MAX_OF_CENTRE)
    monkeypatch.setattr(module, "MAX_WAIT_S", 0.01)
    with pytest.raises(HostBusy) as caught:
        await bench.lookups.find("late.example", "xx-evil", is_known=False)
    assert caught.value.reason is Reason.DNS
    assert caught.value.retry_after_s
    bench.names.over.set()
    await until(lambda: bench.lookups.is_idle)
    assert "late.example" not in bench.names.asked


async def test_who_gets_no_answer_is_told_so_and_it_is_remembered_when_it_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_S", 0.01)
    with pytest.raises(SourceError) as caught:
        await bench.lookups.find("slow.example", "xx-a", is_known=False)
    assert caught.value.reason is Reason.DNS
    assert not isinstance(caught.value, HostBusy)
    bench.names.over.set()
    await until(lambda: bench.ended == [("slow.example", "xx-a", ADDRESS)])


async def test_what_nobody_waits_for_any_more_is_not_begun(bench: Bench) -> None:
    await bench.flood("xx-evil", names=MAX_OF_CENTRE)
    bench.ask("a.example", "xx-evil")
    bench.ask("b.example", "xx-evil")
    await asyncio.sleep(0)
    bench.tasks[-2].cancel()
    bench.names.over.set()
    assert await bench.tasks[-1] == ADDRESS
    await until(lambda: bench.lookups.is_idle)
    assert "a.example" not in bench.names.asked


async def test_a_centre_does_not_wait_behind_the_one_that_named_its_host_first(
    bench: Bench,
) -> None:
    await bench.flood("xx-evil", names=MAX_OF_CENTRE)
    bench.ask("good.example", "xx-evil")
    await asyncio.sleep(0)
    assert await bench.lookups.find("good.example", "xx-good", is_known=False) == ADDRESS
    assert await bench.tasks[-1] == ADDRESS
    assert bench.names.asked.count("good.example") == 1


async def test_the_next_is_a_known_name_then_that_of_the_centre_with_the_fewest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOOKUPS", 3)
    monkeypatch.setattr(module, "RESERVED_FOR_KNOWN", 0)
    await bench.flood("xx-a", names=3)
    bench.ask("a.example", "xx-a")
    bench.ask("b.example", "xx-b")
    bench.ask("known.example", "xx-a", is_known=True)
    await asyncio.sleep(0)
    begun: list[str] = []
    monkeypatch.setattr(bench.lookups, "_begin", lambda name: begun.append(name.host))
    bench.names.over.set()
    await until(lambda: len(begun) == 3)
    assert begun == ["known.example", "b.example", "a.example"]


async def test_a_look_up_that_fails_oddly_gives_its_thread_back(bench: Bench) -> None:
    for number in range(MAX_OF_CENTRE * 2):
        found = await bench.lookups.find(f"broken{number}.example", "xx-a", is_known=False)
        assert isinstance(found, Failed)
    assert bench.lookups.is_idle


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.example.org", "example.org"),
        ("example.org.", "example.org"),
        ("www.met.gov.xx", "met.gov.xx"),
        ("met.gov.xx", "met.gov.xx"),
        ("a.b.evil.cc", "evil.cc"),
        ("localhost", "localhost"),
        ("xx", "xx"),
    ],
)
def test_a_domain_is_what_one_owner_has(host: str, domain: str) -> None:
    assert domain_of(host) == domain
