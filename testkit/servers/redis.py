"""A private redis-server per test run: started, killed and restarted at will.

Use it with `pytest_plugins = ("testkit.servers.redis",)` in a test module (fixtures `redis_server`
and `redis_url`), or make a `RedisServer` of one's own where it is to be killed.

PYTEST_DONT_REWRITE: pytest warns when a plugin was imported before by another test module.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from local.parts.ports import free_port
from testkit.servers import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import redis

_START_DEADLINE_S = 20.0
_START_ATTEMPTS = 5
_POLL_S = 0.01


class RedisServer:
    """One redis-server on 127.0.0.1 (`host`), its data in `directory`.

    `appendfsync no` writes every change to the kernel before it answers: all that a `kill -9` of
    the process can test, without the price of a disk flush.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.directory = directory
        self.options = tuple(options)
        """Further command line options, as in `("--maxmemory", "2mb")`."""
        self.host = host
        self.port = port
        """Unless given, picked by the system at the first start; kept over restarts."""
        self._process: parts.ServerProcess | None = None

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:port/0`."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> RedisServer:
        """Start, and return when it answers PING."""
        assert self._process is None
        for _ in range(_START_ATTEMPTS):
            # Another process may take the port between our asking and redis-server's binding.
            port = self.port or free_port()
            self._process = self._launch(port)
            if self._answers(port):
                self.port = port
                return self
            self._reap()
        log = (self.directory / "redis.log").read_text(errors="replace")
        raise RuntimeError(f"redis-server does not start:\n{log[-2000:]}")

    def stop(self) -> None:
        """End it in an orderly way; its data stay. Nothing happens when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`: what was answered is in the append-only file, all else is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`kill` (when it is running) and `start` on the same port with the same data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop answering, connections stay open; until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def _launch(self, port: int) -> parts.ServerProcess:
        self.directory.mkdir(parents=True, exist_ok=True)
        arguments = ["redis-server", "--bind", self.host, "--port", str(port)]
        arguments += ["--dir", str(self.directory), "--logfile", "redis.log", "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "no"]
        log = self.directory / "output.log"
        return parts.launch([*arguments, *self.options], self.directory, log)

    def _answers(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection((self.host, port), timeout=1) as connection:
                    connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
                    answer = b"".join(iter(lambda: connection.recv(4096), b""))
                # -LOADING while it reads its append-only file; another pid when the port was
                # taken by another server.
                if answer.startswith(b"+PONG") and b"process_id:%d\r\n" % self.pid in answer:
                    return True
            except OSError:
                pass
            time.sleep(_POLL_S)
        return False

    def _end(self, signal_number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        # A paused process takes no SIGTERM before it goes on.
        self._process.send_signal(signal.SIGCONT)
        self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(timeout=_START_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def require_redis() -> None:
    """Skip where redis-server is not installed, but fail in CI."""
    if not parts.is_at_hand("redis-server"):
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run; not to be killed by those who share it.

    It is a cluster of one node, which refuses what cluster mode forbids: a command, a script or a
    transaction whose keys are of more than one slot.
    """
    require_redis()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server = RedisServer(tmp_path_factory.mktemp("redis"), options=options).start()
    _ask(server, b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
    deadline = time.monotonic() + _START_DEADLINE_S
    while b"cluster_state:ok" not in _ask(server, b"CLUSTER INFO\r\n", is_ok=False):
        assert time.monotonic() < deadline, "the cluster of one node does not come up"
        time.sleep(_POLL_S)
    yield server
    server.stop()


def _ask(server: RedisServer, command: bytes, *, is_ok: bool = True) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(command)
        answer = connection.recv(4096)
    assert not is_ok or answer.startswith(b"+OK"), answer
    return answer


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared server, emptied for this test."""
    _ask(redis_server, b"FLUSHALL\r\n")
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test alone, to be killed, paused and restarted."""
    require_redis()
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.stop()


def number_in(raw: redis.Redis, key: str, name: str) -> int:
    """Return a number of a hash. Fails if there is none."""
    found = raw.hget(key, name)
    assert found is not None
    return int(found)
