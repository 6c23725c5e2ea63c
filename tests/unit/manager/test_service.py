"""A manager put together as in production, its parts on fakes."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from testkit.fakes.manager import (
    FakeDownloader,
    FakeQueue,
    FakeStore,
    Traps,
)
from testkit.fakes.manager_settings import REQUIRED
from testkit.fakes.registry import FakeRegistry
from testkit.waiting import until
from wis2_gc_common.errors import PartError, Unavailable
from wis2_gc_common.metrics import DEAD_LETTERS
from wis2_gc_common.settings.reader import Reader
from wis2_gc_manager.pipeline import outage_gate
from wis2_gc_manager.service import Manager, Parts
from wis2_gc_manager.settings import read_settings
from wis2_gc_manager.upkeep.public_fetch import PublicFetch

if TYPE_CHECKING:
    from wis2_gc_common.errors import Part


ENVIRONMENT = {
    **REQUIRED,
    # A port on which nobody listens.
    "GC_LOCAL_BROKER_URL": "mqtt://127.0.0.1:1",
    "GC_HTTP_HOST": "127.0.0.1",
    "GC_HTTP_PORT": "0",
    "GC_PUBLIC_CHECK_INTERVAL": "0",
}


@pytest.mark.parametrize(
    ("part", "step"), [("queue", "depth"), ("registry", "ping"), ("store", "check")]
)
async def test_whether_a_part_is_back_is_asked_of_that_very_part(
    part: Part, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_gate, "PROBE_DELAY_S", 0.001)
    monkeypatch.setattr(outage_gate, "MAX_PROBE_DELAY_S", 0.001)
    traps = Traps()
    traps.before(step, *[Unavailable(part, "gone")] * 50)
    queue = FakeQueue(traps)
    parts = Parts(
        FakeRegistry(traps),
        queue,
        FakeStore(traps),
        FakeDownloader(traps),
        PublicFetch(ssl.create_default_context()),
    )
    manager = Manager(read_settings(Reader(ENVIRONMENT)), parts, tls=None)
    running = asyncio.create_task(manager.run())
    await until(lambda: problems_of(manager).get(part) == "gone")
    while traps._before[step]:
        # All other parts answer all the time.
        assert problems_of(manager).get(part) == "gone"
        await asyncio.sleep(0)
    await until(lambda: part not in problems_of(manager))
    manager.request_stop()
    await running


async def test_counts_that_the_registry_refuses_keep_nobody_from_stopping() -> None:
    traps = Traps()
    traps.before("count", *[PartError("registry", "a bug")] * 50)
    queue = FakeQueue(traps)
    parts = Parts(
        FakeRegistry(traps),
        queue,
        FakeStore(traps),
        FakeDownloader(traps),
        PublicFetch(ssl.create_default_context()),
    )
    manager = Manager(read_settings(Reader(ENVIRONMENT)), parts, tls=None)
    running = asyncio.create_task(manager.run())
    manager._counts.add(DEAD_LETTERS, "unexpected")
    manager.request_stop()
    await running
    assert queue.is_closed


def problems_of(manager: Manager) -> dict[Part, str]:
    return dict(manager._gate.problems)
