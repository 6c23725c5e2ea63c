from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.event_format import DEFAULT_FAILURE_SUBTYPE, DEFAULT_SCHEMA, DEFAULT_TYPE
from wis2_gc_common.wis2.monitoring_event import (
    MAX_EVENT_BYTES,
    EventLimiter,
    monitoring_event,
)

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def event(**changes: Any) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = {
        "event_id": "6e1c7f9f-dd6c-48d9-bbc4-aef0625f1fb8",
        "at": AT,
        "source": "xx-test-global-cache",
        "subject": "ca-eccc-msc",
        "event_type": DEFAULT_TYPE,
        "subtype": DEFAULT_FAILURE_SUBTYPE,
        "dataschema": DEFAULT_SCHEMA,
        "severity": "ERROR",
        "title": "Cannot download",
        "description": "404",
        "channel": "origin/a/wis2/ca-eccc-msc/data/core/weather/x",
        "interval": (AT - timedelta(seconds=10), AT),
    }
    topic, payload = monitoring_event(**(arguments | changes))
    assert len(payload) <= MAX_EVENT_BYTES
    return topic, json.loads(payload)


def test_an_event_says_what_the_standard_asks_for() -> None:
    topic, body = event()
    assert topic == "monitor/a/wis2/ca-eccc-msc"
    schema = body.pop("dataschema")
    assert schema.startswith("https://")
    assert body == {
        "id": "6e1c7f9f-dd6c-48d9-bbc4-aef0625f1fb8",
        "specversion": "1.0",
        "type": "int.wmo.wis.wme.event",
        "source": "xx-test-global-cache",
        "subject": "ca-eccc-msc",
        "time": "2026-03-01T12:00:00.250Z",
        "datacontenttype": "application/json",
        "data": {
            "conformsTo": ["http://wis.wmo.int/spec/wme/1/conf/monitoring-event-message-core"],
            "subtype": "gc-error",
            "severity": "ERROR",
            "channel": "origin/a/wis2/ca-eccc-msc/data/core/weather/x",
            "time": {"interval": ["2026-03-01T11:59:50.250Z", "2026-03-01T12:00:00.250Z"]},
            "content": {"title": "Cannot download", "description": "404"},
        },
    }


def test_an_event_names_itself_as_it_is_told_to() -> None:
    names = {
        "event_type": "int.wmo.wis.wme.event.item.cache",
        "subtype": "not-cached",
        "dataschema": "https://schemas.wmo.int/wme/2/event.json",
    }
    _, body = event(**names)
    found = (body["type"], body["data"]["subtype"], body["dataschema"])
    assert found == tuple(names.values())


def test_times_are_written_in_utc() -> None:
    _, body = event(at=AT.astimezone(timezone(timedelta(hours=5))))
    assert body["time"] == "2026-03-01T12:00:00.250Z"


@pytest.mark.parametrize("subject", ["", "#", "a/b", "Ca-Eccc", "+", "ca-eccc-msc\n"])
def test_an_event_about_no_centre_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="centre-id"):
        event(subject=subject)


@pytest.mark.parametrize("character", ["x", '"', "\\", "é", "🌧", "\u00a0", "\x00", "\ud800"])
def test_a_long_description_is_cut_so_that_the_event_fits_and_is_well_filled(
    character: str,
) -> None:
    _, body = event(description=character * 20_000)
    description = body["data"]["content"]["description"]
    assert description.endswith("…")
    size = len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
    assert MAX_EVENT_BYTES - 8 < size <= MAX_EVENT_BYTES


def test_a_description_that_just_fits_is_not_cut() -> None:
    _, body = event(description="")
    room = MAX_EVENT_BYTES - len(json.dumps(body, separators=(",", ":")))
    _, body = event(description="x" * room)
    assert body["data"]["content"]["description"] == "x" * room


@given(
    title=st.text(st.characters(), max_size=400),
    description=st.text(st.characters(), max_size=400),
    channel=st.text(st.characters(), max_size=1100),
)
def test_with_every_text_of_strangers_the_event_is_short_valid_and_one_line(
    title: str, description: str, channel: str
) -> None:
    _, body = event(title=title, description=description, channel=channel)
    content = body["data"]["content"]
    for text in (content["title"], content["description"], body["data"]["channel"]):
        assert text.isprintable()


def test_of_many_failures_of_one_centre_one_a_minute_is_admitted() -> None:
    limiter = EventLimiter()
    admitted = [second for second in range(180) if limiter.admit("ca-eccc-msc", float(second))]
    assert admitted == [0, 60, 120]


def test_one_noisy_centre_does_not_silence_another() -> None:
    limiter = EventLimiter()
    assert limiter.admit("ca-eccc-msc", 0.0)
    assert limiter.admit("fr-meteofrance", 1.0)


def test_the_limiter_remembers_a_bounded_number_of_centres() -> None:
    limiter = EventLimiter(max_centres=2)
    for number in range(3):
        assert limiter.admit(f"centre-{number}", 0.0)
    assert limiter.admit("centre-0", 1.0), "forgotten: it was admitted longest ago"
    assert not limiter.admit("centre-2", 1.0)
