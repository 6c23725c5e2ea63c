"""The table of SPEC 8, a test a row; times are small integers, 50 is what we hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.decision import Decision, Held, decide, is_foreign_deletion

if TYPE_CHECKING:
    from wis2_gc_common.notification import Rel

PUBLISHER = "de-dwd"
STRANGER = "xx-stranger"

DONE = Held("done", pubtime_ns=50, centre_id=PUBLISHER)
RUNNING = Held(None, running_pubtime_ns=60, running_centre_id=PUBLISHER)
DELETED = Held("deleted", pubtime_ns=50, centre_id=PUBLISHER)

RELS: list[Rel] = ["canonical", "update", "deletion"]
rels = st.sampled_from(RELS)
times = st.integers(0, 5) | st.integers(0, 2**70)
centres = st.sampled_from([PUBLISHER, STRANGER])
holdings = st.none() | st.builds(
    Held,
    state=st.sampled_from([None, "done", "deleted"]),
    pubtime_ns=times,
    centre_id=centres,
    running_pubtime_ns=st.none() | times,
    deleting_ns=st.none() | times,
)


def decided(held: Held | None, rel: Rel, pubtime_ns: int, centre_id: str = PUBLISHER) -> Decision:
    return decide(held, rel=rel, pubtime_ns=pubtime_ns, centre_id=centre_id)


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
def test_in_progress_for_another_centre_it_waits(rel: Rel) -> None:
    assert decided(replace(RUNNING, running_centre_id=STRANGER), rel, 60) is Decision.WAIT


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
    held = Held(
        "done",
        pubtime_ns=50,
        centre_id=PUBLISHER,
        running_pubtime_ns=60,
        running_centre_id=PUBLISHER,
    )
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
def test_what_is_newer_than_a_deletion_under_way_is_no_repeat_of_what_is_deleted(
    rel: Rel, pubtime_ns: int, running_ns: int | None, decision: Decision
) -> None:
    held = replace(DONE, running_pubtime_ns=running_ns, running_centre_id=PUBLISHER, deleting_ns=60)
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


# Deletions by a centre that is not the publisher (SPEC 14)


def test_a_stranger_does_not_delete_what_somebody_else_published() -> None:
    assert is_foreign_deletion(DONE, rel="deletion", centre_id=STRANGER)
    assert not is_foreign_deletion(DONE, rel="deletion", centre_id=PUBLISHER)


@pytest.mark.parametrize("rel", ["canonical", "update"])
def test_only_deletions_can_be_foreign_deletions(rel: Rel) -> None:
    assert not is_foreign_deletion(DONE, rel=rel, centre_id=STRANGER)


@pytest.mark.parametrize("held", [None, RUNNING, DELETED])
def test_where_nothing_of_somebody_else_stands_no_deletion_is_foreign(held: Held | None) -> None:
    assert not is_foreign_deletion(held, rel="deletion", centre_id=STRANGER)


@pytest.mark.parametrize("pubtime_ns", [1, 50, 51])
def test_what_a_stranger_deleted_does_not_stand_in_the_publishers_way(pubtime_ns: int) -> None:
    held = Held("deleted", pubtime_ns=50, centre_id=STRANGER)
    assert decided(held, "canonical", pubtime_ns) is Decision.NEW
    assert decided(held, "deletion", pubtime_ns) is Decision.DELETE


def test_a_foreign_deletion_is_announced_once_on_its_own_record() -> None:
    assert decided(None, "deletion", 50, STRANGER) is Decision.DELETE
    own_record = Held("deleted", pubtime_ns=50, centre_id=STRANGER)
    assert decided(own_record, "deletion", 50, STRANGER) is Decision.DUPLICATE


# For every holding


@given(held=holdings, rel=rels, pubtime_ns=times, centre_id=centres)
def test_a_decision_is_granted_dropped_or_neither_and_never_both(
    held: Held | None, rel: Rel, pubtime_ns: int, centre_id: str
) -> None:
    decision = decided(held, rel, pubtime_ns, centre_id)
    assert not (decision.is_granted and decision.is_dropped)
    waits = decision in (Decision.BUSY, Decision.WAIT)
    assert waits == (not decision.is_granted and not decision.is_dropped)


@given(held=holdings, rel=rels, pubtime_ns=times, centre_id=centres)
def test_nothing_is_processed_while_somebody_works_on_the_item(
    held: Held | None, rel: Rel, pubtime_ns: int, centre_id: str
) -> None:
    if held is not None and held.running_pubtime_ns is not None:
        assert not decided(held, rel, pubtime_ns, centre_id).is_granted


def finished_by(decision: Decision) -> Literal["done", "deleted"]:
    return "deleted" if decision is Decision.DELETE else "done"


@given(steps=st.lists(st.tuples(rels, st.integers(0, 6)), max_size=12))
def test_whatever_the_order_of_arrival_versions_only_go_forward_and_never_twice(
    steps: list[tuple[Rel, int]],
) -> None:
    held: Held | None = None
    processed: list[int] = []
    for rel, pubtime_ns in steps:
        decision = decided(held, rel, pubtime_ns)
        if decision.is_granted:
            processed.append(pubtime_ns)
            held = Held(finished_by(decision), pubtime_ns=pubtime_ns, centre_id=PUBLISHER)
            assert decided(held, rel, pubtime_ns) is Decision.DUPLICATE
    assert processed == sorted(set(processed))
