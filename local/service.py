"""One of our own commands as a child process whose log lines are read."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from local.parts.local_server import StartFailed
from local.parts.process import die_with_parent, kill_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Service:
    """A command that runs until it is told to stop; one pipe has both its outputs."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = tuple(command)
        self._environment = dict(environment)
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id. Raises RuntimeError: it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def output(self) -> int | None:
        """The non-blocking end of its output, None before the start."""
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.fileno()

    def start(self) -> None:
        """Start it without waiting; it logs when it is ready."""
        self.launch()

    def launch(self) -> None:
        """Start it. Raises StartFailed: it cannot be run."""
        self.close_output()
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal is for the supervisor, which stops the children in order.
                start_new_session=True,
                pass_fds=self._inherited,
                # By design a kill is safe at any moment: no need to wait for its drain.
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - runs C only
            )
        except OSError as error:
            raise StartFailed(f"{self.name} cannot be run: {error}") from error
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)

    def exit_code(self) -> int | None:
        """Return how the process ended (minus the signal's number), None while it lives."""
        return None if self._process is None else self._process.poll()

    def terminate(self) -> None:
        """Ask it to stop, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and its children, and collect it."""
        if self._process is None:
            return
        kill_group(self._process)

    def close_output(self) -> None:
        """Release the pipe of a process that ended."""
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
            self._process.stdout = None
