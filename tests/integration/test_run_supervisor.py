"""The supervisor of `make run`, with real child processes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from local.parts.process import is_alive
from local.state import StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from signal import Signals


PROJECT = Path(__file__).parents[2]
DEADLINE_S = 60

SUPERVISED = """
import sys
from pathlib import Path
from local.console import Console
from local.log_files import LogFiles
from local.parts.redis_server import RedisServer
from local.service import Service
from local.state import StateDirectory
from local.supervisor import Stage, Supervisor
import os

state = StateDirectory(Path(sys.argv[1]))
script = '''
import os, signal, sys, time
name, mode = sys.argv[1:]
if mode == "wrong":
    sys.exit(2)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif mode == "polite":
    signal.signal(signal.SIGTERM, lambda *_: (print(name, "leaves", flush=True), sys.exit(0)))
print(name, "is", os.getpid(), flush=True)
while True:
    time.sleep(60)
'''
def service(name, mode):
    inherited = (state.lock_descriptor,)
    command = [sys.executable, "-c", script, name, mode]
    return Service(name, command, os.environ, inherited=inherited)

redis = RedisServer(state.path / "redis")
redis.inherited = (state.lock_descriptor,)
mode = sys.argv[2]
stages = [Stage([redis]), Stage([service("one", mode)], 1), Stage([service("two", "polite")], 5)]
console = Console(sys.stdout, ["supervisor", "one", "two"])
logs = LogFiles(state.path / "log")
supervisor = Supervisor(
    stages,
    console,
    logs=logs,
    summary=lambda: "numbers",
    summary_every_s=60,
    on_enter=lambda: console.plain("Enter was pressed"),
)
sys.exit(supervisor.run(on_started=lambda: console.plain(f"redis is {redis.pid}")))
"""


class Run:
    """A supervisor in a process of its own; its lines can be waited for."""

    def __init__(
        self, state: Path, mode: str = "polite", terminal: int | None = None, *, owns: bool = True
    ) -> None:
        """`owns`: it has the keys of the terminal that is its standard input."""

        def prepare() -> None:
            if terminal is not None and owns:
                fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SUPERVISED), state, mode],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            start_new_session=terminal is not None,
            preexec_fn=prepare,  # noqa: PLW1509 - no thread of ours holds a lock then
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def line(self, text: str, *, occurrence: int = 1) -> str:
        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= occurrence, DEADLINE_S), (
                text,
                self.lines,
            )
            return found()[occurrence - 1]

    def pid(self, name: str, *, occurrence: int = 1) -> int:
        return int(self.line(f"{name} is ", occurrence=occurrence).rpartition(" ")[2])

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def start(mode: str = "polite", terminal: int | None = None, *, owns: bool = True) -> Run:
        runs.append(Run(tmp_path / "state", mode, terminal, owns=owns))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if is_alive(pid)]
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_reverse_order(start: Callable[..., Run], number: Signals) -> None:
    run = start()
    pids = [run.pid(name) for name in ("one", "two", "redis")]
    run.process.send_signal(number)
    assert run.wait() == 0
    assert not any(is_alive(pid) for pid in pids)
    order = [line for line in run.lines if "leaves" in line]
    assert [line.split()[2] for line in order] == ["two", "one"]
    assert "stopped in" in run.lines[-1]


def test_a_killed_child_is_started_again(start: Callable[..., Run]) -> None:
    run = start()
    first = run.pid("one")
    os.kill(first, signal.SIGKILL)
    assert "one ended with SIGKILL; starting it again in 0.5 s" in run.line("ended with")
    second = run.pid("one", occurrence=2)
    assert second != first
    assert is_alive(run.pid("two"))
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    assert not is_alive(second)


def test_a_killed_server_is_started_again_with_its_data(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start()
    pid = run.pid("redis")
    configuration = (tmp_path / "state" / "redis" / "redis.conf").read_text()
    port = int(configuration.partition("\nport ")[2].split()[0])
    with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.1), 200)) as client:
        client.set("key", "kept")
        os.kill(pid, signal.SIGKILL)
        run.line("redis ended with SIGKILL")
        assert client.get("key") == b"kept"
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0


def test_nothing_outlives_a_killed_supervisor_and_the_next_run_works(
    start: Callable[..., Run],
) -> None:
    run = start("stubborn")
    pids = [run.pid(name) for name in ("one", "two", "redis")]
    run.process.kill()
    following = start()
    following.pid("redis")
    # The lock is given back a moment before its holder has ended.
    wait_until_gone(*pids)
    following.process.send_signal(signal.SIGINT)
    assert following.wait() == 0


def test_a_child_that_does_not_stop_is_killed(start: Callable[..., Run]) -> None:
    run = start("stubborn")
    pid = run.pid("one")
    run.line("redis is")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    assert "one did not stop; killed" in run.line("did not stop")
    assert not is_alive(pid)


def test_a_second_ctrl_c_stops_at_once(start: Callable[..., Run]) -> None:
    run = start("stubborn")
    pids = [run.pid(name) for name in ("one", "two", "redis")]
    run.process.send_signal(signal.SIGINT)
    run.line("stopping")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    wait_until_gone(*pids)


def test_a_wrong_setting_of_a_service_stops_the_run_with_code_2(start: Callable[..., Run]) -> None:
    run = start("wrong")
    assert run.wait() == 2
    assert "one ended with exit code 2: a setting is wrong; stopping" in run.line("ended with")


def test_a_second_run_on_the_same_state_is_refused(start: Callable[..., Run]) -> None:
    first = start()
    first.pid("redis")
    second = start()
    assert second.wait() == 1
    assert f"is in use by process {first.process.pid}" in second.line("SettingsError: STATE")
    first.process.send_signal(signal.SIGINT)
    assert first.wait() == 0


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return a keyboard to write to, and its terminal."""
    keyboard, terminal = os.openpty()
    yield keyboard, terminal
    os.close(keyboard)
    os.close(terminal)


