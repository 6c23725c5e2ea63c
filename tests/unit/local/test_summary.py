from __future__ import annotations

import pytest

from local.summary import summary_line

ANSWER = {
    "totals": {
        "received": 12345,
        "duplicates_dropped": 10000,
        "cached": 2000,
        "announced": 2100,
        "failed": 3,
    },
    "recent": {"announced_per_s": 5.04, "delay": {"p50_s": 0.0213, "p99_s": 1.26}},
}
RECEIVED = "received 12 345"
ANNOUNCED = "announced 2 100  failed 3"
DELAY = "delay p50 21 ms p99 1.3 s"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (None, f"{RECEIVED}  duplicates 10 000  cached 2 000  {ANNOUNCED}  5.0/s  {DELAY}"),
        (100, f"{RECEIVED}  cached 2 000  {ANNOUNCED}  5.0/s  {DELAY}"),
        (79, f"{RECEIVED}  {ANNOUNCED}  5.0/s  {DELAY}"),
        (58, f"{ANNOUNCED}  {DELAY}"),
        (20, DELAY),
    ],
)
def test_a_narrow_window_shows_the_delay_before_all_else(columns: int | None, line: str) -> None:
    assert summary_line(ANSWER, columns) == line
    assert columns is None or len(line) <= max(columns, len(DELAY))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"totals": None, "recent": None},
        {"totals": {"received": None}, "delay": {"p50_s": None}},
    ],
)
def test_numbers_that_are_not_there_yet_are_dashes(
    answer: dict[str, None] | dict[str, dict[str, None]],
) -> None:
    assert summary_line(answer).endswith("delay p50 - p99 -")
    assert summary_line(answer).startswith("received -")
