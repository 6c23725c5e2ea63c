"""The last five minutes, for the judge of health. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_common.health.facts import Facts, Tally, Window, count, ready_brokers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_metrics.exposition import Reading

#: The period that is judged, in seconds.
WINDOW_S = 300.0
#: Between two points, in seconds: a point has the counts of every centre.
SPACING_S = 10.0
#: What was queued later than this before a reading need not be announced yet, in seconds.
DUE_S = 60.0
#: A clock that is set back by less changes nothing, in seconds.
_CLOCK_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    counts: Tally
    ready_brokers: frozenset[str]


@dataclass(kw_only=True, slots=True, eq=False)
class Lookback:
    """The readings of the last minutes; bounded by time and spacing.

    If counts go backwards, or the clock by more than a minute, or nothing was read for a whole
    window, it starts again.
    """

    window_s: float = WINDOW_S
    spacing_s: float = SPACING_S
    _points: deque[_Point] = field(default_factory=deque, init=False)
    _latest: tuple[Reading, Tally] | None = field(default=None, init=False)
    _quiet_since_s: float = field(default=0.0, init=False)

    def add(self, reading: Reading) -> None:
        """Remember a reading."""
        counts = count(reading.snapshot)
        if self._latest is None or self._starts_again(*self._latest, reading, counts):
            self._points.clear()
            self._quiet_since_s = reading.at_s
        elif counts.received != self._latest[1].received:
            self._quiet_since_s = reading.at_s
        self._latest = (reading, counts)
        if not self._points or reading.at_s - self._points[-1].at_s >= self.spacing_s:
            point = _Point(reading.at_s, counts, ready_brokers(reading.snapshot))
            self._points.append(point)
        # Keep one point older than the window: the window begins there.
        while len(self._points) > 1 and self._points[1].at_s <= reading.at_s - self.window_s:
            self._points.popleft()

    def facts(self, reading: Reading, *, expected_brokers: Sequence[str]) -> Facts:
        """Return what is judged of a reading; without a window until five minutes were read."""
        window, quiet_s = None, 0.0
        if self._latest is not None:
            is_latest = self._latest[0] is reading
            counts = self._latest[1] if is_latest else count(reading.snapshot)
            first = self._points[0]
            seconds = reading.at_s - first.at_s
            if seconds >= self.window_s - self.spacing_s:
                due_until_s = reading.at_s - DUE_S
                last_due = next(p for p in reversed(self._points) if p.at_s <= due_until_s)
                window = Window(
                    seconds,
                    counts.since(first.counts),
                    last_due.counts.since(first.counts),
                    first.ready_brokers,
                )
            quiet_s = max(0.0, reading.at_s - self._quiet_since_s)
        return Facts(
            registry=reading.snapshot,
            depth=reading.depth,
            window=window,
            quiet_s=quiet_s,
            expected_brokers=expected_brokers,
        )

    def _starts_again(
        self, before: Reading, counted: Tally, reading: Reading, counts: Tally
    ) -> bool:
        return (
            not -_CLOCK_STEP_S <= reading.at_s - before.at_s <= self.window_s
            or sum(counts.received.values()) < sum(counted.received.values())
            or counts.announced < counted.announced
        )
