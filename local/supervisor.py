"""Starts children in order, restarts those that die, stops all in reverse order."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from local.parts.local_server import StartFailed
from local.parts.process import signal_name
from wis2_gc_common.runtime.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from local.console import Console
    from local.log_files import LogFiles

_NAME = "supervisor"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Standard input.
_KEYS = 0
_TICK_S = 0.2
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
#: A child that lived this long may be restarted at once.
_HEALTHY_S = 60.0
#: The services' exit code for a wrong setting: a restart would not help.
_WRONG_SETTING = 2
_EARLY_S = 15.0
_READ_BYTES = 65_536
#: In bytes: a line of JSON with a whole traceback is shorter.
_LONGEST_LINE = 65_536


class Child(Protocol):
    """One process that the supervisor runs."""

    name: str

    @property
    def pid(self) -> int:
        """Process id of the last start."""

    @property
    def output(self) -> int | None:
        """A non-blocking descriptor of its log lines; None if they are not shown."""

    def start(self) -> None:
        """Start it for the first time; wait until others can use it. Raises StartFailed."""

    def launch(self) -> None:
        """Start it again, without waiting. Raises StartFailed."""

    def exit_code(self) -> int | None:
        """Return how it ended, None while it lives."""

    def terminate(self) -> None:
        """Ask it to stop, without waiting."""

    def kill(self) -> None:
        """End it and the rest of its group, and collect it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Children that start and stop together; `stop_s` is how long a clean stop may take."""

    children: Sequence[Child]
    stop_s: float = 10.0


class Stopped(Exception):
    """A stop was requested while the children were starting."""


@dataclass(slots=True)
class _Watched:
    child: Child
    started_at: float = 0.0
    backoff: Backoff = field(
        default_factory=lambda: Backoff(
            first_s=_FIRST_BACKOFF_S, longest_s=_LONGEST_BACKOFF_S, shares=(1.0, 1.0)
        )
    )
    restart_at: float | None = None
    partial_line: bytes = b""
    registered: int | None = None


@dataclass(slots=True)
class _Summary:
    every_s: float
    text: Callable[[], str]
    next_at: float = field(default=0.0)


class Supervisor:
    """Runs stages of children until it is told to stop.

    Only for the main thread: that receives the signals, and the kernel ends the children with it.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        console: Console,
        *,
        logs: LogFiles | None = None,
        summary: Callable[[], str] | None = None,
        summary_every_s: float = 1.0,
        on_enter: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it ready to run; `logs` keeps the children's lines.

        It calls `on_enter` when the user presses Enter at the terminal of which it has the keys.
        """
        self._stages = stages
        self._console = console
        self._logs = logs
        self._on_enter = on_enter
        self._watched = {
            child.name: _Watched(child) for stage in stages for child in stage.children
        }
        self._summary = None if summary is None else _Summary(summary_every_s, summary)
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._stop_requests = 0
        self._is_starting = False
        self._exit_code = 0

    def run(self, *, on_started: Callable[[], None] = lambda: None) -> int:
        """Run, and return 0 after a requested stop, 2 for a wrong setting, 1 for a failure.

        It calls `on_started` once every child has started.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in _STOP_SIGNALS}
        # Later in the background, a read of a key must fail: by default it would stop the run.
        previous[signal.SIGTTIN] = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        previous_wakeup = signal.set_wakeup_fd(
            self._wake_writer.fileno(), warn_on_full_buffer=False
        )
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._drain_wakeups)
        try:
            if self._start():
                on_started()
                self._listen_to_keys()
                self._watch()
            self._stop()
        finally:
            for watched in self._watched.values():
                watched.child.kill()
            signal.set_wakeup_fd(previous_wakeup)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()
        return self._exit_code

    def request_stop(self) -> None:
        """Stop as after Ctrl-C."""
        self._stop_requests += 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1
        if self._is_starting:
            # The kernel ends a child whose start is interrupted here, together with us.
            self._is_starting = False
            raise Stopped

    def _start(self) -> bool:
        self._is_starting = True
        try:
            for stage in self._stages:
                for child in stage.children:
                    child.start()
                    watched = self._watched[child.name]
                    watched.started_at = time.monotonic()
                    self._listen_to(watched)
        except StartFailed as error:
            self._console.line(_NAME, str(error))
            self._exit_code = 1
        except Stopped:
            return False
        else:
            return True
        finally:
            self._is_starting = False
        return False

    def _watch(self) -> None:
        while not self._stop_requests and not self._console.is_closed and not self._exit_code:
            self._read_output(_TICK_S)
            now = time.monotonic()
            for watched in self._watched.values():
                self._look_after(watched, now)
            self._show_summary(now)

    def _look_after(self, watched: _Watched, now: float) -> None:
        child = watched.child
        if watched.restart_at is not None:
            if now >= watched.restart_at:
                self._restart(watched, now)
            return
        code = child.exit_code()
        if code is None:
            return
        lived_s = now - watched.started_at
        self._stop_listening_to(watched)
        how = signal_name(code)
        if code == _WRONG_SETTING and lived_s < _EARLY_S:
            self._console.line(
                _NAME, f"{child.name} ended with {how}: a setting is wrong; stopping"
            )
            self._exit_code = _WRONG_SETTING
            return
        if lived_s > _HEALTHY_S:
            watched.backoff.reset()
        delay_s = watched.backoff.next_s()
        watched.restart_at = now + delay_s
        self._console.line(
            _NAME, f"{child.name} ended with {how}; starting it again in {delay_s:g} s"
        )

    def _restart(self, watched: _Watched, now: float) -> None:
        watched.restart_at = None
        watched.started_at = now
        try:
            watched.child.launch()
        except StartFailed as error:
            self._console.line(_NAME, str(error))
            watched.restart_at = now + watched.backoff.next_s()
        else:
            self._listen_to(watched)

    def _listen_to(self, watched: _Watched) -> None:
        descriptor = watched.child.output
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, watched)
            watched.registered = descriptor

    def _listen_to_keys(self) -> None:
        # A run that began in the background, or in a session of its own, takes no keys of others.
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(_KEYS) == os.getpgrp():
                self._selector.register(_KEYS, selectors.EVENT_READ, self._read_keys)

    def _read_keys(self) -> None:
        keys = b""
        with contextlib.suppress(OSError):
            keys = os.read(_KEYS, _READ_BYTES)
        if keys:
            self._on_enter()
        else:
            # The terminal is gone, or its keys are for another program.
            self._selector.unregister(_KEYS)

    def _stop_listening_to(self, watched: _Watched) -> None:
        if watched.registered is None:
            return
        self._read_lines(watched)
        if watched.registered is not None:
            self._selector.unregister(watched.registered)
            watched.registered = None

    def _read_output(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            if isinstance(key.data, _Watched):
                self._read_lines(key.data)
            else:
                key.data()

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_reader.recv(_READ_BYTES)

    def _read_lines(self, watched: _Watched) -> None:
        if watched.registered is None:
            return
        try:
            data = os.read(watched.registered, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(watched.registered)
            watched.registered = None
            data = b"\n" if watched.partial_line else b""
        *lines, rest = (watched.partial_line + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        watched.partial_line = rest
        for line in lines:
            self._log(watched.child.name, line.decode(errors="replace").rstrip())

    def _log(self, name: str, line: str) -> None:
        problem = "" if self._logs is None else self._logs.write(name, line)
        self._console.log(name, line)
        if problem:
            self._console.line(_NAME, f"log lines of {name} are not kept: {problem}")

    def _show_summary(self, now: float) -> None:
        summary = self._summary
        if summary is not None and now >= summary.next_at:
            text = summary.text()
            if text:
                self._console.live(text)
                summary.next_at = now + summary.every_s

    def _stop(self) -> None:
        began = time.monotonic()
        self._console.end_live()
        requests = self._stop_requests
        self._console.line(_NAME, "stopping; Ctrl-C again to stop at once")
        for stage in reversed(self._stages):
            children = [child for child in stage.children if self._is_alive(child)]
            for child in children:
                child.terminate()
            deadline = time.monotonic() + stage.stop_s
            while any(self._is_alive(child) for child in children):
                if self._stop_requests > max(requests, 1):
                    self._console.line(_NAME, "stopped at once")
                    return
                if time.monotonic() > deadline:
                    slow = [child.name for child in children if self._is_alive(child)]
                    self._console.line(_NAME, f"{', '.join(slow)} did not stop; killed")
                    break
                self._read_output(0.02)
            for child in children:
                child.kill()
                self._stop_listening_to(self._watched[child.name])
        self._console.line(_NAME, f"stopped in {time.monotonic() - began:.1f} s")

    def _is_alive(self, child: Child) -> bool:
        watched = self._watched[child.name]
        return watched.started_at > 0 and child.exit_code() is None
