"""The type and schema of our monitoring events (wis2-rules.md E3): a draft, so they are settings.

Separate from the events, because the deploy tool reads the settings without the events' encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Our own limit: a title is one line.
MAX_TITLE_CHARS = 250

#: The format is a draft: these are the values of its main branch in 2026, the settings' defaults.
DEFAULT_TYPE = "int.wmo.wis.wme.event"
DEFAULT_FAILURE_SUBTYPE = "gc-error"
DEFAULT_OVERRIDE_SUBTYPE = "gc-alert"
DEFAULT_SCHEMA = "https://schemas.wmo.int/wme/1.0.0/schemas/wis2-event-message-bundled.json"
DEFAULT_OVERRIDE_TITLE = "Data item not cached"


@dataclass(frozen=True, slots=True)
class EventFormat:
    """Type and schema of our events: fields of CloudEvents and of the WIS2 draft."""

    failure_type: str = DEFAULT_TYPE
    failure_subtype: str = DEFAULT_FAILURE_SUBTYPE
    override_type: str = DEFAULT_TYPE
    override_subtype: str = DEFAULT_OVERRIDE_SUBTYPE
    override_title: str = DEFAULT_OVERRIDE_TITLE
    dataschema: str = DEFAULT_SCHEMA
