"""Percentiles and shares from a histogram of delays. Pure.

The federation's sensor centres measure a Global Cache by the share of items that it announces
within 120, 300 and 600 s (wis2-rules.md M18). These are bounds of the histogram, so the shares are
exact; percentiles are estimated within one bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from wis2_gc_metrics.models import DelayAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence


def describe_delays(bounds_s: Sequence[float], counts: Sequence[int]) -> DelayAnswer:
    """Return percentiles and shares of a histogram.

    `bounds_s`: rising upper bounds. `counts`: not cumulative, one per bound and a last one for all
    above.
    Raises ValueError: the lengths do not fit, or 120, 300, 600 are not bounds.
    """
    return DelayAnswer(
        count=sum(counts),
        p50_s=quantile(bounds_s, counts, 0.5),
        p99_s=quantile(bounds_s, counts, 0.99),
        within_120_s=share_within(bounds_s, counts, 120.0),
        within_300_s=share_within(bounds_s, counts, 300.0),
        within_600_s=share_within(bounds_s, counts, 600.0),
    )


def quantile(bounds_s: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """Return an estimate of the `q`-quantile in seconds, None without observations.

    It assumes that observations are evenly spread within a bucket. Above the last bound the
    estimate is that bound: the histogram does not tell more.
    """
    _check(bounds_s, counts)
    cumulated = list(accumulate(counts))
    total = cumulated[-1]
    if total <= 0:
        return None
    rank = q * total
    bucket = bisect_left(cumulated, rank)
    if bucket >= len(bounds_s):
        return bounds_s[-1]
    lower_s = bounds_s[bucket - 1] if bucket else 0.0
    before = cumulated[bucket - 1] if bucket else 0
    inside = counts[bucket]
    part = (rank - before) / inside if inside else 1.0
    return lower_s + (bounds_s[bucket] - lower_s) * part


def share_within(bounds_s: Sequence[float], counts: Sequence[int], limit_s: float) -> float | None:
    """Return the exact share (0 to 1) of observations up to `limit_s`, one of the bounds."""
    _check(bounds_s, counts)
    total = sum(counts)
    if total <= 0:
        return None
    return sum(counts[: list(bounds_s).index(limit_s) + 1]) / total


def _check(bounds_s: Sequence[float], counts: Sequence[int]) -> None:
    if len(counts) != len(bounds_s) + 1:
        raise ValueError(f"{len(counts)} counts for {len(bounds_s)} bounds")
