"""Notifications of the shapes that publishers and other caches send, written by us.

Real ones are not part of this project: see `testkit.messages.samples`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from testkit.messages.samples import samples
from testkit.messages.wnm import inline

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]

_DATA = b"BUFR 7777"
_CORE = "http://wis.wmo.int/spec/wnm/1/conf/core"
_SHA512 = {
    "method": "sha512",
    "value": base64.b64encode(hashlib.sha512(_DATA).digest()).decode(),
}
_HEX = {"method": "sha256", "value": hashlib.sha256(_DATA).hexdigest()}
_VIA = {
    "rel": "via",
    "type": "text/html",
    "href": "https://oscar.example.org/surface/#/search/station/0-20000-0-1",
}


def _message(
    properties: Message, links: list[Message], *, geometry: Any = None, **members: Any
) -> Message:
    return {
        "id": "adeb7de7-7712-4f70-8871-7c5b0302c4f1",
        "type": "Feature",
        "conformsTo": [_CORE],
        "geometry": geometry,
        "properties": properties,
        "links": links,
        **members,
    }


def _link(rel: str = "canonical", **members: Any) -> Message:
    href = "https://wis2.example.org/data/2026-08-11/wis/urn:wmo:md:xx-met:synop/A_1.bufr4"
    return {"rel": rel, "type": "application/bufr", "href": href, **members}


_STATION = {"type": "Point", "coordinates": [34.75, -0.1, 1157]}
_AREA = {
    "type": "Polygon",
    "coordinates": [[[46.2, -3.7], [56.3, -3.7], [56.3, -10.2], [46.2, -3.7]]],
}
_SYNOP = {
    "data_id": "xx-met:synop/WIGOS_0-20000-0-1_20260811T100000",
    "datetime": "2026-08-11T10:00:00Z",
    "pubtime": "2026-08-11T10:45:48Z",
    "integrity": _SHA512,
    "metadata_id": "urn:wmo:md:xx-met:synop",
    "content": inline(_DATA),
    "wigos_station_identifier": "0-20000-0-1",
}
_SYNOP_TOPIC = "a/wis2/xx-met/data/core/weather/surface-based-observations/synop"

#: (topic, message), by name.
SHAPES: dict[str, tuple[str, Message]] = {
    "wis2box": (
        f"origin/{_SYNOP_TOPIC}",
        _message(_SYNOP, [_link(length=9), _VIA], geometry=_STATION, generated_by="wis2box 1.3.0"),
    ),
    "wis2box, as other caches announce it": (
        f"cache/{_SYNOP_TOPIC}",
        _message(
            _SYNOP | {"global-cache": "yy-other-global-cache"},
            [_link(length=9), _VIA],
            geometry=_STATION,
            generated_by="wis2box 1.3.0",
        ),
    ),
    "update only": (
        f"origin/{_SYNOP_TOPIC}", _message(_SYNOP, [_link("update", length=9)], geometry=_STATION)
    ),
    "in the list of a node": (
        f"origin/{_SYNOP_TOPIC}",
        _message(_SYNOP | {"id": "adeb7de7-7712-4f70-8871-7c5b0302c4f1"}, [_link(length=9), _VIA]),
    ),
    "discovery metadata": (
        "origin/a/wis2/xx-met/metadata",
        _message(
            {
                "data_id": "xx-met/metadata/urn:wmo:md:xx-met:synop",
                "datetime": "2024-09-20T14:16:16Z",
                "pubtime": "2026-08-12T15:00:00Z",
                "content": inline(b"{}"),
            },
            [_link(type="application/geo+json")],
            geometry=_AREA,
        ),
    ),
    "GTS gateway": (
        "origin/a/wis2/xx-met-gts-to-wis2/data/core/I/S/A/I/01/SBBR",
        _message(
            {
                "data_id": "ISAI01_SBBR_111000",
                "datetime": None,
                "pubtime": "2026-08-11T10:45:48.314854383Z",
                "gts": {"ttaaii": "ISAI01", "cccc": "SBBR"},
            },
            [_link(length="9")],
        ),
    ),
    "not to be cached": (
        f"origin/{_SYNOP_TOPIC}",
        _message(
            {
                "data_id": "urn:wmo:md:xx-met:grib--20260811T06Z a%20b.grib2",
                "start_datetime": "2026-08-11T06:00:00Z",
                "end_datetime": "2026-08-11T12:00:00Z",
                "pubtime": "2026-08-11T10:38:02+00:00",
                "integrity": _HEX,
                "producer": "xx-met",
                "cache": False,
            },
            [_link(type="application/grib", length=19104626)],
        ),
    ),
    "old node": (
        f"origin/{_SYNOP_TOPIC}",
        {
            name: value
            for name, value in _message(
                _SYNOP,
                [_link(), _link("http://def.wmo.int/def/rel/wnm/-/update", length="9")],
                version="v04",
            ).items()
            if name != "conformsTo"
        },
    ),
    "deletion": (
        f"origin/{_SYNOP_TOPIC}",
        _message(
            {name: value for name, value in _SYNOP.items() if name not in ("content", "integrity")},
            [_link("deletion")],
        ),
    ),
    "with all that the schema knows of links": (
        f"origin/{_SYNOP_TOPIC}",
        _message(
            _SYNOP,
            [
                _link(
                    length=9, hreflang="en", title="The item",
                    security={
                        "key": {"type": "apiKey", "name": "k", "in": "query", "x-y": 1},
                        "plain": {"type": "http", "scheme": "basic", "description": "d"},
                        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                        "id": {"type": "openIdConnect", "openIdConnectUrl": "https://example.org"},
                        "other": {"$ref": "#/x"},
                        "flows": {"type": "oauth2", "flows": {
                            "implicit": {"authorizationUrl": "/", "scopes": {"a": "b"}},
                            "password": {"tokenUrl": "https://example.org/", "refreshUrl": "/"},
                            "clientCredentials": {"tokenUrl": "https://example.org/"},
                            "authorizationCode": {"authorizationUrl": "/", "tokenUrl": "/"},
                        }},
                    },
                )
            ],
        ),
    ),
}  # fmt: skip


def real_messages() -> Iterator[tuple[str, Message]]:
    """Yield (topic, message) of the samples; skips the test where there are none."""
    for line in (
        samples("captured/global_broker_notifications.jsonl").read_text("utf-8").splitlines()
    ):
        captured = json.loads(line)
        yield captured["topic"], captured["payload"]
    for path in samples("captured").glob("node_messages_*.json"):
        centre_id = path.stem.removeprefix("node_messages_").replace("_", "-")
        for feature in json.loads(path.read_text("utf-8"))["features"]:
            yield f"origin/a/wis2/{centre_id}/data/core/weather/synop", feature
    for path in samples("notifications").glob("*.json"):
        yield f"origin/{_SYNOP_TOPIC}", json.loads(path.read_text("utf-8"))
