"""The queue of the manager's unit tests, and the sender of the listener's, keep the contract.

Its visibilities and delays end when a unit test says so; here time passes by itself. What is not
in this list, the fakes do not claim to do: dead letters of the operator, closing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.listener import FakeSender
from testkit.fakes.manager import FakeQueue, Traps
from tests.integration.test_queue import (  # noqa: F401
    test_a_batch_beyond_the_limit_is_a_bug_of_the_caller,
    test_a_batch_of_nothing_is_answered_with_nothing,
    test_a_cancelled_receive_loses_nothing,
    test_a_deleted_message_never_comes_again,
    test_a_message_can_become_bulk_when_it_is_put_back,
    test_a_message_delayed_while_others_wait_comes_soon_after_its_time,
    test_a_message_put_back_comes_again_at_once_as_a_first_delivery,
    test_a_message_that_is_not_deleted_comes_again_when_its_visibility_ends,
    test_a_repeated_put_back_makes_one_message,
    test_a_waiting_consumer_gets_a_message_at_once,
    test_an_empty_queue_answers_when_the_wait_is_over,
    test_an_old_receipt_does_nothing_to_the_new_delivery,
    test_bulk_is_received_as_it_was_sent,
    test_bulk_of_one_centre_is_taken_in_where_nothing_bounds_the_memory,
    test_delayed_messages_come_when_they_are_due_in_that_order,
    test_every_byte_of_a_payload_survives,
    test_every_entry_has_its_own_answer,
    test_every_message_goes_to_one_consumer_only,
    test_hundreds_put_back_at_once_all_come_again,
    test_no_more_bulk_comes_than_there_is_room_for,
    test_no_more_is_handed_out_than_asked_for,
    test_receipts_of_nobody_are_ignored,
    test_receives_cancelled_at_any_moment_lose_nothing,
    test_the_bulk_of_a_dead_consumer_is_handed_out_again,
    test_the_messages_of_a_dead_consumer_go_to_another,
    test_thousands_are_deleted_in_one_call,
    test_what_a_cancelled_receive_was_given_goes_to_others_at_once,
    test_what_is_sent_is_received_unchanged,
    test_who_waits_is_woken_by_bulk_too,
)
from wis2_gc_common.ports.queue import Depth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wis2_gc_common.ports.queue import Envelope, Received, Sent

LONG_S = 60.0
LOOK_INTERVAL_S = 0.01


class Clock:
    """Ends what is over in a fake queue."""

    def __init__(self, queue: FakeQueue) -> None:
        self._queue = queue
        self.visible_s: dict[str, float] = {}
        """By receipt: when it is over."""
        self.due_s: list[float] = []
        """Of each delayed message, in the queue's order."""

    def tick(self) -> None:
        now_s = time.monotonic()
        held = self._queue.held
        for receipt in [one for one in held if self.visible_s[one] <= now_s]:
            envelope, deliveries = held.pop(receipt)
            self._queue.add(envelope, deliveries=deliveries + 1)
        waiting = sorted(zip(self.due_s, self._queue.delayed, strict=True), key=lambda one: one[0])
        over = [one for one in waiting if one[0] <= now_s]
        left = waiting[len(over) :]
        self.due_s = [due_s for due_s, _ in left]
        self._queue.delayed = [message for _, message in left]
        self._queue.add(*(envelope for _, (_, envelope) in over))


class Consumer:
    """One of those who share a fake queue."""

    def __init__(self, queue: FakeQueue, clock: Clock, visibility_s: float) -> None:
        self._queue = queue
        self._clock = clock
        self.visibility_s = visibility_s

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        until_s = time.monotonic() + wait_s
        while True:
            self._clock.tick()
            left_s = until_s - time.monotonic()
            messages = await self._queue.receive(
                max_messages, wait_s=max(0.0, min(left_s, LOOK_INTERVAL_S)), max_bulk=max_bulk
            )
            self._hold([message.receipt for message in messages])
            if messages or left_s <= 0:
                return messages

    async def extend(self, receipts: Sequence[str]) -> None:
        await self._queue.extend(receipts)
        self._hold(receipts)

    def _hold(self, receipts: Sequence[str]) -> None:
        end_s = time.monotonic() + self.visibility_s
        self._clock.visible_s.update(dict.fromkeys(receipts, end_s))

    async def put_back(self, received: Received, *, delay_s: float, **options: Any) -> None:
        await self._queue.put_back(received, delay_s=delay_s, **options)
        if len(self._queue.delayed) > len(self._clock.due_s):
            self._clock.due_s.append(time.monotonic() + delay_s)

    async def depth(self) -> Depth:
        self._clock.tick()
        return await self._queue.depth()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class SenderTo(FakeSender):
    """The listener's fake, with what it accepts in the manager's."""

    def __init__(self, queue: FakeQueue) -> None:
        super().__init__(max_batch=100)
        self._queue = queue

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        before = len(self.accepted)
        answers = super().send(batch)
        self._queue.add(*self.accepted[before:])
        return answers


class Adapter:
    """`Adapter` of `test_queue.py`."""

    empty = Depth(ready=0, in_flight=0, delayed=0, dead=0, oldest_s=0.0)

    def __init__(self) -> None:
        self._queue = FakeQueue(Traps())
        self._clock = Clock(self._queue)

    def sender(self) -> SenderTo:
        return SenderTo(self._queue)

    def queue(self, _consumer: str = "a", *, visibility_s: float = LONG_S) -> Consumer:
        return Consumer(self._queue, self._clock, visibility_s)


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


@pytest.fixture
def sender(adapter: Adapter) -> SenderTo:
    return adapter.sender()


@pytest.fixture
def open_(adapter: Adapter) -> Callable[..., Consumer]:
    return adapter.queue


@pytest.fixture
def queue(open_: Callable[..., Consumer]) -> Consumer:
    return open_()


@pytest.fixture
def short_s() -> float:
    return 0.5


@pytest.fixture
def heir_s() -> float:
    return LONG_S
