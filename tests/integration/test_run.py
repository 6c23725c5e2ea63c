"""`make run` as a whole: `python -m local.run` with all its parts, stopped with Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.parts.mosquitto import SimulatedGlobalBroker
from local.parts.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
PORT_VARIABLES = (
    "STATUS_PORT", "DATA_PORT", "BROKER_PORT", "BROKER_TLS_PORT", "BROKER_WSS_PORT", "REDIS_PORT",
)  # fmt: skip
DEADLINE_S = 120

pytestmark = pytest.mark.timeout(600)


class Run:
    """One `python -m local.run` in a process group of its own."""

    def __init__(self, state: Path, ports: dict[str, int], **variables: str) -> None:
        self.state = state
        self.status_url = f"http://127.0.0.1:{ports['STATUS_PORT']}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.run"],
            cwd=PROJECT,
            env={
                **inherited,
                "STATE": str(state),
                **{name: str(port) for name, port in ports.items()},
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Return the first true answer of `condition`; errors of HTTP count as not yet."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(httpx.HTTPError, OSError, ValueError):
                if result := condition():
                    return result
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def is_ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.status_url}{path}", trust_env=False, timeout=30)

    def totals(self) -> dict[str, int]:
        found: dict[str, int] = self.get("/api/summary").json()["totals"]
        return found

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "world" / "ledger.json").read_text())
        return found

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.close()

    def close(self) -> int:
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def processes_of(state: Path) -> list[str]:
    """Return the command lines of live processes that have the state directory open or named."""
    lock = state / "lock"
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            targets = []
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    targets.append(descriptor.readlink())
            if lock in targets:
                found.append(command)
    return found


@pytest.fixture
def ports() -> dict[str, int]:
    return dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))


@pytest.fixture
def start(tmp_path: Path, ports: dict[str, int]) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(**variables: str) -> Run:
        runs.append(Run(tmp_path / "the state", ports, **variables))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.close()


def test_a_simulated_world_comes_out_whole_and_its_state_survives(
    start: Callable[..., Run], ports: dict[str, int], tmp_path: Path
) -> None:
    # Retries come soon enough for servers that fail only at first.
    world = {"RATE": "20", "ITEMS": "80", "MIX": "model=0.3,faults=10", "GC_RETRY_DELAYS": "2,4,8"}
    run = start(**world)
    run.wait_until(run.is_ready)
    names = " ".join(processes_of(run.state))
    for name in ("redis-server", "mosquitto", "nginx", "wis2-gc-metrics", "local.world"):
        assert name in names
    assert names.count("wis2-gc-manager") == names.count("wis2-gc-listener") == 2

    def is_complete() -> bool:
        ledger = run.ledger()
        return bool(ledger["published"] == 80 and ledger["missing"] == 0)

    run.wait_until(is_complete)
    ledger = run.ledger()
    assert ledger["announced"] + ledger["overtaken"] == ledger["expected"] > 50
    assert ledger["unexpected"] == ledger["repeated"] == 0
    assert ledger["examples"]["wrong"] == []

    # An item is booked after it is announced.
    announced = ledger["announced"]
    run.wait_until(lambda: run.totals()["announced"] >= announced)
    assert run.totals()["announced"] == announced
    stored = [path for path in (run.state / "data").rglob("*") if path.is_file()]
    objects = [path for path in stored if "/." not in str(path.relative_to(run.state))]
    assert len(objects) > 40
    key = objects[0].relative_to(run.state / "data")
    answer = httpx.get(
        f"http://127.0.0.1:{ports['DATA_PORT']}/data/{key}", trust_env=False, timeout=30
    )
    assert answer.content == objects[0].read_bytes()

    assert run.interrupt() == 0, run.output
    assert "received" in run.output
    assert "stopped in" in run.output
    logged = (run.state / "log" / "manager-1.log").read_text().splitlines()
    assert {json.loads(line)["service"] for line in logged} == {"manager"}
    assert not [line for line in run.lines if '"service"' in line]
    assert processes_of(run.state) == []

    again = start(**world)
    again.wait_until(again.is_ready)
    assert again.totals()["announced"] >= announced
    assert again.interrupt() == 0
    assert processes_of(again.state) == []

    real = start(BROKERS="fr=mqtts://everyone:everyone@broker.example")
    assert real.close() == 2
    assert "holds a simulated world; BROKERS is set" in real.output
    assert len(real.lines) == 1
    cleaned = subprocess.run(["sh", PROJECT / "local" / "clean.sh", run.state], check=False)
    assert cleaned.returncode == 0
    assert not run.state.exists()


def test_queue_and_store_of_aws_can_be_played(
    start: Callable[..., Run], ports: dict[str, int]
) -> None:
    run = start(QUEUE="sqs", STORE="s3", RATE="20", ITEMS="20")
    run.wait_until(run.is_ready)
    names = " ".join(processes_of(run.state))
    assert "server.js" in names
    assert "rclone serve s3" in names
    run.wait_until(lambda: run.ledger()["published"] == 20 and run.ledger()["missing"] == 0)
    assert run.ledger()["repeated"] == 0
    assert run.ledger()["examples"]["wrong"] == []
    bucket = run.state / "buckets" / "wis2-data"
    # A check of the store may have its probe there, in a folder that begins with a dot.
    stored = [path for path in bucket.rglob("*.*") if path.is_file()]
    key, *_ = (path for path in stored if "/." not in str(path.relative_to(run.state)))
    url = f"http://127.0.0.1:{ports['DATA_PORT']}/data/{key.relative_to(bucket)}"
    answer = httpx.get(url, trust_env=False, timeout=30)
    assert answer.content == key.read_bytes()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in answer.headers["Cache-Control"]
    assert run.interrupt() == 0, run.output
    assert processes_of(run.state) == []


def test_named_brokers_are_listened_to_and_no_world_is_simulated(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    with (
        SimulatedGlobalBroker(tmp_path / "fr") as first,
        SimulatedGlobalBroker(tmp_path / "br") as second,
    ):
        run = start(BROKERS=f"fr={first.url} br={second.url}", LISTEN="127.0.0.1")
        run.wait_until(run.is_ready)
        names = " ".join(processes_of(run.state))
        assert names.count("wis2-gc-listener") == 2
        assert "local.world" not in names
        brokers = {entry["name"] for entry in run.get("/api/brokers").json()["brokers"]}
        assert brokers == {"fr", "br"}
        assert run.interrupt() == 0
    assert "everyone:everyone@" not in run.output.replace("everyone:everyone@localhost", "")
    assert processes_of(run.state) == []

    simulated = start()
    assert simulated.close() == 2
    assert "holds data of real Global Brokers (br, fr); without BROKERS" in simulated.output
    assert len(simulated.lines) == 1


def test_the_advised_command_shows_the_announcements(start: Callable[..., Run]) -> None:
    (port,) = free_ports(1)
    run = start(
        # More than there is time for: a later reader sees some, too.
        RATE="20", ITEMS="20000", MIX="model=0,faults=0",
        BROKER_ACCOUNTS="gb-fr", BROKER_ACCOUNTS_PORT=str(port),
    )  # fmt: skip
    run.wait_until(run.is_ready)
    advised = run.lines[run.lines.index("  Watch what it announces:\n") + 1].strip()
    password = (run.state / "secrets" / "account-gb-fr").read_text().strip()
    ca_file = shlex.quote(str(run.state / "tls" / "ca.pem"))
    url = f"mqtts://gb-fr:{password}@localhost:{port}"
    for command in (advised, f"{sys.executable} -m local.subscribe --ca {ca_file} {url}"):
        with subprocess.Popen(
            f"exec {command}", shell=True, cwd=PROJECT, stdout=subprocess.PIPE, text=True
        ) as watcher:
            assert watcher.stdout is not None
            line = watcher.stdout.readline()
            watcher.terminate()
            watcher.stdout.close()
        assert line.startswith("cache/a/wis2/x")
    assert password not in run.output
    assert run.interrupt() == 0
