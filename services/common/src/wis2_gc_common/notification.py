"""The WIS2 Notification Message: parse, validate, rewrite (SPEC.md 6, 7, 16, 18, 19, 22 to 24).

Strangers write these. `parse` answers with a value or one Poison, in time and memory bounded by
the 8192 bytes of a message. `republish` keeps every byte of meaning that is not ours to change:
untouched values are copied as the bytes they came in.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from wis2_gc_common.errors import Poison, Reason
from wis2_gc_common.ids import message_id
from wis2_gc_common.integrity import DEFAULT_METHOD, Integrity, parse_integrity
from wis2_gc_common.pubtime import parse_pubtime
from wis2_gc_common.topic import Topic, is_centre_id

#: Limit of a WNM in bytes, in and out (SPEC.md section 1 and 23).
MAX_NOTIFICATION_BYTES = 8192
#: Limit of `properties.content.value` in characters (SPEC.md 16).
MAX_CONTENT_CHARS = 4096
#: Ours: no known publisher comes near these.
MAX_DATA_ID_CHARS = 2048
MAX_ID_CHARS = 256
MAX_LENGTH = 2**53
#: Ours: a polygon with holes in an extension needs about 10; whoever reads the message after us
#: shall not run out of stack either.
MAX_DEPTH = 64

Rel = Literal["canonical", "update", "deletion"]
Encoding = Literal["utf-8", "base64", "gzip"]

_DECISIVE: frozenset[str] = frozenset({"canonical", "update", "deletion"})
_ENCODINGS: frozenset[str] = frozenset({"utf-8", "base64", "gzip"})
#: Control characters, line and paragraph separators, lone surrogates: what breaks a log line, a
#: terminal or UTF-8. Spaces and letters of any script are a publisher's own business.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_message_decoder = msgspec.json.Decoder()
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_links_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


@dataclass(frozen=True, slots=True)
class Link:
    """The decisive link."""

    href: str
    media_type: str | None
    length: int | None
    """Announced size in bytes."""


@dataclass(frozen=True, slots=True)
class Content:
    """Inline data as announced; decoding it is `wis2_gc_common.content`'s work."""

    encoding: Encoding
    value: str
    size: int


@dataclass(frozen=True, slots=True)
class Notification:
    """A valid WNM."""

    topic: Topic
    payload: bytes
    """As it came."""
    id: str
    data_id: str
    pubtime_ns: int
    rel: Rel
    link: Link
    cache: bool
    global_cache: str | None
    """The other cache whose copy is linked, or None for an origin's notification."""
    metadata_id: str | None
    integrity: Integrity | None
    content: Content | None
    has_broken_content: bool
    """`properties.content` is there, but not as the standard wants it: only the link counts."""

    @property
    def source_centre_id(self) -> str:
        """The `centre_id` label of what is downloaded through this notification (SPEC.md 17).

        Only a Global Cache publishes on `cache/…`; on `origin/…` the property is anybody's to
        write, and must not make up centres.
        """
        if self.topic.channel == "cache" and self.global_cache is not None:
            return self.global_cache
        return self.topic.centre_id


@dataclass(frozen=True, slots=True)
class Cached:
    """Our copy, as the republished notification describes it."""

    href: str
    length: int
    digest: bytes
    """sha512 of the data; announced only where the publisher announced no checksum."""


def parse(topic: Topic, payload: bytes) -> Notification:
    """Return the notification in `payload`.

    Raises Poison with the reason and the centre, and nothing else, whatever the bytes are.
    """
    try:
        return _parse(topic, payload)
    except Poison as poison:
        poison.centre_id = topic.centre_id
        raise


def _parse(topic: Topic, payload: bytes) -> Notification:
    if len(payload) > MAX_NOTIFICATION_BYTES:
        raise Poison(Reason.OVERSIZE, f"{len(payload)} bytes")
    try:
        message = _message_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Poison(Reason.INVALID_JSON, str(error)[:200]) from error
    # Hardly a message has so many brackets that it could be too deep.
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _depth(message) > MAX_DEPTH:
        raise Poison(Reason.INVALID_JSON, f"deeper than {MAX_DEPTH}")
    if not isinstance(message, dict) or message.get("type") != "Feature":
        raise Poison(Reason.NOT_A_FEATURE)
    _check_envelope(message)
    properties = message.get("properties")
    if not isinstance(properties, dict):
        raise Poison(Reason.INVALID_PROPERTIES)
    _check_datetime(properties)
    rel, link = _decisive_link(message.get("links"))
    content, has_broken_content = _content(properties)
    return Notification(
        topic=topic,
        payload=payload,
        id=_text(message.get("id"), MAX_ID_CHARS, Reason.INVALID_ID),
        data_id=_text(properties.get("data_id"), MAX_DATA_ID_CHARS, Reason.INVALID_DATA_ID),
        pubtime_ns=_pubtime(properties.get("pubtime")),
        rel=rel,
        link=link,
        cache=_cache_flag(properties),
        global_cache=_global_cache(properties),
        metadata_id=_optional_text(properties.get("metadata_id")),
        integrity=_integrity(properties),
        content=content,
        has_broken_content=has_broken_content,
    )


