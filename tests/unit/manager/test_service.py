"""A manager put together as in production, its parts on fakes."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from testkit.fakes.manager import (
    FakeDownloader,
    FakeQueue,
    FakeRegistry,
    FakeStore,
    Traps,
)
from testkit.waiting import until
from tests.unit.manager.test_manager_settings import REQUIRED
from wis2_gc_common.errors import PartError, Unavailable
from wis2_gc_common.metrics import DEAD_LETTERS
from wis2_gc_common.settings.reader import Reader
from wis2_gc_manager.pipeline import gate
from wis2_gc_manager.service import Manager, Parts
from wis2_gc_manager.settings import read_settings
from wis2_gc_manager.upkeep.public_fetch import PublicFetch

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
    part: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PROBE_DELAY_S", 0.001)
    monkeypatch.setattr(gate, "MAX_PROBE_DELAY_S", 0.001)
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


def problems_of(manager: Manager) -> dict[str, str]:
    return dict(manager._gate.problems)
