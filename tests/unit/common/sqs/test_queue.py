"""What the SQS adapter makes of answers that no stand-in gives."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from testkit.servers.scripted_sqs import ScriptedSqs, refusal
from testkit.servers.sqs_server import set_credentials
from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.settings.values import QueueUrl
from wis2_gc_common.sqs import queue as sqs_module
from wis2_gc_common.sqs.messages import MAX_BYTES, encode_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from testkit.servers.scripted_sqs import Answer
    from wis2_gc_common.ports.queue import DeadLetters, Queue, Received, Sender

ENVELOPE = Envelope(topic="origin/a/wis2/de-dwd/data", payload=b"x", broker="fr", arrived_ms=1)


@pytest.fixture(autouse=True)
def _sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


class Sqs:
    """Answers every action from a method of its name; all succeed unless a test says otherwise."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self.server = ScriptedSqs(self._answer)

    def say(self, action: str, *answers: Answer) -> None:
        """Answer the next calls of `action` so."""
        self.answers.setdefault(action, []).extend(answers)

    def of(self, action: str) -> list[dict[str, Any]]:
        return [body for name, body in self.server.calls if name == action]

    def entries(self, action: str) -> list[dict[str, Any]]:
        return [entry for body in self.of(action) for entry in body["Entries"]]

    def _answer(self, action: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            if self.answers.get(action):
                return self.answers[action].pop(0)
            if action == "ReceiveMessage":
                count = body["MaxNumberOfMessages"]
                given, self.waiting = self.waiting[:count], self.waiting[count:]
                return 200, {"Messages": given} if given else {}
        if action.endswith("Batch"):
            ids = [{"Id": entry["Id"]} for entry in body["Entries"]]
            return 200, {"Successful": ids, "Failed": []}
        if action == "GetQueueAttributes":
            return 200, {"Attributes": {"QueueArn": "arn:" + body["QueueUrl"]}}
        return 200, {}

    def wait(self, count: int, *, first: int = 0) -> None:
        """Put messages into the queue."""
        for number in range(first, first + count):
            message = encode_message(replace(ENVELOPE, uid=f"u{number}"))
            self.waiting.append(
                {
                    "MessageId": f"m{number}",
                    "ReceiptHandle": f"r{number}",
                    "Body": message["MessageBody"],
                    "MessageAttributes": message["MessageAttributes"],
                    "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1"},
                }
            )


@pytest.fixture
def sqs() -> Iterator[Sqs]:
    sqs = Sqs()
    yield sqs
    sqs.server.close()


@pytest.fixture
def sender(sqs: Sqs) -> Iterator[Sender]:
    sender = open_sender(QueueUrl("sqs", sqs.server.queue_url), redis_url="", max_length=1)
    yield sender
    sender.close()


@pytest.fixture
async def queue(sqs: Sqs) -> AsyncIterator[Queue]:
    queue = open_queue(
        QueueUrl("sqs", sqs.server.queue_url),
        QueueUrl("sqs", sqs.server.dead_letter_queue_url),
        redis_url="",
        consumer="a",
        visibility_s=29.5,
    )
    yield queue
    await queue.close()


@pytest.fixture
def dead_letters(sqs: Sqs) -> Iterator[DeadLetters]:
    letters = open_dead_letters(
        QueueUrl("sqs", sqs.server.queue_url),
        QueueUrl("sqs", sqs.server.dead_letter_queue_url),
        redis_url="",
    )
    yield letters
    letters.close()


def failed(key: str, code: str, *, is_senders: bool) -> dict[str, Any]:
    return {"Id": key, "Code": code, "SenderFault": is_senders, "Message": ""}


async def take(queue: Queue, sqs: Sqs, count: int) -> list[Received]:
    sqs.wait(count)
    messages = await queue.receive(count, wait_s=5)
    assert len(messages) == count
    return messages


# Sending


def test_each_entry_of_a_batch_fails_alone(sqs: Sqs, sender: Sender) -> None:
    sqs.say(
        "SendMessageBatch",
        (
            200,
            {
                "Successful": [{"Id": "0"}],
                "Failed": [
                    failed("1", "InvalidMessageContents", is_senders=True),
                    failed("2", "InternalError", is_senders=False),
                    # SQS blames us, but no message of ours is the worse for it.
                    failed("3", "KMS.ThrottlingException", is_senders=True),
                    failed("4", "RequestThrottled", is_senders=True),
                ],
            },
        ),
    )
    assert sender.send([ENVELOPE] * 6) == [
        Sent.ACCEPTED,
        Sent.POISON,
        Sent.REFUSED,
        Sent.REFUSED,
        Sent.REFUSED,
        Sent.REFUSED,  # not mentioned
    ]


