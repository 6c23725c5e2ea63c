"""When a lifecycle rule removes objects, and how long they may be announced before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store.file.store import FileStore
from wis2_gc_manager.store.s3.expiry import removed_at_ns

if TYPE_CHECKING:
    from pathlib import Path


KEY = "2026-11-27/23/yy-met/data/core/x/0123456789ab/obs.bufr"
HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("stored", "days", "removed"),
    [
        ("2026-11-27T23:05", 1, "2026-11-29T00:00"),
        ("2026-11-27T00:01", 1, "2026-11-29T00:00"),
        ("2026-11-27T00:00", 1, "2026-11-28T00:00"),
        ("2026-11-27T23:05", 2, "2026-11-30T00:00"),
        ("2026-12-31T12:00", 1, "2027-01-02T00:00"),
    ],
)
def test_it_is_the_midnight_after_the_days(stored: str, days: int, removed: str) -> None:
    assert removed_at_ns(ns(stored), days=days) == ns(removed)


@given(st.integers(0, 2**62), st.integers(1, 31))
def test_it_keeps_everything_for_its_days_and_less_than_one_more(stored_ns: int, days: int) -> None:
    kept_ns = removed_at_ns(stored_ns, days=days) - stored_ns
    assert days * DAY_NS <= kept_ns < (days + 1) * DAY_NS


@pytest.fixture
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("_region")
async def test_an_object_of_a_bucket_may_be_announced_while_it_stays_for_the_retention() -> None:
    for hours, days, until in (
        (24, 1, "2026-11-28T00:00"),
        (12, 1, "2026-11-28T12:00"),
        (24, 2, "2026-11-29T00:00"),
        (48, 2, "2026-11-28T00:00"),
    ):
        store = open_store(StoreUrl("s3", "bucket"), retention_hours=hours, expiration_days=days)
        assert store.announce_by_ns(KEY, stored_ns=ns("2026-11-27T23:05")) == ns(until)
        await store.close()


@pytest.mark.usefixtures("_region")
def test_a_rule_that_keeps_less_than_the_retention_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(StoreUrl("s3", "bucket"), retention_hours=25, expiration_days=1)
    assert caught.value.variable == "GC_STORE_EXPIRATION_DAYS"
    assert "for 1 d, which is less than the 25 h of GC_RETENTION_HOURS" in caught.value.problem


async def test_an_object_among_files_may_be_announced_until_two_hours_after_its_folders_hour(
    tmp_path: Path,
) -> None:
    store = FileStore(str(tmp_path), retention_hours=24)
    by_ns = store.announce_by_ns(KEY, stored_ns=ns("2026-11-27T23:59"))
    assert by_ns == ns("2026-11-28T01:00")
    # At that very moment its folder is kept for the retention still.
    (tmp_path / "2026-11-27" / "23").mkdir(parents=True)
    last = datetime(2026, 11, 28, 1, tzinfo=UTC) + timedelta(hours=24)
    assert await store.expire(last - timedelta(seconds=1)) == 0
    assert await store.expire(last) == 1
    await store.close()
