"""Collects operational counters, and writes them to the registry.

They are added in memory and written once a second: a crash loses at most that second. The WMO
counters do not come this way; they move inside the registry's own transitions.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from wis2_gc_common.metrics import field, field_of_centre

if TYPE_CHECKING:
    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.registry import Registry


class Counts:
    """Counters that are not written yet."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, metric: Metric, *labels: str) -> None:
        """Count one."""
        self._counts[field(metric, *labels)] += 1

    def add_of_centre(self, metric: Metric, centre_id: str) -> None:
        """Count one for a centre, whose name comes from a stranger."""
        self._counts[field_of_centre(metric, centre_id, self._counts)] += 1

    async def flush(self, registry: Registry) -> None:
        """Write the counters. Raises Unavailable("registry"), and keeps them then."""
        if not self._counts:
            return
        counts, self._counts = self._counts, Counter()
        try:
            await registry.count(counts)
        except BaseException:
            self._counts.update(counts)
            raise
