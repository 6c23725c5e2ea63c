"""Outages of our own parts: who waits, who asks, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from testkit.fakes.manager import next_turn
from wis2_gc_common.errors import Unavailable
from wis2_gc_manager.pipeline import outage_gate as gate_module
from wis2_gc_manager.pipeline.outage_gate import MAX_PROBE_DELAY_S, MAX_REPEATS, Gate


class Probe:
    """Says no until it is told otherwise."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[BaseException] = []

    async def __call__(self) -> None:
        self.asked += 1
        if self.answers:
            raise self.answers.pop(0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.now_s += delay_s
        await asyncio.sleep(0)

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Probe:
    return Probe()


@pytest.fixture
def gate(clock: Clock, store: Probe) -> Gate:
    return Gate(
        {"store": store, "registry": Probe()},
        sleep=clock.sleep,
        draw=lambda: 0.5,
        monotonic_s=clock.monotonic_s,
    )


async def test_it_is_open_until_somebody_reports(gate: Gate) -> None:
    assert gate.is_open
    await gate.wait_open()
    assert gate.problems == {}


async def test_it_names_the_part_that_is_away_and_why(gate: Gate) -> None:
    gate.report(Unavailable("store", "disk full"))
    assert not gate.is_open
    assert gate.problems == {"store": "disk full"}
    await gate.close()


async def test_it_opens_when_the_probe_answers(gate: Gate, store: Probe) -> None:
    store.answers = [Unavailable("store", "still"), Unavailable("store", "still")]
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert store.asked == 3
    assert gate.is_open


async def test_it_asks_at_once_then_once_a_second_then_less_often_but_never_gives_up(
    gate: Gate, store: Probe, clock: Clock
) -> None:
    store.answers = [Unavailable("store")] * 20
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert clock.slept[:2] == pytest.approx([0.1, 1.0])
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == pytest.approx(MAX_PROBE_DELAY_S)


async def test_many_reports_of_one_outage_are_one_probe(
    gate: Gate, store: Probe, clock: Clock
) -> None:
    for _ in range(100):
        gate.report(Unavailable("store"))
    await gate.wait_open()
    assert store.asked == 1


async def test_a_part_that_fails_right_after_its_probe_is_asked_less_often(
    gate: Gate, clock: Clock
) -> None:
    gate.report(Unavailable("store"))
    await gate.wait_open()
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert clock.slept[1] > clock.slept[0]
    clock.now_s += 60
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert clock.slept[2] == clock.slept[0]


async def test_who_needs_another_part_does_not_wait_for_this_one(gate: Gate, store: Probe) -> None:
    store.answers = [Unavailable("store")] * 1000
    gate.report(Unavailable("store"))
    await asyncio.wait_for(gate.wait_open("registry"), 5)
    assert not gate.is_open
    await gate.close()


async def test_a_step_is_repeated_until_the_part_is_back(gate: Gate, store: Probe) -> None:
    errors = [Unavailable("store"), Unavailable("store")]

    async def step() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await gate.repeat(step) == "done"
    assert gate.is_open


async def test_a_long_outage_uses_up_no_repeats(gate: Gate, store: Probe) -> None:
    store.answers = [Unavailable("store")] * 100
    calls = 0

    async def step() -> int:
        nonlocal calls
        calls += 1
        if store.asked <= 100:
            raise Unavailable("store")
        return calls

    assert await gate.repeat(step) == 2


async def test_a_step_that_fails_whenever_the_part_is_back_ends(gate: Gate) -> None:
    calls = 0

    async def step() -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("store", "not this one")

    with pytest.raises(Unavailable, match="not this one"):
        await gate.repeat(step)
    assert calls == MAX_REPEATS
    await gate.wait_open()


async def test_other_errors_are_not_its_business(gate: Gate) -> None:
    async def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await gate.repeat(step)
    assert gate.is_open


async def test_a_probe_with_a_bug_does_not_keep_it_shut(gate: Gate, store: Probe) -> None:
    store.answers = [ZeroDivisionError()]
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert store.asked == 2


async def test_a_probe_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "PROBE_TIMEOUT_S", 0.01)
    asked = 0

    async def probe() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()

    gate = Gate({"store": probe}, sleep=next_turn)
    gate.report(Unavailable("store"))
    await gate.wait_open()
    assert asked == 2
