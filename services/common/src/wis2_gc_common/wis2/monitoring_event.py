"""WIS2 monitoring events: their content, and how often we may send one (wis2-rules.md E1, E2).

Pure: ids and times are passed in, nothing is published here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec

from wis2_gc_common.wis2.event_format import MAX_TITLE_CHARS
from wis2_gc_common.wis2.topic import BASE, is_centre_id

#: Limit of a monitoring event in bytes (wis2-rules.md E2).
MAX_EVENT_BYTES = 8192

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_CONFORMS_TO = "http://wis.wmo.int/spec/wme/1/conf/monitoring-event-message-core"
_MAX_CHANNEL_CHARS = 1024
_CUT = "…"


def monitoring_event(
    *,
    event_id: str,
    at: datetime,
    source: str,
    subject: str,
    event_type: str,
    subtype: str,
    dataschema: str,
    severity: Severity,
    title: str,
    description: str,
    channel: str,
    interval: tuple[datetime, datetime],
) -> tuple[str, bytes]:
    """Return (topic, payload) of one event, the payload at most 8192 bytes.

    `event_id`: a UUID. `at` and `interval` (begin and end of what happened): aware times.
    `event_type`, `subtype` and `dataschema`: from the settings (`EventFormat`).
    `source`: our centre-id; `subject`: the centre concerned. `channel`: the notification's topic.
    `title` and `description` may quote strangers: control characters become spaces, and texts that
    are too long are cut, the description as far as necessary.
    Raises ValueError: `subject` is not a centre-id, so the topic could be anything.
    """
    if not is_centre_id(subject):
        raise ValueError(f"no centre-id: {subject[:64]!r}")
    content = {"title": _cut(_printable(title), MAX_TITLE_CHARS), "description": ""}
    event = {
        "id": event_id,
        "specversion": "1.0",
        "type": event_type,
        "source": source,
        "subject": subject,
        "time": _rfc3339(at),
        "datacontenttype": "application/json",
        "dataschema": dataschema,
        "data": {
            "conformsTo": [_CONFORMS_TO],
            "subtype": subtype,
            "severity": severity,
            "channel": _printable(channel)[:_MAX_CHANNEL_CHARS],
            "time": {"interval": [_rfc3339(moment) for moment in interval]},
            "content": content,
        },
    }
    room = MAX_EVENT_BYTES - len(msgspec.json.encode(event))
    content["description"] = _fitting(_printable(description), room)
    return f"monitor/{BASE}/{subject}", msgspec.json.encode(event)


@dataclass(kw_only=True, slots=True, eq=False)
class EventLimiter:
    """Admits one event per centre and `interval_s` seconds in this process; never for overrides.

    Overrides are mandatory (wis2-rules.md 13): do not ask here for them. It remembers at most
    `max_centres` centres and forgets those admitted longest ago first.
    """

    interval_s: float = 60.0
    max_centres: int = 4096
    _admitted_s: OrderedDict[str, float] = field(default_factory=OrderedDict, init=False)

    def admit(self, centre_id: str, now_s: float) -> bool:
        """Return whether an event about `centre_id` may be sent at `now_s` (a monotonic clock)."""
        last_s = self._admitted_s.get(centre_id)
        if last_s is not None and now_s - last_s < self.interval_s:
            return False
        self._admitted_s[centre_id] = now_s
        self._admitted_s.move_to_end(centre_id)
        if len(self._admitted_s) > self.max_centres:
            self._admitted_s.popitem(last=False)
        return True


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """Return `text` on one line, without control characters and lone surrogates."""
    return "".join(char if char.isprintable() else " " for char in text)


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - len(_CUT)] + _CUT


def _fitting(text: str, max_bytes: int) -> str:
    """Return as much of `text` as fits `max_bytes` in JSON, escapes included."""
    text = _cut(text, max_bytes + 1)  # a character takes at least a byte

    def encoded_bytes(chars: int) -> int:
        return len(msgspec.json.encode(_cut(text, chars))) - len('""')

    if encoded_bytes(len(text)) <= max_bytes:
        return text
    longest = bisect_right(range(1, len(text)), max_bytes, key=encoded_bytes)
    return _cut(text, longest)
