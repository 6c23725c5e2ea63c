from __future__ import annotations

import threading

from wis2_gc_listener.arrivals import Arrival, Inbox


def arrival(packet_id: int, *, generation: int = 1, qos: int = 1) -> Arrival:
    return Arrival("topic", b"payload", 0, generation, packet_id, qos)


def filled(count: int, *, capacity: int = 1000) -> Inbox:
    inbox = Inbox(capacity=capacity)
    inbox.put(arrival(packet_id) for packet_id in range(count))
    return inbox


def take(inbox: Inbox, limit: int = 100, *, timeout_s: float = 0.0) -> list[int]:
    return [a.packet_id for a in inbox.take(limit, timeout_s=timeout_s)]


def test_arrivals_come_out_in_order_up_to_the_limit() -> None:
    inbox = filled(5)
    assert take(inbox, 3) == [0, 1, 2]
    assert take(inbox, 3) == [3, 4]
    assert take(inbox) == []


def test_an_inbox_is_full_at_its_capacity_and_not_before() -> None:
    assert not filled(2, capacity=3).is_full
    assert filled(3, capacity=3).is_full


def test_wake_ends_the_waiting_with_nothing() -> None:
    inbox = Inbox(capacity=10)
    results: list[list[int]] = []
    thread = threading.Thread(target=lambda: results.append(take(inbox, timeout_s=60)))
    thread.start()
    while thread.is_alive():
        inbox.wake()
        thread.join(0.01)
    assert results == [[]]


def test_two_threads_pass_every_arrival_on_without_missing_a_wake_up() -> None:
    inbox, count = Inbox(capacity=100_000), 20_000

    def put_all() -> None:
        for packet_id in range(count):
            inbox.put([arrival(packet_id)])

    thread = threading.Thread(target=put_all)
    thread.start()
    taken: list[int] = []
    while len(taken) < count:
        batch = inbox.take(100, timeout_s=30)
        assert batch
        taken += [a.packet_id for a in batch]
    thread.join()
    assert taken == list(range(count))


def test_what_a_resumed_session_delivers_again_is_forgotten_and_the_rest_stays() -> None:
    inbox = Inbox(capacity=10)
    inbox.put([arrival(1, generation=1, qos=1)])
    inbox.put([arrival(2, generation=1, qos=0)])
    inbox.put([arrival(3, generation=2, qos=1)])
    assert inbox.discard_redelivered(2) == 1
    assert take(inbox) == [2, 3]
