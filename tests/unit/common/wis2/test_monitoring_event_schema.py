"""Our monitoring events against the WMO's schema, and against its own examples."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from testkit.messages.samples import sample_json
from wis2_gc_common.wis2.event_format import EventFormat
from wis2_gc_common.wis2.monitoring_event import Severity, monitoring_event

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
NAMES = EventFormat()


def problems_of(event: dict[str, Any]) -> list[str]:
    schema = sample_json("wis2-event-message-bundled.json")
    checker = jsonschema.FormatChecker()
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    return [error.message for error in validator.iter_errors(event)]


def ours(subtype: str, severity: Severity) -> dict[str, Any]:
    _, payload = monitoring_event(
        event_id="6e1c7f9f-dd6c-48d9-bbc4-aef0625f1fb8",
        at=AT,
        source="xx-test-global-cache",
        subject="ca-eccc-msc",
        event_type=NAMES.failure_type,
        subtype=subtype,
        dataschema=NAMES.dataschema,
        severity=severity,
        title="Download failed",
        description="404",
        channel="origin/a/wis2/x",
        interval=(AT, AT),
    )
    event: dict[str, Any] = json.loads(payload)
    return event


FAILURE: tuple[str, Severity] = (NAMES.failure_subtype, "ERROR")
OVERRIDE: tuple[str, Severity] = (NAMES.override_subtype, "WARNING")


@pytest.mark.parametrize(("subtype", "severity"), [FAILURE, OVERRIDE])
def test_our_events_are_valid(subtype: str, severity: Severity) -> None:
    assert problems_of(ours(subtype, severity)) == []


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion", "time", "data"])
def test_the_schema_is_one_that_refuses(name: str) -> None:
    event = ours(*FAILURE)
    del event[name]
    assert problems_of(event)


@pytest.mark.parametrize(
    ("sample", "subtype", "severity"),
    [
        ("events/wmem-gc-404-report.json", *FAILURE),
        ("events/wmem-gc-alert-report.json", *OVERRIDE),
    ],
)
def test_our_events_have_the_shape_of_the_examples(
    sample: str, subtype: str, severity: Severity
) -> None:
    example = sample_json(sample)
    event = ours(subtype, severity)
    assert example["data"]["subtype"] == subtype
    assert problems_of(example) == []
    for name in ("specversion", "type", "datacontenttype"):
        assert event[name] == example[name]
    assert event.keys() == example.keys()
    # Ours also say on which channel, and when.
    assert event["data"].keys() == example["data"].keys() | {"channel", "time"}
    assert event["data"]["conformsTo"] == example["data"]["conformsTo"]
    assert example["data"]["content"].keys() <= event["data"]["content"].keys()
