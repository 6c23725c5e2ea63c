from __future__ import annotations

import asyncio

import pytest

from wis2_gc_common.runtime.batching import Batcher


class Wire:
    """Remembers the batches and answers each question n with 10 n, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.outage: Exception | None = None

    async def send(self, questions: list[int]) -> list[int | Exception]:
        self.batches.append(questions)
        await self.may_answer.wait()
        if self.outage is not None:
            raise self.outage
        return [ValueError(str(n)) if n < 0 else 10 * n for n in questions]


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def test_what_one_turn_asks_goes_out_as_one_batch_and_each_gets_its_answer(
    wire: Wire,
) -> None:
    batcher: Batcher[int, int] = Batcher(wire.send)
    answers = await asyncio.gather(*(batcher.ask(n) for n in range(100)))
    assert answers == [10 * n for n in range(100)]
    assert wire.batches == [list(range(100))]


async def test_a_batch_has_a_greatest_size(wire: Wire) -> None:
    batcher: Batcher[int, int] = Batcher(wire.send, max_batch=40)
    await asyncio.gather(*(batcher.ask(n) for n in range(100)))
    assert [len(batch) for batch in wire.batches] == [40, 40, 20]


async def test_questions_wait_while_enough_batches_are_in_flight_then_go_together(
    wire: Wire,
) -> None:
    wire.may_answer.clear()
    batcher: Batcher[int, int] = Batcher(wire.send, max_in_flight=2)
    asked = []
    for n in range(5):
        asked.append(asyncio.ensure_future(batcher.ask(n)))
        for _ in range(5):
            await asyncio.sleep(0)
    assert wire.batches == [[0], [1]]
    wire.may_answer.set()
    assert await asyncio.gather(*asked) == [0, 10, 20, 30, 40]
    assert wire.batches == [[0], [1], [2, 3, 4]]


async def test_an_error_in_place_of_one_answer_hits_only_its_own_question(wire: Wire) -> None:
    batcher: Batcher[int, int] = Batcher(wire.send)
    answers = await asyncio.gather(*(batcher.ask(n) for n in (1, -2, 3)), return_exceptions=True)
    assert answers[0] == 10
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 30


async def test_an_outage_fails_all_who_wait_and_the_next_question_is_sent_again(wire: Wire) -> None:
    wire.may_answer.clear()
    wire.outage = OSError("away")
    batcher: Batcher[int, int] = Batcher(wire.send, max_batch=2, max_in_flight=1)
    asked = [asyncio.ensure_future(batcher.ask(n)) for n in range(5)]
    for _ in range(3):
        await asyncio.sleep(0)
    wire.may_answer.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers == [wire.outage] * 5
    assert wire.batches == [[0, 1]]
    wire.outage = None
    assert await batcher.ask(7) == 70


async def test_a_caller_cancelled_in_time_takes_its_question_back(wire: Wire) -> None:
    batcher: Batcher[int, int] = Batcher(wire.send)
    asked = [asyncio.ensure_future(batcher.ask(n)) for n in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers[0] == 0
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[2] == 20


async def test_a_caller_cancelled_too_late_harms_nobody(wire: Wire) -> None:
    wire.may_answer.clear()
    batcher: Batcher[int, int] = Batcher(wire.send)
    asked = [asyncio.ensure_future(batcher.ask(n)) for n in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert wire.batches == [[0, 1, 2]]
    asked[1].cancel()
    wire.may_answer.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert (answers[0], answers[2]) == (0, 20)
    assert isinstance(answers[1], asyncio.CancelledError)


async def test_closing_leaves_nobody_waiting(wire: Wire) -> None:
    wire.may_answer.clear()
    batcher: Batcher[int, int] = Batcher(wire.send, max_batch=1, max_in_flight=1)
    asked = [asyncio.ensure_future(batcher.ask(n)) for n in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    await batcher.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert wire.batches == [[0]]
