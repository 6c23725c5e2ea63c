"""The WIS2 Notification Message: parse, validate, rewrite (wis2-rules.md 6, 7, 16 to 19, 22 to 24).

Strangers write these. `parse` returns a value or raises one Poison, in time and memory bounded by
the 8192 bytes of a message. `republish` changes only what is ours to change: it copies the bytes of
all other values.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec

from wis2_gc_common.errors import Poison, Reason, Unannounceable
from wis2_gc_common.wis2.integrity import (
    DEFAULT_METHOD,
    BrokenIntegrity,
    Integrity,
    parse_integrity,
)
from wis2_gc_common.wis2.message_id import message_id
from wis2_gc_common.wis2.pubtime import parse_pubtime
from wis2_gc_common.wis2.security_schemes import is_valid_security
from wis2_gc_common.wis2.topic import Topic, is_centre_id

if TYPE_CHECKING:
    from wis2_gc_common.wis2.decision import Rel

#: Limit of a WNM in bytes, in and out (wis2-rules.md 23).
MAX_NOTIFICATION_BYTES = 8192
#: Limit of `properties.content.value` in characters (wis2-rules.md 16).
MAX_CONTENT_CHARS = 4096
#: Limit of `properties.content.size` in the schema; gzip can expand to more.
MAX_CONTENT_SIZE = 4096
#: Our own limits: no known publisher comes near them.
MAX_DATA_ID_CHARS = 2048
MAX_ID_CHARS = 256
MAX_LENGTH = 2**53
#: Our own limit: a polygon with holes in an extension needs about 10; readers after us must not run
#: out of stack either.
MAX_DEPTH = 64

Encoding = Literal["utf-8", "base64", "gzip"]

_CORE = "http://wis.wmo.int/spec/wnm/1/conf/core"
_VERSION = "v04"
_DECISIVE: dict[str, Rel] = {"canonical": "canonical", "update": "update", "deletion": "deletion"}
#: As old nodes write them, for example `http://def.wmo.int/def/rel/wnm/-/update` (wis2-rules.md 7).
_UPDATE_URI, _DELETION_URI = "/rel/wnm/-/update", "/rel/wnm/-/deletion"
_LINK_TEXTS = frozenset({"href", "rel", "type", "hreflang", "title"})
_Position = Annotated[list[float], msgspec.Meta(min_length=2)]


class _Point(msgspec.Struct):
    coordinates: _Position


class _Polygon(msgspec.Struct):
    coordinates: list[Annotated[list[_Position], msgspec.Meta(min_length=4)]]


_GEOMETRIES: dict[str, type[_Point | _Polygon]] = {"Point": _Point, "Polygon": _Polygon}
_ENCODINGS: frozenset[str] = frozenset({"utf-8", "base64", "gzip"})
#: Control characters, line and paragraph separators, lone surrogates: they break a log line, a
#: terminal or UTF-8. Spaces and letters of any script are allowed.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_message_decoder = msgspec.json.Decoder()
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_links_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


@dataclass(frozen=True, slots=True)
class Link:
    """The deciding link."""

    href: str
    media_type: str | None
    length: int | None
    """Announced size in bytes."""


@dataclass(frozen=True, slots=True)
class Content:
    """Inline data as announced; `wis2_gc_common.wis2.inline` decodes it."""

    encoding: Encoding
    value: str
    size: int


@dataclass(frozen=True, slots=True)
class Notification:
    """A valid WNM."""

    topic: Topic
    payload: bytes
    """As received."""
    id: str
    data_id: str
    pubtime_ns: int
    rel: Rel
    link: Link
    cache: bool
    global_cache: str | None
    """The other cache whose copy is linked, or None for an origin's notification."""
    integrity: Integrity | None
    integrity_problem: str
    """Why no data can pass `properties.integrity`; "" if it is absent or can be checked."""
    content: Content | None
    drops_content: bool
    """`properties.content` does not match the schema: we do not announce it."""
    decisive_hrefs: tuple[str, ...]
    """Of all links that we rewrite when the data is cached, and of deletions."""
    other_hrefs: tuple[str, ...]
    """Of the links that we always announce unchanged."""

    @property
    def source_centre_id(self) -> str:
        """The `centre_id` label of what is downloaded through this notification (wis2-rules.md 17).

        Only a Global Cache publishes on `cache/…`; on `origin/…` anybody can write the property,
        and must not invent centres.
        """
        if self.topic.channel == "cache" and self.global_cache is not None:
            return self.global_cache
        return self.topic.centre_id


