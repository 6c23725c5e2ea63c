"""Monitoring events about centres, on our own broker (wis2-rules.md E1).

Events about failures do not hold items up, and all managers together send a limited number for each
centre. The event of an override belongs to its item: the item waits until our broker has it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from wis2_gc_common.errors import PartError, Unavailable
from wis2_gc_common.metrics import MONITORING_EVENTS
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.monitoring_event import EventLimiter, monitoring_event

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from wis2_gc_common.ports.registry import Registry
    from wis2_gc_common.wis2.event_format import EventFormat
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.pipeline.outage_gate import Gate

#: Most rate-limited events that wait at once, to bound memory.
MAX_UNDER_WAY = 100

log = get_logger(__name__)


class Publishes(Protocol):
    """What events require of the publisher."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return at the PUBACK. Raises Unavailable("broker")."""


@dataclass(kw_only=True, eq=False)
class Events:
    """Makes and publishes events; counts those that were published."""

    publisher: Publishes
    registry: Registry
    gate: Gate
    counts: Counts
    centre_id: str
    """Ours."""
    event_format: EventFormat
    limiter: EventLimiter = field(default_factory=EventLimiter)
    """Asked for failures only, and before the registry."""

    def __post_init__(self) -> None:
        self._quota_limiter = EventLimiter(interval_s=self.limiter.interval_s)
        self._under_way: set[asyncio.Task[None]] = set()

    def failure(
        self, *, subject: str, title: str, description: str, channel: str, since_ms: int
    ) -> None:
        """Report that something of the centre `subject` failed: now and then, in the background.

        `since_ms`: when the notification arrived, in milliseconds since 1970.
        """
        if not self._may_begin(self.limiter, subject):
            return
        now = datetime.now(UTC)
        topic, payload = monitoring_event(
            event_id=str(uuid.uuid4()),
            at=now,
            source=self.centre_id,
            subject=subject,
            event_type=self.event_format.failure_type,
            subtype=self.event_format.failure_subtype,
            dataschema=self.event_format.dataschema,
            severity="ERROR",
            title=title,
            description=description,
            channel=channel,
            interval=_interval(since_ms, now),
        )
        self._begin(self._try(subject, topic, payload, self.event_format.failure_subtype))

    def over_quota(self, *, subject: str, description: str, channel: str, since_ms: int) -> None:
        """Report that we do not cache items of the centre `subject`, which holds too much.

        Now and then, in the background: there may be hundreds of them a second.
        """
        if not self._may_begin(self._quota_limiter, subject):
            return
        log.warning("centre_over_quota", centre_id=subject, detail=description)
        topic, payload = self._override_event(
            str(uuid.uuid4()), subject, description, channel, since_ms
        )
        token = f"{subject} quota"
        self._begin(self._try(token, topic, payload, self.event_format.override_subtype))

    async def override(
        self,
        *,
        message_id: str,
        subject: str,
        description: str,
        channel: str,
        since_ms: int,
    ) -> None:
        """Report that we do not cache an item, as we must (wis2-rules.md 13); waits for the broker.

        `message_id`: of the announcement; a repeat gets the same event id. If the broker is there
        but refuses the event, it logs an error and returns.
        """
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"gc-alert:{message_id}"))
        topic, payload = self._override_event(event_id, subject, description, channel, since_ms)
        try:
            await self.gate.repeat(lambda: self.publisher.publish(topic, payload))
        except (Unavailable, PartError) as error:
            log.error("override_event_failed", subject=subject, detail=error.detail)  # noqa: TRY400
        else:
            self.counts.add(MONITORING_EVENTS, self.event_format.override_subtype)

    def _override_event(
        self, event_id: str, subject: str, description: str, channel: str, since_ms: int
    ) -> tuple[str, bytes]:
        now = datetime.now(UTC)
        return monitoring_event(
            event_id=event_id,
            at=now,
            source=self.centre_id,
            subject=subject,
            event_type=self.event_format.override_type,
            subtype=self.event_format.override_subtype,
            dataschema=self.event_format.dataschema,
            severity="WARNING",
            title=self.event_format.override_title,
            description=description,
            channel=channel,
            interval=_interval(since_ms, now),
        )

    async def close(self) -> None:
        """Cancel the events that wait."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _may_begin(self, limiter: EventLimiter, subject: str) -> bool:
        return len(self._under_way) < MAX_UNDER_WAY and limiter.admit(subject, time.monotonic())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _try(self, token: str, topic: str, payload: bytes, subtype: str) -> None:
        """Publish, unless another manager has just told this centre the same."""
        try:
            if not await self.registry.admit_event(token, interval_s=self.limiter.interval_s):
                return
            await self.publisher.publish(topic, payload)
        except (Unavailable, PartError) as error:
            log.info("event_not_published", topic=topic, detail=error.detail)
        else:
            self.counts.add(MONITORING_EVENTS, subtype)


def _interval(since_ms: int, now: datetime) -> tuple[datetime, datetime]:
    return min(datetime.fromtimestamp(since_ms / 1000, UTC), now), now
