from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.wis2.pubtime import parse_pubtime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_NS = 1_000_000_000
NOON_NS = 1_767_268_800 * SECOND_NS  # 2026-01-01T12:00:00Z


@pytest.mark.parametrize("digits", range(1, 10))
def test_every_number_of_fraction_digits_is_exact(digits: int) -> None:
    fraction = "123456789"[:digits]
    expected = NOON_NS + int(fraction.ljust(9, "0"))
    assert parse_pubtime(f"2026-01-01T12:00:00.{fraction}Z") == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01t12:00:00z",
        "2026-01-01 12:00:00Z",
        "2026-01-01T12:00:00+00:00",
        "2026-01-01T12:00:00-00:00",
        "2026-01-01T12:00:00+0000",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01T17:30:00+05:30",
        "2025-12-31T23:00:00-13:00",
        "2026-01-01T12:00:00.000000000Z",
        "2026-01-01T12:00:00:000Z",
        "2026-01-01T12:00:00,0Z",
    ],
)
def test_all_spellings_of_one_moment_are_one_number(text: str) -> None:
    assert parse_pubtime(text) == NOON_NS


def test_a_colon_before_the_fraction_is_understood() -> None:
    assert parse_pubtime("2026-01-01T12:00:00:250Z") == NOON_NS + 250_000_000


def test_a_leap_second_is_the_first_second_of_the_next_minute() -> None:
    assert parse_pubtime("2016-12-31T23:59:60Z") == parse_pubtime("2017-01-01T00:00:00Z")
    assert parse_pubtime("2016-12-31T23:59:60.5Z") == parse_pubtime("2017-01-01T00:00:00.5Z")


def test_two_times_one_nanosecond_apart_are_different() -> None:
    assert (
        parse_pubtime("2026-01-01T12:00:00.000000002Z")
        - parse_pubtime("2026-01-01T12:00:00.000000001Z")
        == 1
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-01",
        "2026-01-01T12:00Z",
        "2026-01-01T12:00:00",
        "2026-01-01T12:00:00.Z",
        "2026-01-01T12:00:00.1234567890Z",
        "2026-13-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:60:00Z",
        "2026-01-01T12:00:61Z",
        "2026-01-01T12:00:00+24:00",
        "2026-01-01T12:00:00+01:60",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "+2026-01-01T12:00:00Z",
        "20260101T120000Z",
        "2026-01-01T12:00:00Z ",
        " 2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00Z\n",
        "2026-01-01T12:00:00Z\x00",
        "٢٠٢٦-01-01T12:00:00Z",
        "2026-01-01T12:00:00\u2212" + "01:00",
        "9" * 8000,
    ],
)
def test_what_is_not_a_time_is_poison(text: str) -> None:
    with pytest.raises(Poison) as caught:
        parse_pubtime(text)
    assert caught.value.reason is Reason.INVALID_PUBTIME
    assert len(caught.value.detail) <= 64


moments = st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC))  # noqa: DTZ001
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)


@given(moment=moments, zone=offsets, rest_ns=st.integers(0, 999))
def test_any_time_in_any_zone_is_its_distance_from_1970(
    moment: datetime, zone: timezone, rest_ns: int
) -> None:
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    local = moment.astimezone(zone)
    text = f"{local:%Y-%m-%dT%H:%M:%S.%f}{rest_ns:03}{local.isoformat()[-6:]}"
    assert parse_pubtime(text) == micros * 1000 + rest_ns


@given(first=moments, second=moments)
def test_integers_are_ordered_as_the_times_are(first: datetime, second: datetime) -> None:
    one, two = (parse_pubtime(moment.isoformat()) for moment in (first, second))
    assert (one < two) == (first < second)
    assert (one == two) == (first == second)


@given(text=st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d[.:]\d{0,10}[Z+-]?.*"))
def test_every_text_is_a_time_or_poison(text: str) -> None:
    pubtime_ns, reason = 0, None
    try:
        pubtime_ns = parse_pubtime(text)
    except Poison as poison:
        reason = poison.reason
    assert pubtime_ns >= 0
    assert reason in {None, Reason.INVALID_PUBTIME}
