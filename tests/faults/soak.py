"""`make soak HOURS=…`: the long run's faults again and again, a line a minute, the same end checks.

What must not grow is also looked at by trend: after each round, when all has come out.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.long_run import MORE_DESCRIPTORS, MORE_MB, LongRun, Sizes
from tests.faults.test_long_run import back_ends

#: Rounds after which a trend says something.
ENOUGH_ROUNDS = 4


def main() -> int:
    """Run for `HOURS`; return the exit code."""
    hours = float(os.environ.get("HOURS") or 1)
    seed = int(os.environ.get("FAULTS_SEED") or time.time())
    end_s = time.monotonic() + hours * 3600
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        Path(directory, "faults.log").open("w", encoding="utf-8") as quiet,
    ):
        run = LongRun(Path(directory, "world"), back_ends(), seed=seed, out=quiet)
        over = threading.Event()
        lines = threading.Thread(target=tell, args=(run, over), daemon=True)
        rounds: list[Sizes] = []
        try:
            run.warm_up()
            lines.start()
            while time.monotonic() < end_s:
                run.all_faults(until_s=end_s)
                rounds.append(run.sizes())
            run.check()
            check_trend(rounds)
        except AssertionError:
            sys.stdout.write(Path(directory, "faults.log").read_text(encoding="utf-8"))
            raise
        finally:
            over.set()
            run.close()
        say(run)
    return 0


def tell(run: LongRun, over: threading.Event) -> None:
    """Print a line a minute."""
    while not over.wait(60):
        say(run)


def say(run: LongRun) -> None:
    waiting = len(run.load) - run.world.number_out()
    sys.stdout.write(
        f"{datetime.now(UTC):%H:%M:%S} {len(run.load)} items, {waiting} of them on their way;"
        f" {run.seen.total()} faults of {len(run.seen)} kinds"
    )
    with contextlib.suppress(OSError):  # a process may just be killed
        sizes = run.sizes()
        most_mb = max(sizes.resident_mb.values())
        sys.stdout.write(f"; at most {max(sizes.descriptors.values())} fds, {most_mb:.0f} MB")
    sys.stdout.write("\n")
    sys.stdout.flush()


def check_trend(rounds: list[Sizes]) -> None:
    """Raise AssertionError where the last rounds need clearly more than the first ones."""
    if len(rounds) < ENOUGH_ROUNDS:
        return
    half = len(rounds) // 2
    for name in rounds[0].descriptors:
        first, last = (
            statistics.median(sizes.descriptors[name] for sizes in part)
            for part in (rounds[:half], rounds[half:])
        )
        assert last <= first + MORE_DESCRIPTORS, f"{name}: {first} descriptors, then {last}"
        first, last = (
            statistics.median(sizes.resident_mb[name] for sizes in part)
            for part in (rounds[:half], rounds[half:])
        )
        assert last <= first + MORE_MB, f"{name}: {first} MB, then {last}"


if __name__ == "__main__":
    sys.exit(main())