@dataclass(frozen=True, slots=True)
class Announcer:
    """Who we are, and what our notifications add to the publisher's (wis2-rules.md 22)."""

    centre_id: str
    secret: bytes = field(repr=False)
    """Secret of this deployment, for message ids (wis2-rules.md 24)."""
    adds_length: bool = True
    """On our link, if the publisher gave none."""
    adds_integrity: bool = False
    """If the publisher gave a size but no checksum: so we are never the only source for what the
    data is."""


@dataclass(frozen=True, slots=True)
class Cached:
    """Our copy, as the republished notification describes it."""

    href: str
    length: int
    digest: bytes
    """Of the data; with `DEFAULT_METHOD` if the publisher announced no checksum."""


def parse(topic: Topic, payload: bytes) -> Notification:
    """Return the notification in `payload`.

    Raises only Poison, with the reason and the centre, for all bytes.
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
    # Almost no message has enough brackets to be too deep.
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _depth(message) > MAX_DEPTH:
        raise Poison(Reason.INVALID_JSON, f"deeper than {MAX_DEPTH}")
    if not isinstance(message, dict) or message.get("type") != "Feature":
        raise Poison(Reason.NOT_A_FEATURE)
    _check_envelope(message)
    properties = message.get("properties")
    if not isinstance(properties, dict):
        raise Poison(Reason.INVALID_PROPERTIES)
    _check_properties(properties)
    rel, link, decisive_hrefs, other_hrefs = _links(message.get("links"))
    cache = _cache_flag(properties)
    integrity, integrity_problem = _integrity(properties, is_checked=cache and rel != "deletion")
    content, drops_content = _content(properties)
    return Notification(
        topic=topic,
        payload=payload,
        id=_text(message.get("id"), MAX_ID_CHARS, Reason.INVALID_ID),
        data_id=_text(properties.get("data_id"), MAX_DATA_ID_CHARS, Reason.INVALID_DATA_ID),
        pubtime_ns=_pubtime(properties.get("pubtime")),
        rel=rel,
        link=_link(link),
        cache=cache,
        global_cache=_global_cache(properties),
        integrity=integrity,
        integrity_problem=integrity_problem,
        content=content,
        drops_content=drops_content,
        decisive_hrefs=tuple(decisive_hrefs),
        other_hrefs=tuple(other_hrefs),
    )


def republish(
    notification: Notification,
    *,
    announcer: Announcer,
    cached: Cached | None,
    drop_content: bool = False,
) -> tuple[str, bytes]:
    """Return (id, payload) of our notification.

    `cached` None: the links do not change (`cache: false`, deletion, override).
    `drop_content`: the inline data failed its check, so we must not pass it on. Repaired for the
    schema: a `length` as text, `version` beside `conformsTo`, unusable content.
    Raises Unannounceable: no valid notification of 8192 bytes can contain it.
    Source: wis2-rules.md 12, 14, 22 to 24.
    """
    new_id = message_id(
        announcer.secret,
        centre_id=announcer.centre_id,
        topic_centre_id=notification.topic.centre_id,
        data_id=notification.data_id,
        pubtime_ns=notification.pubtime_ns,
        rel=notification.rel,
    )
    message = _object_decoder.decode(notification.payload)
    properties = _object_decoder.decode(message["properties"])
    message["id"] = _raw(new_id)
    if "conformsTo" in message:
        # The schema accepts only one of the two.
        message.pop("version", None)
    properties["global-cache"] = _raw(announcer.centre_id)
    if drop_content or notification.drops_content:
        properties.pop("content", None)
    is_measured = notification.link.length is not None or notification.content is not None
    puts_integrity = (
        announcer.adds_integrity
        and cached is not None
        and notification.integrity is None
        and is_measured
        and not drop_content
    )
    # Also if nothing changes: of a duplicate name, only the one that was checked stays.
    message["links"] = _rewritten_links(message["links"], cached, adds_length=announcer.adds_length)
    if cached is not None and puts_integrity:
        properties["integrity"] = _raw(
            {"method": DEFAULT_METHOD, "value": base64.b64encode(cached.digest).decode()}
        )
    payload = _joined(message, properties)
    # Our longer href may exceed the limit: remove the least important first, blanks before content,
    # content before the checksum that we added.
    if len(payload) > MAX_NOTIFICATION_BYTES:
        payload = _without_blanks(payload)
    for name in ("content", "integrity") if puts_integrity else ("content",):
        if len(payload) > MAX_NOTIFICATION_BYTES and properties.pop(name, None) is not None:
            payload = _without_blanks(_joined(message, properties))
    if len(payload) > MAX_NOTIFICATION_BYTES:
        raise Unannounceable(f"{len(payload)} bytes")
    return new_id, payload


def _joined(message: dict[str, msgspec.Raw], properties: dict[str, msgspec.Raw]) -> bytes:
    message["properties"] = _raw(properties)
    return msgspec.json.encode(message)


def _without_blanks(payload: bytes) -> bytes:
    """Return the same JSON text, spelling of numbers and strings included, on one line."""
    return msgspec.json.format(payload, indent=-1)


def _rewritten_links(
    raw_links: msgspec.Raw, cached: Cached | None, *, adds_length: bool
) -> msgspec.Raw:
    links = _links_decoder.decode(raw_links)
    for link in links:
        if cached is not None and _meaning(msgspec.json.decode(link["rel"])):
            link["href"] = _raw(cached.href)
            if adds_length or "length" in link:
                link["length"] = _raw(cached.length)
        elif "length" in link:
            # The result must be a valid WNM (wis2-rules.md 23), even if we change nothing else.
            length = msgspec.json.decode(link["length"])
            if length is None:
                del link["length"]
            elif isinstance(length, str):
                link["length"] = _raw(int(length))
    return _raw(links)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _depth(message: object) -> int:
    """Return how deep `message` is nested; it does not recurse."""
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
    if "conformsTo" in message:
        conforms_to = message["conformsTo"]
        if not isinstance(conforms_to, list) or _CORE not in conforms_to:
            raise Poison(Reason.INVALID_VERSION, f"conformsTo without {_CORE}")
    elif message.get("version") != _VERSION:
        raise Poison(Reason.INVALID_VERSION, f"neither conformsTo nor version {_VERSION}")
    geometry = message.get("geometry", msgspec.UNSET)
    if geometry is None:
        return
    if not isinstance(geometry, dict):
        raise Poison(Reason.INVALID_GEOMETRY, "neither an object nor null")
    kind = geometry.get("type")
    if not isinstance(kind, str) or kind not in _GEOMETRIES:
        raise Poison(Reason.INVALID_GEOMETRY, f"{str(kind)[:32]!r} is not Point or Polygon")
    try:
        msgspec.convert(geometry, _GEOMETRIES[kind])
    except msgspec.ValidationError as error:
        raise Poison(Reason.INVALID_GEOMETRY, str(error)[:200]) from error


def _check_properties(properties: dict[str, Any]) -> None:
    for name in ("metadata_id", "producer"):
        if not isinstance(properties.get(name, ""), str):
            raise Poison(Reason.INVALID_PROPERTIES, f"{name} is not a text")
    for name in ("start_datetime", "end_datetime"):
        if not isinstance(properties.get(name, ""), str):
            raise Poison(Reason.INVALID_DATETIME, f"{name} is not a text")
    moment = properties.get("datetime")
    if moment is not None and not isinstance(moment, str):
        raise Poison(Reason.INVALID_DATETIME, "datetime is neither a text nor null")
    is_period = "start_datetime" in properties and "end_datetime" in properties
    if is_period == ("datetime" in properties):
        both = "both datetime and" if is_period else "neither datetime nor"
        raise Poison(Reason.INVALID_DATETIME, f"{both} start_datetime and end_datetime")


def _text(value: object, limit: int, reason: Reason) -> str:
    if not isinstance(value, str) or not value or len(value) > limit:
        raise Poison(reason)
    if not value.isprintable() and _UNSAFE.search(value):
        raise Poison(reason, "control characters")
    return value


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


def _integrity(properties: dict[str, Any], *, is_checked: bool) -> tuple[Integrity | None, str]:
    """Return the announced checksum, and why no data can pass it.

    `is_checked`: the data will be cached. If not, the checksum must be valid to pass it on.
    """
    if "integrity" not in properties:
        return None, ""
    try:
        return parse_integrity(properties["integrity"]), ""
    except BrokenIntegrity as error:
        if not is_checked and not error.is_valid_form:
            raise Poison(Reason.INVALID_INTEGRITY, str(error)) from error
        return None, str(error)


def _content(properties: dict[str, Any]) -> tuple[Content | None, bool]:
    """Return the usable inline content, and whether there is content that the schema refuses."""
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
    drops = size > MAX_CONTENT_SIZE or isinstance(content["size"], str)
    return Content(encoding=cast("Encoding", encoding), value=value, size=size), drops


def _links(links: object) -> tuple[Rel, dict[str, Any], list[str], list[str]]:
    """Check each link, and find the one that decides (wis2-rules.md 7).

    Returns its meaning, the link itself, the hrefs of all deciding links and of all others.
    """
    if not isinstance(links, list) or not links:
        raise Poison(Reason.INVALID_LINKS, "there are no links")
    first: dict[Rel, dict[str, Any]] = {}
    decisive_hrefs, other_hrefs = [], []
    for link in links:
        _check_link(link)
        meaning = _meaning(link["rel"])
        if meaning is None:
            other_hrefs.append(link["href"])
        else:
            decisive_hrefs.append(link["href"])
            first.setdefault(meaning, link)
    rel = _decision(first)
    return rel, first[rel], decisive_hrefs, other_hrefs


def _check_link(link: object) -> None:
    """Check that all members that the schema knows have its types, or can be repaired."""
    if not isinstance(link, dict):
        raise Poison(Reason.INVALID_LINKS, "a link is not an object")
    if not isinstance(link.get("href"), str) or not isinstance(link.get("rel"), str):
        raise Poison(Reason.INVALID_LINKS, "a link without href or rel")
    for name, value in link.items():
        if name in _LINK_TEXTS:
            if not isinstance(value, str):
                raise Poison(Reason.INVALID_LINKS, f"{name} is not a text")
        elif name == "length":
            if not _is_length(value):
                raise Poison(Reason.INVALID_LINKS, "length is not a whole number")
        elif name == "security" and not is_valid_security(value):
            raise Poison(Reason.INVALID_LINKS, "security is not of its form")


def _is_length(value: object) -> bool:
    """Whether the schema accepts it, or we can repair it."""
    if isinstance(value, str):
        return _whole_number(value) is not None
    if isinstance(value, float):
        return value.is_integer()
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _meaning(rel: str) -> Rel | None:
    """Return what a link's `rel` decides, None for links that decide nothing (wis2-rules.md 7)."""
    known = _DECISIVE.get(rel)
    if known is not None or "/" not in rel:
        return known
    if rel.endswith(_UPDATE_URI):
        return "update"
    return "deletion" if rel.endswith(_DELETION_URI) else None


def _decision(first: dict[Rel, dict[str, Any]]) -> Rel:
    """Return which of the deciding links counts; `first`: the first one of each kind."""
    if "deletion" in first:
        others = first.keys() - {"deletion"}
        # Old nodes, which write URIs, also send a canonical link.
        if others == {"canonical"} and first["deletion"]["rel"] != "deletion":
            others = set()
        if others:
            raise Poison(Reason.CONTRADICTORY_LINKS)
        return "deletion"
    if "update" in first:
        return "update"
    if "canonical" in first:
        return "canonical"
    raise Poison(Reason.NO_DECISIVE_LINK)


def _link(link: dict[str, Any]) -> Link:
    length = None
    if link.get("length") is not None:
        length = _whole_number(link["length"])
        if length is None:
            raise Poison(Reason.INVALID_LINKS, "length is not a whole number")
    return Link(href=link["href"], media_type=link.get("type"), length=length)


def _whole_number(value: object) -> int | None:
    """Return a size in bytes, also from a string (wis2-rules.md W1), else None.

    `457.0` is a whole number too: JSON has only one kind of number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:  # noqa: PLR2004 - digits of MAX_LENGTH
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LENGTH:
        return value
    return None
