"""`make bench-attacks`: how long an innocent centre's items take, without and with an attack.

Each attack gets its own world, as in `make bench`, with the settings' defaults: two Global Brokers,
listeners, two managers, Redis, our broker, nginx. Both Global Brokers carry 5 canaries a second; a
canary's delay is from there to our announcement. The first phase has only canaries; in the second
the attack runs until all canaries are out. The exit code is 1 if a canary does not come out with
the right bytes. QUEUE=sqs and STORE=s3 as for `make bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from bench import canaries, load, names, strangers
from bench.run import parts_of_environment, percentile
from local.parts.nginx import Nginx
from testkit.servers.name_server import NameServer
from testkit.servers.shallow_broker import ShallowBroker
from testkit.worlds.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.canaries import Canary
    from bench.load import Load
    from bench.strangers import Attack
    from local.parts.redis_server import RedisServer

#: Highest allowed ratio of the p99 with the attack to that without it.
MAX_RATIO = 1.2
#: Seconds that canaries may be late.
DEADLINE_S = 90.0
#: If the machine is busier than this, it is the limit for everything that waits.
BUSY_PERCENT = 85.0
#: The tests use shorter times; the bench measures what an operator gets.
DEFAULTS = dict.fromkeys(
    (
        "GC_PUBLIC_CHECK_INTERVAL",
        "GC_MAX_OBJECT_BYTES",
        "GC_QUICK_RETRY_DELAY",
        "GC_RETRY_DELAYS",
        "GC_HEDGE_DELAY",
        "GC_IDLE_TIMEOUT",
        "GC_CONNECT_TIMEOUT",
        "GC_VISIBILITY_TIMEOUT",
    ),
    "",
)


@dataclass
class Phase:
    """The results for the canaries of one phase."""

    delays_ms: list[float] = field(default_factory=list)
    fetches_ms: list[float] = field(default_factory=list)
    busiest: list[float] = field(default_factory=list)
    """For each delay, per cent of the machine used in its busiest half second."""
    sent: int = 0
    wrong: int = 0
    load: Load | None = None

    @property
    def missing(self) -> int:
        return self.sent - len(self.delays_ms)

    def add(self, canary: Canary, busiest: Callable[[float, float], float]) -> None:
        """`busiest`: per cent of the machine, of a begin and an end by the monotonic clock."""
        self.sent += 1
        if canary.announced is None or canary.delay_ms is None:
            return
        self.busiest.append(busiest(canary.published, canary.announced))
        self.delays_ms.append(canary.delay_ms)
        self.wrong += not canary.is_right
        if canary.fetch_ms is not None:
            self.fetches_ms.append(canary.fetch_ms)

    def slow(self, limit_ms: float) -> tuple[int, int]:
        """Return how many took longer than `limit_ms`, and how many of them on a busy machine."""
        slow = [
            busy
            for delay_ms, busy in zip(self.delays_ms, self.busiest, strict=True)
            if delay_ms > limit_ms
        ]
        return len(slow), sum(busy > BUSY_PERCENT for busy in slow)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"sent": self.sent, "missing": self.missing, "wrong": self.wrong}
        for name, values in (("delay_ms", self.delays_ms), ("fetch_ms", self.fetches_ms)):
            found[name] = {key: round(value, 1) for key, value in summary(values).items()}
        found["delays_ms"] = [round(delay, 1) for delay in self.delays_ms]
        if self.load is not None:
            found["machine_percent"] = round(self.load.machine, 1)
            found["others_percent"] = round(self.load.others, 1)
            found["cpu_percent"] = _rounded(self.load.cpu)
            found["waited_percent"] = _rounded(self.load.waited)
        return found


@dataclass
class AttackResult:
    """One attack's figures."""

    name: str
    meaning: str
    said: str
    """The attacker's own report."""
    is_run: bool
    undisturbed: Phase
    attacked: Phase
    left: dict[str, float]
    """What is left afterwards."""

    @property
    def is_right(self) -> bool:
        return self.is_run and not any(
            phase.missing or phase.wrong for phase in (self.undisturbed, self.attacked)
        )

    @property
    def ratio(self) -> float | None:
        """The ratio of the p99s, both from one run: the machine is not always equally quiet."""
        undisturbed, attacked = p99_ms(self.undisturbed.delays_ms), p99_ms(self.attacked.delays_ms)
        return round(attacked / undisturbed, 2) if undisturbed and attacked else None

    @property
    def slow(self) -> tuple[int, int]:
        """How many canaries of the attack are above the ratio, and how many on a busy machine."""
        return self.attacked.slow(MAX_RATIO * p99_ms(self.undisturbed.delays_ms))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "meaning": self.meaning,
            "said": self.said,
            "ratio": self.ratio,
            "slow": dict(zip(("all", "busy"), self.slow, strict=True)),
            "undisturbed": self.undisturbed.as_json(),
            "attacked": self.attacked.as_json(),
            "left": self.left,
        }

    def lines(self) -> Iterator[str]:
        yield f"\n{self.name}: {self.meaning}"
        if self.said:
            yield f"  {self.said}"
        for name, phase in (("undisturbed", self.undisturbed), ("attacked", self.attacked)):
            delays = shown(phase.delays_ms)
            announced = phase.sent - phase.missing
            wrong = f", {phase.wrong} WRONG" if phase.wrong else ""
            yield f"  {name:<12} {announced} of {phase.sent} announced{wrong}, delay {delays}"
            if phase.load is not None:
                work = sorted(phase.load.cpu.items(), key=lambda entry: -entry[1])
                each = ", ".join(
                    f"{process} {cpu:.0f} ({phase.load.waited[process]:.0f})"
                    for process, cpu in work
                    if cpu >= 1
                )
                yield (
                    f"  {'':<12} machine {phase.load.machine:.0f} % busy, "
                    f"{phase.load.others:.0f} not by us; % of a core (waited for one): {each}"
                )
        yield "  afterwards   " + ", ".join(f"{name} {value}" for name, value in self.left.items())


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}


