"""Removes what is past the retention from the file store.

An hour folder is removed in one rename, so that readers see all of an hour or nothing of it. A
thread that can be stopped at any moment then deletes its files, one by one.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wis2_gc_common.wis2.object_key import ANNOUNCED_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from wis2_gc_manager.store.file.layout import Layout

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_HOUR_NAME = re.compile(r"[01]\d|2[0-3]", re.ASCII)


def hour_start(date: str, hour: str) -> datetime | None:
    """Return when the hour of an hour folder begins; None if it is not an hour folder."""
    if not _DATE.fullmatch(date) or not _HOUR_NAME.fullmatch(hour):
        return None
    try:
        return datetime.strptime(f"{date}/{hour}", "%Y-%m-%d/%H").replace(tzinfo=UTC)
    except ValueError:  # the 30th of February
        return None


def is_expired(start: datetime, *, now: datetime, retention: timedelta) -> bool:
    """Whether everything in the folder of the hour that began at `start` is past the retention."""
    return start + ANNOUNCED_WITHIN + retention <= now


@dataclass(frozen=True, slots=True)
class Expiry:
    """One run over one store. Blocks; `must_stop` is called before every file."""

    layout: Layout
    retention: timedelta
    must_stop: Callable[[], bool]

    def run(self, now: datetime) -> int:
        """Remove expired hours; return how many were removed. Raises OSError."""
        self.layout.prepare()
        gone = 0
        for date in _folders(self.layout.directory):
            if not _DATE.fullmatch(date):
                continue
            for hour in _folders(f"{self.layout.directory}/{date}"):
                start = hour_start(date, hour)
                if start and is_expired(start, now=now, retention=self.retention):
                    gone += self._discard(date, hour)
            last = hour_start(date, "23")
            if last and is_expired(last, now=now, retention=self.retention):
                _remove_empty(f"{self.layout.directory}/{date}")
        # Also delete what an earlier run, or another process, did not finish.
        for folder in _folders(self.layout.trash):
            self._delete(f"{self.layout.trash}/{folder}")
        self._delete_stale_writes()
        return gone

    def _discard(self, date: str, hour: str) -> int:
        target = f"{self.layout.trash}/{date}T{hour}-{self.layout.new_name()}"
        try:
            os.rename(f"{self.layout.directory}/{date}/{hour}", target)  # noqa: PTH104
        except FileNotFoundError:
            return 0  # another process was quicker
        return 1

    def _delete(self, folder: str) -> None:
        """Delete a folder and everything in it, unless we must stop."""
        try:
            with os.scandir(folder) as entries:
                found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return  # another process was quicker
        for path, is_folder in found:
            if self.must_stop():
                return
            if is_folder:
                self._delete(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108
        _remove_empty(folder)

    def _delete_stale_writes(self) -> None:
        """Delete unfinished files that processes which died have left."""
        oldest = time.time() - self.retention.total_seconds()
        with os.scandir(self.layout.incoming) as entries:
            for entry in entries:
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)  # noqa: PTH108
                except FileNotFoundError:
                    continue


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
        return  # not empty, or gone: both are right
