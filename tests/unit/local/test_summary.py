from __future__ import annotations

import pytest

from local.summary import summary_line


def test_the_line_shows_the_numbers_of_the_metrics_service():
    line = summary_line(
        {
            "totals": {
                "received": 12345,
                "duplicates_dropped": 10000,
                "cached": 2000,
                "announced": 2100,
                "failed": 3,
            },
            "recent": {"announced_per_s": 5.04, "delay": {"p50_s": 0.0213, "p99_s": 1.26}},
        }
    )
    assert line == (
        "received 12 345  duplicates 10 000  cached 2 000  announced 2 100  failed 3  5.0/s"
        "  delay p50 21 ms p99 1.3 s"
    )


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"totals": None, "recent": None},
        {"totals": {"received": None}, "delay": {"p50_s": None}},
    ],
)
def test_numbers_that_are_not_there_yet_are_dashes(answer):
    assert summary_line(answer).endswith("delay p50 - p99 -")
    assert summary_line(answer).startswith("received -")
