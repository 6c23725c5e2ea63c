"""Delays, attempts and ends of items whose sources all failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Reason
from wis2_gc_manager.pipeline.retry import (
    CROWDED_S,
    HOPELESS,
    JITTER,
    MAX_ATTEMPTS,
    MAX_CROWDED_S,
    MAX_FIRST_WAIT_S,
    MAX_RETRY_AFTER_S,
    MAX_WAITING_S,
    MIN_BUSY_S,
    Exhausted,
    QuickTries,
    RetryPolicy,
    Return,
    after_exhausted,
    after_unexpected,
    crowded_s,
    waiting_s,
)

if TYPE_CHECKING:
    from collections.abc import Callable


POLICY = RetryPolicy((10.0, 30.0, 120.0), useful_life_s=86_400.0, quick_delay_s=1.0)
WITHOUT_QUICK = RetryPolicy((10.0, 30.0, 120.0), useful_life_s=86_400.0, quick_delay_s=0.0)


def failed(
    *reasons: Reason, retry_after_s: float | None = None, busy_s: float | None = None
) -> Exhausted:
    return Exhausted(reasons or (Reason.NOT_FOUND,), retry_after_s, busy_s)


FLEETING = Exhausted((Reason.SERVER_ERROR,), None, None, is_fleeting=True)


def after(
    exhausted: Exhausted,
    policy: RetryPolicy = POLICY,
    *,
    attempts: int = 0,
    age_s: float = 0.0,
    draw: float = 0.0,
) -> Return | None:
    return after_exhausted(exhausted, policy, attempts=attempts, age_s=age_s, draw=draw)


def delay_after(exhausted: Exhausted, *, draw: float = 0.0) -> float:
    verdict = after(exhausted, draw=draw)
    assert isinstance(verdict, Return)
    return verdict.delay_s


@pytest.mark.parametrize(("attempts", "delay_s"), [(0, 10.0), (1, 30.0), (2, 120.0)])
def test_each_attempt_waits_its_own_delay(attempts: int, delay_s: float) -> None:
    assert after(failed(), attempts=attempts) == Return(delay_s, attempts + 1)


def test_after_the_last_delay_it_is_given_up() -> None:
    assert after(failed(), attempts=3) is None


def test_jitter_only_lengthens_the_delay() -> None:
    assert delay_after(failed(), draw=0.999) == pytest.approx(10.0 * (1 + JITTER), rel=1e-3)


def test_what_may_be_over_at_once_gets_a_quick_try_that_costs_no_attempt() -> None:
    assert after(FLEETING) == Return(1.0, 0, is_quick=True)
    assert after(FLEETING, attempts=1) == Return(30.0, 2)
    assert after(FLEETING, WITHOUT_QUICK) == Return(10.0, 1)


def test_jitter_only_shortens_the_quick_try_s_delay() -> None:
    assert delay_after(FLEETING, draw=0.999) == pytest.approx(1 - JITTER, rel=1e-3)


def test_the_quick_try_needs_no_further_retries() -> None:
    only_quick = RetryPolicy((), useful_life_s=86_400.0, quick_delay_s=1.0)
    assert after(FLEETING, only_quick) == Return(1.0, 0, is_quick=True)
    assert after(failed(Reason.SERVER_ERROR), only_quick) is None


def test_an_item_handed_back_for_its_quick_try_is_known_once() -> None:
    tries = QuickTries()
    tries.add("a")
    assert [tries.take("b"), tries.take("a"), tries.take("a")] == [False, True, False]


def test_no_more_quick_tries_are_remembered_than_there_is_room_for() -> None:
    tries = QuickTries()
    for number in range(20_000):
        tries.add(str(number))
    assert not tries.take("0")
    assert tries.take("19999")


def test_a_longer_wait_that_the_server_asked_for_counts() -> None:
    assert after(failed(retry_after_s=300.0)) == Return(300.0, 1)
    assert after(failed(retry_after_s=3.0)) == Return(10.0, 1)


def test_a_server_cannot_send_us_away_for_a_day() -> None:
    assert delay_after(failed(retry_after_s=1e9)) == MAX_RETRY_AFTER_S


def test_past_its_useful_life_it_is_given_up() -> None:
    assert after(failed(), age_s=86_391.0) is None
    assert after(failed(), age_s=86_390.0) == Return(10.0, 1)


@pytest.mark.parametrize("reason", sorted(HOPELESS))
def test_what_can_never_work_is_given_up_at_once(reason: Reason) -> None:
    assert after(failed(reason)) is None


def test_one_hopeless_source_does_not_condemn_the_others() -> None:
    assert after(failed(Reason.INVALID_URL, Reason.TIMEOUT)) == Return(10.0, 1)


def test_busy_alone_costs_no_attempt() -> None:
    assert after(Exhausted((), None, 7.0), attempts=2) == Return(7.0, 2)
    assert after(Exhausted((), None, 0.0)) == Return(MIN_BUSY_S, 0)


def test_failed_and_busy_costs_an_attempt_while_there_are_any() -> None:
    assert after(failed(busy_s=7.0)) == Return(10.0, 1)
    assert after(failed(busy_s=7.0), attempts=3) == Return(7.0, 3)
    assert after(failed(Reason.INVALID_URL, busy_s=7.0)) == Return(7.0, 0)


def test_a_host_that_works_is_waited_for_while_the_item_is_of_use() -> None:
    in_line = Exhausted((), None, 7.0, is_in_line=True)
    assert after(in_line, age_s=80_000.0) == Return(7.0, 0)
    assert after(in_line, age_s=86_400.0) is None
    assert after(Exhausted((), None, 7.0), age_s=80_000.0) is None


def test_busy_for_a_day_is_given_up_too() -> None:
    assert after(Exhausted((), None, 7.0), age_s=86_400.0) is None


def test_an_item_none_of_whose_sources_was_tried_is_given_up() -> None:
    assert after(Exhausted((), None, None)) is None


@given(
    reasons=st.lists(st.sampled_from(Reason), max_size=4),
    retry_after_s=st.none() | st.floats(0, 1e12),
    busy_s=st.none() | st.floats(0, 1e12),
    age_s=st.floats(-10, 1e6),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_failing_for_ever_it_ends(
    reasons: list[Reason],
    retry_after_s: float | None,
    busy_s: float | None,
    age_s: float,
    draw: float,
) -> None:
    exhausted = Exhausted(tuple(reasons), retry_after_s, busy_s)
    attempts, rounds = 0, 0
    while True:
        verdict = after(exhausted, attempts=attempts, age_s=age_s, draw=draw)
        if verdict is None:
            break
        assert verdict.delay_s >= MIN_BUSY_S
        assert age_s + verdict.delay_s <= POLICY.useful_life_s
        age_s += max(verdict.delay_s, 60.0)
        attempts = verdict.attempts
        rounds += 1
        assert rounds < 2000


def test_bugs_wait_longer_each_time_and_end_with_the_dead_letters() -> None:
    verdicts = [after_unexpected(attempts) for attempts in range(MAX_ATTEMPTS)]
    delays = [verdict.delay_s for verdict in verdicts if isinstance(verdict, Return)]
    assert len(delays) == MAX_ATTEMPTS - 1
    assert delays == sorted(delays)
    assert verdicts[-1] is None
    assert after_unexpected(100) is None


def rounds(wait_s: Callable[[float], float], *, until_s: float) -> int:
    """Return how often an item goes round until then."""
    age_s, count = 0.0, 0
    while age_s < until_s:
        age_s += wait_s(age_s)
        count += 1
    return count


def test_who_waits_for_another_version_goes_round_a_few_times_however_long_it_takes() -> None:
    def wait_s(age_s: float) -> float:
        return waiting_s(age_s, 30.0, draw=0.0)

    assert [wait_s(age_s) for age_s in (0.0, 0.5, 1.0)] == [MAX_FIRST_WAIT_S] * 3
    assert [wait_s(age_s) for age_s in (2.0, 30.0, 3600.0)] == [2.0, 30.0, MAX_WAITING_S]
    assert rounds(wait_s, until_s=60) == 7
    assert rounds(wait_s, until_s=600) <= 16


def test_a_lease_that_ends_soon_is_waited_for_no_longer() -> None:
    assert waiting_s(0.0, 0.2, draw=0.9) == 0.2
    assert waiting_s(0.0, 0.0, draw=0.0) == 0.05


def test_those_who_wait_do_not_come_back_together() -> None:
    assert waiting_s(20.0, 30.0, draw=0.5) == 20.0 * (1 + JITTER / 2)
    assert crowded_s(0.0, draw=0.5) == CROWDED_S * 1.25


def test_the_items_of_a_centre_that_crowds_come_back_later_each_time() -> None:
    assert [crowded_s(age_s, draw=0.0) for age_s in (0.0, 80.0, 400.0, 90_000.0)] == [
        CROWDED_S,
        CROWDED_S,
        100.0,
        MAX_CROWDED_S,
    ]
    assert rounds(lambda age_s: crowded_s(age_s, draw=0.0), until_s=3600) <= 22
