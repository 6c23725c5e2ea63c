"""Stopped while parts hang: each process ends within the time that the chart gives it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import unique_data_id
from testkit.worlds.world import freeze, open_world, thaw
from tests.faults.load import PATIENT, Load, assert_all_came_out

if TYPE_CHECKING:
    from testkit.servers.nodes import Node
    from testkit.worlds.world import Process

#: `terminationGracePeriodSeconds` of helm/wis2-global-cache; a manager has 20 s after its drain.
DRAIN_S = 1
GRACE_S = {"listener": 30, "manager": DRAIN_S + 20, "metrics": 30}
LARGE_BYTES = 9_000_000


def cpu_awaited_s(process: Process) -> float:
    """Return how long it has waited for a processor: what a busy machine takes of its time."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.timeout(400)
@pytest.mark.parametrize("hanging", ["redis", "sqs", "s3", "all"])
def test_processes_end_in_time_and_nothing_is_lost(
    tmp_path: Path, node: Node, hanging: str
) -> None:
    settings = {"GC_DRAIN_TIMEOUT": str(DRAIN_S), "GC_MAX_OBJECT_BYTES": str(2 * LARGE_BYTES)}
    settings |= PATIENT
    with open_world(tmp_path / "world", **settings) as world:
        there = {"redis": world.redis, "broker": world.cache_broker}
        there |= {name: getattr(world, name) for name in ("sqs", "s3") if hasattr(world, name)}
        if hanging not in {*there, "all"}:
            pytest.skip("make test-faults runs it with QUEUE=sqs STORE=s3")
        parts = {name: part for name, part in there.items() if hanging in {name, "all"}}
        load = Load(world, node)
        load.wait_for(60)
        for part in parts.values():
            freeze(part)
        # In S3 it goes in parts, and its upload has to be aborted.
        load.link(unique_data_id("large"), bytes(LARGE_BYTES))
        load.wait_for(60)
        load.pause()
        for process in world.processes.values():
            process.ask_to_stop()
        asked_s = time.monotonic()
        starved_s = {name: cpu_awaited_s(process) for name, process in world.processes.items()}
        for name, process in world.processes.items():
            end_s = asked_s + GRACE_S[name.partition("-")[0]] - starved_s[name]
            while process.is_alive and time.monotonic() < end_s + cpu_awaited_s(process):
                time.sleep(0.02)
            assert process.wait(0.1) == 0, name
        for name, part in parts.items():
            if name == "s3":
                part.kill()  # see test_s3_away
                part.start()
            else:
                thaw(part)
        for process in world.processes.values():
            process.start()
        load.go_on()
        load.wait_for(20)
        assert_all_came_out(world, load)
