"""What SQS takes in one call, and what it answers for each entry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.logs import get_logger
from wis2_gc_common.queue.base import Sent
from wis2_gc_common.queue.sqs_client import error_code
from wis2_gc_common.queue.sqs_message import MAX_BYTES, size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wis2_gc_common.queue.sqs_client import Place, SqsClient

_log = get_logger(__name__)

#: Entries in one call: SQS' own limit.
MAX_BATCH = 10
#: Of a whole batch, and of one entry: what is in it will never do.
BAD_CONTENT = {
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "MissingParameter",
}
#: SQS blames the sender for these too, but not the message.
_NOT_THE_MESSAGE = re.compile(r"kms|throttl|denied|security|token|credential", re.IGNORECASE)


def in_batches(entries: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the entries in batches that SQS takes, by number and by bytes."""
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


def send_batch(
    client: SqsClient, place: Place, entries: Sequence[dict[str, Any]]
) -> dict[str, Sent]:
    """Return what became of each entry, by its id. Raises Unavailable."""
    try:
        answer = client.call("send_message_batch", place, Entries=entries)
    except Unavailable as error:
        if error_code(error) not in BAD_CONTENT:
            raise
        # One of them spoils the batch; alone it spoils nobody's but its own.
        if len(entries) == 1:
            return {entries[0]["Id"]: Sent.POISON}
        parts = [send_batch(client, place, [entry]) for entry in entries]
        return {key: sent for part in parts for key, sent in part.items()}
    # What SQS does not mention was not accepted.
    answers = {entry["Id"]: Sent.REFUSED for entry in entries}
    for accepted in answer.get("Successful", ()):
        answers[accepted["Id"]] = Sent.ACCEPTED
    for failed in answer.get("Failed", ()):
        if failed.get("SenderFault") and not _NOT_THE_MESSAGE.search(failed.get("Code", "")):
            answers[failed["Id"]] = Sent.POISON
            _log.warning("queue_refuses_entry", code=failed.get("Code", ""))
    return answers


def receipt_entries(receipts: Sequence[str], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a batch of receipts, each with `parameters`."""
    return [
        {"Id": str(index), "ReceiptHandle": receipt, **parameters}
        for index, receipt in enumerate(receipts)
    ]
