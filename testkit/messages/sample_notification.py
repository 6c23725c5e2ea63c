"""One valid notification, the same every time, and ways to change it."""

from __future__ import annotations

import json
from typing import Any

from wis2_gc_common.wis2.topic import parse_topic

TOPIC = parse_topic("origin/a/wis2/ca-eccc-msc/data/core/weather/surface-based-observations/synop")

#: Take this member out.
ABSENT: Any = object()


def sample(
    *, properties: dict[str, Any] | None = None, link: dict[str, Any] | None = None, **members: Any
) -> dict[str, Any]:
    """Return a valid notification with these members changed, added, or taken out."""
    return _changed(
        {
            "id": "31e9d66a-cd83-4174-9429-b932f1abe1be",
            "conformsTo": ["http://wis.wmo.int/spec/wnm/1/conf/core"],
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [6.146255135536194, 46.223296618227444]},
            "properties": _changed(
                {
                    "data_id": "ca-eccc-msc/synop/CWAO_200445.bufr4",
                    "pubtime": "2026-03-20T04:50:18.314854383Z",
                    "datetime": "2026-03-20T04:45:00Z",
                    "metadata_id": "urn:wmo:md:ca-eccc-msc:synop",
                },
                properties or {},
            ),
            "links": [
                _changed(
                    {
                        "href": "https://example.org/data/CWAO_200445.bufr4",
                        "rel": "canonical",
                        "type": "application/bufr",
                    },
                    link or {},
                )
            ],
        },
        members,
    )


def sample_bytes(**changes: Any) -> bytes:
    """Return `sample(…)` as JSON."""
    return json.dumps(sample(**changes), ensure_ascii=False).encode()


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (base | changes).items() if value is not ABSENT}
