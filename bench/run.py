"""`make bench`: throughput, delay, CPU and memory of every process, on this machine, now.

Everything runs on the same cores: publisher, both Global Brokers, the data server, the cache with
two managers, its broker, Redis, nginx and the subscriber. Use the numbers only to compare two
commits on one machine, in turns; `--json FILE` writes them to a file. QUEUE=sqs and STORE=s3
measure on local servers with the APIs of SQS and S3.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from local.parts.nginx import Nginx
from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.worlds.world import GLOBAL_BROKER_ACCOUNT, Client, World, open_world, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TOPIC = "origin/a/wis2/tt-bench/data/core/weather/surface-based-observations/synop"


#: Notifications a second in the steady scenarios: the WMO's performance test (wis2-rules.md 28),
#: and a busy Global Broker.
STEADY_ITEMS_PER_S = 50
STEADY_NOTIFICATIONS_PER_S = 500
#: Most notifications of Global Brokers are known already: one of eight is new.
COPIES = 8
#: Allowed values of QUEUE and STORE in the environment, the default first.
PARTS = {"queue": ("redis-stream", "sqs"), "store": ("file", "s3")}


@dataclass
class BenchResult:
    """The results of one scenario; `items` is the divisor of `cpu_ms`."""

    name: str
    items: int
    wall_s: float
    delays_ms: list[float] = field(default_factory=list)
    cpu_ms: dict[str, float] = field(default_factory=dict)
    """CPU per notification, user and system, by process."""
    peak_mb: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def lines(self) -> Iterator[str]:
        rate = f"{self.items / self.wall_s:.0f}/s" if self.items > 1 else ""
        yield f"\n{self.name}: {self.items} in {self.wall_s:.2f} s {rate} {self.note}".rstrip()
        if self.delays_ms:
            shown = ", ".join(f"{name} {ms:.0f} ms" for name, ms in self.percentiles().items())
            yield f"  delay, publish to announcement: {shown}"
        if self.peak_mb:
            yield f"  {'process':<14}{'CPU/item':>12}{'peak RSS':>12}"
            for process, peak in self.peak_mb.items():
                cpu = self.cpu_ms.get(process)
                shown = "" if cpu is None else f"{cpu:.3f} ms"
                yield f"  {process:<14}{shown:>12}{peak:>9.0f} MB"

    def percentiles(self) -> dict[str, float]:
        """Return the delays' p50, p90, p99 and longest; empty if none was measured."""
        if not self.delays_ms:
            return {}
        found = {f"p{percent}": percentile(self.delays_ms, percent) for percent in (50, 90, 99)}
        return {**found, "max": max(self.delays_ms)}

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, rounded to their accuracy."""

        def rounded(values: dict[str, float], digits: int) -> dict[str, float]:
            return {name: round(value, digits) for name, value in values.items()}

        return {
            "name": self.name,
            "items": self.items,
            "wall_s": round(self.wall_s, 3),
            "delay_ms": rounded(self.percentiles(), 1),
            "cpu_ms_per_item": rounded(self.cpu_ms, 4),
            "peak_mb": rounded(self.peak_mb, 1),
            "note": self.note,
        }


def percentile(values: list[float], percent: int) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class Meter:
    """CPU and peak memory of the processes of a world, from start to stop."""

    def __init__(self, world: World) -> None:
        self._processes = {
            name: psutil.Process(process.pid) for name, process in world.processes.items()
        }
        for process in self._processes.values():
            # Peak resident set from now on; requires root or the same user.
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
        self._before = {name: self._cpu(process) for name, process in self._processes.items()}

    @staticmethod
    def _cpu(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    def stop(self, result: BenchResult) -> BenchResult:
        for name, process in self._processes.items():
            used = self._cpu(process) - self._before[name]
            result.cpu_ms[name] = used / result.items * 1000
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            result.peak_mb[name] = int(peak.split()[1]) / 1024
        for kind in ("listener", "manager"):
            names = [name for name in self._processes if name.startswith(kind)]
            result.cpu_ms[f"{kind}s, sum"] = sum(result.cpu_ms[name] for name in names)
            result.peak_mb[f"{kind}s, sum"] = sum(result.peak_mb[name] for name in names)
        return result


class Announcements:
    """Records when each data_id is announced on our own broker."""

    def __init__(self, world: World) -> None:
        self.at: dict[str, float] = {}
        account = GLOBAL_BROKER_ACCOUNT
        self._client = Client(
            world.cache_broker.port, account, account, "cache/a/wis2/#", on_message=self._keep
        )

    def _keep(self, message: object) -> None:
        now = time.monotonic()
        properties = json.loads(message.payload)["properties"]  # type: ignore[attr-defined]
        self.at.setdefault(properties["data_id"], now)

    def wait(self, ids: list[str], timeout: float) -> None:
        wait_until(
            lambda: all(data_id in self.at for data_id in ids),
            f"all of {len(ids)} announced",
            timeout=timeout,
        )

    def close(self) -> None:
        self._client.close()


def paced(payloads: Sequence[bytes], per_s: float | None) -> Iterator[bytes]:
    """Yield at most `per_s` a second; None: all at once."""
    due = time.monotonic()
    for payload in payloads:
        yield payload
        if per_s is not None:
            due += 1 / per_s
            time.sleep(max(0.0, due - time.monotonic()))


def over_brokers(
    world: World,
    name: str,
    message_of: Callable[[int, str], bytes],
    count: int,
    *,
    per_s: float | None = None,
    brokers: str = "ab",
) -> BenchResult:
    """Publish `count` notifications on all `brokers`: as fast as they accept them, or `per_s`."""
    seen = Announcements(world)
    ids = [unique_data_id("bench") for _ in range(count)]
    payloads = [message_of(index, data_id) for index, data_id in enumerate(ids)]
    meter = Meter(world)
    published: list[float] = []
    start = time.monotonic()

    def publish(broker: str) -> None:
        client = world.publishers[broker]
        infos = []
        for payload in paced(payloads, per_s):
            if broker == "a":
                published.append(time.monotonic())
            infos.append(client.publish(TOPIC, payload))
        for info in infos:
            info.wait_for_publish(120)

    threads = [threading.Thread(target=publish, args=(broker,)) for broker in brokers]
    for thread in threads:
        thread.start()
    seen.wait(ids, timeout=300)
    wall = max(seen.at[data_id] for data_id in ids) - start
    for thread in threads:
        thread.join()
    world.settle()
    delays = [(seen.at[i] - at) * 1000 for i, at in zip(ids, published, strict=True)]
    seen.close()
    return meter.stop(BenchResult(name, count, wall, delays))


def mostly_known(world: World, name: str, count: int, *, per_s: float | None = None) -> BenchResult:
    """Publish one new item in `COPIES`, the rest known, on one broker: a listener's usual load.

    Our announcements of the new items come back too: one in nine messages that listener-a receives.
    """
    publisher = world.publishers["a"]

    def messages(how_many: int) -> tuple[list[str], list[bytes]]:
        ids = [unique_data_id("bench") for _ in range(how_many)]
        return ids, [encoded(wnm(data_id=i, content=inline(b"x" * 500))) for i in ids]

    known_ids, known = messages(count // COPIES)
    for payload in known:
        publisher.publish(TOPIC, payload)
    wait_until(
        lambda: all(map(world.announcements, known_ids)), "all known items are done", timeout=120
    )
    world.settle()
    new_ids, new = messages(count // COPIES)
    stream = [p for fresh in new for p in (fresh, *random.choices(known, k=COPIES - 1))]
    meter = Meter(world)
    start = time.monotonic()
    infos = [publisher.publish(TOPIC, payload) for payload in paced(stream, per_s)]
    for info in infos:
        info.wait_for_publish(120)
    wait_until(
        lambda: all(map(world.announcements, new_ids)), "all new items are done", timeout=120
    )
    result = BenchResult(name, len(stream), time.monotonic() - start)
    world.settle()
    return meter.stop(result)


def one_at_a_time(world: World, name: str, href: str, count: int) -> BenchResult:
    """Measure the delay of an item that comes alone."""
    seen = Announcements(world)
    meter = Meter(world)
    delays: list[float] = []
    start = time.monotonic()
    for index in range(count):
        data_id = unique_data_id("bench")
        payload = encoded(wnm(data_id=data_id, href=f"{href}/{index}.bufr"))
        at = time.monotonic()
        world.publishers["a"].publish(TOPIC, payload)
        while data_id not in seen.at:
            time.sleep(0.0005)
        delays.append((seen.at[data_id] - at) * 1000)
    seen.close()
    result = BenchResult(name, count, time.monotonic() - start, delays)
    return meter.stop(result)


def large_object(world: World, name: str, href: str, size: int) -> BenchResult:
    """Measure one object that is too large for the memory of a process."""
    data_id = unique_data_id("bench")
    meter = Meter(world)
    start = time.monotonic()
    world.publish(TOPIC, wnm(data_id=data_id, href=href, length=size))
    world.announced(data_id, timeout=120)
    return meter.stop(BenchResult(name, 1, time.monotonic() - start))


async def simultaneous(name: str, href: str, clients: int, size: int) -> BenchResult:
    """Download one object by many clients at once; all connections are open before any body."""
    gate = asyncio.Barrier(clients)

    async def download(session: aiohttp.ClientSession) -> int:
        async with session.get(href) as response:
            await gate.wait()
            total = 0
            async for chunk in response.content.iter_chunked(1 << 18):
                total += len(chunk)
            return total

    start = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=300)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        sizes = await asyncio.gather(*(download(session) for _ in range(clients)))
    whole = sum(got == size for got in sizes)
    wall = time.monotonic() - start
    note = f"({whole} whole, {size * clients / wall / 1e6:.0f} MB/s)"
    return BenchResult(name, clients, wall, note=note)


def serve_files(directory: Path, count: int) -> Nginx:
    """Return a data server that costs little: many names of one 85 kB file, and two large files."""
    root = directory / "origin"
    root.mkdir(parents=True)
    (root / "body").write_bytes(os.urandom(85_000))
    for index in range(count):
        os.link(root / "body", root / f"{index}.bufr")
    with (root / "300.grib2").open("wb") as large:
        large.truncate(300_000_000)
    (root / "2.grib2").write_bytes(os.urandom(2_000_000))
    server = Nginx(directory / "origin-nginx", root=root)
    server.start()
    return server


def measure(
    count: int, directory: Path, wanted: str, report: Callable[[BenchResult], None]
) -> None:
    """Run the scenarios whose names contain `wanted`, in one world."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    origin = serve_files(directory, count)
    href = f"http://127.0.0.1:{origin.port}/data"

    def linked(index: int, data_id: str) -> bytes:
        return encoded(wnm(data_id=data_id, href=f"{href}/{index}.bufr", length=85_000))

    def inlined(_index: int, data_id: str) -> bytes:
        return encoded(wnm(data_id=data_id, content=inline(os.urandom(1000))))

    def by_thousand(world: World, name: str) -> BenchResult:
        data_id = unique_data_id("bench")
        world.publish(TOPIC, wnm(data_id=data_id, href=f"{href}/2.grib2"))
        ours = world.announced(data_id).link()["href"]
        return asyncio.run(simultaneous(name, ours, 1000, 2_000_000))

    few = min(200, count)
    scenarios: dict[str, Callable[[World, str], BenchResult]] = {
        "one at a time, 85 kB": lambda world, name: one_at_a_time(world, name, href, few),
        "burst of 85 kB": lambda world, name: over_brokers(world, name, linked, count),
        "burst of 1 kB inline": lambda world, name: over_brokers(world, name, inlined, count),
        f"{STEADY_ITEMS_PER_S}/s of 85 kB": lambda world, name: over_brokers(
            world, name, linked, count // 4, per_s=STEADY_ITEMS_PER_S
        ),
        # All new, each over one broker: the load for queue and store.
        f"{STEADY_NOTIFICATIONS_PER_S}/s of 1 kB inline": lambda world, name: over_brokers(
            world, name, inlined, 2 * count, per_s=STEADY_NOTIFICATIONS_PER_S, brokers="a"
        ),
        "7 of 8 known, burst": lambda world, name: mostly_known(world, name, 4 * count),
        f"7 of 8 known, {STEADY_NOTIFICATIONS_PER_S}/s": lambda world, name: mostly_known(
            world, name, 2 * count, per_s=STEADY_NOTIFICATIONS_PER_S
        ),
        "one object of 300 MB": lambda world, name: large_object(
            world, name, f"{href}/300.grib2", 300_000_000
        ),
        "simultaneous downloads of 2 MB": by_thousand,
    }
    chosen = [name for name in scenarios if wanted in name]
    if not chosen:
        raise SystemExit(f"no scenario is named like {wanted!r}; there are: {', '.join(scenarios)}")
    settings = {"GC_MAX_OBJECT_BYTES": "1000000000", "GC_LOG_LEVEL": "warning"}
    try:
        with open_world(directory / "world", **settings) as world:
            for name in chosen:
                report(scenarios[name](world, name))
    finally:
        origin.stop()


def parts_of_environment(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the queue and the store that the environment names; exit if it names unknown ones."""
    parts = {}
    for name, choices in PARTS.items():
        parts[name] = os.environ.get(name.upper()) or choices[0]
        if parts[name] not in choices:
            wanted = " or ".join(choices)
            parser.error(f"{name.upper()}={parts[name]} is not known, requires {wanted}")
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000, help="items a scenario")
    parser.add_argument("--only", default="", help="scenarios whose names contain this")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument(
        "--directory",
        type=Path,
        help="where everything is kept meanwhile; steadiest on a file system of its own",
    )
    options = parser.parse_args()
    parts = parts_of_environment(parser)
    results: list[BenchResult] = []

    def report(result: BenchResult) -> None:
        results.append(result)
        print("\n".join(result.lines()), flush=True)

    print(f"queue {parts['queue']}, store {parts['store']}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="wis2-gc-bench-", dir=options.directory) as directory:
        measure(options.count, Path(directory), options.only, report)
    if options.json:
        document = {**parts, "cores": os.cpu_count(), "scenarios": [r.as_json() for r in results]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
