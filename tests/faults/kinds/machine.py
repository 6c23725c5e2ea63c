"""The machine: its open files and its clock."""

from __future__ import annotations

import os
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from testkit.servers.name_server import NameServer
from testkit.worlds.day import LIBRARIES
from tests.faults.catalogue import FEW, LISTENERS, MANAGERS, Scene, fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def no_more_files(who: str, *names: str) -> None:
    @fault(f"{who} has no more open files")
    def _(scene: Scene) -> Iterator[str]:
        marks = {name: scene.marks(name) for name in names}
        limits = {}
        for name in names:
            pid = scene.world.processes[name].pid
            limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            # What is open goes on; nothing more is opened.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[pid][1]))
        # Each must connect again, and cannot.
        for part in ("redis", "broker", "broker-a", "broker-b"):
            for proxy in scene.proxies(part, *names):
                proxy.cut()
        for mark in marks.values():
            scene.logged(mark, "too many open files")
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        yield f"{' and '.join(names)} logged too many open files"


no_more_files("managers", *MANAGERS)
no_more_files("a listener", LISTENERS[0])

if sys.platform == "linux" and os.geteuid() == 0:
    # Only root mounts.
    @fault("the DNS away", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        """The managers have a name server of their own meanwhile, which falls silent."""
        origin = scene.world.new_origin()
        with NameServer(origin.host_name()) as names:
            setting = scene.world.directory / "resolv.conf"
            setting.write_text(f"nameserver {names.host}\n", encoding="utf-8")
            rolled_out(scene, *in_place_of("/etc/resolv.conf", setting))
            names.is_silent = True
            begin = scene.failures("fr-dns")
            few = scene.few("fr-dns", origin, host="dns.faults.example", errors=(FEW, FEW))
            scene.until(
                lambda: scene.failures("fr-dns") >= begin + FEW, f"{FEW} failures are counted"
            )
            names.is_silent = False
            scene.have_come_out(few)
            yield f"{names.unanswered} questions without an answer"
            rolled_out(scene)


def in_place_of(path: str, file: Path) -> tuple[str, ...]:
    """Return what starts a command that finds `file` at `path`; all others do not."""
    script = 'mount --bind "$0" "$1" && shift && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, str(file), path)


def rolled_out(scene: Scene, *before: str) -> None:
    for name in MANAGERS:
        process = scene.world.processes[name]
        assert process.stop() == 0, "a stop is not a failure"
        process.before = before
        process.start()
    for name in MANAGERS:
        scene.is_up(name)


STEP = timedelta(seconds=45)

if LIBRARIES:

    @fault("our clocks step forward and back", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        clock = scene.world.clocks["services"]

        def ahead() -> timedelta:
            date = scene.answer("/healthz")[1]["date"]
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
