from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.object_key import hour_folder
from wis2_gc_manager.store.file.expiry import hour_start, is_expired

DAY = timedelta(hours=24)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_hour_folder_tells_its_hour(moment: datetime) -> None:
    start = hour_start(*hour_folder(moment).split("/"))
    assert start is not None
    assert timedelta() <= moment - start < timedelta(hours=1)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(), timedelta(hours=1)),
    st.timedeltas(timedelta(), timedelta(hours=100)),
    st.timedeltas(timedelta(), timedelta(hours=48)),
)
def test_nothing_expires_before_its_retention_even_when_it_kept_an_earlier_hour(
    first_attempt: datetime, later: timedelta, age: timedelta, retention: timedelta
) -> None:
    start = hour_start(*hour_folder(first_attempt).split("/"))
    assert start is not None
    stored = first_attempt + later
    if is_expired(start, now=stored + age, retention=retention):
        assert age >= retention


@pytest.mark.parametrize(
    ("age", "expired"),
    [
        (timedelta(hours=26), True),
        (timedelta(hours=26) - timedelta(microseconds=1), False),
        (timedelta(hours=-5), False),
    ],
)
def test_an_hour_expires_two_hours_and_the_retention_after_its_start(
    age: timedelta, *, expired: bool
) -> None:
    start = datetime(2026, 8, 1, 5, tzinfo=UTC)
    assert is_expired(start, now=start + age, retention=DAY) is expired


@pytest.mark.parametrize(
    ("date", "hour"),
    [
        ("2026-02-30", "05"),
        ("2026-13-01", "05"),
        ("2026-08-01", "24"),
        ("2026-08-01", "5"),
        ("2026-08-01", "05x"),
        ("2026-8-1", "05"),
        ("26-08-01", "05"),
        ("2026-08-01", "\u0660\u0665"),
        (".incoming", "05"),
        ("", ""),
    ],
)
def test_what_is_not_an_hour_folder_has_no_hour(date: str, hour: str) -> None:
    assert hour_start(date, hour) is None
