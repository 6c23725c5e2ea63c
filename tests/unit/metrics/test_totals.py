from __future__ import annotations

from testkit.fakes.reader import EMPTY_QUEUE, snapshot_of
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.metrics import field
from wis2_gc_metrics.exposition import Reading
from wis2_gc_metrics.totals import History, add_up


def reading(at_s: float, *, received: int = 0, cached: int = 0, fast: int = 0) -> Reading:
    content = snapshot_of(
        counters={
            field(catalogue.RECEIVED, "fr"): received,
            field(catalogue.ITEMS, "cached"): cached,
        },
        delay_buckets=(fast, *[0] * len(catalogue.DELAY_BUCKETS_S)),
    )
    return Reading(at_s, content, EMPTY_QUEUE)


def test_totals_add_up_over_brokers_centres_and_reasons() -> None:
    totals = add_up(
        snapshot_of(
            counters={
                field(catalogue.RECEIVED, "fr"): 10,
                field(catalogue.RECEIVED, "br"): 5,
                field(catalogue.DROPPED, "fr", "duplicate"): 4,
                field(catalogue.DROPPED, "br", "stale"): 1,
                field(catalogue.DROPPED, "br", "own"): 2,
                field(catalogue.ITEMS_DROPPED, "repeat"): 1,
                field(catalogue.ITEMS_DROPPED, "duplicate_id"): 1,
                field(catalogue.ITEMS_DROPPED, "invalid_json"): 1,
                field(catalogue.ITEMS, "cached"): 3,
                field(catalogue.ITEMS, "uncached"): 1,
                field(catalogue.ITEMS, "deleted"): 1,
                field(catalogue.DOWNLOADED_ERRORS, "a"): 2,
                field(catalogue.DOWNLOADED_ERRORS, "b"): 1,
                field(catalogue.INTEGRITY_FAILED, "b"): 1,
                field(catalogue.GIVEN_UP, "not_found"): 2,
                field(catalogue.CACHED_VOLUME, "xx-a"): 4000,
                field(catalogue.CACHED_VOLUME, "xx-b"): 96,
            }
        )
    )
    assert totals.received == 15
    assert totals.duplicates_dropped == 7
    assert totals.others_dropped == 3
    assert totals.cached == 3
    assert totals.announced == 5
    assert totals.failed == 4
    assert totals.given_up == 2
    assert totals.stored_bytes == 4096


def test_there_are_no_rates_before_a_second_reading() -> None:
    history = History()
    first = reading(1000.0, received=5)
    assert history.recent(first) is None
    history.add(first)
    assert history.recent(first) is None


def test_rates_are_of_the_last_minute() -> None:
    history = History(window_s=60)
    history.add(reading(1000.0, received=0))
    history.add(reading(1100.0, received=1000, cached=10, fast=10))
    now = reading(1130.0, received=1600, cached=40, fast=40)
    history.add(now)
    recent = history.recent(now)
    assert recent is not None
    # The window began a little before its minute: with the last point older than that.
    assert recent.seconds == 130
    later = reading(1165.0, received=1600, cached=40, fast=40)
    history.add(later)
    recent = history.recent(later)
    assert recent is not None
    assert recent.seconds == 65
    assert recent.received_per_s == 600 / 65
    assert recent.cached_per_s == 30 / 65
    assert recent.delay.count == 30
    assert recent.failed_per_s == 0


def test_many_readings_within_a_second_take_no_room() -> None:
    history = History(window_s=60, min_spacing_s=1.0)
    for number in range(1000):
        history.add(reading(1000.0 + number / 100, received=number))
    assert len(history._points) <= 11


def test_a_registry_that_was_set_up_again_gives_no_negative_rates() -> None:
    history = History()
    history.add(reading(1000.0, received=500))
    after = reading(1010.0, received=3)
    assert history.recent(after) is None
    history.add(after)
    later = reading(1020.0, received=13)
    recent = history.recent(later)
    assert recent is not None
    assert recent.received_per_s == 1.0


def test_a_clock_that_was_set_back_starts_the_history_over() -> None:
    history = History()
    history.add(reading(1000.0, received=5))
    history.add(reading(900.0, received=6))
    recent = history.recent(reading(910.0, received=26))
    assert recent is not None
    assert recent.received_per_s == 2.0
