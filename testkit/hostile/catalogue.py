"""What a hostile input is, what is to become of it, and the kinds there are.

A kind is a function that yields inputs; its name says in plain words what they are:

    @messages
    def payloads_that_are_not_json(place: Place) -> Iterator[Message]:
        yield place.payload("a number that JSON does not know", b"NaN", refused("invalid_json"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from testkit.messages.wnm import unique_data_id, wnm

if TYPE_CHECKING:
    from testkit.hostile.servers import HostileServers

#: A key such as links carry in their query or before the host: never in a log, label or event.
URL_KEY = "KEY7f3aIN5eURL9c21"
#: Of the one who attacks; each kind has a centre of its own.
_CENTRE = "xx-evil"


@dataclass(frozen=True)
class Outcome:
    """What becomes of one notification; all numbers are exact."""

    listener: str = ""
    """Dropped by the listener: the reason under `wis2_gc_notifications_dropped_total`."""
    manager: str = ""
    """Dropped by a manager: the reason under `wis2_gc_items_dropped_total`."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """By how much the WMO's counters of the centre grow."""
    failures: frozenset[str] = frozenset()
    """One of these, or more often one, under `wis2_gc_source_failures_total`."""
    data: bytes | None = None
    """Announced once, with a copy of ours that is exactly this."""
    untouched: bool = False
    """Announced once, with the links as they came."""


def refused(reason: str) -> Outcome:
    """Return what a listener does: it drops it, and counts why."""
    return Outcome(listener=reason)


def poison(reason: str) -> Outcome:
    """Return what a manager does: it drops it, and counts why."""
    return Outcome(manager=reason)


def failed(*reasons: str) -> Outcome:
    """Return what becomes of a source that has no data for us."""
    return Outcome(counters={"downloaded_errors_total": 1}, failures=frozenset(reasons))


def wrong() -> Outcome:
    """Return what becomes of data that is not what the notification announces."""
    return Outcome(
        counters={"integrity_failed_total": 1},
        failures=frozenset({"integrity", "invalid_integrity"}),
    )


def cached(data: bytes) -> Outcome:
    """Return what becomes of an item that is odd, and harmless."""
    return Outcome(counters={"downloaded_total": 1}, data=data)


def too_large() -> Outcome:
    """Return what becomes of data that we decide not to cache (wis2-rules.md 13)."""
    return Outcome(counters={"cache_override_total": 1}, untouched=True)


def uncached() -> Outcome:
    """Return what becomes of `cache: false` (wis2-rules.md 12)."""
    return Outcome(counters={"no_cache_total": 1}, untouched=True)


def deleted() -> Outcome:
    """Return what becomes of a deletion (wis2-rules.md 14)."""
    return Outcome(untouched=True)


@dataclass(frozen=True)
class Message:
    """A message on a Global Broker."""

    name: str
    topic: str
    payload: bytes
    outcome: Outcome
    data_id: str = ""
    """Of the item that is announced, if one is."""
    after: bool = False
    """Only when those before it are decided."""


@dataclass(frozen=True)
class Delivery:
    """A message as a Global Broker of no good writes it to us (MQTT 5, QoS 1)."""

    name: str
    raw_topic: bytes
    payload: bytes
    outcome: Outcome
    data_id: str = ""
    is_retained: bool = False
    properties: bytes = b""
    after = False

    @property
    def topic(self) -> str:
        return self.raw_topic.decode("utf-8", "surrogateescape")

    def packet(self, packet_id: int) -> bytes:
        body = len(self.raw_topic).to_bytes(2) + self.raw_topic + packet_id.to_bytes(2)
        body += bytes([len(self.properties)]) + self.properties + self.payload
        return bytes([0x32 | self.is_retained]) + mqtt_length(len(body)) + body


def mqtt_length(number: int) -> bytes:
    """Return a length as MQTT writes it."""
    encoded = b""
    while True:
        number, low = divmod(number, 128)
        encoded += bytes([low | 128 if number else low])
        if not number:
            return encoded


class Place:
    """Where a kind attacks from: a centre and servers; and what it attacks."""

    def __init__(self, kind: str, number: int, servers: HostileServers, inner_port: int) -> None:
        self.kind = kind
        self.centre = f"{_CENTRE}-{number}"
        self.topic = f"origin/a/wis2/{self.centre}/data/core/weather"
        self.servers = servers
        self.inner_port = inner_port
        """Where nobody may connect to, at 127.0.0.2 and at ::1."""

    def data_id(self, name: str = "evil") -> str:
        return unique_data_id(name)

    def payload(self, name: str, payload: bytes, outcome: Outcome, *, topic: str = "") -> Message:
        return Message(name, topic or self.topic, payload, outcome)

    def item(
        self,
        name: str,
        outcome: Outcome,
        *,
        topic: str = "",
        data_id: str = "",
        text: Callable[[bytes], bytes] = bytes,
        members: Mapping[str, Any] | None = None,
        after: bool = False,
        **properties: Any,
    ) -> Message:
        """Return a notification; `text` changes its bytes, `members` those of the whole."""
        data_id = data_id or self.data_id()
        message = wnm(data_id=data_id, **properties) | dict(members or {})
        announced = message["properties"]
        if isinstance(announced, dict) and isinstance(announced.get("data_id"), str):
            data_id = announced["data_id"]
        payload = text(json.dumps(message).encode())
        return Message(name, topic or self.topic, payload, outcome, data_id, after)

    def link(self, href: str, outcome: Outcome, name: str = "", **properties: Any) -> Message:
        """Return a notification whose data is at `href`."""
        return self.item(name or href[:120], outcome, href=href, **properties)


Kinds = dict[str, Callable[..., Iterable[Any]]]

#: By name, in the order they are written down: what comes over a Global Broker, with it what the
#: links lead to; what an MQTT client does to our broker; what an HTTP client asks.
MESSAGES: Kinds = {}
CLIENTS: Kinds = {}
REQUESTS: Kinds = {}


def _into(kinds: Kinds) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Iterator[Any]]]:
    def add(make: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        name = make.__name__.replace("_", " ")
        assert name not in kinds
        kinds[name] = make
        return make

    return add


messages, clients, requests = _into(MESSAGES), _into(CLIENTS), _into(REQUESTS)
