"""What a bucket's lifecycle rule does on AWS, for a bucket on this machine: objects expire.

`python -m local.s3_lifecycle DIRECTORY RETENTION_HOURS`, until it is stopped.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wis2_gc_common.store.file_expiry import Expiry
from wis2_gc_common.store.file_layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_S = 300.0


def expire_until(
    stopping: threading.Event, objects: Path, *, retention_hours: float, every_s: float
) -> None:
    """Remove hour folders past the retention, at once and every `every_s` seconds."""
    expiry = Expiry(
        Layout(str(objects)),
        retention=timedelta(hours=retention_hours),
        must_stop=stopping.is_set,
    )
    while True:
        # A full disk, or a directory that was taken away: the next round may find it better.
        with contextlib.suppress(OSError):
            expiry.run(datetime.now(UTC))
        if stopping.wait(every_s):
            return


@contextlib.contextmanager
def running(objects: Path, *, retention_hours: float, every_s: float) -> Iterator[None]:
    """Have objects expire, in a thread, until the end of the `with` block."""
    stopping = threading.Event()
    thread = threading.Thread(
        target=expire_until,
        args=(stopping, objects),
        kwargs={"retention_hours": retention_hours, "every_s": every_s},
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
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    directory, hours = sys.argv[1:]
    expire_until(stopping, Path(directory), retention_hours=float(hours), every_s=_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