def test_one_entry_does_not_spoil_a_batch(sqs: Sqs, sender: Sender) -> None:
    good: Answer = (200, {"Successful": [{"Id": "0"}]})
    bad = refusal("InvalidMessageContents")
    sqs.say("SendMessageBatch", bad, good, bad, (200, {"Successful": [{"Id": "2"}]}))
    assert sender.send([ENVELOPE] * 3) == [Sent.ACCEPTED, Sent.POISON, Sent.ACCEPTED]
    assert [len(body["Entries"]) for body in sqs.of("SendMessageBatch")] == [3, 1, 1, 1]


def test_what_fails_for_all_alike_is_a_wrong_setting_and_no_poison(
    sqs: Sqs, sender: Sender
) -> None:
    for bad in (
        partly("0", "1", "2", code="InvalidParameterValue", is_senders=True),
        refusal("InvalidParameterValue"),
    ):
        # The batch, each entry alone, and what the queue has taken once.
        sqs.answers["SendMessageBatch"] = [bad] * 5
        with pytest.raises(Misconfigured, match="every message is refused") as caught:
            sender.send([ENVELOPE] * 3)
        assert caught.value.variable == "GC_QUEUE_URL"
        sqs.answers.clear()
        assert sender.send([ENVELOPE]) == [Sent.ACCEPTED]


def test_what_fails_alone_is_poison_when_a_message_known_as_good_is_still_taken(
    sqs: Sqs, sender: Sender
) -> None:
    assert sender.send([ENVELOPE]) == [Sent.ACCEPTED]
    sqs.say("SendMessageBatch", partly("0", code="InvalidMessageContents", is_senders=True))
    assert sender.send([replace(ENVELOPE, payload=b"bad", uid="bad")]) == [Sent.POISON]
    _, bad, probe = sqs.entries("SendMessageBatch")
    assert (bad["MessageBody"], probe["MessageBody"]) == ("bad", "x")
    # Another message to the managers, or its work would be taken for a resend of the first one's.
    assert probe["MessageAttributes"]["uid"]["StringValue"] not in {"bad", ENVELOPE.uid}


