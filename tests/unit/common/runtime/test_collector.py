from __future__ import annotations

import gc

from wis2_gc_common.runtime.collector import let_collector_rest


def test_the_collector_looks_less_often_and_not_at_what_is_there() -> None:
    before = gc.get_threshold()
    try:
        let_collector_rest()
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
