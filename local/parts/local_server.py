"""The base of all parts: one server process in one state directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from local.parts.ports import free_port, is_free, listening_ports
from local.parts.process import die_with_parent, kill_group, signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.01
_ATTEMPTS = 3
#: A killed process ends at once, its sockets a moment later.
_RELEASE_S = 5.0
_LOG_LINES_SHOWN = 5


class StartFailed(RuntimeError):
    """A server did not start; the text says why, from its own log."""


class LocalServer(ABC):
    """One real server: `start` returns when it answers, `stop` when it is gone.

    Its configuration, data and log are in `directory`. Ports that are not given are picked when the
    object is made, and stay the same after `stop`, `kill` and a new `start`; only a first start
    that finds a port taken picks again.
    """

    name: str
    #: The signal that the kernel sends it when this process dies: a clean stop.
    _death_signal = signal.SIGTERM

    def __init__(
        self,
        directory: Path,
        *,
        host: str,
        ports: dict[str, int | None],
        log_file: Path | None,
    ) -> None:
        self.directory = directory.absolute()
        self.host = host
        self.log_file = log_file or self.directory / f"{self.name}.log"
        #: File descriptors the server inherits.
        self.inherited: Sequence[int] = ()
        #: Environment variables that the server gets besides the inherited ones.
        self.variables: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._picked = {role for role, port in ports.items() if port is None}
        self._ports = {role: port or 0 for role, port in ports.items()}
        self._has_started = False
        self._pick_ports()

    @abstractmethod
    def _configure(self) -> list[str]:
        """Write the configuration and return the command that runs the server."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server, which already listens, does its work."""

    def _hosts(self) -> dict[str, str]:
        """Return the address of each port."""
        return dict.fromkeys(self._ports, self.host)

    def _pick_ports(self) -> None:
        for role in self._picked:
            port = free_port(self._hosts()[role])
            while port in self._ports.values():
                port = free_port(self._hosts()[role])
            self._ports[role] = port

    @property
    def pid(self) -> int:
        """Process id. Raises RuntimeError: it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def output(self) -> int | None:
        """None: it writes into its log file, and there is nothing to read."""
        return None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """Return how the process ended (minus the signal's number), None while it lives."""
        return None if self._process is None else self._process.poll()

    def start(self, timeout_s: float = 30) -> None:
        """Start the server and return when it answers. Raises StartFailed."""
        if self.is_running:
            return
        attempts = 1 if self._has_started or not self._picked else _ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                self._start_once(timeout_s)
            except StartFailed:
                if attempt == attempts:
                    raise
                self._pick_ports()
            else:
                self._has_started = True
                return

    def launch(self) -> None:
        """Start the server without waiting for it. Raises StartFailed: it cannot be run."""
        self.kill()  # the rest of its group: workers of a killed nginx hold the port
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        command = self._configure()
        try:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    [program_path(command[0]), *command[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    env={**os.environ, **self.variables},
                    # Ctrl-C at the terminal is for the supervisor, which stops the children in
                    # order.
                    start_new_session=True,
                    pass_fds=tuple(self.inherited),
                    preexec_fn=die_with_parent(self._death_signal),  # noqa: PLW1509 - runs C only
                )
        except OSError as error:
            raise StartFailed(f"{self.name} cannot be run: {error}") from error

    def is_up(self) -> bool:
        """Whether this process itself listens on all its ports and does its work."""
        return (
            self.is_running
            and listening_ports(self.pid) >= set(self._ports.values())
            and self._answers()
        )

    def _start_once(self, timeout_s: float) -> None:
        self.kill()
        self._wait_for_ports()
        begin = self.log_file.stat().st_size if self.log_file.exists() else 0
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self.is_up():
            code = self.exit_code()
            if code is not None:
                how = signal_name(code)
                raise StartFailed(f"{self.name} ended with {how}: {self._log_tail(begin)}")
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(
                    f"{self.name} does not answer after {timeout_s:g} s: {self._log_tail(begin)}"
                )
            time.sleep(_POLL_S)

    def _wait_for_ports(self) -> None:
        """Wait until an earlier process of ours has released the ports. Raises StartFailed."""
        deadline = time.monotonic() + (_RELEASE_S if self._has_started else 0)
        for role, port in self._ports.items():
            while not is_free(port, self._hosts()[role]):
                if time.monotonic() > deadline:
                    raise StartFailed(f"{self.name}: port {port} is taken")
                time.sleep(_POLL_S)

    def _log_tail(self, begin: int) -> str:
        with contextlib.suppress(OSError):
            text = self.log_file.read_bytes()[begin:].decode(errors="replace")
            return " | ".join(text.strip().splitlines()[-_LOG_LINES_SHOWN:]) or "no log"
        return "no log"

    def stop(self, timeout_s: float = 15) -> None:
        """Stop the server cleanly; kill it if that takes longer than `timeout_s`."""
        if self._process is None:
            return
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def terminate(self) -> None:
        """Ask the server to stop, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        if self._process is None:
            return
        kill_group(self._process)

    def __enter__(self) -> Self:
        """Start it; the end of the `with` block stops it."""
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def program_path(name: str) -> str:
    """Return the path of a server program; on Debian some are not on the PATH of ordinary users.

    Raises StartFailed: not found.
    """
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise StartFailed(f"{name} is not installed")
    return found


def current_user() -> str:
    """Return the name of our user: servers started as root would otherwise change to another one.

    Then they could not reach a state directory under root's home, and the kernel would not end them
    with their parent.
    """
    return pwd.getpwuid(os.geteuid()).pw_name


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