def republish(
    notification: Notification,
    *,
    centre_id: str,
    cached: Cached | None,
    drop_content: bool = False,
) -> tuple[str, bytes]:
    """Return (id, payload) of our notification.

    `cached` None: the links stay as they came (`cache: false`, deletion, override).
    `drop_content`: the inline data failed its check, so nobody shall read it from us.
    Raises Poison(REPUBLISH_OVERSIZE) when no valid notification of 8192 bytes can say it.
    Source: SPEC.md 12, 14, 22 to 24.
    """
    new_id = message_id(centre_id, notification.data_id, notification.pubtime_ns, notification.rel)
    message = _object_decoder.decode(notification.payload)
    properties = _object_decoder.decode(message["properties"])
    message["id"] = _raw(new_id)
    properties["global-cache"] = _raw(centre_id)
    if drop_content:
        properties.pop("content", None)
    adds_integrity = cached is not None and notification.integrity is None
    if cached is not None:
        message["links"] = _rewritten_links(message["links"], cached)
        if adds_integrity:
            properties["integrity"] = _raw(
                {"method": DEFAULT_METHOD, "value": base64.b64encode(cached.digest).decode()}
            )
    payload = _joined(message, properties)
    # Our longer href may push the message over the limit: what costs least goes first, blanks
    # before content, content before the checksum that we added.
    if len(payload) > MAX_NOTIFICATION_BYTES:
        payload = _without_blanks(payload)
    for name in ("content", "integrity") if adds_integrity else ("content",):
        if len(payload) > MAX_NOTIFICATION_BYTES and properties.pop(name, None) is not None:
            payload = _without_blanks(_joined(message, properties))
    if len(payload) > MAX_NOTIFICATION_BYTES:
        raise Poison(Reason.REPUBLISH_OVERSIZE, f"{len(payload)} bytes")
    return new_id, payload


def _joined(message: dict[str, msgspec.Raw], properties: dict[str, msgspec.Raw]) -> bytes:
    message["properties"] = _raw(properties)
    return msgspec.json.encode(message)


def _without_blanks(payload: bytes) -> bytes:
    """Return the same JSON text, spelling of numbers and strings included, on one line."""
    return msgspec.json.format(payload, indent=-1)


def _rewritten_links(raw_links: msgspec.Raw, cached: Cached) -> msgspec.Raw:
    links = _links_decoder.decode(raw_links)
    for link in links:
        if msgspec.json.decode(link["rel"]) in ("canonical", "update"):
            link["href"] = _raw(cached.href)
            # Also where it came as a string: the result is a valid WNM (SPEC.md 23).
            link["length"] = _raw(cached.length)
    return _raw(links)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _depth(message: object) -> int:
    """Return how deep `message` is nested; never recurses itself."""
    depth = 0
    level = [message]
    while level:
        depth += 1
        level = [
            member
            for value in level
            if isinstance(value, dict | list)
            for member in (value.values() if isinstance(value, dict) else value)
            if isinstance(member, dict | list)
        ]
    return depth


def _check_envelope(message: dict[str, Any]) -> None:
    conforms_to, version = message.get("conformsTo"), message.get("version")
    if conforms_to is None and version is None:
        raise Poison(Reason.INVALID_VERSION, "neither conformsTo nor version")
    if conforms_to is not None and not (
        isinstance(conforms_to, list)
        and conforms_to
        and all(isinstance(c, str) for c in conforms_to)
    ):
        raise Poison(Reason.INVALID_VERSION, "conformsTo")
    if version is not None and not isinstance(version, str):
        raise Poison(Reason.INVALID_VERSION, "version")
    geometry = message.get("geometry", msgspec.UNSET)
    if geometry is not None and not (
        isinstance(geometry, dict)
        and isinstance(geometry.get("type"), str)
        and isinstance(geometry.get("coordinates"), list)
    ):
        raise Poison(Reason.INVALID_GEOMETRY)


