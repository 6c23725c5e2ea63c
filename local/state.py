"""The state directory of `make run`: marked as ours, used by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from typing import TYPE_CHECKING

from local.parts.local_server import write_private
from local.parts.process import is_alive
from wis2_gc_common.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

#: `make clean` removes only a directory that holds this file.
MARKER = ".made-by-make-run"
_LOCK = "lock"
#: Seconds that the servers of a killed run may take to stop.
_LEFTOVERS_S = 15.0
#: Seconds for which a killed run may still look alive.
_OWNER_S = 0.5


class StateDirectory:
    """An opened state directory, with a lock that all children of the run inherit.

    So a new run begins only when the last process of a killed run is gone.
    """

    def __init__(self, path: Path) -> None:
        """Make or take over the directory. Raises SettingsError: it is in use, or not ours."""
        self.path = path.absolute()
        _mark(self.path)
        self.lock_descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock()
        except BaseException:
            os.close(self.lock_descriptor)
            raise

    def _lock(self) -> None:
        now = time.monotonic()
        deadline, owner_deadline = now + _LEFTOVERS_S, now + _OWNER_S
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self.lock_descriptor, 0)
                os.pwrite(self.lock_descriptor, f"{os.getpid()}\n".encode(), 0)
                return
            owner = os.pread(self.lock_descriptor, 32, 0).decode(errors="replace").strip()
            if not owner.isdecimal() or not is_alive(int(owner)):
                owner_deadline = deadline
            elif time.monotonic() > owner_deadline:
                raise SettingsError("STATE", f"{self.path} is in use by process {owner}")
            if time.monotonic() > deadline:
                raise SettingsError("STATE", f"{self.path} is still in use by an earlier run")
            time.sleep(0.1)

    def secret(self, name: str, length_bytes: int = 24) -> str:
        """Return a random text of hex digits, the same in every run."""
        path = self.path / "secrets" / name
        if not path.exists():
            write_private(path, secrets.token_hex(length_bytes))
        return path.read_text(encoding="utf-8").strip()

    def close(self) -> None:
        """Release the directory for other runs."""
        os.close(self.lock_descriptor)


def _mark(path: Path) -> None:
    marker = path / MARKER
    try:
        if path.is_dir() and not marker.exists() and any(path.iterdir()):
            raise SettingsError("STATE", f"{path} holds other things; name an empty directory")
        path.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise SettingsError("STATE", f"{path} cannot be used: {error.strerror}") from error
