from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.fakes.reader import listener, manager
from wis2_gc_metrics.readiness import missing_parts

if TYPE_CHECKING:
    from wis2_gc_common.ports.registry import ProcessStatus


FR, BR = listener("fr"), listener("br")
FR_AWAY = listener("fr", is_ready=False)
M1, M1_BUSY = manager("m-1"), manager("m-1", is_ready=False)


@pytest.mark.parametrize(
    ("processes", "expected", "missing"),
    [
        ([], (), ["no listener reports", "no manager reports"]),
        ([FR, M1], (), []),
        ([FR, BR, M1], (), []),
        ([FR_AWAY, BR, M1], (), ["listener fr is not subscribed"]),
        ([FR], (), ["no manager reports"]),
        ([M1], (), ["no listener reports"]),
        ([FR, M1_BUSY], (), ["no manager receives: m-1"]),
        ([FR, M1_BUSY, manager("m-2")], (), []),
        ([FR, M1], ("fr", "br"), ["listener br does not report"]),
        ([FR_AWAY, BR, M1], ("fr", "br"), ["listener fr is not subscribed"]),
        ([FR, BR, M1], ("fr", "br"), []),
        # Only the expected ones count, once some are named.
        ([FR_AWAY, BR, M1], ("br",), []),
        ([M1], ("fr",), ["listener fr does not report"]),
    ],
)
def test_readiness_says_what_is_missing(
    processes: list[ProcessStatus], expected: tuple[str, ...], missing: list[str]
) -> None:
    assert missing_parts(processes, expected_brokers=expected) == missing


def test_readiness_says_once_what_the_managers_wait_for() -> None:
    url = {"public URL": "no answer within 4.5 s"}
    managers = [
        manager("m-2", is_ready=False, problems={**url, "broker": "10.1.1.1:8883"}),
        manager("m-1", is_ready=False, problems=url),
        manager("m-3", is_ready=False, problems=None),
    ]
    assert missing_parts([FR, *managers], expected_brokers=()) == [
        "no manager receives: m-1, m-2, m-3 (broker: away; public URL: away)"
    ]


def test_a_manager_with_the_name_of_an_expected_listener_does_not_stand_in_for_it() -> None:
    missing = missing_parts([manager("fr")], expected_brokers=("fr",))
    assert missing == ["listener fr does not report"]
