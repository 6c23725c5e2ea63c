from __future__ import annotations

from testkit.fakes.reader import EMPTY_QUEUE, listener, snapshot_of
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.metrics import field
from wis2_gc_metrics.exposition import Reading
from wis2_gc_metrics.lookback import Lookback


def reading(at_s: float, *, received: int = 0, queued: int = 0, announced: int = 0) -> Reading:
    content = snapshot_of(
        counters={
            field(catalogue.RECEIVED, "fr"): received,
            field(catalogue.QUEUED, "fr"): queued,
            field(catalogue.ITEMS, "cached"): announced,
        },
        processes=(listener("fr"), listener("br", is_ready=False)),
    )
    return Reading(at_s, content, EMPTY_QUEUE)


def read_every_5_s(lookback: Lookback, begin_s: int, end_s: int, *, rate: int = 1) -> Reading:
    readings = [
        reading(float(at_s), received=at_s * rate, queued=at_s)
        for at_s in range(begin_s, end_s + 1, 5)
    ]
    for each in readings:
        lookback.add(each)
    return readings[-1]


def test_there_is_no_window_before_five_minutes_were_read() -> None:
    lookback = Lookback()
    first = reading(1000.0)
    assert lookback.facts(first, expected_brokers=()).window is None
    last = read_every_5_s(lookback, 1000, 1285)
    facts = lookback.facts(last, expected_brokers=("fr",))
    assert (facts.window, facts.registry) == (None, last.snapshot)
    assert (facts.depth, facts.expected_brokers) == (EMPTY_QUEUE, ("fr",))
    window = lookback.facts(read_every_5_s(lookback, 1300, 1300), expected_brokers=()).window
    assert window is not None
    assert window.seconds == 300
    assert window.counts.queued == 300
    assert window.ready_brokers == {"fr"}


def test_the_window_moves_and_its_points_stay_few() -> None:
    lookback = Lookback()
    for at_s in range(1000, 1303, 10):
        for number in range(100):
            lookback.add(reading(at_s + number / 100))
    last = read_every_5_s(lookback, 1305, 5000)
    window = lookback.facts(last, expected_brokers=()).window
    assert window is not None
    assert 300 <= window.seconds <= 310
    assert window.counts.queued == window.seconds
    assert len(lookback._points) <= 32


def test_what_has_just_come_is_not_due() -> None:
    lookback = Lookback()
    last = read_every_5_s(lookback, 1000, 1300)
    window = lookback.facts(last, expected_brokers=()).window
    assert window is not None
    assert (window.counts.queued, window.due.queued) == (300, 240)


def test_a_clock_that_is_set_back_a_little_changes_nothing() -> None:
    lookback = Lookback()
    last = read_every_5_s(lookback, 1000, 1310)
    back = reading(1309.5, received=1311, queued=1311)
    lookback.add(back)
    assert lookback.facts(last, expected_brokers=()).window is not None
    assert lookback.facts(back, expected_brokers=()).window is not None


def test_an_older_reading_is_judged_by_its_own_counts() -> None:
    lookback = Lookback()
    older = read_every_5_s(lookback, 1000, 1300)
    read_every_5_s(lookback, 1305, 1305)
    window = lookback.facts(older, expected_brokers=()).window
    assert window is not None
    assert window.counts.queued == 300


def test_it_is_known_for_how_long_nothing_has_come() -> None:
    lookback = Lookback()
    read_every_5_s(lookback, 1000, 1100)
    silent = read_every_5_s(lookback, 1105, 2100, rate=0)
    # A count that goes backwards is a new registry: from then on nothing has come.
    assert lookback.facts(silent, expected_brokers=()).quiet_s == 995
    heard = reading(2105.0, received=1)
    lookback.add(heard)
    assert lookback.facts(heard, expected_brokers=()).quiet_s == 0


def test_a_new_registry_a_clock_set_back_and_a_long_gap_start_it_again() -> None:
    for later in (
        reading(1305.0, received=3, queued=3),
        reading(900.0, received=2000, queued=2000),
        reading(1601.0, received=2000, queued=2000),
    ):
        lookback = Lookback()
        last = read_every_5_s(lookback, 1000, 1300)
        assert lookback.facts(last, expected_brokers=()).window is not None
        lookback.add(later)
        facts = lookback.facts(later, expected_brokers=())
        assert (facts.window, facts.quiet_s) == (None, 0)
    lookback = Lookback()
    lookback.add(reading(1000.0, announced=5))
    lookback.add(reading(1005.0, announced=4))
    assert len(lookback._points) == 1
