"""Which notifications do not have to reach the queue. Pure.

It drops only what is certainly useless. A notification for an item that is in work passes: it is a
fall-back source (wis2-rules.md 8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from paho.mqtt.client import topic_matches_sub

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.ports.registry import OVER_QUOTA
from wis2_gc_common.wis2.decision import decide
from wis2_gc_common.wis2.notification import Notification, parse
from wis2_gc_common.wis2.topic import BASE, DEFAULT_FILTERS, parse_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.wis2.decision import Decision, Held


class DropReason(StrEnum):
    """Labels of dropped notifications, besides `errors.Reason` and `decision.Decision`."""

    RECOMMENDED = "recommended"
    """Not ours to cache (wis2-rules.md 2)."""
    OWN = "own"
    """Our own notification, returned by a Global Broker (wis2-rules.md 5)."""
    NOT_SUBSCRIBED = "not_subscribed"
    """Outside GC_TOPICS: a resumed session still has an older subscription."""
    EMPTY = "empty"
    """Not a notification: an empty message clears a retained one (wis2-rules.md W20)."""
    NOT_QUEUEABLE = "not_queueable"
    """The queue can never take it (`queue.Sent.POISON`)."""
    QUOTA = OVER_QUOTA
    """The queue already holds its centre's share (`queue.Sent.OVER_QUOTA`)."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a notification is dropped; `reason` is a metric label, `detail` is for logs only."""

    reason: str
    detail: str = ""
    centre_id: str = ""
    """The centre of an invalid notification; "" for other reasons, or if the topic does not say."""


#: All such topics are ignored, also those with lower levels that we would refuse (wis2-rules.md 2).
_IGNORED = re.compile(rf"(?:origin|cache)/{BASE}/[^/]*/data/recommended(?:/|$)")
_RECOMMENDED = Drop(DropReason.RECOMMENDED)
_OWN = Drop(DropReason.OWN)
_NOT_SUBSCRIBED = Drop(DropReason.NOT_SUBSCRIBED)
_EMPTY = Drop(DropReason.EMPTY)


class Triage:
    """Judges a notification without asking queue or registry."""

    def __init__(self, *, centre_id: str, filters: Sequence[str]) -> None:
        self._centre_id = centre_id
        # Every valid topic matches the default: no check is necessary.
        self._filters = () if tuple(filters) == DEFAULT_FILTERS else tuple(filters)
        self._is_subscribed = lru_cache(maxsize=4096)(self._matches_a_filter)

    def judge(self, topic: str, payload: bytes) -> Notification | Drop:
        """Return the notification to look up in the registry, or why it is dropped.

        Source: wis2-rules.md 2, 3, 5, 7.
        """
        if not payload:
            return _EMPTY
        try:
            parsed_topic = parse_topic(topic)
            if self._filters and not self._is_subscribed(topic):
                return _NOT_SUBSCRIBED
            if parsed_topic.policy == "recommended":
                return _RECOMMENDED
            notification = parse(parsed_topic, payload)
        except Poison as poison:
            if poison.reason is Reason.INVALID_TOPIC and _IGNORED.match(topic):
                return _RECOMMENDED
            return Drop(poison.reason, poison.detail, poison.centre_id)
        return _OWN if notification.global_cache == self._centre_id else notification

    def _matches_a_filter(self, topic: str) -> bool:
        return any(topic_matches_sub(topic_filter, topic) for topic_filter in self._filters)


def refusal(
    held: Held | None, notification: Notification, *, now_ms: int, repeat_window_ms: int
) -> Decision | None:
    """Return the decision that drops `notification` for good, or None if it passes.

    `held`: what the registry holds of the item; `now_ms`: its clock. Source: wis2-rules.md 6, 8, 9.
    """
    if held is None:
        return None
    decision = decide(
        held,
        rel=notification.rel,
        pubtime_ns=notification.pubtime_ns,
        now_ms=now_ms,
        repeat_window_ms=repeat_window_ms,
    )
    return decision if decision.is_dropped else None
