"""Admission and circuit breaker of a host, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from wis2_gc_common.errors import HostBusy, Reason
from wis2_gc_manager.sources import hosts as host_limits
from wis2_gc_manager.sources.hosts import (
    FAILURES_TO_OPEN,
    MAX_HOSTS,
    PROMISED_PACE,
    HostLimits,
    Outcome,
    Ticket,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "data.example:443"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> HostLimits:
    return HostLimits(concurrency=4, clock=clock)


def refusal(limits: HostLimits, host: str = HOST) -> HostBusy:
    with pytest.raises(HostBusy) as caught:
        limits.enter(host)
    return caught.value


def visit(limits: HostLimits, outcome: Outcome, retry_after_s: float | None = None) -> Ticket:
    ticket = limits.enter(HOST)
    limits.leave(ticket, outcome, retry_after_s=retry_after_s)
    return ticket


def open_circuit(limits: HostLimits) -> None:
    for _ in range(FAILURES_TO_OPEN):
        visit(limits, Outcome.FAILED)


async def test_the_first_start_at_once_and_the_others_in_their_order(limits: HostLimits) -> None:
    running = [limits.enter(HOST) for _ in range(4)]
    waiting = [limits.enter(HOST) for _ in range(3)]
    assert all(ticket.turn is None for ticket in running)
    for before, ticket in zip(running, waiting, strict=False):
        assert ticket.turn is not None
        assert not ticket.turn.done()
        limits.leave(before, Outcome.ANSWERED)
        await limits.wait(ticket)


async def test_nobody_overtakes_those_who_wait(limits: HostLimits) -> None:
    running = [limits.enter(HOST) for _ in range(4)]
    first = limits.enter(HOST)
    limits.leave(running[0], Outcome.ANSWERED)
    second = limits.enter(HOST)
    assert second.turn is not None
    await limits.wait(first)
    assert not second.turn.done()


async def test_hosts_do_not_share_places(limits: HostLimits) -> None:
    for _ in range(4):
        limits.enter(HOST)
    assert limits.enter("data.example:80").turn is None


async def test_a_ticket_may_put_up_with_fewer_at_once(limits: HostLimits) -> None:
    first = limits.enter(HOST, at_most=1)
    second = limits.enter(HOST, at_most=1)
    assert second.turn is not None
    limits.leave(first, Outcome.ANSWERED)
    await limits.wait(second)


async def test_a_fast_host_may_queue_many(limits: HostLimits, clock: Clock) -> None:
    for _ in range(100):
        ticket = limits.enter(HOST)
        clock.now += 0.01
        limits.leave(ticket, Outcome.ANSWERED)
    admitted = [limits.enter(HOST) for _ in range(4 + 500)]
    assert sum(ticket.turn is not None for ticket in admitted) == 500


async def test_a_slow_host_may_queue_few(limits: HostLimits, clock: Clock) -> None:
    for _ in range(100):
        ticket = limits.enter(HOST)
        clock.now += 2.0
        limits.leave(ticket, Outcome.ANSWERED)
    for _ in range(4 + 4):
        limits.enter(HOST)
    error = refusal(limits)
    assert error.reason is Reason.HOST_QUEUE
    assert error.retry_after_s == pytest.approx(2.5)


async def test_a_host_that_hangs_now_may_queue_none_however_fast_it_was(
    limits: HostLimits, clock: Clock
) -> None:
    for _ in range(100):
        visit(limits, Outcome.ANSWERED)
    for _ in range(4):
        limits.enter(HOST)
    clock.now += 9
    error = refusal(limits)
    assert error.reason is Reason.HOST_QUEUE
    assert error.retry_after_s == pytest.approx(9 / 4)


async def test_an_unknown_host_may_queue_some(limits: HostLimits) -> None:
    for _ in range(4 + 16):
        limits.enter(HOST)
    assert refusal(limits).reason is Reason.HOST_QUEUE


async def test_one_large_object_does_not_make_a_fast_host_slow(
    limits: HostLimits, clock: Clock
) -> None:
    limits.enter(HOST)
    clock.now += 60
    for _ in range(100):
        visit(limits, Outcome.ANSWERED)
    admitted = [limits.enter(HOST) for _ in range(3 + 50)]
    assert sum(ticket.turn is not None for ticket in admitted) == 50


async def test_waiting_has_an_end_with_every_estimate(
    limits: HostLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_limits, "MAX_WAIT_S", 0.01)
    running = [limits.enter(HOST) for _ in range(4)]
    ticket = limits.enter(HOST)
    with pytest.raises(HostBusy) as caught:
        await limits.wait(ticket)
    assert caught.value.reason is Reason.HOST_QUEUE
    limits.leave(ticket, Outcome.NO_VERDICT)
    limits.leave(running[0], Outcome.ANSWERED)
    assert limits.enter(HOST).turn is None


async def test_who_gives_up_while_waiting_loses_nobodys_place(limits: HostLimits) -> None:
    running = [limits.enter(HOST) for _ in range(4)]
    gone, last = limits.enter(HOST), limits.enter(HOST)
    task = asyncio.create_task(limits.wait(gone))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    limits.leave(gone, Outcome.NO_VERDICT)
    limits.leave(running[0], Outcome.ANSWERED)
    await limits.wait(last)


async def test_who_gives_up_as_the_turn_comes_hands_it_on(limits: HostLimits) -> None:
    running = [limits.enter(HOST) for _ in range(4)]
    gone, last = limits.enter(HOST), limits.enter(HOST)
    task = asyncio.create_task(limits.wait(gone))
    await asyncio.sleep(0)
    limits.leave(running[0], Outcome.ANSWERED)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    limits.leave(gone, Outcome.NO_VERDICT)
    await limits.wait(last)


def test_failures_in_a_row_open_the_circuit(limits: HostLimits) -> None:
    open_circuit(limits)
    error = refusal(limits)
    assert (error.reason, error.retry_after_s) == (Reason.CIRCUIT_OPEN, 5)


@pytest.mark.parametrize("outcome", [Outcome.ANSWERED, Outcome.NO_VERDICT])
def test_other_outcomes_open_nothing(limits: HostLimits, outcome: Outcome) -> None:
    for _ in range(50):
        visit(limits, outcome)
    assert limits.enter(HOST).turn is None


def test_an_answer_between_failures_counts_them_again(limits: HostLimits) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        visit(limits, Outcome.FAILED)
    visit(limits, Outcome.ANSWERED)
    for _ in range(FAILURES_TO_OPEN - 1):
        visit(limits, Outcome.FAILED)
    last = limits.enter(HOST)
    assert last.turn is None
    limits.leave(last, Outcome.FAILED)
    assert refusal(limits).reason is Reason.CIRCUIT_OPEN


def test_one_probe_at_a_time_and_its_answer_closes_the_circuit(
    limits: HostLimits, clock: Clock
) -> None:
    open_circuit(limits)
    clock.now += 4.9
    assert refusal(limits).reason is Reason.CIRCUIT_OPEN
    clock.now += 0.1
    probe = limits.enter(HOST)
    assert refusal(limits).detail == "probing"
    limits.leave(probe, Outcome.ANSWERED)
    for _ in range(4):
        assert limits.enter(HOST).turn is None


def test_a_probe_that_says_nothing_is_followed_by_another(limits: HostLimits, clock: Clock) -> None:
    open_circuit(limits)
    clock.now += 5
    assert visit(limits, Outcome.NO_VERDICT).is_probe
    probe = limits.enter(HOST)
    assert probe.is_probe
    assert refusal(limits).detail == "probing"
    limits.leave(probe, Outcome.ANSWERED)
    assert not visit(limits, Outcome.ANSWERED).is_probe


def test_the_pauses_grow_up_to_five_minutes_and_an_answer_forgets_them(
    limits: HostLimits, clock: Clock
) -> None:
    open_circuit(limits)
    pauses = []
    for _ in range(8):
        pause = refusal(limits).retry_after_s
        assert pause is not None
        pauses.append(pause)
        clock.now += pause
        visit(limits, Outcome.FAILED)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    clock.now += 300
    visit(limits, Outcome.ANSWERED)
    open_circuit(limits)
    assert refusal(limits).retry_after_s == 5


@pytest.mark.parametrize(
    ("asked_s", "pause_s"), [(None, 10), (0, 1), (7.5, 7.5), (600, 600), (86_400, 600)]
)
def test_a_throttling_host_is_obeyed_at_once_within_bounds(
    limits: HostLimits, clock: Clock, asked_s: float | None, pause_s: float
) -> None:
    visit(limits, Outcome.THROTTLED, asked_s)
    assert refusal(limits).retry_after_s == pause_s
    clock.now += pause_s
    visit(limits, Outcome.ANSWERED)
    visit(limits, Outcome.ANSWERED)


def test_what_began_before_the_circuit_opened_changes_nothing(
    limits: HostLimits, clock: Clock
) -> None:
    early = [limits.enter(HOST) for _ in range(3)]
    visit(limits, Outcome.THROTTLED, 60)
    limits.leave(early[0], Outcome.ANSWERED)
    limits.leave(early[1], Outcome.FAILED)
    limits.leave(early[2], Outcome.THROTTLED, retry_after_s=600)
    assert refusal(limits).retry_after_s == 60


async def test_those_who_wait_are_sent_away_when_the_circuit_opens(
    limits: HostLimits, clock: Clock
) -> None:
    running = [limits.enter(HOST) for _ in range(4)]
    waiting = [limits.enter(HOST) for _ in range(2)]
    limits.leave(running[0], Outcome.THROTTLED, retry_after_s=20)
    for ticket in waiting:
        with pytest.raises(HostBusy) as caught:
            await limits.wait(ticket)
        assert caught.value.reason is Reason.THROTTLED
        assert caught.value.retry_after_s == pytest.approx(20, abs=0.1)
        limits.leave(ticket, Outcome.NO_VERDICT)


def test_strangers_who_name_hosts_fill_no_memory(limits: HostLimits) -> None:
    busy = limits.enter("busy.example:80")
    for number in range(MAX_HOSTS + 1000):
        host = f"h{number}.example:80"
        limits.leave(limits.enter(host), Outcome.FAILED)
    assert len(limits) == MAX_HOSTS
    limits.leave(busy, Outcome.ANSWERED)


def test_a_flood_of_made_up_hosts_does_not_make_us_forget_which_real_ones_are_down(
    limits: HostLimits,
) -> None:
    for _ in range(FAILURES_TO_OPEN):
        limits.leave(limits.enter(HOST, centre_id="xx-real"), Outcome.FAILED)
    for number in range(2 * MAX_HOSTS):
        host = f"h{number}.example:80"
        limits.leave(limits.enter(host, centre_id="xx-flood"), Outcome.ANSWERED)
    assert len(limits) == MAX_HOSTS
    with pytest.raises(HostBusy):
        limits.enter(HOST, centre_id="xx-real")
    # A third centre's host finds room too, and so do the flood's own.
    limits.leave(limits.enter("new.example:80", centre_id="xx-new"), Outcome.ANSWERED)
    limits.leave(limits.enter("h1.example:80", centre_id="xx-flood"), Outcome.ANSWERED)
    assert len(limits) == MAX_HOSTS


async def test_those_sent_away_are_promised_one_time_after_the_other(
    limits: HostLimits, clock: Clock
) -> None:
    for _ in range(100):
        ticket = limits.enter(HOST)
        clock.now += 2.0
        limits.leave(ticket, Outcome.ANSWERED)
    for _ in range(4 + 4):
        limits.enter(HOST)
    step_s = PROMISED_PACE * 2.0 / 4
    promised = [refusal(limits).retry_after_s for _ in range(100)]
    assert promised == pytest.approx([2.5 + step_s * n for n in range(100)])
    clock.now += 10 * step_s  # ten of them have come
    assert refusal(limits).retry_after_s == pytest.approx(2.5 + 90 * step_s, abs=3.0)


async def test_nobody_is_promised_a_time_hours_away(limits: HostLimits, clock: Clock) -> None:
    for _ in range(4 + 4):
        limits.enter(HOST)
    clock.now += 60.0
    assert max(refusal(limits).retry_after_s or 0 for _ in range(100_000)) <= 30 + 600


async def test_a_backlog_that_is_gone_is_forgotten_however_long_it_was(
    limits: HostLimits, clock: Clock
) -> None:
    for _ in range(100):
        ticket = limits.enter(HOST)
        clock.now += 2.0
        limits.leave(ticket, Outcome.ANSWERED)
    line = [limits.enter(HOST) for _ in range(4 + 4)]
    longest_s = 0.0
    for _ in range(3):
        # Nobody is promised a time hours away: so most of these come again and again.
        longest_s = max(refusal(limits).retry_after_s or 0 for _ in range(10_000))
        clock.now += longest_s
    for ticket in line:
        limits.leave(ticket, Outcome.NO_VERDICT)
    for _ in range(4 + 4):
        limits.enter(HOST)
    assert refusal(limits).retry_after_s == pytest.approx(2.5)
    assert longest_s < 700


async def test_those_a_throttling_host_keeps_away_do_not_all_come_at_once(
    limits: HostLimits, clock: Clock
) -> None:
    visit(limits, Outcome.THROTTLED, 10)
    waits = [refusal(limits).retry_after_s or 0 for _ in range(200)]
    assert waits[0] == 10
    assert all(later > earlier for earlier, later in itertools.pairwise(waits))
    clock.now += 10
    limits.enter(HOST)
    assert refusal(limits).detail == "probing"


@dataclass
class Manager:
    """One manager of the simulation below: what it runs, and its line, at one host."""

    limits: HostLimits
    line: deque[tuple[int, float, Ticket]] = field(default_factory=deque)


@pytest.mark.parametrize("managers", [1, 3])
@pytest.mark.parametrize("duration_s", [0.01, 0.05, 1.0])
@pytest.mark.parametrize("in_s", [0.0, 4.0])
async def test_a_backlog_of_thousands_at_one_host_comes_back_about_once_each(
    clock: Clock, managers: int, duration_s: float, in_s: float
) -> None:
    items = 4000
    chance = random.Random(1)
    staff = [Manager(HostLimits(concurrency=16, clock=clock)) for _ in range(managers)]
    #: Time, order, what to do. An item goes to any manager, first and whenever it comes back.
    events: list[tuple[float, int, Callable[[], None]]] = []
    order = itertools.count()
    put_backs: Counter[int] = Counter()
    done: set[int] = set()

    def at(delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(events, (clock.now + delay_s, next(order), action))

    def put_back(item: int, delay_s: float) -> None:
        put_backs[item] += 1
        # As `after_exhausted` has it.
        at(delay_s * (1 + 0.25 * chance.random()), lambda: arrive(item))

    def arrive(item: int) -> None:
        manager = chance.choice(staff)
        try:
            ticket = manager.limits.enter(HOST)
        except HostBusy as error:
            put_back(item, error.retry_after_s or 0.0)
            return
        if ticket.turn is None:
            start(manager, item, ticket)
        else:
            manager.line.append((item, clock.now, ticket))

    def start(manager: Manager, item: int, ticket: Ticket) -> None:
        at(duration_s * chance.uniform(0.5, 1.5), lambda: end(manager, item, ticket))

    def end(manager: Manager, item: int, ticket: Ticket) -> None:
        done.add(item)
        manager.limits.leave(ticket, Outcome.ANSWERED)
        while manager.line:
            waiting, since, ticket = manager.line[0]
            assert ticket.turn is not None
            if ticket.turn.done():
                manager.line.popleft()
                start(manager, waiting, ticket)
            elif clock.now - since > host_limits.MAX_WAIT_S:
                manager.line.popleft()
                manager.limits.leave(ticket, Outcome.NO_VERDICT)
                put_back(waiting, host_limits.MAX_WAIT_S)
            else:
                break

    began = clock.now
    for item in range(items):
        at(in_s * item / items, partial(arrive, item))
    while events:
        clock.now, _, action = heapq.heappop(events)
        action()
    assert len(done) == items
    assert sum(put_backs.values()) <= 2.5 * items
    assert max(put_backs.values(), default=0) <= 20
    # And the host was hardly ever idle meanwhile.
    at_best_s = max(in_s, items * duration_s / (16 * managers))
    assert clock.now - began <= 2.5 * at_best_s + 8
