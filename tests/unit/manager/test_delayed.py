"""What waits for retries is bounded per centre."""

from __future__ import annotations

from wis2_gc_manager.delayed import DelayedItems


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_centre_may_have_so_many_waiting_and_others_are_not_concerned() -> None:
    delayed = DelayedItems(monotonic_s=Clock(), limit=3)
    assert [delayed.admit("aa", 60) for _ in range(4)] == [True, True, True, False]
    assert delayed.admit("bb", 60)


def test_what_has_waited_makes_room() -> None:
    clock = Clock()
    delayed = DelayedItems(monotonic_s=clock, limit=2)
    assert delayed.admit("aa", 15)
    assert delayed.admit("aa", 100)
    assert not delayed.admit("aa", 15)
    clock.now_s = 30
    assert delayed.admit("aa", 15)
    assert not delayed.admit("aa", 15)
