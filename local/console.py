"""The supervisor's output: log lines with prefixes and, on a terminal, one live line below them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, TextIO

import structlog

from wis2_gc_common.runtime.logs import escape_control_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_COLOURS = ("\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[32m", "\x1b[96m", "\x1b[95m", "\x1b[94m")
_LEVELS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_LEVEL = re.compile(r"\[(warning|error|critical)\s*\]")
#: A stranger's text may reach a log line; it must not control the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Date, fraction and service name add nothing in a window with prefixes.
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)(?:\.\d+)?Z ")
_SERVICE_FIELD = re.compile(r" service=(listener|manager|metrics)\b")
_CLEAR_LINE = "\r\x1b[2K"
_RENDERER = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)


class Console:
    """Writes lines from several sources to one stream; a closed stream sets `is_closed`."""

    def __init__(self, stream: TextIO, names: Sequence[str], *, shows_json: bool = False) -> None:
        """`shows_json`: log lines are shown as the services write them."""
        self._stream = stream
        self._shows_json = shows_json
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._has_colour = self._is_terminal and "NO_COLOR" not in os.environ
        self._width = max((len(name) for name in names), default=0)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
        self._live = ""
        #: Nobody reads the stream now.
        self.is_closed = False

    @property
    def is_terminal(self) -> bool:
        """Whether there is a live line."""
        return self._is_terminal

    def columns(self) -> int | None:
        """Return how long a live line may be now, in characters; None without a terminal."""
        return shutil.get_terminal_size().columns - 1 if self._is_terminal else None

    def line(self, name: str, text: str) -> None:
        """Write one line of `name`."""
        prefix = f"{name:<{self._width}} │ "
        # A stream cannot write half of a surrogate pair, and would count as closed.
        text = text.encode("utf-8", "backslashreplace").decode()
        text = _SERVICE_FIELD.sub("", _TIMESTAMP.sub(r"\1 ", _CONTROL.sub("", text)))
        if self._has_colour:
            prefix = f"{self._colours.get(name, _BOLD)}{prefix}{_RESET}"
            level = _LEVEL.search(text)
            if level is not None:
                text = f"{_LEVELS[level[1]]}{text}{_RESET}"
        self._write(f"{prefix}{text}\n")

    def log(self, name: str, line: str) -> None:
        """Write a log line of `name`, a line of JSON as people read it."""
        for text in [line] if self._shows_json else readable(line).splitlines() or [""]:
            self.line(name, text)

    def plain(self, text: str = "") -> None:
        """Write lines as they are."""
        self._write(f"{text}\n")

    def live(self, text: str) -> None:
        """Replace the live line; without a terminal, write it as an ordinary line."""
        if not self._is_terminal:
            self._write(f"{text}\n")
            return
        self._live = text
        self._write("")

    def end_live(self) -> None:
        """Keep the last live line on the terminal."""
        if self._live:
            self._write(f"{self._live}\n", keeps_live=False)
            self._live = ""

    def _write(self, text: str, *, keeps_live: bool = True) -> None:
        if self.is_closed:
            return
        if self._is_terminal:
            shown = self._live[: self.columns()] if keeps_live else ""
            shown = f"{_BOLD}{shown}{_RESET}" if shown and self._has_colour else shown
            text = f"{_CLEAR_LINE}{text}{shown}"
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.is_closed = True
            # At exit Python would report an error for the rest of the buffer.
            with contextlib.suppress(OSError, ValueError):
                self._stream.close()


def readable(line: str) -> str:
    """Return a line of JSON as the console format has it, with a traceback; others as is."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(event, dict) or "event" not in event:
        return line
    try:
        return str(_RENDERER(None, "", escape_control_characters(None, "", event)))
    except Exception:  # noqa: BLE001 - a line of a stranger's making must not end the run
        return line