def summary(values: list[float]) -> dict[str, float]:
    """Return p50, p99 and longest; empty if there are no values."""
    if not values:
        return {}
    found = {f"p{percent}": percentile(values, percent) for percent in (50, 99)}
    return {**found, "max": max(values)}


def shown(values: list[float]) -> str:
    """`p50 / p99 / max`, in ms."""
    return " / ".join(f"{value:.0f}" for value in summary(values).values()) or "none"


def p99_ms(values: list[float]) -> float:
    """Return the p99; 0 if there are no values."""
    return percentile(values, 99) if values else 0.0


def table(results: Sequence[AttackResult]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    columns = ("attack", "canaries out", "undisturbed, ms", "attacked, ms", "p99, ratio")
    yield f"| {' | '.join(columns)} | slow, busy | CPU |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        phases = (result.undisturbed, result.attacked)
        sent, missing = sum(p.sent for p in phases), sum(p.missing for p in phases)
        ratio = result.ratio
        is_above = ratio is None or ratio > MAX_RATIO
        slow, busy = result.slow
        machine = " to ".join(f"{p.load.machine:.0f}" for p in phases if p.load is not None)
        yield (
            f"| {result.name} | {sent - missing} of {sent} "
            f"| {shown(result.undisturbed.delays_ms)} | {shown(result.attacked.delays_ms)} "
            f"| {'none' if ratio is None else f'{ratio:.2f}'}{' **above**' if is_above else ''} "
            f"| {slow}, {busy} | {machine} % |"
        )
    yield (
        f"\nDelays are p50 / p99 / longest. Slow: took over {MAX_RATIO} times the p99 before the "
        f"attack; busy: of these, on a machine that was over {BUSY_PERCENT:.0f} % busy for half a "
        "second meanwhile."
    )


class BesiegedWorld(World):
    """A world with the Redis size that an attack needs."""

    def __init__(self, directory: Path, attack: Attack, **options: Any) -> None:
        self._redis_memory = attack.redis_memory
        super().__init__(directory, **options)

    def _redis_server(self) -> RedisServer:
        server = super()._redis_server()
        server.max_memory = self._redis_memory
        return server

    def pids(self) -> dict[str, int]:
        parts = {"redis": self.redis, "our broker": self.cache_broker, "nginx": self.nginx}
        parts |= {"public broker": self.public_broker}
        parts |= {f"broker {name}": broker for name, broker in self.brokers.items()}
        parts |= {name: vars(self)[name] for name in ("sqs", "s3") if name in vars(self)}
        services = {name: process.pid for name, process in self.processes.items()}
        return services | {name: part.pid for name, part in parts.items()}

    def left(self) -> dict[str, float]:
        """Return the present numbers of `/metrics`, Redis and the store."""
        began = time.monotonic()
        body = self.get(f"http://127.0.0.1:{self.metrics_port}/metrics")[2]
        took_ms = (time.monotonic() - began) * 1000
        sizes = [file.stat().st_size for file in self.store.rglob("*") if file.is_file()]
        return {
            "/metrics kB": round(len(body) / 1000),
            "/metrics ms": round(took_ms),
            "redis MB": round(_redis_bytes(self.redis) / 1e6, 1),
            "store MB": round(sum(sizes) / 1e6, 1),
            "objects": len(sizes),
        }


def _redis_bytes(server: RedisServer) -> int:
    with Redis.from_url(server.url) as redis:
        memory: Any = redis.info("memory")
        return int(memory["used_memory"])


@dataclass(frozen=True)
class Pace:
    """Canaries a second and seconds of each phase of a run."""

    per_s: float
    undisturbed_s: float
    attacked_s: float


def besiege(name: str, pace: Pace, directory: Path, stack: contextlib.ExitStack) -> AttackResult:
    """Run one attack in its own world; `stack` stops everything."""
    attack = strangers.ATTACKS[name]
    origin, data_server = _data_server(directory, "origin", stack)
    if attack.by_name:
        origin = origin[0], origin[1].replace("127.0.0.1", names.KNOWN)

    def behind(port: int) -> int:
        if attack.broker_levels is None:
            return port
        broker = ShallowBroker(port, levels=attack.broker_levels)
        stack.callback(broker.close)
        return broker.port

    settings = {
        **DEFAULTS, "GC_LOG_LEVEL": "warning", "GC_ALLOWED_NETWORKS": "127.0.0.0/8",
        **attack.settings,
    }  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit that most systems give a service.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    world = BesiegedWorld(directory / "world", attack, cache_broker_port=behind, **settings)
    stack.callback(world.close)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    broker = world.brokers["a"]
    places = canaries.Places(
        global_brokers={name: each.port for name, each in world.brokers.items()},
        publisher=(broker.publisher_username, broker.publisher_password),
        cache_broker=world.cache_broker.port,
        public_broker=world.public_broker.port,
        metrics=world.metrics_port,
        data=world.nginx.port,
        origin=origin,
        strangers=_data_server(directory, "strangers", stack)[0],
    )
    context = multiprocessing.get_context("spawn")
    orders, theirs = context.Pipe()
    attack_orders, attackers = context.Pipe()
    stop = context.Event()
    flock = context.Process(target=canaries.keep, args=(places, pace.per_s, theirs), daemon=True)
    attacker = context.Process(
        target=strangers.attack, args=(name, places, stop, attackers), daemon=True
    )
    for process, ready in ((flock, orders), (attacker, attack_orders)):
        process.start()
        stack.callback(process.kill)
        ready.recv()
    pids = {**world.pids(), "data server": data_server.pid, "world": os.getpid()}
    pids |= {"canaries": flock.pid or 0, "attacker": attacker.pid or 0}
    phases = {"undisturbed": Phase(), "attacked": Phase()}
    watch = load.Watch()
    stack.callback(watch.close)
    for phase, seconds in (("undisturbed", pace.undisturbed_s), ("attacked", pace.attacked_s)):
        if phase == "attacked":
            attack_orders.send("begin")
        before = load.look(pids)
        orders.send(phase)
        time.sleep(seconds if phase == "undisturbed" else max(seconds, attack.at_least_s))
        phases[phase].load = load.between(before, load.look(pids))
    orders.send(DEADLINE_S)
    for canary in orders.recv():
        if canary.phase in phases:
            phases[canary.phase].add(canary, watch.most)
    left = world.left()
    stop.set()
    is_run, text = (
        attack_orders.recv() if attack_orders.poll(60) else (False, "the attacker does not end")
    )
    return AttackResult(
        name, attack.meaning, text, is_run, phases["undisturbed"], phases["attacked"], left
    )


def _data_server(
    directory: Path, name: str, stack: contextlib.ExitStack
) -> tuple[tuple[Path, str], Nginx]:
    root = directory / name
    root.mkdir(parents=True)
    server = Nginx(directory / f"{name}-nginx", root=root)
    server.start()
    stack.callback(server.stop)
    return (root, f"http://127.0.0.1:{server.port}/data"), server


def _choose(wanted: str, store: str) -> list[str]:
    """Return the names of the attacks that can run here; print why others cannot."""
    chosen = [name for name in strangers.ATTACKS if wanted in name]
    if not chosen:
        known = ", ".join(strangers.ATTACKS)
        raise SystemExit(f"no attack is named like {wanted!r}; there are: {known}")
    for name in list(chosen):
        needed = strangers.ATTACKS[name].store
        if needed not in ("", store):
            print(f"{name}: left out, it is for STORE={needed}")
            chosen.remove(name)
    return chosen


def _ask_our_name_server(directory: Path, chosen: list[str], stack: contextlib.ExitStack) -> None:
    for name in [name for name in chosen if strangers.ATTACKS[name].by_name]:
        try:
            server = stack.enter_context(NameServer("127.0.0.1", known=names.KNOWN))
            names.ask_only(server.host, directory / "resolv.conf")
        except OSError as error:
            print(f"{name}: left out, it needs root and port 53: {error}")
            chosen.remove(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--directory", type=Path, help="where everything is kept meanwhile")
    parser.add_argument("--rate", type=float, default=5, help="canaries a second")
    parser.add_argument("--undisturbed", type=float, default=15, help="seconds before an attack")
    parser.add_argument("--attacked", type=float, default=30, help="seconds of an attack")
    options = parser.parse_args()
    parts = parts_of_environment(parser)
    pace = Pace(options.rate, options.undisturbed, options.attacked)
    results: list[AttackResult] = []
    print(f"queue {parts['queue']}, store {parts['store']}, {os.cpu_count()} cores", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="wis2-gc-bench-", dir=options.directory) as directory,
        contextlib.ExitStack() as around,
    ):
        chosen = _choose(options.only, parts["store"])
        _ask_our_name_server(Path(directory), chosen, around)
        for name in chosen:
            with contextlib.ExitStack() as stack:
                where = Path(directory) / name.replace(" ", "-")
                results.append(besiege(name, pace, where, stack))
            print("\n".join(results[-1].lines()), flush=True)
    print("", *table(results), sep="\n")
    if options.json:
        document = {
            **parts,
            "cores": os.cpu_count(),
            "canaries_per_s": pace.per_s,
            "attacks": [result.as_json() for result in results],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(result.is_right for result in results) else 1)


if __name__ == "__main__":
    main()