def _check_datetime(properties: dict[str, Any]) -> None:
    """Demand `datetime` (a time or null), or both ends of a period."""
    if "datetime" in properties:
        if not isinstance(properties["datetime"], str | None):
            raise Poison(Reason.INVALID_DATETIME)
    elif not (
        isinstance(properties.get("start_datetime"), str)
        and isinstance(properties.get("end_datetime"), str)
    ):
        raise Poison(Reason.INVALID_DATETIME, "neither datetime nor start and end")


def _text(value: object, limit: int, reason: Reason) -> str:
    if not isinstance(value, str) or not value or len(value) > limit:
        raise Poison(reason)
    if not value.isprintable() and _UNSAFE.search(value):
        raise Poison(reason, "control characters")
    return value


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _pubtime(value: object) -> int:
    if not isinstance(value, str):
        raise Poison(Reason.INVALID_PUBTIME)
    return parse_pubtime(value)


def _cache_flag(properties: dict[str, Any]) -> bool:
    flag = properties.get("cache", True)
    if not isinstance(flag, bool):
        raise Poison(Reason.INVALID_CACHE_FLAG)
    return flag


def _global_cache(properties: dict[str, Any]) -> str | None:
    name = properties.get("global-cache")
    if name is None:
        return None
    if not isinstance(name, str) or not is_centre_id(name):
        raise Poison(Reason.INVALID_GLOBAL_CACHE)
    return name


def _integrity(properties: dict[str, Any]) -> Integrity | None:
    integrity = properties.get("integrity")
    if integrity is None:
        return None
    if not isinstance(integrity, dict):
        raise Poison(Reason.INVALID_INTEGRITY)
    method, value = integrity.get("method"), integrity.get("value")
    if not isinstance(method, str) or not isinstance(value, str):
        raise Poison(Reason.INVALID_INTEGRITY)
    return parse_integrity(method, value)


def _content(properties: dict[str, Any]) -> tuple[Content | None, bool]:
    """Return the usable inline content, and whether there is an unusable one."""
    if "content" not in properties:
        return None, False
    content = properties["content"]
    if not isinstance(content, dict):
        return None, True
    encoding, value = content.get("encoding"), content.get("value")
    size = _whole_number(content.get("size"))
    if (
        not isinstance(encoding, str)
        or encoding not in _ENCODINGS
        or not isinstance(value, str)
        or len(value) > MAX_CONTENT_CHARS
        or size is None
    ):
        return None, True
    return Content(encoding=cast("Encoding", encoding), value=value, size=size), False


def _decisive_link(links: object) -> tuple[Rel, Link]:
    """Return the one link that decides (SPEC.md 7)."""
    if not isinstance(links, list) or not links:
        raise Poison(Reason.INVALID_LINKS)
    decisive: dict[str, dict[str, Any]] = {}
    for link in links:
        if (
            not isinstance(link, dict)
            or not isinstance(link.get("href"), str)
            or not isinstance(link.get("rel"), str)
        ):
            raise Poison(Reason.INVALID_LINKS)
        if link["rel"] in _DECISIVE:
            decisive.setdefault(link["rel"], link)
    if "deletion" in decisive:
        if len(decisive) > 1:
            raise Poison(Reason.CONTRADICTORY_LINKS)
        return "deletion", _link(decisive["deletion"])
    if "update" in decisive:
        return "update", _link(decisive["update"])
    if "canonical" in decisive:
        return "canonical", _link(decisive["canonical"])
    raise Poison(Reason.NO_DECISIVE_LINK)


def _link(link: dict[str, Any]) -> Link:
    length = None
    if link.get("length") is not None:
        length = _whole_number(link["length"])
        if length is None:
            raise Poison(Reason.INVALID_LINKS, "length")
    return Link(href=link["href"], media_type=_optional_text(link.get("type")), length=length)


def _whole_number(value: object) -> int | None:
    """Return a size in bytes, also where it came as a string (SPEC.md section 10), else None.

    `457.0` is a whole number too: JSON knows no other kind.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:  # noqa: PLR2004 - digits of MAX_LENGTH
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LENGTH:
        return value
    return None
