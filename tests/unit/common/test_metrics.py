"""Each metric of the catalogue is counted or shown somewhere."""

from __future__ import annotations

import re

from testkit.repository import tracked
from wis2_gc_common import metrics


def test_no_metric_is_left_unused() -> None:
    code = "\n".join(
        text
        for name, text in tracked().items()
        if name.startswith("services/") and name.endswith((".py", ".lua"))
        if not name.endswith("wis2_gc_common/metrics.py")
    )
    named = {name: one for name, one in vars(metrics).items() if isinstance(one, metrics.Metric)}
    assert len(named) == len(metrics.CATALOGUE)
    # The only histogram has a place of its own in a snapshot, and is found by its type.
    names = {name for name, one in named.items() if one.type != "histogram"}
    assert len(names) == len(named) - 1
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()
