from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.metrics import DELAY_BUCKETS_S
from wis2_gc_metrics.delay import describe_delays, quantile, share_within

BOUNDS = (1.0, 2.0, 4.0)
counts = st.lists(
    st.integers(0, 10_000), min_size=len(DELAY_BUCKETS_S) + 1, max_size=len(DELAY_BUCKETS_S) + 1
)


def test_without_observations_there_are_no_percentiles_and_no_shares() -> None:
    described = describe_delays(DELAY_BUCKETS_S, [0] * (len(DELAY_BUCKETS_S) + 1))
    assert described.count == 0
    assert described.p50_s is None
    assert described.p99_s is None
    assert described.within_120_s is None
    assert described.within_300_s is None
    assert described.within_600_s is None


@pytest.mark.parametrize(
    ("buckets", "q", "expected_s"),
    [
        ([4, 0, 0, 0], 0.5, 0.5),
        ([4, 0, 0, 0], 1.0, 1.0),
        ([0, 2, 0, 0], 0.5, 1.5),
        ([1, 0, 2, 0], 0.5, 2.5),
        ([5, 0, 5, 0], 0.5, 1.0),
        ([1, 1, 1, 97], 0.99, 4.0),
    ],
)
def test_a_percentile_is_interpolated_within_its_bucket(
    buckets: list[int], q: float, expected_s: float
) -> None:
    assert quantile(BOUNDS, buckets, q) == pytest.approx(expected_s)


def test_shares_are_exact_at_the_bounds() -> None:
    buckets = [0] * (len(DELAY_BUCKETS_S) + 1)
    for bound, count in ((120.0, 7), (300.0, 1), (600.0, 1)):
        buckets[DELAY_BUCKETS_S.index(bound)] = count
    buckets[-1] = 1
    described = describe_delays(DELAY_BUCKETS_S, buckets)
    assert described.count == 10
    assert described.within_120_s == 0.7
    assert described.within_300_s == 0.8
    assert described.within_600_s == 0.9


def test_a_limit_that_is_not_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="not in list"):
        share_within(BOUNDS, [1, 0, 0, 0], 3.0)


@pytest.mark.parametrize("buckets", [[], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_counts_that_do_not_fit_the_bounds_are_refused(buckets: list[int]) -> None:
    with pytest.raises(ValueError, match="counts for 3 bounds"):
        quantile(BOUNDS, buckets, 0.5)


@given(counts, st.lists(st.floats(0.001, 1.0), min_size=2, max_size=6))
def test_percentiles_never_fall_as_q_rises_and_stay_within_the_bounds(
    buckets: list[int], qs: list[float]
) -> None:
    found = [quantile(DELAY_BUCKETS_S, buckets, q) for q in sorted(qs)]
    if sum(buckets) == 0:
        assert set(found) == {None}
        return
    values = [value for value in found if value is not None]
    assert len(values) == len(qs)
    assert all(a <= b for a, b in pairwise(values))
    assert all(0 < value <= DELAY_BUCKETS_S[-1] for value in values)


@given(st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.99]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(delays_s: list[float], q: float) -> None:
    buckets = [0] * (len(DELAY_BUCKETS_S) + 1)
    for delay_s in delays_s:
        buckets[next((i for i, b in enumerate(DELAY_BUCKETS_S) if delay_s <= b), -1)] += 1
    # The smallest observation with at least the share q at or below it.
    rank = next(n for n in range(1, len(delays_s) + 1) if n >= q * len(delays_s))
    true_s = sorted(delays_s)[rank - 1]
    estimate_s = quantile(DELAY_BUCKETS_S, buckets, q)
    upper_s = next((b for b in DELAY_BUCKETS_S if true_s <= b), DELAY_BUCKETS_S[-1])
    lower_s = max((b for b in (0.0, *DELAY_BUCKETS_S) if b < true_s), default=0.0)
    assert estimate_s is not None
    assert estimate_s is not None
    assert lower_s <= estimate_s <= upper_s
