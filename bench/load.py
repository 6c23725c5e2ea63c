"""The load of processes and of the whole machine between two looks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Look:
    """Clocks that only grow: seconds of wall time, of busy cores, of each process."""

    at_s: float
    busy_s: float
    cpu_s: Mapping[str, float]
    waited_s: Mapping[str, float]
    """Ready to run without a free core: the sum over the threads."""


@dataclass(frozen=True)
class Load:
    """Per cent of one core for a process, of all cores for the machine."""

    cpu: dict[str, float]
    waited: dict[str, float]
    machine: float
    others: float
    """Of all cores, the part used by processes that are not ours."""


def look(pids: Mapping[str, int]) -> Look:
    """Look at the machine and at these processes with their children."""
    cpu_s, waited_s = {}, {}
    for name, pid in pids.items():
        cpu_s[name] = waited_s[name] = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            whole = psutil.Process(pid)
            # All of them are children of this process.
            children = [] if pid == os.getpid() else whole.children(recursive=True)
            for process in (whole, *children):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    cpu_s[name] += times.user + times.system
                    waited_s[name] += _waited_s(process.pid)
    return Look(time.monotonic(), _busy_s(), cpu_s, waited_s)


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def cores_of_machine() -> int:
    """Return how many processors the machine has."""
    return psutil.cpu_count() or 1


def _waited_s(pid: int) -> float:
    total_ns = 0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total_ns += int(schedstat.read_text(encoding="ascii").split()[1])
    return total_ns / 1e9


def between(before: Look, after: Look) -> Load:
    """Return the load between two looks."""
    wall_s = after.at_s - before.at_s

    def percent(of: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
        # The clock of a thread that has ended is gone.
        return {name: max(0.0, of[name] - earlier[name]) / wall_s * 100 for name in of}

    cores = cores_of_machine()
    machine = (after.busy_s - before.busy_s) / wall_s / cores * 100
    cpu = percent(after.cpu_s, before.cpu_s)
    others = max(0.0, machine - sum(cpu.values()) / cores)
    return Load(cpu, percent(after.waited_s, before.waited_s), machine, others)


class Watch:
    """Records how busy the machine is, every half second until closed."""

    EVERY_S = 0.5

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []
        """Begin and end by the monotonic clock, and per cent of all cores."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        at_s, busy_s = time.monotonic(), _busy_s()
        while not self._closing.wait(self.EVERY_S):
            began_s, before_s = at_s, busy_s
            at_s, busy_s = time.monotonic(), _busy_s()
            percent = (busy_s - before_s) / (at_s - began_s) / cores_of_machine() * 100
            self.samples.append((began_s, at_s, percent))

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def most(self, begin_s: float, end_s: float) -> float:
        """Return how busy it was at most between two times."""
        found = [
            percent for began, ended, percent in self.samples if began < end_s and begin_s < ended
        ]
        return max(found, default=0.0)
