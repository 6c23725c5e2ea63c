"""The log lines of our processes in files: one each, rotated by size."""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FILE_BYTES = 10_000_000
_OLDER_FILES = 4


class LogFiles:
    """Files `NAME.log` in one directory, 10 MB each; `NAME.log.1` to `NAME.log.4` are older.

    A full disk costs lines, and raises nothing.
    """

    def __init__(self, directory: Path, *, file_bytes: int = _FILE_BYTES) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        self._files: dict[str, _File] = {}
        # If this fails, so does each line, which is told.
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, line: str) -> str:
        """Write a line of the process `name`; return why that failed, "" if the last failed too."""
        file = self._files.get(name)
        if file is None:
            file = _File(self._directory / f"{name}.log", self._file_bytes)
            self._files[name] = file
        return file.write(line)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


class _File(RotatingFileHandler):
    def __init__(self, path: Path, file_bytes: int) -> None:
        super().__init__(
            path, maxBytes=file_bytes, backupCount=_OLDER_FILES, encoding="utf-8", delay=True
        )
        self._problem = ""

    def write(self, line: str) -> str:
        before, self._problem = self._problem, ""
        self.emit(logging.makeLogRecord({"msg": line}))
        return "" if before else self._problem

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        error = sys.exc_info()[1]
        self._problem = getattr(error, "strerror", None) or str(error)
        # The next line opens the file again: nothing of this failure stays in its buffers.
        with contextlib.suppress(OSError):
            self.close()
