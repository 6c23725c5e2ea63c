"""`make bench`: throughput, delay, CPU and memory of every process, on this machine, now.

Everything runs on the same cores: publisher, both Global Brokers, the data server, the cache with
two managers, its broker, Redis, nginx and the subscriber. The numbers are for comparing one commit
with another on one machine; `--json FILE` keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import psutil  # type: ignore[import-untyped]

from local.parts.nginx import Nginx
from tests.support.wnm import encoded, inline, unique_data_id, wnm
from tests.support.world import Client, World, open_world, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = "origin/a/wis2/tt-bench/data/core/weather/surface-based-observations/synop"


@dataclass
class Result:
    """What one scenario measured."""

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
            p50, p99 = percentile(self.delays_ms, 50), percentile(self.delays_ms, 99)
            yield f"  delay, publish to announcement: p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        if self.peak_mb:
            yield f"  {'process':<14}{'CPU/item':>12}{'peak RSS':>12}"
            for process, peak in self.peak_mb.items():
                cpu = self.cpu_ms.get(process)
                shown = "" if cpu is None else f"{cpu:.3f} ms"
                yield f"  {process:<14}{shown:>12}{peak:>9.0f} MB"


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
            # Peak resident set since now; needs root or the same user.
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
        self._before = {name: self._cpu(process) for name, process in self._processes.items()}

    @staticmethod
    def _cpu(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    def stop(self, result: Result) -> Result:
        for name, process in self._processes.items():
            used = self._cpu(process) - self._before[name]
            result.cpu_ms[name] = used / result.items * 1000
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            result.peak_mb[name] = int(peak.split()[1]) / 1024
        managers = [n for n in result.cpu_ms if n.startswith("manager")]
        result.cpu_ms["managers, sum"] = sum(result.cpu_ms[n] for n in managers)
        result.peak_mb["managers, sum"] = sum(result.peak_mb[n] for n in managers)
        return result


class Announcements:
    """When each data_id was announced on our own broker."""

    def __init__(self, world: World) -> None:
        self.at: dict[str, float] = {}
        broker = world.cache_broker
        self._client = Client(
            broker.port, "everyone", "everyone", "cache/a/wis2/#", on_message=self._keep
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


def burst(
    world: World, name: str, message_of: Callable[[int, str], bytes], count: int, *, copies: int = 2
) -> Result:
    """Publish `count` notifications as fast as the brokers take them, each `copies` times."""
    seen = Announcements(world)
    ids = [unique_data_id("bench") for _ in range(count)]
    payloads = [message_of(index, data_id) for index, data_id in enumerate(ids)]
    meter = Meter(world)
    published: list[float] = []
    start = time.monotonic()

    def publish(broker: str) -> None:
        client = world.publishers[broker]
        infos = []
        for payload in payloads:
            if broker == "a":
                published.append(time.monotonic())
            infos.append(client.publish(TOPIC, payload))
        for info in infos:
            info.wait_for_publish(120)

    threads = [
        threading.Thread(target=publish, args=(broker,)) for broker in list(world.brokers)[:copies]
    ]
    for thread in threads:
        thread.start()
    seen.wait(ids, timeout=300)
    wall = max(seen.at[data_id] for data_id in ids) - start
    for thread in threads:
        thread.join()
    world.settle()
    delays = [(seen.at[i] - at) * 1000 for i, at in zip(ids, published, strict=True)]
    seen.close()
    return meter.stop(Result(name, count, wall, delays))


def duplicates(world: World, count: int) -> Result:
    """One new item and seven copies of it, over and over: the listeners' daily bread."""
    ids = [unique_data_id("bench") for _ in range(count)]
    messages = [encoded(wnm(data_id=i, content=inline(b"x" * 500))) for i in ids]
    for payload in messages:
        world.publishers["a"].publish(TOPIC, payload)
    wait_until(lambda: len(world.announcements(ids[-1])) > 0, "the first round")
    world.settle()
    meter = Meter(world)
    start = time.monotonic()
    for _ in range(7):
        infos = [world.publishers["a"].publish(TOPIC, payload) for payload in messages]
        for info in infos:
            info.wait_for_publish(120)
    world.settle()
    result = Result("7 duplicates of each", 7 * count, time.monotonic() - start)
    return meter.stop(result)


def one_at_a_time(world: World, href: str, count: int) -> Result:
    """The delay of an item that comes alone."""
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
    result = Result("one at a time, 85 kB", count, time.monotonic() - start, delays)
    return meter.stop(result)


def large_object(world: World, href: str, size: int) -> Result:
    """One object that no process may hold in memory."""
    data_id = unique_data_id("bench")
    meter = Meter(world)
    start = time.monotonic()
    world.publish(TOPIC, wnm(data_id=data_id, href=href, length=size))
    world.announced(data_id, timeout=120)
    return meter.stop(Result(f"one object of {size // 1_000_000} MB", 1, time.monotonic() - start))


async def simultaneous(href: str, clients: int, size: int) -> Result:
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
    return Result(f"simultaneous downloads of {size // 1_000_000} MB", clients, wall, note=note)


def serve_files(directory: Path, count: int) -> Nginx:
    """A data server that costs little: many names of one 85 kB file, and two large ones."""
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


def run(count: int, directory: Path) -> list[Result]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    origin = serve_files(directory, count)
    results: list[Result] = []

    def report(result: Result) -> None:
        results.append(result)
        print("\n".join(result.lines()), flush=True)

    try:
        settings = {"GC_MAX_OBJECT_BYTES": "1000000000", "GC_LOG_LEVEL": "warning"}
        with open_world(directory / "world", **settings) as world:
            href = f"http://127.0.0.1:{origin.port}/data"

            def linked(index: int, data_id: str) -> bytes:
                return encoded(wnm(data_id=data_id, href=f"{href}/{index}.bufr", length=85_000))

            def inlined(_index: int, data_id: str) -> bytes:
                return encoded(wnm(data_id=data_id, content=inline(os.urandom(1000))))

            report(one_at_a_time(world, href, min(200, count)))
            report(burst(world, "burst of 85 kB, over both brokers", linked, count))
            report(burst(world, "burst of 1 kB inline, over both brokers", inlined, count))
            report(duplicates(world, count))
            report(large_object(world, f"{href}/300.grib2", 300_000_000))
            data_id = unique_data_id("bench")
            world.publish(TOPIC, wnm(data_id=data_id, href=f"{href}/2.grib2"))
            ours = world.announced(data_id).link()["href"]
            report(asyncio.run(simultaneous(ours, 1000, 2_000_000)))
    finally:
        origin.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000, help="notifications a scenario")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wis2-gc-bench-") as directory:
        results = run(options.count, Path(directory))
    if options.json:
        rows = [
            {
                "name": r.name, "items": r.items, "wall_s": r.wall_s, "cpu_ms": r.cpu_ms,
                "peak_mb": r.peak_mb, "note": r.note,
                "p50_ms": percentile(r.delays_ms, 50) if r.delays_ms else None,
                "p99_ms": percentile(r.delays_ms, 99) if r.delays_ms else None,
            }
            for r in results
        ]  # fmt: skip
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
