"""20,000 items under every kind of fault that we know: nothing lost, nothing twice, nothing wrong.

The order of the faults follows from the seed, which is printed; `FAULTS_SEED` repeats one.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.catalogue import catalogue
from tests.faults.long_run import LongRun

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = 20_000
KINDS = 50
#: The order of the faults. `make soak` takes another one each time.
SEED = 20261128


def back_ends() -> frozenset[str]:
    return frozenset((os.environ.get("QUEUE") or "redis-stream", os.environ.get("STORE") or "file"))


@pytest.mark.parametrize("chosen", [("redis-stream", "file"), ("sqs", "s3")])
def test_there_are_fifty_kinds_of_faults_at_least(chosen: tuple[str, ...]) -> None:
    assert len(catalogue(frozenset(chosen))) >= KINDS


@pytest.mark.timeout(1500)
def test_twenty_thousand_items_under_all_faults_come_out_right(tmp_path: Path) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or SEED)
    run = LongRun(tmp_path / "world", back_ends(), seed=seed, out=sys.stdout)
    try:
        run.warm_up()
        run.all_faults(items=ITEMS)
        run.check()
    finally:
        run.close()
    assert len(run.load) >= ITEMS
    assert set(run.seen) == {fault.kind for fault in catalogue(back_ends())}
