"""Opens the queue that a URL names: a Redis stream or SQS (`ports.queue` is the contract).

The first call of the queue connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.redis.dead_letters import RedisStreamDeadLetters
from wis2_gc_common.redis.queue import RedisStreamQueue
from wis2_gc_common.redis.queue_keys import queue_keys
from wis2_gc_common.redis.queue_sender import RedisStreamSender
from wis2_gc_common.settings.catalogue import DEAD_LETTER_QUEUE_URL, QUEUE_URL

if TYPE_CHECKING:
    from wis2_gc_common.ports.queue import DeadLetters, Queue, Sender
    from wis2_gc_common.redis.queue_keys import QueueKeys
    from wis2_gc_common.settings.values import QueueUrl
    from wis2_gc_common.sqs.client import QueuePlace

# The SQS adapter is imported only where it is needed: boto3 costs 20 MB and a quarter of a second.


def open_sender(queue_url: QueueUrl, *, redis_url: str, max_length: int) -> Sender:
    """Return the listener's side of a queue.

    `max_length`: at this many waiting messages a Redis stream answers REFUSED; SQS has no limit.
    Raises SettingsError: the URL cannot be used.
    """
    if queue_url.kind == "sqs":
        from wis2_gc_common.sqs.client import parse_place  # noqa: PLC0415
        from wis2_gc_common.sqs.queue import SqsSender  # noqa: PLC0415

        return SqsSender(parse_place(QUEUE_URL, queue_url))
    return RedisStreamSender(redis_url, keys=queue_keys(queue_url.name, ""), max_length=max_length)


def open_queue(
    queue_url: QueueUrl,
    dead_letter_url: QueueUrl,
    *,
    redis_url: str,
    consumer: str = "",
    visibility_s: float = 30.0,
) -> Queue:
    """Return the manager's side of a queue.

    `consumer`: stable, and unique among the running managers; SQS does not need it. A caller that
    only asks for `depth` gives neither name nor visibility: it never becomes a consumer.
    Raises SettingsError: the URLs cannot be used, or not together.
    """
    if queue_url.kind == "sqs":
        from wis2_gc_common.sqs.queue import SqsQueue  # noqa: PLC0415

        return SqsQueue(*_places(queue_url, dead_letter_url), visibility_s=visibility_s)
    keys = _keys(queue_url, dead_letter_url)
    return RedisStreamQueue(redis_url, keys=keys, consumer=consumer, visibility_s=visibility_s)


def open_dead_letters(
    queue_url: QueueUrl, dead_letter_url: QueueUrl, *, redis_url: str
) -> DeadLetters:
    """Return the operator's side of a queue. Raises SettingsError: the URLs cannot be used."""
    if queue_url.kind == "sqs":
        from wis2_gc_common.sqs.dead_letters import SqsDeadLetters  # noqa: PLC0415

        return SqsDeadLetters(*_places(queue_url, dead_letter_url))
    return RedisStreamDeadLetters(redis_url, keys=_keys(queue_url, dead_letter_url))


def _keys(queue_url: QueueUrl, dead_letter_url: QueueUrl) -> QueueKeys:
    if dead_letter_url.kind != queue_url.kind:
        raise SettingsError(
            DEAD_LETTER_QUEUE_URL.name, f"requires redis-stream:NAME, as {QUEUE_URL.name} has"
        )
    return queue_keys(queue_url.name, dead_letter_url.name)


def _places(queue_url: QueueUrl, dead_letter_url: QueueUrl) -> tuple[QueuePlace, QueuePlace]:
    from wis2_gc_common.sqs.client import check_pair, parse_place  # noqa: PLC0415

    queue = parse_place(QUEUE_URL, queue_url)
    dead_letters = parse_place(DEAD_LETTER_QUEUE_URL, dead_letter_url)
    check_pair(queue, dead_letters)
    return queue, dead_letters
