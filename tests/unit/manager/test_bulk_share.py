from __future__ import annotations

from wis2_gc_manager.bulk_share import FLOWING_S, LEAST, LONG_TURN_S, RESERVED, BulkShare

SLOTS = 256
MOST = SLOTS - SLOTS // RESERVED
LONG_S, SHORT_S = 2 * LONG_TURN_S, 0.0001


def test_alone_bulk_has_nearly_all_slots_however_long_the_turns() -> None:
    share = BulkShare(SLOTS)
    assert {share.limit(now_s, turn_s=LONG_S) for now_s in range(10)} == {MOST}


def test_beside_others_it_is_cut_back_while_turns_are_long_but_not_to_nothing() -> None:
    share = BulkShare(SLOTS)
    share.saw_others(0.0)
    limits = [share.limit(0.01 * number, turn_s=LONG_S) for number in range(20)]
    assert limits[:2] == [MOST // 2, MOST // 4]
    assert limits[-1] == LEAST


def test_what_waits_for_far_servers_is_not_cut_back() -> None:
    share = BulkShare(SLOTS)
    share.saw_others(0.0)
    assert {share.limit(0.01, turn_s=SHORT_S) for _ in range(100)} == {MOST}


def test_short_turns_give_it_back_little_by_little() -> None:
    share = BulkShare(SLOTS)
    share.saw_others(0.0)
    for _ in range(20):
        share.limit(0.0, turn_s=LONG_S)
    assert [share.limit(0.1, turn_s=SHORT_S) for _ in range(3)] == [LEAST + n for n in (1, 2, 3)]
    for _ in range(SLOTS):
        share.limit(0.1, turn_s=SHORT_S)
    assert share.limit(0.1, turn_s=SHORT_S) == MOST


def test_when_the_others_have_stopped_it_has_all_again() -> None:
    share = BulkShare(SLOTS)
    share.saw_others(0.0)
    for _ in range(20):
        share.limit(0.0, turn_s=LONG_S)
    assert share.limit(FLOWING_S, turn_s=LONG_S) == LEAST
    assert share.limit(FLOWING_S + 0.1, turn_s=LONG_S) == MOST


def test_a_manager_with_few_slots_uses_them() -> None:
    share = BulkShare(1)
    share.saw_others(0.0)
    assert [share.limit(0.0, turn_s=LONG_S) for _ in range(3)] == [1, 1, 1]
