"""SQS: the redrive allow policy, which moto drops; and policies as AWS writes them: no blanks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moto.sqs.models import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "RedriveAllowPolicy"


def install() -> None:
    """Have moto's queues keep it."""
    kept: dict[str, str] = {}
    set_attributes: Callable[..., None] = Queue._set_attributes
    attributes: Callable[[Queue], dict[str, Any]] = Queue.attributes.fget

    def set_and_keep(queue: Queue, given: dict[str, Any], now: float | None = None) -> None:
        if _NAME in given:
            policy = given[_NAME]
            # An empty one takes it away.
            kept[queue.queue_arn] = policy if isinstance(policy, str) else json.dumps(policy)
        set_attributes(queue, {k: v for k, v in given.items() if k != _NAME}, now)

    def with_kept(queue: Queue) -> dict[str, Any]:
        told = attributes(queue)
        if kept.get(queue.queue_arn):
            told[_NAME] = kept[queue.queue_arn]
        if queue.redrive_policy:
            told["RedrivePolicy"] = json.dumps(queue.redrive_policy, separators=(",", ":"))
        return told

    # Where moto looks up which names there are.
    Queue.FIFO_ATTRIBUTES = [*Queue.FIFO_ATTRIBUTES, _NAME]
    Queue._set_attributes = set_and_keep
    Queue.attributes = property(with_kept)
