"""Notifications for tests: valid unless a test says otherwise."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import uuid
from datetime import UTC, datetime
from typing import Any

_numbers = itertools.count(1)

ABSENT: Any = object()


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def integrity_of(
    data: bytes, method: str = "sha512", *, spelling: str = "base64"
) -> dict[str, str]:
    digest = hashlib.new(method.replace("sha3-", "sha3_"), data)
    value = digest.hexdigest() if spelling == "hex" else base64.b64encode(digest.digest()).decode()
    return {"method": method, "value": value}


def unique_data_id(stem: str = "item") -> str:
    return f"wis2/test/{stem}/{next(_numbers)}-{uuid.uuid4().hex[:8]}"


def wnm(
    *,
    data_id: str,
    href: str = "http://127.0.0.1:9009/nothing",
    rel: str = "canonical",
    pubtime: str | None = None,
    message_id: str | None = None,
    length: Any = ABSENT,
    media_type: Any = "application/bufr",
    links: list[dict[str, Any]] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """Return a notification as a dict; further keywords become `properties` (`_` reads `-`)."""
    link: dict[str, Any] = {"href": href, "rel": rel}
    if media_type is not ABSENT:
        link["type"] = media_type
    if length is not ABSENT:
        link["length"] = length
    return {
        "id": message_id or str(uuid.uuid4()),
        "conformsTo": ["http://wis.wmo.int/spec/wnm/1/conf/core"],
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [6.146255, 46.223296]},
        "properties": {
            "data_id": data_id,
            "pubtime": pubtime or utc_now(),
            "datetime": "2026-11-23T12:00:00Z",
            **{name.replace("_", "-"): value for name, value in properties.items()
               if name == "global_cache"},
            **{name: value for name, value in properties.items() if name != "global_cache"},
        },
        "links": links if links is not None else [link],
    }  # fmt: skip


def encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def inline(data: bytes, *, encoding: str = "base64", size: int | None = None) -> dict[str, Any]:
    """Return `properties.content` that holds `data`."""
    if encoding == "utf-8":
        value = data.decode()
    elif encoding == "gzip":
        import gzip

        value = base64.b64encode(gzip.compress(data)).decode()
    else:
        value = base64.b64encode(data).decode()
    return {"encoding": encoding, "value": value, "size": len(data) if size is None else size}
