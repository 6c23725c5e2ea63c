from __future__ import annotations

import pytest

from wis2_gc_common.runtime.backoff import Backoff, grown_s


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_delays_double_up_to_a_bound_and_jitter_takes_at_most_half(
    jitter: float, share: float
) -> None:
    backoff = Backoff(first_s=1, longest_s=10, jitter=lambda: jitter)
    assert [backoff.next_s() for _ in range(6)] == [share * d for d in (1, 2, 4, 8, 10, 10)]


def test_after_a_success_the_first_delay_is_the_shortest_again() -> None:
    backoff = Backoff(first_s=1, longest_s=10, jitter=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_years_of_failures_still_give_the_longest_delay() -> None:
    backoff = Backoff(first_s=0.1, longest_s=60, jitter=lambda: 1.0)
    assert [backoff.next_s() for _ in range(10_000)][-1] == 60


def test_growth_and_shares_are_as_asked_for() -> None:
    backoff = Backoff(first_s=1, longest_s=3, growth=1.5, shares=(0.8, 1.2), jitter=lambda: 0.5)
    assert [backoff.next_s() for _ in range(5)] == pytest.approx([1, 1.5, 2.25, 3, 3])
    assert backoff.share_of(0.1) == pytest.approx(0.1)
    backoff = Backoff(first_s=1, longest_s=3, shares=(0.8, 1.2), jitter=lambda: 0.0)
    assert backoff.next_s() == pytest.approx(0.8)


def test_what_would_overflow_is_the_bound() -> None:
    assert grown_s(10_000, first_s=0.1, longest_s=60) == 60
