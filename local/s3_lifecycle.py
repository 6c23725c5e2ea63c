"""What a bucket's lifecycle rule does on AWS, for a bucket on this machine: objects expire.

`python -m local.s3_lifecycle DIRECTORY DAYS`, until it is stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wis2_gc_manager.store.s3.expiry import removed_at_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_S = 300.0
#: Somebody may be putting an object into a younger folder.
_FOLDER_AGE_NS = 3600 * 1_000_000_000


def expire(objects: Path, *, days: int, now_ns: int) -> None:
    """Remove files older than `days`; a file's time is when its object was stored."""
    for folder, _, names in os.walk(objects, topdown=False):
        for name in names:
            path = Path(folder, name)
            # Deleted meanwhile, or the disk is gone: the next round tries again.
            with contextlib.suppress(OSError):
                if removed_at_ns(path.stat().st_mtime_ns, days=days) <= now_ns:
                    path.unlink()
        with contextlib.suppress(OSError):
            is_old = Path(folder).stat().st_mtime_ns < now_ns - _FOLDER_AGE_NS
            if is_old and Path(folder) != objects:
                Path(folder).rmdir()


def expire_until(stopping: threading.Event, objects: Path, *, days: int, every_s: float) -> None:
    """Remove objects older than `days`, at once and then every `every_s` seconds."""
    while True:
        expire(objects, days=days, now_ns=time.time_ns())
        if stopping.wait(every_s):
            return


@contextlib.contextmanager
def running(objects: Path, *, days: int, every_s: float) -> Iterator[None]:
    """Make objects expire, in a thread, until the end of the `with` block."""
    stopping = threading.Event()
    thread = threading.Thread(
        target=expire_until,
        args=(stopping, objects),
        kwargs={"days": days, "every_s": every_s},
        name="s3-lifecycle",
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    # A handler must not set an event: its own thread may be waiting for it and hold its lock.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    directory, days = sys.argv[1:]
    expire_until(threading.Event(), Path(directory), days=int(days), every_s=_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
