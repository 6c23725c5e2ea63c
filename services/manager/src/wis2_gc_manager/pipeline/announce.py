"""The announcing step: publishes a notification under our name, until our broker has it.

It also handles all that is announced without a copy of ours: deletions, `cache: false`, and items
that we decide not to cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from wis2_gc_common.errors import Poison, Unannounceable
from wis2_gc_common.ports.registry import Commit
from wis2_gc_common.wis2.notification import republish
from wis2_gc_manager.pipeline.announced_links import check_origins_links
from wis2_gc_manager.pipeline.endings import Dropped, Finished, GivenUp, PassedOn
from wis2_gc_manager.pipeline.public_check import PUBLIC_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_common.wis2.notification import Announcer, Cached, Notification
    from wis2_gc_manager.pipeline.claim import Granted
    from wis2_gc_manager.pipeline.events import Events, Publishes
    from wis2_gc_manager.pipeline.outage_gate import Gate
    from wis2_gc_manager.sources.address_guard import AddressGuard
    from wis2_gc_manager.store.port import ObjectStore


class Override(StrEnum):
    """Why we do not cache an item that its publisher asks us to cache; its event says so."""

    QUOTA = "quota"
    TOO_LARGE = "too large"
    TOO_LONG = "the notification would be too long"


class TooLate(Exception):
    """The object would expire too soon after its announcement (`ObjectStore.announce_by_ns`)."""


@dataclass(kw_only=True, slots=True, eq=False)
class Announcing:
    """Makes our announcements and publishes them."""

    announcer: Announcer
    publisher: Publishes
    store: ObjectStore
    gate: Gate
    guard: AddressGuard
    events: Events
    now_ns: Callable[[], int] = time.time_ns
    announced: int = field(default=0, init=False)
    """Notifications that this process has published."""

    def of_copy(self, notification: Notification, cached: Cached, *, drop_content: bool) -> bytes:
        """Return the announcement of a copy of ours. Raises Unannounceable."""
        _, announcement = republish(
            notification, announcer=self.announcer, cached=cached, drop_content=drop_content
        )
        return announcement

    async def publish(
        self, notification: Notification, announcement: bytes, *, by_ns: int | None = None
    ) -> None:
        """Return when our broker has acknowledged it (PUBACK).

        `by_ns`: it announces an object of ours. It waits until objects can be fetched.
        Raises TooLate: a part of ours was away until after `by_ns` (ns since 1970).
        """
        topic = notification.topic.to_cache

        async def publish() -> None:
            if by_ns is not None:
                await self.gate.wait_open(PUBLIC_URL)
                if self.now_ns() > by_ns:
                    raise TooLate
            await self.publisher.publish(topic, announcement)

        await self.gate.repeat(publish)
        self.announced += 1

    async def deletion(self, granted: Granted) -> Finished | GivenUp:
        """Announce a deletion, and remove our object (wis2-rules.md 14).

        In this order, nobody has a link to nothing without being told. The record keeps the
        object's key until the commit, so a crash in between loses neither step.
        """
        notification = granted.own.notification
        try:
            await self._publish_untouched(notification)
        except Unannounceable as error:
            return _unannounceable(notification, error)
        key = granted.claimed.object_key
        if key is not None:
            await self.gate.repeat(lambda: self.store.delete(key))
        return _finished(notification, "deleted")

    async def untouched(
        self,
        granted: Granted,
        notification: Notification,
        override: Override | None = None,
        detail: str = "",
    ) -> Finished | GivenUp:
        """Announce with the links as they came (wis2-rules.md 12, 13).

        `override`: None for `cache: false`.
        """
        try:
            if override is not None:
                check_origins_links(notification, self.guard)
            message_id = await self._publish_untouched(notification)
        except (Poison, Unannounceable) as error:
            return _unannounceable(notification, error)
        if override is None:
            return _finished(notification, "uncached")
        since_ms = granted.item.received.envelope.arrived_ms
        if override is Override.QUOTA:
            self._tell_of_quota(notification, detail, since_ms)
        else:
            await self.events.override(
                message_id=message_id,
                subject=notification.source_centre_id,
                description=f"{notification.data_id}: {override}: {detail}",
                channel=notification.topic.text,
                since_ms=since_ms,
            )
        return _finished(notification, "override")

    async def pass_on(self, granted: Granted, quota: str) -> PassedOn | Dropped:
        """Announce with the links as they came, and remember nothing of it.

        Every copy of the notification is announced, with the same id: receivers know a repeat.
        `quota`: the one that it exceeds.
        """
        notification = granted.own.notification
        is_override = notification.rel != "deletion" and notification.cache
        try:
            if is_override:
                check_origins_links(notification, self.guard)
            await self._publish_untouched(notification)
        except (Poison, Unannounceable) as error:
            return Dropped(error.reason, error)
        centre_id = notification.source_centre_id
        if not is_override:
            return PassedOn("deleted" if notification.rel == "deletion" else "uncached", centre_id)
        self._tell_of_quota(notification, quota, granted.item.received.envelope.arrived_ms)
        return PassedOn("override", centre_id)

    async def _publish_untouched(self, notification: Notification) -> str:
        """Return the id of the announcement. Raises Unannounceable."""
        message_id, announcement = republish(notification, announcer=self.announcer, cached=None)
        await self.publish(notification, announcement)
        return message_id

    def _tell_of_quota(self, notification: Notification, detail: str, since_ms: int) -> None:
        self.events.over_quota(
            subject=notification.topic.centre_id,
            description=f"{notification.data_id}: {Override.QUOTA}: {detail}",
            channel=notification.topic.text,
            since_ms=since_ms,
        )


def _finished(
    notification: Notification, outcome: Literal["uncached", "override", "deleted"]
) -> Finished:
    commit = Commit(outcome, notification.source_centre_id, notification.topic.is_metadata)
    return Finished(commit)


def _unannounceable(notification: Notification, error: Poison | Unannounceable) -> GivenUp:
    invalid_of = error.centre_id if isinstance(error, Poison) else ""
    return GivenUp(notification, error.cause, dropped_as=error.reason, invalid_of=invalid_of)
