"""Adds up the registry's counters to the numbers that an operator reads first. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_common import metrics as catalogue
from wis2_gc_common.wis2.decision import Decision
from wis2_gc_metrics.delay import describe_delays
from wis2_gc_metrics.exposition import delay_counts
from wis2_gc_metrics.models import RecentAnswer, TotalsAnswer

if TYPE_CHECKING:
    from wis2_gc_common.ports.registry import Snapshot
    from wis2_gc_metrics.exposition import Reading

#: Reasons that mean "we have this, or are getting it". A source that is parked with a running
#: attempt (busy) is a duplicate too: it is used only if that attempt fails.
_DUPLICATE_REASONS = frozenset(
    {
        Decision.DUPLICATE,
        Decision.STALE,
        Decision.REPEAT,
        Decision.DUPLICATE_ID,
        Decision.BUSY,
    }
)
_DROPPED = frozenset({catalogue.DROPPED.name, catalogue.ITEMS_DROPPED.name})
_CACHED = (catalogue.ITEMS.name, "cached")
_DUPLICATES = "duplicates"
_CACHED_ITEMS = "cached"
#: The period of the rates and the recent delays, in seconds.
WINDOW_S = 60.0


def add_up(snapshot: Snapshot) -> TotalsAnswer:
    """Return the totals of one snapshot, in one pass over its counters."""
    sums: Counter[str] = Counter()
    for text, value in snapshot.counters.items():
        name, labels = catalogue.split_field(text)
        sums[name] += value
        if name in _DROPPED and labels and labels[-1] in _DUPLICATE_REASONS:
            sums[_DUPLICATES] += value
        elif (name, *labels) == _CACHED:
            sums[_CACHED_ITEMS] += value
    return TotalsAnswer(
        received=sums[catalogue.RECEIVED.name],
        duplicates_dropped=sums[_DUPLICATES],
        others_dropped=sum(sums[name] for name in _DROPPED) - sums[_DUPLICATES],
        cached=sums[_CACHED_ITEMS],
        announced=sums[catalogue.ITEMS.name],
        failed=sums[catalogue.DOWNLOADED_ERRORS.name] + sums[catalogue.INTEGRITY_FAILED.name],
        given_up=sums[catalogue.GIVEN_UP.name],
        stored_bytes=sums[catalogue.CACHED_VOLUME.name],
    )


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    totals: TotalsAnswer
    delay_counts: tuple[int, ...]


@dataclass(kw_only=True, slots=True, eq=False)
class History:
    """The readings of the last minute, for rates; bounded by time and spacing."""

    window_s: float = WINDOW_S
    min_spacing_s: float = 1.0
    """So that many readers of the page do not fill the minute with points."""
    _points: deque[_Point] = field(default_factory=deque, init=False)

    def add(self, reading: Reading) -> None:
        """Remember a reading. If counts go backwards (a new registry), the history starts again."""
        point = _Point(reading.at_s, add_up(reading.snapshot), delay_counts(reading.snapshot))
        if self._points:
            last = self._points[-1]
            if _is_reset(last, point):
                self._points.clear()
            elif point.at_s - last.at_s < self.min_spacing_s:
                return
        self._points.append(point)
        # Keep one point older than the window: the window begins there.
        while len(self._points) > 1 and self._points[1].at_s <= point.at_s - self.window_s:
            self._points.popleft()

    def recent(self, reading: Reading) -> RecentAnswer | None:
        """Return what changed up to `reading`; None if there is nothing to compare it with."""
        if not self._points:
            return None
        first = self._points[0]
        now = _Point(reading.at_s, add_up(reading.snapshot), delay_counts(reading.snapshot))
        seconds = now.at_s - first.at_s
        if seconds < self.min_spacing_s or _is_reset(first, now):
            return None

        def rate(name: str) -> float:
            difference: int = getattr(now.totals, name) - getattr(first.totals, name)
            return difference / seconds

        difference = [b - a for a, b in zip(first.delay_counts, now.delay_counts, strict=True)]
        return RecentAnswer(
            seconds=seconds,
            received_per_s=rate("received"),
            duplicates_dropped_per_s=rate("duplicates_dropped"),
            cached_per_s=rate("cached"),
            announced_per_s=rate("announced"),
            failed_per_s=rate("failed"),
            delay=describe_delays(catalogue.DELAY_BUCKETS_S, difference),
        )


def _is_reset(before: _Point, after: _Point) -> bool:
    """Whether a counter or the clock went backwards."""
    return (
        after.at_s < before.at_s
        or after.totals.received < before.totals.received
        or after.totals.announced < before.totals.announced
        or any(b < a for a, b in zip(before.delay_counts, after.delay_counts, strict=True))
    )
