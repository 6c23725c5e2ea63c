"""The machine: its open files and its clock."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tests.faults.catalogue import LISTENERS, MANAGERS, Scene, fault
from tests.faults.long_world import descriptors
from tests.support.day import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterator


def no_more_files(who: str, *names: str) -> None:
    @fault(f"{who} has no more open files")
    def _(scene: Scene) -> Iterator[str]:
        limits = {}
        for name in names:
            pid = scene.world.processes[name].pid
            # One below what is open: the next is refused, and what is open goes on.
            limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            few = descriptors(pid) - 1
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits[pid][1]))
        # Each must connect again, and cannot.
        for part in ("redis", "broker", "broker-a", "broker-b"):
            for proxy in scene.proxies(part, *names):
                proxy.cut()
        scene.load.more(60)
        for pid, limit in limits.items():
            assert descriptors(pid) <= limit[0]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        yield f"{' and '.join(names)} had to do with fewer than were open"


no_more_files("managers", *MANAGERS)
no_more_files("a listener", LISTENERS[0])

STEP = timedelta(seconds=45)

if LIBRARIES:

    @fault("our clocks step forward and back", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        clock = scene.world.clocks["services"]

        def ahead() -> timedelta:
            url = f"http://127.0.0.1:{scene.world.metrics_port}/healthz"
            date = scene.world.get(url)[1]["date"]
            return parsedate_to_datetime(date) - datetime.now(UTC)

        clock.jump_to(clock.now() + STEP)
        scene.until(lambda: ahead() > STEP / 2, "they have stepped forward")
        scene.comes_out()
        clock.jump_to(clock.now() - STEP)
        scene.until(lambda: ahead() < STEP / 2, "they have stepped back")
        yield f"{STEP.seconds} s, as the metrics service's answers show"

    @fault("Redis' clock steps forward and back", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        clock = scene.world.clocks["redis"]

        def ahead() -> float:
            with scene.admin() as admin:
                return float(admin.time()[0]) - time.time()

        clock.jump_to(clock.now() + STEP)
        scene.until(lambda: ahead() > STEP.seconds / 2, "it has stepped forward")
        scene.comes_out()
        clock.jump_to(clock.now() - STEP)
        scene.until(lambda: ahead() < STEP.seconds / 2, "it has stepped back")
        yield f"{STEP.seconds} s, as its TIME shows"
