"""One item, and what managers say to the registry about it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.ports.registry import Claimed, Commit, ItemKey, Lease, Notice
from wis2_gc_common.wis2.object_key import hour_folder

if TYPE_CHECKING:
    from wis2_gc_common.ports.registry import Registry

CENTRE = "ca-eccc-msc"
HOST = "dd.weather.gc.ca"
P1 = 1_764_000_000_123_456_789
KEY = "2026-11-23/22/ca-eccc-msc/data/core/weather/0123456789ab/" + "f" * 93
FAR = 253_402_300_799 * 10**9
"""The end of the year 9999."""
ITEM = ItemKey(CENTRE, "wis2/item")
FIRST = Notice("wis2/item", P1, "canonical", CENTRE, "id-1")
SLOW, GONE = Cause(Reason.TIMEOUT, "5 s"), Cause(Reason.NOT_FOUND, "404")
LONG = Cause(Reason.UNEXPECTED, "x" * 500)
CACHED = Commit("cached", CENTRE, False, HOST, KEY, 85_000, 1.5)


async def claim(
    registry: Registry,
    notice: Notice,
    *,
    owner: str = "",
    worker: str = "worker-1",
    attempt: int | None = None,
    source: bytes = b"source",
) -> Claimed:
    return await registry.claim(
        notice,
        owner=owner or f"owner of {notice.message_id}",
        worker=worker,
        attempt=random.getrandbits(63) if attempt is None else attempt,
        source=source,
    )


async def granted(registry: Registry, notice: Notice, **options: Any) -> Lease:
    claimed = await claim(registry, notice, **options)
    assert claimed.lease is not None
    return claimed.lease


def another(message_id: str, *, pubtime_ns: int = P1, **changes: Any) -> Notice:
    return replace(FIRST, message_id=message_id, pubtime_ns=pubtime_ns, **changes)


def hour_now() -> str:
    return hour_folder(datetime.now(UTC))
