from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_listener.acknowledgements import Acknowledgements
from wis2_gc_listener.arrivals import Arrival


def arrivals(count: int) -> list[Arrival]:
    return [Arrival("topic", b"", 0, 1, packet_id, 1) for packet_id in range(count)]


@given(st.integers(0, 30).flatmap(lambda n: st.permutations(range(n))), st.data())
def test_what_is_released_is_always_the_longest_settled_prefix(
    order: list[int], data: st.DataObject
) -> None:
    batch = arrivals(len(order))
    progress = Acknowledgements(batch)
    released: list[Arrival] = []
    settled: set[int] = set()
    for index in order:
        progress.settle(index)
        settled.add(index)
        if data.draw(st.booleans()):
            released += progress.release()
            prefix = next((i for i in range(len(batch)) if i not in settled), len(batch))
            assert released == batch[:prefix]
            assert progress.unreleased == len(batch) - prefix
    assert [*released, *progress.release()] == batch


def test_nothing_is_released_twice() -> None:
    progress = Acknowledgements(arrivals(2))
    progress.settle(0)
    assert len(progress.release()) == 1
    assert list(progress.release()) == []


def test_a_later_arrival_waits_for_the_earlier_one() -> None:
    progress = Acknowledgements(arrivals(2))
    progress.settle(1)
    assert list(progress.release()) == []
    progress.settle(0)
    assert [a.packet_id for a in progress.release()] == [0, 1]