def test_enter_is_told_each_time(start: Callable[..., Run], terminal: tuple[int, int]) -> None:
    run = start("polite", terminal[1])
    run.line("redis is")
    for number in (1, 2):
        os.write(terminal[0], b"\n")
        run.line("Enter was pressed", occurrence=number)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0


def test_keys_of_another_programs_terminal_are_left(
    start: Callable[..., Run], terminal: tuple[int, int]
) -> None:
    run = start("polite", terminal[1], owns=False)
    run.line("redis is")
    os.write(terminal[0], b"keys\n")
    # A line of a later moment of its loop.
    os.kill(run.pid("one"), signal.SIGKILL)
    run.line("one is", occurrence=2)
    assert select.select([terminal[1]], [], [], 0)[0]
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    assert "Enter was pressed" not in run.lines


def test_the_lines_of_each_child_are_kept(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start()
    pid = run.pid("two")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    text = (tmp_path / "state" / "log" / "two.log").read_text()
    assert text == f"two is {pid}\ntwo leaves\n"


def test_a_full_disk_for_logs_is_told_once_and_stops_nothing(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    StateDirectory(tmp_path / "state").close()
    log = tmp_path / "state" / "log"
    log.mkdir()
    (log / "two.log").symlink_to("/dev/full")
    run = start()
    problem = "supervisor │ log lines of two are not kept: No space left on device"
    assert run.line("are not kept") == problem
    run.line("redis is")
    assert is_alive(run.pid("two"))
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 0
    assert any("two leaves" in line for line in run.lines)
    assert run.lines.count(problem) == 1
    assert "one is" in (log / "one.log").read_text()


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SUPERVISED), tmp_path / "state", "polite"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().rpartition(b" ")[2])
        process.stdout.close()
        os.kill(pid, signal.SIGKILL)  # the supervisor then tells
        assert process.wait(DEADLINE_S) == 0
    wait_until_gone(pid)
