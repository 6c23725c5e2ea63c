"""A manager's housekeeping on the parts of a workbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.fakes.manager import next_turn
from wis2_gc_common.ports.registry import ProcessStatus
from wis2_gc_manager.upkeep.housekeeping import Housekeeping, Pulse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testkit.fakes.manager import Workbench

STATUS = ProcessStatus(kind="manager", name="one", is_ready=True)


def housekeeping_of(
    bench: Workbench,
    sleep: Callable[[float], Awaitable[None]] = next_turn,
    *,
    interval_s: float = 0,
) -> Housekeeping:
    """Return what `sleep` paces."""
    return Housekeeping(
        registry=bench.registry,
        store=bench.store,
        gate=bench.gate,
        counts=bench.counts,
        pulse=Pulse(),
        fairness=bench.fairness,
        events=bench.events,
        public_check=bench.public_check,
        public_check_interval_s=interval_s,
        known_centres=lambda: frozenset({"de-dwd"}),
        centre_max_items=None,
        centre_max_bytes=7_000,
        status=lambda: STATUS,
        sleep=sleep,
    )
