"""What SQS accepts in one call, and what it answers for each entry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.ports.queue import Sent
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.sqs.client import error_code
from wis2_gc_common.sqs.messages import MAX_BYTES, size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wis2_gc_common.sqs.client import QueuePlace, SqsClient

_log = get_logger(__name__)

#: Entries in one call: SQS' own limit.
MAX_BATCH = 10
#: Codes for a whole batch and for one entry: its content can never be accepted.
BAD_CONTENT = {
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "MissingParameter",
}
#: SQS blames the sender for these too, but the message or receipt is not the cause.
_NOT_THE_ENTRY = re.compile(r"kms|throttl|denied|security|token|credential", re.IGNORECASE)


def in_batches(entries: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the entries in batches that SQS accepts, by number and by bytes."""
    batch: list[dict[str, Any]] = []
    total = 0
    for entry in entries:
        size = size_bytes(entry)
        if batch and (len(batch) == MAX_BATCH or total + size > MAX_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(entry)
        total += size
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Answers:
    """The results for the entries of a batch."""

    sent: dict[str, Sent]
    """By the entry's id."""
    code: str = ""
    """Code of the last entry that SQS blames the sender for."""

    @property
    def has_accepted(self) -> bool:
        """Whether SQS accepted any of them."""
        return Sent.ACCEPTED in self.sent.values()

    @property
    def is_suspicious(self) -> bool:
        """Whether the cause of poison may be a wrong setting, because nothing was accepted."""
        return Sent.POISON in self.sent.values() and not self.has_accepted


def send_batch(client: SqsClient, place: QueuePlace, entries: Sequence[dict[str, Any]]) -> Answers:
    """Send up to MAX_BATCH entries. Raises Unavailable."""
    try:
        answer = client.call("send_message_batch", place, Entries=entries)
    except Unavailable as error:
        code = error_code(error)
        if code not in BAD_CONTENT:
            raise
        # One entry makes the whole batch fail; alone it fails alone.
        if len(entries) == 1:
            return Answers({entries[0]["Id"]: Sent.POISON}, code)
        parts = [send_batch(client, place, [entry]) for entry in entries]
        return Answers({key: sent for part in parts for key, sent in part.sent.items()}, code)
    # An entry that SQS does not mention was not accepted.
    sent = {entry["Id"]: Sent.REFUSED for entry in entries}
    code = ""
    for accepted in answer.get("Successful", ()):
        sent[accepted["Id"]] = Sent.ACCEPTED
    for failed in answer.get("Failed", ()):
        if is_senders_fault(failed):
            sent[failed["Id"]] = Sent.POISON
            code = failed.get("Code", "")
            _log.warning("queue_refuses_entry", code=code)
    return Answers(sent, code)


def is_senders_fault(failed: dict[str, Any]) -> bool:
    """Whether SQS blames this entry, and not something that all entries share."""
    return bool(failed.get("SenderFault")) and not _NOT_THE_ENTRY.search(failed.get("Code", ""))


def all_refused(place: QueuePlace, code: str) -> Misconfigured:
    """Return the error for a queue that accepts nothing at all."""
    return Misconfigured(
        "queue",
        place.variable,
        f"{place}: every message is refused ({code or 'no code'}); check the endpoint, and the "
        "queue's own settings",
    )


def receipt_entries(receipts: Sequence[str], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a batch of receipts, each with `parameters`."""
    return [
        {"Id": str(index), "ReceiptHandle": receipt, **parameters}
        for index, receipt in enumerate(receipts)
    ]
