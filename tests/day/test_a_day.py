"""A day of WIS2 and some hours of the next one, with the clock of the cache in our hands.

The three commands on a real Redis, mosquitto and nginx. Half an hour of the day takes a second or
two: it begins with a jump of the clock (`testkit/worlds/day.py`), when nothing is in work.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local.world.items import BURST_FACTOR, WorldOutcome
from local.world.ledger import Ledger
from local.world.mix import Kind, parse_mix
from testkit.worlds.day import LIBRARIES, Clock, Day, DayWorld
from testkit.worlds.world import wait_until

if TYPE_CHECKING:
    from pathlib import Path

#: Items of a quiet half hour; the one that begins the hour has a burst.
QUIET = 12
BURST = int(QUIET * BURST_FACTOR)
HOURS = 27
#: The managers are rolled out in the second night, as a new version would be.
ROLL_OUT_HOUR = 26
RETENTION = timedelta(hours=24)
#: Much is announced again, corrected and deleted; large fields only take time.
MIX = parse_mix("model=0,daily=25,update=8,deletion=4,shared=6,faults=4")

pytestmark = pytest.mark.timeout(900)


@pytest.mark.skipif(
    not LIBRARIES or shutil.which("redis-server") is None,
    reason="NOT TESTED: requires libfaketime and redis-server; make test-day installs both",
)
def test_of_a_day_of_wis2_nothing_is_missing_repeated_or_unexpected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stand-ins of SQS and S3 keep the real clock.
    for name in ("QUEUE", "STORE"):
        monkeypatch.delenv(name, raising=False)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    midnight = tomorrow.replace(hour=0, minute=0, second=0, microsecond=0)
    clock = Clock(tmp_path / "clock")
    clock.jump_to(midnight)
    ledger = Ledger()
    settings = {"GC_ALLOWED_NETWORKS": "127.0.0.0/8", "GC_RETRY_DELAYS": "2,4,8,8,8,8,8"}
    world = DayWorld(tmp_path / "world", clock, ledger, **settings)
    day = Day(world, MIX, seed=27)
    try:
        with day.servers():
            for hour in range(HOURS):
                clock.jump_to(midnight + timedelta(hours=hour))
                if hour == ROLL_OUT_HOUR:
                    for name in ("manager-1", "manager-2"):
                        world.roll_out(name)
                day.play(BURST)
                day.settle()
                clock.jump_to(midnight + timedelta(hours=hour, minutes=30))
                day.play(QUIET)
                day.settle()

            wait_until(
                lambda: ledger.report()["missing"] == 0,
                f"all has come out: {ledger.report()['examples']}",
                timeout=60,
            )
            # What must not come out has had its time, too.
            world.settle(including_delayed=True)
            day.take()
            check(day)
    finally:
        world.close()


def check(day: Day) -> None:
    ledger = day.world.ledger
    report = ledger.report()
    shown = str(report)
    assert report["missing"] == report["repeated"] == report["unexpected"] == 0, shown
    assert report["wrong"] == 0, shown
    # A deletion is overtaken by what was published after it, and by nothing else.
    assert report["announced"] + report["overtaken"] == report["expected"] > 1200, shown
    assert report["overtaken"] <= report["outcomes"][WorldOutcome.DELETED], shown
    assert set(report["outcomes"]) == set(WorldOutcome)
    assert day.repeated_ids > 0

    # Some of every kind is there, both of a shared data_id are, byte for byte, for 24 hours.
    now = day.world.clock.now()
    young = {key: held for key, held in day.held.items() if now - held.at < RETENTION}
    lost = [held.href for held in young.values() if not day.is_right(held)]
    assert lost == []
    assert {held.item.kind for held in young.values()} >= {
        Kind.INLINE, Kind.LINKED, Kind.WARNING, Kind.METADATA, Kind.GATEWAY, Kind.DAILY,
        Kind.SHARED, Kind.UPDATE,
    }  # fmt: skip
    centres: dict[str, set[str]] = {}
    for centre_id, data_id in young:
        centres.setdefault(data_id, set()).add(centre_id)
    assert sum(len(each) == 2 for each in centres.values()) > 10

    # A record that is announced every day is there every day.
    daily = [key for key, held in day.held.items() if held.item.kind is Kind.DAILY]
    assert len(daily) > 10
    assert sum(len(day.days[key]) == 2 for key in daily) > 2

    # What is older goes, an hour's folder at a time.
    old = [held for held in day.held.values() if now - held.at > RETENTION + timedelta(hours=2)]
    assert old
    wait_until(
        lambda: all(day.is_gone(held) for held in old), "expired objects are gone", timeout=120
    )
