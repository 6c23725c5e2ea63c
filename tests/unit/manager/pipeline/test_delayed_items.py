"""What waits for retries is bounded per centre."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_manager.pipeline.delayed_items import DelayedItems


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_centre_may_have_so_many_waiting_and_others_are_not_concerned() -> None:
    delayed = DelayedItems(monotonic_s=Clock(), limit=3)
    assert [delayed.admit("aa", f"u{n}", 60, size=1) for n in range(4)] == [True, True, True, False]
    assert delayed.admit("bb", "u9", 60, size=1)


def test_what_has_waited_makes_room() -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, limit=2)
    assert delayed.admit("aa", "u1", 15, size=1)
    assert delayed.admit("aa", "u2", 100, size=1)
    assert not delayed.admit("aa", "u3", 15, size=1)
    clock.now_s = 30
    assert delayed.admit("aa", "u3", 15, size=1)
    assert not delayed.admit("aa", "u4", 15, size=1)


def test_an_item_counts_once_however_often_it_is_put_back() -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, limit=2)
    for _ in range(50):
        assert delayed.admit("aa", "u1", 60, size=1)
        clock.now_s += 0.7
    assert delayed.admit("aa", "u2", 60, size=1)
    assert not delayed.admit("aa", "u3", 60, size=1)
    assert delayed.admit("aa", "u2", 60, size=1)


def test_what_is_put_back_again_waits_until_its_last_delay_is_over() -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, limit=1)
    assert delayed.admit("aa", "u1", 5, size=1)
    assert delayed.admit("aa", "u1", 100, size=1)
    clock.now_s = 30
    assert not delayed.admit("aa", "u2", 5, size=1)


def test_items_that_were_not_tried_yet_have_more_room() -> None:
    delayed = DelayedItems(monotonic_s=Clock(), limit=1, untried_limit=3)
    answers = [delayed.admit("aa", f"u{n}", 60, is_untried=True, size=1) for n in range(4)]
    assert answers == [True, True, True, False]
    assert not delayed.admit("aa", "tried", 60, size=1)


@given(
    puts=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.floats(0, 60), st.floats(0, 30))
    )
)
def test_it_forgets_all_that_is_over(puts: list[tuple[str, int, float, float]]) -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, limit=3)
    for centre_id, number, delay_s, pause_s in puts:
        clock.now_s += pause_s
        delayed.admit(centre_id, f"u{number}", delay_s, size=1)
    clock.now_s += 100
    assert [delayed.admit("a", f"new{n}", 1, size=1) for n in range(4)] == [True] * 3 + [False]
    assert delayed._waiting.keys() == {"a"}
    assert len(delayed._due) == 1


def test_the_bytes_of_a_centre_that_wait_are_bounded_too() -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, max_bytes=100)
    assert delayed.admit("aa", "u1", 15, size=60)
    assert delayed.admit("aa", "u2", 100, size=40)
    assert not delayed.admit("aa", "u3", 15, size=1)
    assert not delayed.admit("aa", "u3", 15, size=1, is_untried=True)
    assert delayed.admit("bb", "u4", 15, size=100)
    assert delayed.admit("aa", "u1", 15, size=60)  # again
    clock.now_s = 30
    assert not delayed.admit("aa", "u3", 15, size=61)
    assert delayed.admit("aa", "u3", 15, size=60)


def test_a_centre_waits_with_64_mebibytes_at_most() -> None:
    delayed = DelayedItems(monotonic_s=Clock())
    answers = [delayed.admit("aa", f"u{n}", 60, size=8192, is_untried=True) for n in range(8193)]
    assert answers == [True] * 8192 + [False]
