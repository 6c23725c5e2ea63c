"""The operator's side of the queue on Amazon SQS."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import NotAnEnvelope, Unavailable
from wis2_gc_common.ports.queue import Sent
from wis2_gc_common.sqs.batches import MAX_BATCH, in_batches, receipt_entries, send_batch
from wis2_gc_common.sqs.client import SqsClient, error_code
from wis2_gc_common.sqs.messages import SYSTEM_ATTRIBUTES, decode_dead_letter, encode_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wis2_gc_common.ports.queue import DeadLetter
    from wis2_gc_common.sqs.client import QueuePlace

#: Seconds for which dead letters are hidden while we read them.
_HIDE_S = 300
#: SQS cannot tell which are the oldest: we look for them among at least this many.
_LOOK_THROUGH = 1000
#: Seconds of one wait for dead letters; long enough that SQS asks all its servers.
_LOOK_WAIT_S = 1
_MOVE_POLL_S = (0.1, 2.0)
#: The server does not know move tasks, or the queue is not the dead letter queue of any queue.
_NO_MOVE_TASK = {
    "InvalidAction",
    "InvalidParameterValue",
    "NotImplemented",
    "ResourceNotFoundException",
    "UnknownOperationException",
    "UnsupportedOperation",
}


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A dead letter that we hide from others while we read it."""

    message_id: str
    receipt: str
    letter: DeadLetter


class SqsDeadLetters:
    """`DeadLetters` on SQS.

    Standard queues have no order, and nobody can read without receiving. So we receive messages,
    hide them meanwhile, sort them by the time they died, and show them again. Two operators who
    read at the same time may each see only a part.
    """

    def __init__(self, queue: QueuePlace, dead_letters: QueuePlace) -> None:
        self._queue = queue
        self._dead = dead_letters
        self._client = SqsClient(queue, connections=1)

    def redrive(self, limit: int | None = None) -> int:
        """Move dead letters (all there are now, or the oldest `limit`) back as new messages.

        If all: SQS moves them itself, up to 500 a second, even if we are stopped meanwhile.
        """
        if limit is not None:
            return self._send_again(limit)
        try:
            task = self._client.call_by_arn(
                "start_message_move_task",
                self._dead,
                SourceArn=self._arn(self._dead),
                DestinationArn=self._arn(self._queue),
            )
        except Unavailable as error:
            if error_code(error) not in _NO_MOVE_TASK:
                raise
            return self._send_again(None)
        return self._wait_for(task.get("TaskHandle", ""))

    def close(self) -> None:
        """Release connections. Never raises."""
        self._client.close()

    def _arn(self, place: QueuePlace) -> str:
        answer = self._client.call("get_queue_attributes", place, AttributeNames=["QueueArn"])
        return str(answer.get("Attributes", {}).get("QueueArn", ""))

    def _wait_for(self, handle: str) -> int:
        """Wait for the task; return how many messages it has moved."""
        arn = self._arn(self._dead)
        pause_s, longest_s = _MOVE_POLL_S
        while True:
            answer = self._client.call_by_arn(
                "list_message_move_tasks", self._dead, SourceArn=arn, MaxResults=10
            )
            tasks = answer.get("Results", [])
            # Only a running task shows its handle; the newest task comes first.
            task = next((one for one in tasks if one.get("TaskHandle") == handle), None)
            if task is None:
                task = tasks[0] if tasks else {"Status": "FAILED", "FailureReason": "gone"}
            status = task.get("Status")
            if status == "COMPLETED":
                return int(task.get("ApproximateNumberOfMessagesMoved", 0))
            if status not in {"RUNNING", "CANCELLING"}:
                reason = task.get("FailureReason", status)
                raise Unavailable("queue", f"{self._dead}: moving its messages ended, {reason}")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    def _send_again(self, limit: int | None) -> int:
        """Send the oldest again, then delete them. A crash in between leaves two, never none."""
        moved = 0
        with self._hidden(math.inf if limit is None else limit) as hidden:
            by_id = {str(index): one for index, one in enumerate(_oldest(hidden, limit))}
            entries = [
                {
                    "Id": key,
                    **encode_message(one.letter.envelope.again(attempts=0, is_bulk=True)),
                }
                for key, one in by_id.items()
            ]
            for batch in in_batches(entries):
                answers = send_batch(self._client, self._queue, batch).sent
                sent = [by_id[key] for key, answer in answers.items() if answer is Sent.ACCEPTED]
                self._change("delete_message_batch", [one.receipt for one in sent])
                for one in sent:
                    del hidden[one.message_id]
                moved += len(sent)
        return moved

    @contextlib.contextmanager
    def _hidden(self, at_least: float) -> Iterator[dict[str, _Hidden]]:
        """Yield dead letters, oldest first; those left in the dict become visible at the end."""
        found: dict[str, _Hidden] = {}
        others: list[str] = []
        wanted = max(at_least, _LOOK_THROUGH)
        try:
            while len(found) < wanted and (messages := self._receive()):
                for message in messages:
                    name, receipt = message["MessageId"], message["ReceiptHandle"]
                    try:
                        found[name] = _Hidden(name, receipt, decode_dead_letter(message))
                    except NotAnEnvelope:
                        others.append(receipt)
            found = {one.message_id: one for one in sorted(found.values(), key=_age_order)}
            yield found
        finally:
            receipts = [*(one.receipt for one in found.values()), *others]
            # They become visible by themselves later: do not lose the result for this.
            with contextlib.suppress(Unavailable):
                self._change("change_message_visibility_batch", receipts, VisibilityTimeout=0)

    def _receive(self) -> Sequence[dict[str, Any]]:
        answer = self._client.call(
            "receive_message",
            self._dead,
            MaxNumberOfMessages=MAX_BATCH,
            WaitTimeSeconds=_LOOK_WAIT_S,
            VisibilityTimeout=_HIDE_S,
            AttributeNames=SYSTEM_ATTRIBUTES,
            MessageAttributeNames=["All"],
        )
        messages: Sequence[dict[str, Any]] = answer.get("Messages") or ()
        return messages

    def _change(self, operation: str, receipts: Sequence[str], **parameters: Any) -> None:
        for start in range(0, len(receipts), MAX_BATCH):
            entries = receipt_entries(receipts[start : start + MAX_BATCH], parameters)
            self._client.call(operation, self._dead, Entries=entries)

    # Last, because the name hides the type inside the class.
    def list(self, limit: int) -> list[DeadLetter]:
        """Return the oldest `limit` dead letters without removing them.

        They are the oldest among those that SQS hands out first: a thousand, or `limit` if more.
        """
        if limit < 1:
            return []
        with self._hidden(limit) as hidden:
            return [one.letter for one in _oldest(hidden, limit)]


def _oldest(hidden: dict[str, _Hidden], limit: int | None) -> Sequence[_Hidden]:
    return list(itertools.islice(hidden.values(), limit))


def _age_order(one: _Hidden) -> tuple[int, int, str]:
    return one.letter.died_ms, one.letter.envelope.arrived_ms, one.message_id
