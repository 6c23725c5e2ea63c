"""The queue between listeners and managers; `base` is the contract, the rest are adapters.

The `open_…` functions choose the adapter by the queue's URL; they connect to nothing yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.queue.keys import queue_keys, sender_keys
from wis2_gc_common.queue.redis_stream import (
    RedisStreamDeadLetters,
    RedisStreamQueue,
    RedisStreamSender,
)
from wis2_gc_common.settings import DEAD_LETTER_QUEUE_URL, QUEUE_URL

if TYPE_CHECKING:
    from wis2_gc_common.queue.base import DeadLetters, Queue, Sender
    from wis2_gc_common.queue.keys import QueueKeys
    from wis2_gc_common.settings import QueueUrl, Setting


def open_sender(queue_url: QueueUrl, *, redis_url: str, max_length: int) -> Sender:
    """Return the listener's side of a queue.

    `max_length`: at this many waiting messages entries are answered REFUSED.
    Raises SettingsError: no adapter for this kind of queue.
    """
    _demand_redis_stream(QUEUE_URL, queue_url)
    stream, delayed = sender_keys(queue_url.name)
    return RedisStreamSender(redis_url, stream=stream, delayed=delayed, max_length=max_length)


def open_queue(
    queue_url: QueueUrl,
    dead_letter_url: QueueUrl,
    *,
    redis_url: str,
    consumer: str,
    visibility_s: float,
) -> Queue:
    """Return the manager's side of a queue.

    `consumer`: stable, and unique among the running managers. Who only asks for `depth` never
    becomes a consumer.
    Raises SettingsError: no adapter for this kind of queue.
    """
    keys = _keys(queue_url, dead_letter_url)
    return RedisStreamQueue(redis_url, keys=keys, consumer=consumer, visibility_s=visibility_s)


def open_dead_letters(
    queue_url: QueueUrl, dead_letter_url: QueueUrl, *, redis_url: str
) -> DeadLetters:
    """Return the operator's side of a queue. Raises SettingsError: no adapter for its kind."""
    return RedisStreamDeadLetters(redis_url, keys=_keys(queue_url, dead_letter_url))


def _keys(queue_url: QueueUrl, dead_letter_url: QueueUrl) -> QueueKeys:
    _demand_redis_stream(QUEUE_URL, queue_url)
    _demand_redis_stream(DEAD_LETTER_QUEUE_URL, dead_letter_url)
    return queue_keys(queue_url.name, dead_letter_url.name)


def _demand_redis_stream(setting: Setting[QueueUrl], url: QueueUrl) -> None:
    if url.kind != "redis-stream":
        raise SettingsError(
            setting.name, "the SQS adapter is not part of this release; use redis-stream:NAME"
        )