def test_a_batch_is_cut_where_it_has_too_many_bytes(sqs: Sqs, sender: Sender) -> None:
    large = replace(ENVELOPE, payload=b"x" * (MAX_BYTES // 3))
    assert sender.send([large] * 5) == [Sent.ACCEPTED] * 5
    assert [len(body["Entries"]) for body in sqs.of("SendMessageBatch")] == [2, 2, 1]


def test_what_is_in_is_not_sent_again_when_the_rest_fails(sqs: Sqs, sender: Sender) -> None:
    large = replace(ENVELOPE, payload=b"x" * (MAX_BYTES // 3))
    accepted = (200, {"Successful": [{"Id": "0"}, {"Id": "1"}]})
    sqs.say("SendMessageBatch", accepted, refusal("OverLimit", status=403))
    assert sender.send([large] * 3) == [Sent.ACCEPTED, Sent.ACCEPTED, Sent.REFUSED]
    sqs.say("SendMessageBatch", refusal("OverLimit", status=403))
    with pytest.raises(Unavailable):
        sender.send([large] * 3)


def test_a_sender_is_checked_without_sending_anything(sqs: Sqs, sender: Sender) -> None:
    sqs.say("SendMessageBatch", refusal("EmptyBatchRequest"))
    sender.check()
    assert sqs.of("SendMessageBatch") == [{"QueueUrl": sqs.server.queue_url, "Entries": []}]
    sqs.say("SendMessageBatch", refusal("AccessDenied", status=403))
    with pytest.raises(Misconfigured, match="sqs:SendMessage"):
        sender.check()


# Receiving


async def test_a_full_batch_is_followed_by_all_that_is_wanted(sqs: Sqs, queue: Queue) -> None:
    sqs.wait(100)
    assert len(await queue.receive(64, wait_s=5)) == 64
    sizes = sorted(body["MaxNumberOfMessages"] for body in sqs.of("ReceiveMessage"))
    assert sizes == [4, 10, 10, 10, 10, 10, 10]
    waits = [body["WaitTimeSeconds"] for body in sqs.of("ReceiveMessage")]
    assert sorted(waits)[:6] == [0] * 6
    assert len(sqs.waiting) == 36


async def test_what_the_others_gave_is_kept_when_one_of_many_receives_fails(
    sqs: Sqs, queue: Queue
) -> None:
    sqs.wait(10)
    first, sqs.waiting = sqs.waiting, []
    sqs.say("ReceiveMessage", (200, {"Messages": first}), refusal("OverLimit", status=403))
    sqs.wait(15, first=10)
    assert len(await queue.receive(40, wait_s=5)) == 25


async def test_a_visibility_is_whole_seconds(sqs: Sqs, queue: Queue) -> None:
    [message] = await take(queue, sqs, 1)
    await queue.extend([message.receipt])
    assert sqs.of("ReceiveMessage")[0]["VisibilityTimeout"] == 30
    [entry] = sqs.of("ChangeMessageVisibilityBatch")[0]["Entries"]
    assert entry == {"Id": "0", "ReceiptHandle": message.receipt, "VisibilityTimeout": 30}


async def test_a_message_that_is_none_of_ours_is_dropped(sqs: Sqs, queue: Queue) -> None:
    sqs.wait(2)
    sqs.waiting[0]["MessageAttributes"] = {}
    assert [m.envelope.uid for m in await queue.receive(10, wait_s=1)] == ["u1"]
    await queue.close()
    [entry] = sqs.of("DeleteMessageBatch")[0]["Entries"]
    assert entry["ReceiptHandle"] == "r0"


async def test_a_message_that_comes_before_its_time_goes_round_again(
    sqs: Sqs, queue: Queue
) -> None:
    [message] = await take(queue, sqs, 1)
    await queue.put_back(message, delay_s=5000, attempts=2)
    [sent] = sqs.entries("SendMessageBatch")
    assert sent["DelaySeconds"] == 900
    attributes = {"ApproximateReceiveCount": "1"}
    early = {"MessageId": "m", "ReceiptHandle": "early", "Attributes": attributes}
    early |= {"Body": sent["MessageBody"], "MessageAttributes": sent["MessageAttributes"]}
    sqs.waiting.append(early)
    assert await queue.receive(10, wait_s=0) == []
    await queue.close()
    again = sqs.entries("SendMessageBatch")[1]
    assert again["DelaySeconds"] == 900
    assert again["MessageAttributes"]["attempts"]["StringValue"] == "2"
    before, after = (
        int(one["MessageAttributes"]["not_before_ms"]["StringValue"]) for one in (sent, again)
    )
    assert abs(before - after) < 1000


async def test_what_comes_for_a_cancelled_receive_is_shown_to_others_at_once(
    sqs: Sqs, queue: Queue
) -> None:
    may_answer = threading.Event()
    held_back: list[dict[str, Any]] = []
    plain = sqs.server.answer

    def slow(action: str, body: dict[str, Any]) -> Answer:
        if action == "ReceiveMessage" and not may_answer.is_set():
            may_answer.wait(10)
            held_back.append(body)
        return plain(action, body)

    sqs.server.answer = slow
    sqs.wait(3)
    waiting = asyncio.create_task(queue.receive(10, wait_s=5))
    while not sqs.of("ReceiveMessage"):  # noqa: ASYNC110 - the call is on another thread
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    may_answer.set()
    while not sqs.of("ChangeMessageVisibilityBatch"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    [body] = sqs.of("ChangeMessageVisibilityBatch")
    assert [entry["ReceiptHandle"] for entry in body["Entries"]] == ["r0", "r1", "r2"]
    assert {entry["VisibilityTimeout"] for entry in body["Entries"]} == {0}


async def test_the_next_receive_takes_no_more_than_it_may_of_an_earlier_ones_answer(
    sqs: Sqs, queue: Queue
) -> None:
    may_answer = threading.Event()
    plain = sqs.server.answer

    def slow(action: str, body: dict[str, Any]) -> Answer:
        if action == "ReceiveMessage":
            may_answer.wait(10)
        return plain(action, body)

    sqs.server.answer = slow
    sqs.wait(5)
    waiting = asyncio.create_task(queue.receive(5, wait_s=5))
    while not sqs.of("ReceiveMessage"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    successor = asyncio.create_task(queue.receive(2, wait_s=5))
    await asyncio.sleep(0)
    may_answer.set()
    assert [m.receipt for m in await successor] == ["r0", "r1"]
    assert len(sqs.of("ReceiveMessage")) == 1
    await queue.close()
    shown = [
        e["ReceiptHandle"] for b in sqs.of("ChangeMessageVisibilityBatch") for e in b["Entries"]
    ]
    assert sorted(shown) == ["r0", "r1", "r2", "r3", "r4"]
    assert shown[:3] == ["r2", "r3", "r4"]


# Deleting, extending, handing back


async def test_receipts_that_are_good_no_more_are_ignored(sqs: Sqs, queue: Queue) -> None:
    receipts = [m.receipt for m in await take(queue, sqs, 3)]
    gone = {
        "Successful": [{"Id": "0"}],
        "Failed": [failed("1", "ReceiptHandleIsInvalid", is_senders=True)],
    }
    sqs.say("ChangeMessageVisibilityBatch", (200, gone))
    await queue.extend(receipts)
    sqs.say("DeleteMessageBatch", (200, gone))
    await queue.delete(receipts)
    await queue.delete(receipts)
    assert len(sqs.of("DeleteMessageBatch")) == 1


async def test_a_failed_deletion_may_be_repeated(sqs: Sqs, queue: Queue) -> None:
    receipts = [m.receipt for m in await take(queue, sqs, 3)]
    sqs.say("DeleteMessageBatch", refusal("OverLimit", status=403))
    with pytest.raises(Unavailable, match="OverLimit"):
        await queue.delete(receipts)
    await queue.delete(receipts)
    assert [
        entry["ReceiptHandle"] for entry in sqs.of("DeleteMessageBatch")[-1]["Entries"]
    ] == receipts


def partly(*bad: str, good: Sequence[str] = (), code: str, is_senders: bool = False) -> Answer:
    failures = [failed(key, code, is_senders=is_senders) for key in bad]
    return 200, {"Successful": [{"Id": key} for key in good], "Failed": failures}


async def test_a_put_back_whose_old_message_stays_is_that_ones_alone(
    sqs: Sqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs_module, "PAUSES_S", ())
    messages = await take(queue, sqs, 3)
    sqs.say(
        "DeleteMessageBatch",
        partly("1", good=("0", "2"), code="RequestThrottled", is_senders=True),
    )
    outcomes = await asyncio.gather(
        *(queue.put_back(m, delay_s=1, attempts=1) for m in messages), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), PartError, type(None)]


@pytest.mark.parametrize("action", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
async def test_single_entries_that_sqs_has_no_time_for_are_tried_again_and_no_outage(
    sqs: Sqs, queue: Queue, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs_module, "PAUSES_S", (0.0, 0.0))
    receipts = [m.receipt for m in await take(queue, sqs, 3)]
    step = queue.delete if action == "DeleteMessageBatch" else queue.extend
    throttled = partial(partly, code="RequestThrottled", is_senders=True)
    sqs.say(action, throttled("1", "2", good="0"), throttled("0", good="1"))
    await step(receipts)
    tried = [[entry["ReceiptHandle"] for entry in body["Entries"]] for body in sqs.of(action)]
    assert tried == [["r0", "r1", "r2"], ["r1", "r2"], ["r1"]]
    receipts = [m.receipt for m in await take(queue, sqs, 2)]
    sqs.say(action, throttled("1", good="0"), throttled("0"), throttled("0"))
    with pytest.raises(PartError, match="RequestThrottled"):
        await step(receipts)
    sqs.say(action, throttled("0", "1"), throttled("0", "1"), throttled("0", "1"))
    receipts = [m.receipt for m in await take(queue, sqs, 2)]
    with pytest.raises(Unavailable, match="RequestThrottled"):
        await step(receipts)


async def test_an_endpoint_that_finds_fault_with_every_deletion_has_deleted_nothing(
    sqs: Sqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs_module, "PAUSES_S", ())
    receipts = [m.receipt for m in await take(queue, sqs, 2)]
    sqs.say("DeleteMessageBatch", partly("0", "1", code="InvalidParameterValue", is_senders=True))
    with pytest.raises(Unavailable, match="InvalidParameterValue"):
        await queue.delete(receipts)
    await queue.delete(receipts)
    assert len(sqs.of("DeleteMessageBatch")) == 2


async def test_what_is_put_back_at_once_goes_in_few_calls(sqs: Sqs, queue: Queue) -> None:
    messages = await take(queue, sqs, 300)
    await asyncio.gather(*(queue.put_back(m, delay_s=1, attempts=1) for m in messages))
    uids = [e["MessageAttributes"]["uid"]["StringValue"] for e in sqs.entries("SendMessageBatch")]
    assert sorted(uids) == sorted(m.envelope.uid for m in messages)
    deleted = {entry["ReceiptHandle"] for entry in sqs.entries("DeleteMessageBatch")}
    assert deleted == {m.receipt for m in messages}
    assert len(sqs.of("SendMessageBatch")) <= 40
    assert len(sqs.of("DeleteMessageBatch")) <= 40


async def test_one_put_back_that_is_refused_is_not_an_outage_to_the_others(
    sqs: Sqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs_module, "PAUSES_S", (0.0,))
    messages = await take(queue, sqs, 3)
    sqs.say(
        "SendMessageBatch",
        (
            200,
            {
                "Successful": [{"Id": "0"}],
                "Failed": [
                    failed("1", "InvalidMessageContents", is_senders=True),
                    failed("2", "RequestThrottled", is_senders=True),
                ],
            },
        ),
        partly("2", code="RequestThrottled", is_senders=True),
    )
    outcomes = await asyncio.gather(
        *(queue.put_back(m, delay_s=1, attempts=1) for m in messages), return_exceptions=True
    )
    assert outcomes[0] is None
    assert [type(outcome) for outcome in outcomes[1:]] == [PartError, PartError]
    [deleted] = sqs.entries("DeleteMessageBatch")
    assert deleted["ReceiptHandle"] == messages[0].receipt


async def test_a_queue_that_takes_nothing_back_is_set_up_wrongly(sqs: Sqs, queue: Queue) -> None:
    messages = await take(queue, sqs, 3)
    bad = partly("0", "1", "2", code="InvalidParameterValue", is_senders=True)
    sqs.say("SendMessageBatch", bad)
    outcomes = await asyncio.gather(
        *(queue.put_back(m, delay_s=1, attempts=1) for m in messages), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Misconfigured] * 3
    assert "DeleteMessageBatch" not in sqs.server.actions()


async def test_a_message_is_sent_once_though_its_predecessor_cannot_be_deleted(
    sqs: Sqs, queue: Queue
) -> None:
    [message] = await take(queue, sqs, 1)
    sqs.say("DeleteMessageBatch", refusal("OverLimit", status=403))
    with pytest.raises(Unavailable):
        await queue.put_back(message, delay_s=1, attempts=1)
    await queue.put_back(message, delay_s=1, attempts=1)
    await queue.put_back(message, delay_s=1, attempts=1)
    assert sqs.server.actions().count("SendMessageBatch") == 1
    assert sqs.server.actions().count("DeleteMessageBatch") == 2


async def test_nothing_is_deleted_whose_successor_could_not_be_sent(sqs: Sqs, queue: Queue) -> None:
    [message] = await take(queue, sqs, 1)
    sqs.say("SendMessageBatch", refusal("OverLimit", status=403))
    with pytest.raises(Unavailable):
        await queue.dead_letter(message, reason="dns", last_error="x")
    assert "DeleteMessageBatch" not in sqs.server.actions()
    await queue.dead_letter(message, reason="dns", last_error="x")
    urls = [body["QueueUrl"] for body in sqs.of("SendMessageBatch")]
    assert urls == [sqs.server.dead_letter_queue_url] * 2


async def test_a_cancelled_move_comes_to_its_end(sqs: Sqs, queue: Queue) -> None:
    [message] = await take(queue, sqs, 1)
    moving = asyncio.create_task(queue.put_back(message, delay_s=0, attempts=1))
    await asyncio.sleep(0)
    moving.cancel()
    await asyncio.wait({moving})
    # As a manager does that drains: what was cancelled is handed back.
    await queue.put_back(message, delay_s=0, attempts=0)
    await queue.close()
    assert sqs.server.actions().count("SendMessageBatch") == 1
    assert sqs.server.actions().count("DeleteMessageBatch") == 1
    assert "ChangeMessageVisibilityBatch" not in sqs.server.actions()


async def test_closing_never_raises(sqs: Sqs, queue: Queue) -> None:
    await take(queue, sqs, 12)
    throttled = refusal("OverLimit", status=403)
    sqs.say("ChangeMessageVisibilityBatch", throttled, throttled)
    await queue.close()
    with pytest.raises(Unavailable, match="closed"):
        await queue.depth()
    await queue.close()


async def test_an_answer_without_counts_is_not_a_depth(sqs: Sqs, queue: Queue) -> None:
    with pytest.raises(Unavailable, match="without counts"):
        await queue.depth()


# Dead letters


@pytest.mark.parametrize("code", ["UnsupportedOperation", "ResourceNotFoundException"])
def test_a_server_without_move_tasks_has_its_dead_letters_sent_one_by_one(
    sqs: Sqs, dead_letters: DeadLetters, code: str
) -> None:
    sqs.say("StartMessageMoveTask", refusal(code))
    sqs.wait(12)
    assert dead_letters.redrive() == 12
    sent = [entry for body in sqs.of("SendMessageBatch") for entry in body["Entries"]]
    assert len(sent) == 12
    deleted = [entry for body in sqs.of("DeleteMessageBatch") for entry in body["Entries"]]
    assert {entry["ReceiptHandle"] for entry in deleted} == {f"r{number}" for number in range(12)}
    assert sqs.of("ChangeMessageVisibilityBatch") == []


def test_what_could_not_be_sent_again_stays_a_dead_letter(
    sqs: Sqs, dead_letters: DeadLetters
) -> None:
    sqs.wait(3)
    refused = {
        "Successful": [{"Id": "0"}],
        "Failed": [failed("1", "InternalError", is_senders=False)],
    }
    sqs.say("SendMessageBatch", (200, refused))
    assert dead_letters.redrive(2) == 1
    [deleted] = sqs.of("DeleteMessageBatch")
    [shown] = sqs.of("ChangeMessageVisibilityBatch")
    assert [entry["ReceiptHandle"] for entry in deleted["Entries"]] == ["r0"]
    assert [entry["ReceiptHandle"] for entry in shown["Entries"]] == ["r1", "r2"]


def test_dead_letters_are_shown_again_when_looking_at_them_fails(
    sqs: Sqs, dead_letters: DeadLetters
) -> None:
    sqs.wait(5)
    first, sqs.waiting = sqs.waiting, []
    sqs.say("ReceiveMessage", (200, {"Messages": first}), refusal("OverLimit", status=403))
    with pytest.raises(Unavailable):
        dead_letters.list(10)
    [shown] = sqs.of("ChangeMessageVisibilityBatch")
    assert len(shown["Entries"]) == 5


def test_what_is_not_a_dead_letter_of_ours_is_passed_over_and_kept(
    sqs: Sqs, dead_letters: DeadLetters
) -> None:
    sqs.wait(2)
    sqs.waiting[0]["Body"] = None
    sqs.waiting[0]["MessageAttributes"] = {}
    assert [letter.envelope.uid for letter in dead_letters.list(10)] == ["u1"]
    [shown] = sqs.of("ChangeMessageVisibilityBatch")
    assert sorted(entry["ReceiptHandle"] for entry in shown["Entries"]) == ["r0", "r1"]


def test_a_move_task_is_awaited(sqs: Sqs, dead_letters: DeadLetters) -> None:
    sqs.say("StartMessageMoveTask", (200, {"TaskHandle": "t"}))
    old = {"Status": "FAILED", "FailureReason": "long ago"}
    sqs.say(
        "ListMessageMoveTasks",
        (200, {"Results": [{"Status": "RUNNING", "TaskHandle": "t"}, old]}),
        (200, {"Results": [{"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 7}, old]}),
    )
    assert dead_letters.redrive() == 7
    [started] = sqs.of("StartMessageMoveTask")
    assert started == {
        "SourceArn": f"arn:{sqs.server.dead_letter_queue_url}",
        "DestinationArn": f"arn:{sqs.server.queue_url}",
    }


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([{"Status": "FAILED", "FailureReason": "CouldNotDetermineMessageSource"}], "CouldNot"),
        ([{"Status": "CANCELLED"}], "CANCELLED"),
        ([], "gone"),
    ],
)
def test_a_move_task_that_fails_says_why(
    sqs: Sqs, dead_letters: DeadLetters, results: list[dict[str, str]], problem: str
) -> None:
    sqs.say("StartMessageMoveTask", (200, {"TaskHandle": "t"}))
    sqs.say("ListMessageMoveTasks", (200, {"Results": results}))
    with pytest.raises(Unavailable, match=problem):
        dead_letters.redrive()


def test_a_denied_move_task_says_what_to_allow(sqs: Sqs, dead_letters: DeadLetters) -> None:
    sqs.say("StartMessageMoveTask", refusal("AccessDenied", status=403))
    with pytest.raises(Misconfigured, match="sqs:StartMessageMoveTask is denied") as caught:
        dead_letters.redrive()
    assert caught.value.variable == "GC_DEAD_LETTER_QUEUE_URL"
