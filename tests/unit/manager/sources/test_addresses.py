"""Looking names up: once, in threads, remembered within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from testkit.waiting import until
from wis2_gc_common.errors import Reason, Refused, SourceError
from wis2_gc_manager.sources import addresses as module
from wis2_gc_manager.sources.address_guard import AddressGuard
from wis2_gc_manager.sources.addresses import FAILED_S, FRESH_S, STALE_S, Addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GUARD = AddressGuard([ipaddress.ip_network("127.0.0.1/32")])


class Names:
    """A name server whose answers the test sets; `gate` makes it hang."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: list[str] | OSError = ["8.8.8.8"]
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        assert self.gate.wait(10)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def addresses(names: Names, clock: Clock) -> AsyncIterator[Addresses]:
    running = Addresses(GUARD, names, clock)
    yield running
    names.gate.set()
    await running.close()


async def test_many_who_ask_at_once_are_answered_by_one_look_up(
    addresses: Addresses, names: Names
) -> None:
    names.gate.clear()
    tasks = [asyncio.create_task(addresses.admitted("a.example")) for _ in range(20)]
    await until(lambda: names.asked == ["a.example"])
    names.gate.set()
    assert await asyncio.gather(*tasks) == [("8.8.8.8",)] * 20
    assert names.asked == ["a.example"]


async def test_who_gives_up_does_not_take_the_answer_from_the_others(
    addresses: Addresses, names: Names
) -> None:
    names.gate.clear()
    gone = asyncio.create_task(addresses.admitted("a.example"))
    other = asyncio.create_task(addresses.admitted("a.example"))
    await until(lambda: len(names.asked) == 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    names.gate.set()
    assert await other == ("8.8.8.8",)


async def test_an_old_answer_serves_while_it_is_asked_for_again(
    addresses: Addresses, names: Names, clock: Clock
) -> None:
    await addresses.admitted("a.example")
    clock.now = FRESH_S - 1
    await addresses.admitted("a.example")
    assert len(names.asked) == 1
    clock.now = FRESH_S
    names.answer = ["1.1.1.1"]
    assert await addresses.admitted("a.example") == ("8.8.8.8",)
    await until(lambda: len(names.asked) == 2 and addresses._lookups.is_idle)
    assert await addresses.admitted("a.example") == ("1.1.1.1",)
    assert len(names.asked) == 2


async def test_a_name_server_that_hangs_does_not_hurt_the_names_we_know(
    addresses: Addresses, names: Names, clock: Clock
) -> None:
    await addresses.admitted("known.example")
    clock.now = STALE_S - 1
    names.gate.clear()
    stuck = [asyncio.create_task(addresses.admitted(f"a.{n}.example")) for n in range(200)]
    assert await addresses.admitted("known.example") == ("8.8.8.8",)
    names.gate.set()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_very_old_answer_is_not_used(
    addresses: Addresses, names: Names, clock: Clock
) -> None:
    await addresses.admitted("a.example")
    clock.now = STALE_S
    names.answer = ["1.1.1.1"]
    assert await addresses.admitted("a.example") == ("1.1.1.1",)


async def test_a_refresh_that_fails_is_not_an_error_of_anybody(
    addresses: Addresses, names: Names, clock: Clock
) -> None:
    await addresses.admitted("a.example")
    clock.now = FRESH_S
    names.answer = socket.gaierror(socket.EAI_AGAIN, "try again")
    assert await addresses.admitted("a.example") == ("8.8.8.8",)
    await until(lambda: len(names.asked) == 2 and addresses._lookups.is_idle)
    # For hours, and without asking at every use.
    for _ in range(10):
        assert await addresses.admitted("a.example") == ("8.8.8.8",)
    assert len(names.asked) == 2
    clock.now = STALE_S - 1
    assert await addresses.admitted("a.example") == ("8.8.8.8",)
    await until(lambda: len(names.asked) == 3 and addresses._lookups.is_idle)
    clock.now = STALE_S + FAILED_S
    names.answer = ["1.1.1.1"]
    assert await addresses.admitted("a.example") == ("1.1.1.1",)


async def test_failures_are_remembered_for_a_few_seconds(
    addresses: Addresses, names: Names, clock: Clock
) -> None:
    answer: list[str] | OSError
    for answer in (socket.gaierror(socket.EAI_NONAME, "unknown"), []):
        names.answer = answer
        asked = len(names.asked)
        for _ in range(3):
            with pytest.raises(SourceError) as caught:
                await addresses.admitted("a.example")
            assert caught.value.reason is Reason.DNS
        assert len(names.asked) == asked + 1
        clock.now += FAILED_S
    names.answer = ["8.8.8.8"]
    assert await addresses.admitted("a.example") == ("8.8.8.8",)


async def test_a_centre_that_names_many_hosts_pushes_out_its_own_only(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_OF_CENTRE", 3)
    await addresses.admitted("known.example", "xx-a")
    for number in range(10):
        await addresses.admitted(f"{number}.example", "xx-b")
    assert list(addresses._answers) == ["known.example", "7.example", "8.example", "9.example"]
    assert addresses.recall("known.example") == ("8.8.8.8",)
    assert addresses.recall("0.example") is None


async def test_only_admitted_addresses_are_given_out_each_once(
    addresses: Addresses, names: Names
) -> None:
    names.answer = ["10.0.0.1", "8.8.8.8", "fe80::1%eth0", "127.0.0.1", "8.8.8.8", "::1"]
    assert await addresses.admitted("a.example") == ("8.8.8.8", "127.0.0.1")
    names.answer = ["10.0.0.1"]
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            await addresses.admitted("b.example")
        assert caught.value.reason is Reason.FORBIDDEN_ADDRESS
    assert names.asked == ["a.example", "b.example"]


async def test_addresses_are_not_looked_up(addresses: Addresses, names: Names) -> None:
    assert await addresses.admitted("8.8.8.8") == ("8.8.8.8",)
    assert await addresses.admitted("2606:4700::1111") == ("2606:4700::1111",)
    for host in ("10.0.0.1", "127.2", "::1"):
        with pytest.raises(Refused):
            await addresses.admitted(host)
    assert names.asked == []


async def test_strangers_who_name_hosts_fill_no_memory(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_NAMES", 3)
    for number in range(10):
        await addresses.admitted(f"{number}.example")
    assert list(addresses._answers) == ["7.example", "8.example", "9.example"]


async def test_connecting_tries_one_address_after_the_other(
    addresses: Addresses, names: Names
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monitored = Addresses(
            AddressGuard([ipaddress.ip_network("127.0.0.0/8")]),
            lambda _: ["127.0.0.2", "127.0.0.1"],
        )
        with contextlib.closing(await monitored.connect("a.example", port)) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
    with pytest.raises(SourceError) as caught:
        await monitored.connect("a.example", port)
    assert caught.value.reason is Reason.CONNECT
    with pytest.raises(OSError):
        await addresses.connect_address("127.0.0.2", port)
