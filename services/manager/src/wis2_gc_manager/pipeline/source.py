"""The sources of an item: its own notification, and those that are parked with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import IntegrityFailed, NotAnEnvelope, Poison, Reason, SourceError
from wis2_gc_common.ports.envelope_bytes import decode_envelope
from wis2_gc_common.ports.registry import Notice
from wis2_gc_common.wis2.inline import decode_content
from wis2_gc_common.wis2.integrity import DEFAULT_METHOD, new_hash
from wis2_gc_common.wis2.notification import Content, Notification, parse
from wis2_gc_common.wis2.topic import parse_topic
from wis2_gc_manager.sources.port import Payload, Request, host_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wis2_gc_common.ports.queue import Envelope

#: Why we do not process a valid notification; the same labels as the listener's.
OWN = "own"
RECOMMENDED = "recommended"


@dataclass(frozen=True, slots=True)
class Source:
    """One source: a whole notification, because the one that gave the data is republished."""

    notification: Notification
    host: str
    """The `dataserver` label."""

    @property
    def request(self) -> Request:
        """What a download of this source asks for."""
        notification, link = self.notification, self.notification.link
        return Request(
            link.href,
            link.length,
            notification.integrity,
            link.media_type,
            centre_id=notification.topic.centre_id,
        )

    @property
    def identity(self) -> tuple[Request, str, Content | None]:
        """Equal for two notifications that are the same source.

        The same link alone is not enough: the second may correct the first one's checksum,
        length or inline data.
        """
        return self.request, self.notification.integrity_problem, self.notification.content


def read_source(envelope: Envelope) -> Source:
    """Return the source that an envelope contains. Raises Poison."""
    notification = parse(parse_topic(envelope.topic), envelope.payload)
    return Source(notification, host_of(notification.link.href))


def not_ours(notification: Notification, centre_id: str) -> str | None:
    """Return why a notification is ignored, None when it is to be processed (wis2-rules.md 2, 5).

    The listener drops these, but the queue may hold some from an older listener.
    """
    if notification.global_cache == centre_id:
        return OWN
    if notification.topic.policy == "recommended":
        return RECOMMENDED
    return None


def notice_of(notification: Notification) -> Notice:
    """Return what the registry decides on."""
    return Notice(
        data_id=notification.data_id,
        pubtime_ns=notification.pubtime_ns,
        rel=notification.rel,
        centre_id=notification.topic.centre_id,
        message_id=notification.id,
    )


def read_parked(own: Notification, parked: Iterable[bytes]) -> list[Source]:
    """Return the fall-back sources of `own` that are about the same data, best first.

    Skipped: what is not an envelope with a notification, announces other data, or is never cached.
    Another topic of the same centre is the same item (wis2-rules.md 6), and its queue message is
    gone: it comes last. Our message id depends on `rel`: those of the same come first, so that an
    item is not announced under two ids when a worker dies between announcing and recording.
    """
    sources: list[Source] = []
    for packed in parked:
        try:
            source = read_source(decode_envelope(packed))
        except (NotAnEnvelope, Poison):
            continue
        other = source.notification
        if (
            other.data_id == own.data_id
            and other.pubtime_ns == own.pubtime_ns
            and other.topic.centre_id == own.topic.centre_id
            and other.rel != "deletion"
            and other.cache
        ):
            sources.append(source)
    return sorted(sources, key=lambda source: _distance(source.notification, own))


def _distance(other: Notification, own: Notification) -> tuple[bool, bool]:
    return (
        other.rel != own.rel,
        other.topic.levels_after_wis2 != own.topic.levels_after_wis2,
    )


def read_inline(notification: Notification) -> Payload | None:
    """Return the inline data, None if there is none that can be read (wis2-rules.md 16).

    Raises SourceError: wrong encoding, size or length; IntegrityFailed: wrong checksum.
    """
    content = notification.content
    if content is None:
        return None
    data = decode_content(content)
    length = notification.link.length
    if length is not None and length != len(data):
        raise SourceError(Reason.LENGTH, f"{len(data)} bytes inline, {length} announced")
    integrity = notification.integrity
    method = DEFAULT_METHOD if integrity is None else integrity.method
    hasher = new_hash(method)
    hasher.update(data)
    digest = hasher.digest()
    if integrity is not None and not integrity.matches(digest):
        raise IntegrityFailed(Reason.INTEGRITY, f"inline data, {method}")
    return Payload(size_bytes=len(data), method=method, digest=digest, data=data)
