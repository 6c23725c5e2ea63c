"""The long run: items flow, every kind of fault happens, and in the end all is as it should be."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from testkit.worlds.world import wait_until
from tests.faults.catalogue import Scene, catalogue
from tests.faults.long_load import LongLoad
from tests.faults.long_world import LongWorld, descriptors, resident_mb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.catalogue import Fault

#: Every so many faults, a process is killed beside one.
KILLED_BESIDE = 4
#: What may be killed beside any other fault; each in its turn.
VICTIMS = ("manager-1", "listener-a", "metrics", "manager-2", "listener-b")
#: Items before the first fault: what the caches and pools of a process need is then there.
WARM_UP = 1000
#: Which may grow so much from the end of the warm-up to the end of all.
MORE_DESCRIPTORS = 40
MORE_MB = 80.0
#: Keys of Redis that are of no item.
OTHER_KEYS = 60
PASSING_S = 24 * 3600
DRAINED_S = 180.0


@dataclass(frozen=True)
class Sizes:
    """What must not grow, of each process."""

    descriptors: dict[str, int]
    resident_mb: dict[str, float]


class LongRun:
    """One world that faults are injected into, and the books of it."""

    def __init__(
        self, directory: Path, back_ends: frozenset[str], *, seed: int, out: TextIO
    ) -> None:
        self.seed = seed
        self._back_ends = back_ends
        self._out = out
        self._random = random.Random(seed)
        self._began_s = time.monotonic()
        self.seen: Counter[str] = Counter()
        """How often the effect of each kind was observed."""
        self._beside = 0
        self.world = LongWorld(directory, seed=seed)
        self.load = LongLoad(self.world)
        self.scene = Scene(self.world, self.load, back_ends)

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self.load.stop()
        self.world.close()

    def say(self, text: str) -> None:
        at_s = time.monotonic() - self._began_s
        print(f"{at_s:7.1f} s {len(self.load):6d} items  {text}", file=self._out, flush=True)

    def warm_up(self) -> None:
        """Let the first items through, without a fault."""
        self.say(f"seed {self.seed}, on {', '.join(sorted(self._back_ends))}")
        wait_until(lambda: self.world.number_out() >= WARM_UP, "it is warm", timeout=DRAINED_S)
        self.before = self.sizes()

    def all_faults(self, *, items: int = 0, until_s: float = math.inf) -> None:
        """Inject each kind once, in an order of the seed's, spread over so many items.

        `until_s`: when, of the monotonic clock, no more are injected.
        """
        schedule = list(catalogue(self._back_ends))
        self._random.shuffle(schedule)
        begin = len(self.load)
        for number, each in enumerate(schedule, 1):
            if time.monotonic() > until_s:
                return
            self.inject(each)
            wanted = begin + (items - begin) * number // len(schedule)
            wait_until(lambda: len(self.load) >= wanted, f"{wanted} items", timeout=DRAINED_S)  # noqa: B023

    def inject(self, fault: Fault) -> None:
        """Inject one, see its effect, and see that the cache gets over it by itself."""
        self.say(f"{fault.kind} …")
        began_s = time.monotonic()
        with contextlib.ExitStack() as stack:
            effect = stack.enter_context(fault.inject(self.scene))
            assert effect
            if not fault.is_alone and len(self.seen) % KILLED_BESIDE == 0:
                stack.enter_context(self._killed_beside())
        self.scene.comes_out()
        for name in self.world.processes:
            self.scene.is_up(name)
        self.seen[fault.kind] += 1
        self.say(f"{fault.kind}: {effect} ({time.monotonic() - began_s:.1f} s)")

    @contextlib.contextmanager
    def _killed_beside(self) -> Iterator[None]:
        # Who is gone by the fault itself is started again by it.
        alive = [name for name in VICTIMS if self.world.processes[name].is_alive]
        name = alive[self._beside % len(alive)]
        self._beside += 1
        process = self.world.processes[name]
        process.kill()
        assert not process.is_alive
        yield
        process.start()
        self.say(f"  and {name} killed meanwhile")

    def sizes(self) -> Sizes:
        pids = {name: process.pid for name, process in self.world.processes.items()}
        return Sizes(
            {name: descriptors(pid) for name, pid in pids.items()},
            {name: resident_mb(pid) for name, pid in pids.items()},
        )

    # The end

    def check(self) -> None:
        """Look whether all is as it should be."""
        self.load.stop()
        self.say("the last item is published")
        wait_until(self.world.is_ready, "the cache is ready", timeout=DRAINED_S)
        expected = self.load.expected
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.world.are_out(expected), "all come out", timeout=DRAINED_S)
        missing = self._missing()
        assert not missing, f"{len(missing)} never came out: {missing[:20]}"
        wait_until(self._is_drained, "nothing waits", timeout=DRAINED_S)
        self.say("all has come out, nothing waits")
        came_out = self.world.came_out
        assert came_out.keys() == expected.keys(), "lost, or never asked for"
        second = [name for name, each in came_out.items() if len(each.ids) > 1]
        assert not second, f"announced under two ids: {second[:5]}"
        wrong = self._wrong()
        assert not wrong, f"wrong bytes: {wrong[:5]}"
        self._check_counters()
        self._check_growth()
        again = sum(each.times - 1 for each in came_out.values())
        self.say(
            f"lost 0, second ids 0, wrong bytes 0, counters exact; announced again under the same"
            f" id: {again}; {len(self.seen)} kinds of faults, {self.seen.total()} in all"
        )

    def _missing(self) -> list[str]:
        return [name for name in self.load.names() if name not in self.world.came_out]

    def _is_drained(self) -> bool:
        with contextlib.suppress(AssertionError):
            waiting = self.world.waiting()
            return all(waiting[state] == 0 for state in ("ready", "in_flight", "delayed"))
        return False

    def _wrong(self) -> list[str]:
        """Fetch each object; return what is not as it was published."""
        names = list(self.load.expected)
        with ThreadPoolExecutor(4) as pool:
            return [name for part in pool.map(self._wrong_of, (names[n::4] for n in range(4)))
                    for name in part]  # fmt: skip

    def _wrong_of(self, names: list[str]) -> list[str]:
        wrong = []
        connection = http.client.HTTPConnection("127.0.0.1", self.world.nginx.port, timeout=30)
        for name in names:
            connection.request("GET", urlsplit(self.world.came_out[name].href).path)
            answer = connection.getresponse()
            digest = hashlib.sha256(answer.read()).digest()
            if answer.status != http.HTTPStatus.OK or digest != self.load.expected[name]:
                wrong.append(f"{name}: {answer.status}")
        connection.close()
        return wrong

    def _check_counters(self) -> None:
        counted: dict[str, dict[str, float]] = {
            "downloaded": {},
            "downloaded_errors": {},
            "integrity_failed": {},
        }
        for (name, labels), value in self.world.metrics().items():
            short = name.removeprefix("wmo_wis2_gc_").removesuffix("_total")
            if short in counted and value:
                counted[short][dict(labels)["centre_id"]] = value
        wrong = {
            centre: f"{counted['downloaded'].get(centre, 0):g} of {wanted}"
            for centre, wanted in self.load.of_centre.items()
            if counted["downloaded"].get(centre, 0) != wanted
        }
        assert not wrong, f"downloaded_total is wrong: {wrong}"
        assert counted["downloaded"].keys() == self.load.of_centre.keys()
        errors = counted["downloaded_errors"]
        for centre_id in errors.keys() | self.load.errors.keys():
            least, most = self.load.errors.get(centre_id, (0, 0))
            assert least <= errors.get(centre_id, 0) <= most, (centre_id, errors, self.load.errors)
        failed = {centre: n for centre, n in self.load.failed_integrity.items() if n}
        assert counted["integrity_failed"] == failed

    def _check_growth(self) -> None:
        after = self.sizes()
        self.say(f"descriptors {self.before.descriptors} before, {after.descriptors} after")
        self.say(f"MB {self.before.resident_mb} before, {after.resident_mb} after")
        for name, number in after.descriptors.items():
            most = self.before.descriptors[name] + MORE_DESCRIPTORS
            assert number <= most, f"{name} has {number} descriptors, {most} at most"
        for name, mb in after.resident_mb.items():
            assert mb <= self.before.resident_mb[name] + MORE_MB, f"{name} has {mb} MB"
        keys: Counter[str] = Counter()
        with self.scene.admin() as admin:
            for key in admin.scan_iter(count=1000):
                kind = kind_of(key)
                # What remembers a count until nobody can send it again goes by itself.
                keys["passing" if kind == "n" and 0 < admin.ttl(key) <= PASSING_S else kind] += 1
        self.say(f"keys in Redis: {dict(keys)}")
        assert keys["i"] <= len(self.load), "records without an item"
        # Of an item of another cache, two notifications were processed at most.
        assert keys["m"] <= len(self.load) + sum(most for _, most in self.load.errors.values())
        others = keys.total() - keys["i"] - keys["m"] - keys["passing"]
        assert others <= OTHER_KEYS, f"{others} keys of no item"


def kind_of(key: bytes) -> str:
    """Return what a key of Redis is for: `i` a record, `m` a message id, `n` a count."""
    name = key.decode().removeprefix("{gc}")
    return name.partition(":")[0] if name[1:2] == ":" else name
