from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.pubtime import format_pubtime, parse_pubtime

#: The last nanosecond of the year 9999.
LAST_NS = 253_402_300_800 * 10**9 - 1


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00Z",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02T03:04:05.5Z",
        "2400-02-29T23:59:59.000000001Z",
        "9999-12-31T23:59:59.999999999Z",
    ],
)
def test_a_time_is_written_with_as_many_digits_as_it_needs(text: str) -> None:
    assert format_pubtime(parse_pubtime(text)) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("9999-12-31T23:59:60Z", "10000-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-12:00", "10000-01-01T11:59:59Z"),
    ],
)
def test_what_lies_just_beyond_the_calendar_is_still_written(text: str, written: str) -> None:
    assert format_pubtime(parse_pubtime(text)) == written


@given(st.integers(0, LAST_NS))
def test_what_is_written_reads_back_exactly(pubtime_ns: int) -> None:
    assert parse_pubtime(format_pubtime(pubtime_ns)) == pubtime_ns
