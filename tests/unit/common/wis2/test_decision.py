"""The table of wis2-rules.md 8, a test a row; times are small integers, 50 is what we hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.decision import (
    FUTURE_TOLERANCE_MS,
    WRONG_CLOCK_MS,
    Decision,
    Held,
    decide,
    is_in_future,
    trusted_ns,
)
from wis2_gc_common.wis2.pubtime import NS_PER_MS, parse_pubtime

if TYPE_CHECKING:
    from wis2_gc_common.wis2.decision import Rel

NOW_MS = 1_772_366_400_000
HOUR_MS = 3_600_000
WINDOW_MS = 12 * HOUR_MS

DONE = Held("done", pubtime_ns=50, finished_ms=NOW_MS - 1000)
RUNNING = Held(None, running_pubtime_ns=60)
DELETED = Held("deleted", pubtime_ns=50, finished_ms=NOW_MS - 1000)

RELS: list[Rel] = ["canonical", "update", "deletion"]
rels = st.sampled_from(RELS)
times = st.integers(0, 5) | st.integers(0, 2**70)
moments = st.integers(NOW_MS - 100 * HOUR_MS, NOW_MS)
holdings = st.none() | st.builds(
    Held,
    state=st.sampled_from([None, "done", "deleted"]),
    pubtime_ns=times,
    finished_ms=moments,
    running_pubtime_ns=st.none() | times,
    deleting_ns=st.none() | times,
)


def decided(held: Held | None, rel: Rel, pubtime_ns: int, now_ms: int = NOW_MS) -> Decision:
    return decide(held, rel=rel, pubtime_ns=pubtime_ns, now_ms=now_ms, repeat_window_ms=WINDOW_MS)


@pytest.mark.parametrize("rel", ["canonical", "update"])
def test_nothing_held_a_canonical_or_update_is_processed(rel: Rel) -> None:
    assert decided(None, rel, 1) is Decision.NEW


def test_nothing_held_a_deletion_is_announced_and_remembered() -> None:
    assert decided(None, "deletion", 1) is Decision.DELETE


@pytest.mark.parametrize("rel", RELS)
def test_done_and_the_same_pubtime_is_a_duplicate(rel: Rel) -> None:
    assert decided(DONE, rel, 50) is Decision.DUPLICATE


@pytest.mark.parametrize("rel", RELS)
@pytest.mark.parametrize("pubtime_ns", [0, 49])
def test_done_and_an_older_pubtime_is_stale(rel: Rel, pubtime_ns: int) -> None:
    assert decided(DONE, rel, pubtime_ns) is Decision.STALE


def test_done_and_a_newer_update_is_processed() -> None:
    assert decided(DONE, "update", 51) is Decision.UPDATE


def test_done_and_a_newer_canonical_is_dropped_and_counted_on_its_own() -> None:
    assert decided(DONE, "canonical", 51) is Decision.REPEAT


def test_done_and_a_newer_deletion_is_processed() -> None:
    assert decided(DONE, "deletion", 51) is Decision.DELETE


@pytest.mark.parametrize("rel", RELS)
def test_in_progress_elsewhere_at_this_pubtime_it_is_a_fall_back_source(rel: Rel) -> None:
    assert decided(RUNNING, rel, 60) is Decision.BUSY


@pytest.mark.parametrize("rel", RELS)
@pytest.mark.parametrize("pubtime_ns", [59, 61])
def test_in_progress_elsewhere_at_another_pubtime_it_waits_for_the_outcome(
    rel: Rel, pubtime_ns: int
) -> None:
    assert decided(RUNNING, rel, pubtime_ns) is Decision.WAIT


@pytest.mark.parametrize(
    ("rel", "pubtime_ns", "decision"),
    [
        ("update", 60, Decision.BUSY),
        ("update", 70, Decision.WAIT),
        ("canonical", 60, Decision.REPEAT),
        ("canonical", 50, Decision.DUPLICATE),
        ("update", 49, Decision.STALE),
        ("deletion", 70, Decision.WAIT),
    ],
)
def test_while_an_update_runs_what_is_certain_already_is_not_kept_waiting(
    rel: Rel, pubtime_ns: int, decision: Decision
) -> None:
    held = replace(DONE, running_pubtime_ns=60)
    assert decided(held, rel, pubtime_ns) is decision


@pytest.mark.parametrize(
    ("rel", "pubtime_ns", "running_ns", "decision"),
    [
        ("canonical", 70, 60, Decision.WAIT),
        ("canonical", 70, None, Decision.NEW),
        ("canonical", 60, 60, Decision.REPEAT),
        ("canonical", 55, 60, Decision.REPEAT),
        ("canonical", 50, 60, Decision.DUPLICATE),
        ("update", 70, 60, Decision.WAIT),
        ("update", 70, None, Decision.UPDATE),
    ],
)
def test_what_is_newer_than_a_deletion_under_way_is_not_a_repeat_of_what_is_deleted(
    rel: Rel, pubtime_ns: int, running_ns: int | None, decision: Decision
) -> None:
    held = replace(DONE, running_pubtime_ns=running_ns, deleting_ns=60)
    assert decided(held, rel, pubtime_ns) is decision


@pytest.mark.parametrize("rel", ["canonical", "update"])
@pytest.mark.parametrize("pubtime_ns", [0, 50, 51])
def test_after_a_failed_attempt_anything_is_processed_also_the_same_pubtime(
    rel: Rel, pubtime_ns: int
) -> None:
    assert decided(Held(None), rel, pubtime_ns) is Decision.NEW


def test_after_a_failed_update_the_finished_version_still_counts() -> None:
    assert decided(DONE, "update", 60) is Decision.UPDATE
    assert decided(DONE, "canonical", 50) is Decision.DUPLICATE


@pytest.mark.parametrize("rel", RELS)
@pytest.mark.parametrize("pubtime_ns", [0, 49, 50])
def test_deleted_and_not_newer_is_dropped(rel: Rel, pubtime_ns: int) -> None:
    assert decided(DELETED, rel, pubtime_ns).is_dropped


@pytest.mark.parametrize("rel", ["canonical", "update"])
def test_deleted_and_newer_is_processed_as_new(rel: Rel) -> None:
    assert decided(DELETED, rel, 51) is Decision.NEW


def test_deleted_and_deleted_again_later_is_announced_again() -> None:
    assert decided(DELETED, "deletion", 51) is Decision.DELETE


# Announced again, day after day


@pytest.mark.parametrize(
    ("age_ms", "decision"),
    [
        (0, Decision.REPEAT),
        (WINDOW_MS - 1, Decision.REPEAT),
        (WINDOW_MS, Decision.NEW),
        (24 * HOUR_MS, Decision.NEW),
    ],
)
def test_a_newer_canonical_is_new_again_half_a_day_after_the_last_was_done(
    age_ms: int, decision: Decision
) -> None:
    held = replace(DONE, finished_ms=NOW_MS - age_ms)
    assert decided(held, "canonical", 51) is decision


@pytest.mark.parametrize("rel", RELS)
def test_however_long_ago_it_was_done_the_same_or_an_older_pubtime_is_dropped(rel: Rel) -> None:
    held = replace(DONE, finished_ms=NOW_MS - 25 * HOUR_MS)
    assert decided(held, rel, 50) is Decision.DUPLICATE
    assert decided(held, rel, 49) is Decision.STALE


def test_the_window_of_repeats_is_a_setting() -> None:
    common = {"rel": "canonical", "pubtime_ns": 51, "now_ms": NOW_MS}
    assert decide(DONE, **common, repeat_window_ms=0) is Decision.NEW  # type: ignore[arg-type]
    assert decide(DONE, **common, repeat_window_ms=1001) is Decision.REPEAT  # type: ignore[arg-type]


# Pubtimes of the future (wis2-rules.md 6)


def at_ms(offset_ms: int) -> int:
    """Return nanoseconds, `offset_ms` after now."""
    return (NOW_MS + offset_ms) * NS_PER_MS


@pytest.mark.parametrize("state", ["done", "deleted"])
@pytest.mark.parametrize("wrong", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999-23:59"])
def test_a_pubtime_of_the_future_locks_nothing(
    state: Literal["done", "deleted"], wrong: str
) -> None:
    held = Held(state, parse_pubtime(wrong), finished_ms=NOW_MS)
    later = NOW_MS + 60_000
    assert decided(held, "update", later * NS_PER_MS, later).is_granted
    assert decided(held, "deletion", later * NS_PER_MS, later) is Decision.DELETE
    # What was published before the wrong one came is older than it.
    assert decided(held, "update", at_ms(-1), later) is Decision.STALE


@pytest.mark.parametrize("rel", RELS)
def test_copies_of_a_notification_of_the_future_are_duplicates(rel: Rel) -> None:
    wrong = parse_pubtime("9999-12-31T23:59:59Z")
    assert decided(Held("done", wrong, NOW_MS), rel, wrong, NOW_MS + 99_000) is Decision.DUPLICATE


def test_two_pubtimes_of_a_nonsense_future_are_in_the_order_of_their_arrival() -> None:
    held = Held("done", parse_pubtime("9999-12-31T23:59:59Z"), NOW_MS)
    assert decided(held, "update", at_ms(2 * WRONG_CLOCK_MS), NOW_MS + 1) is Decision.UPDATE


def test_a_publisher_whose_clock_is_hours_ahead_is_taken_at_its_word() -> None:
    lead = 5 * HOUR_MS
    held = Held("done", at_ms(lead), finished_ms=NOW_MS)
    # A copy, from another cache, of the version that was replaced.
    assert decided(held, "update", at_ms(lead - 60_000), NOW_MS + 90_000) is Decision.STALE
    assert decided(held, "update", at_ms(lead + 1), NOW_MS + 90_000) is Decision.UPDATE
    # And once its clock is right, it is right.
    assert decided(held, "update", at_ms(80_000), NOW_MS + 90_000) is Decision.UPDATE


def test_a_few_minutes_are_not_the_future() -> None:
    edge = at_ms(FUTURE_TOLERANCE_MS)
    assert not is_in_future(edge, NOW_MS)
    assert is_in_future(edge + 1, NOW_MS)
    assert trusted_ns(edge, NOW_MS) == edge
    assert trusted_ns(edge + 1, NOW_MS) == at_ms(0)


def test_a_canonical_of_the_future_comes_after_a_deletion_that_waits() -> None:
    held = replace(DONE, deleting_ns=at_ms(-1))
    assert decided(held, "canonical", at_ms(WRONG_CLOCK_MS)) is Decision.NEW


# For every holding


@given(held=holdings, rel=rels, pubtime_ns=times)
def test_a_decision_is_granted_dropped_or_neither_and_never_both(
    held: Held | None, rel: Rel, pubtime_ns: int
) -> None:
    decision = decided(held, rel, pubtime_ns)
    assert not (decision.is_granted and decision.is_dropped)
    waits = decision in (Decision.BUSY, Decision.WAIT)
    assert waits == (not decision.is_granted and not decision.is_dropped)


@given(held=holdings, rel=rels, pubtime_ns=times)
def test_nothing_is_processed_while_somebody_works_on_the_item(
    held: Held | None, rel: Rel, pubtime_ns: int
) -> None:
    if held is not None and held.running_pubtime_ns is not None:
        assert not decided(held, rel, pubtime_ns).is_granted


def finished_by(decision: Decision) -> Literal["done", "deleted"]:
    return "deleted" if decision is Decision.DELETE else "done"


@given(steps=st.lists(st.tuples(rels, st.integers(0, 6)), max_size=12))
def test_in_every_order_of_arrival_versions_only_go_forward_and_never_twice(
    steps: list[tuple[Rel, int]],
) -> None:
    held: Held | None = None
    processed: list[int] = []
    for rel, pubtime_ns in steps:
        decision = decided(held, rel, pubtime_ns)
        if decision.is_granted:
            processed.append(pubtime_ns)
            held = Held(finished_by(decision), pubtime_ns, NOW_MS)
            assert decided(held, rel, pubtime_ns) is Decision.DUPLICATE
    assert processed == sorted(set(processed))


@given(
    state=st.sampled_from(["done", "deleted"]),
    pubtime_ns=st.integers(0, 2**70),
    finished_ms=moments,
)
def test_after_every_finished_pubtime_one_that_comes_minutes_later_is_processed(
    state: Literal["done", "deleted"], pubtime_ns: int, finished_ms: int
) -> None:
    later_ms = finished_ms + FUTURE_TOLERANCE_MS + 1
    held = Held(state, pubtime_ns, finished_ms)
    assert decided(held, "update", later_ms * NS_PER_MS, later_ms).is_granted
