"""What the made-up centres publish: data items, their notifications, and what must come of them.

Pure, but for the chance that is handed in: the same seed gives the same world, but for the times
and the notifications' ids. Those are never given twice: a second run on the same state would else
repeat the ids of the first, and the cache would rightly drop them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from local.world.centres import CENTRES, OTHER_CACHE_ID, Centre
from local.world.data import MEDIA_TYPES, DataName, make_data
from local.world.mix import Fault, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from local.world.mix import Mix

_CONFORMS_TO = ["http://wis.wmo.int/spec/wnm/1/conf/core"]
_WEATHER = "data/core/weather"
_TOPICS = {
    Kind.INLINE: f"{_WEATHER}/surface-based-observations/synop",
    Kind.LINKED: f"{_WEATHER}/surface-based-observations/temp",
    Kind.WARNING: f"{_WEATHER}/advisories-warnings",
    Kind.MODEL: f"{_WEATHER}/prediction/forecast/medium-range/deterministic/global",
    Kind.METADATA: "metadata",
    Kind.UNCACHED: f"{_WEATHER}/surface-based-observations/synop",
    Kind.RECOMMENDED: "data/recommended/weather/surface-based-observations/synop",
}
_FORMATS = {Kind.MODEL: "grib2", Kind.WARNING: "xml", Kind.METADATA: "json"}
_SIZES = {
    Kind.INLINE: (180, 1200),
    Kind.LINKED: (2_000, 60_000),
    Kind.WARNING: (900, 2_400),
    Kind.MODEL: (2_000_000, 8_000_000),
    Kind.METADATA: (1_200, 4_000),
    Kind.UNCACHED: (2_000, 200_000),
    Kind.RECOMMENDED: (200, 2_000),
}
_MAX_INLINE_CHARS = 4096
_SUFFIX = {"bufr": "bufr4", "grib2": "grib2", "xml": "xml", "json": "json"}
_FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)
#: A flaky server has its share of the other servers' faults too.
_FLAKY_FACTOR = 5.0


class Outcome(StrEnum):
    """What must become of a notification in a Global Cache."""

    CACHED = "cached"
    UNCACHED = "uncached"
    """Announced with the origin's link."""
    DELETED = "deleted"
    NEVER = "never"
    """Must not come out: recommended data, or data that nobody gives."""


@dataclass(frozen=True, slots=True)
class Item:
    """One notification of a centre, and the truth about it."""

    kind: Kind
    centre: Centre
    topic: str
    """Of the origin's notification."""
    data_id: str
    pubtime: str
    rel: Literal["canonical", "update", "deletion"]
    name: DataName
    file_name: str
    observed: str
    fault: Fault = Fault.NONE
    is_inline: bool = False
    has_integrity: bool = True
    has_copy: bool = True
    """The other Global Cache holds it and announces it."""
    has_origin: bool = True
    """The origin's own notification reaches the Global Brokers."""
    outcome: Outcome = Outcome.CACHED

    @property
    def key(self) -> tuple[str, str, str]:
        """What our announcement of it is known by."""
        return self.data_id, self.pubtime, self.rel


@dataclass(slots=True)
class Author:
    """Invents one item after the other.

    `announced` are items that came out and may be updated or deleted; the caller fills it.
    """

    mix: Mix
    chance: random.Random
    announced: list[Item] = field(default_factory=list)
    _count: int = 0

    def next_item(self, now: datetime) -> Item:
        """Return a new item, published `now` (UTC)."""
        kinds = [*self.mix.kinds]
        kind = self.chance.choices(kinds, [self.mix.kinds[kind] for kind in kinds])[0]
        self._count += 1
        if kind in (Kind.UPDATE, Kind.DELETION):
            if self.announced:
                return self._changed(kind, now)
            kind = Kind.INLINE
        return self._new(kind, now)

    def _new(self, kind: Kind, now: datetime) -> Item:
        centres = [centre for centre in CENTRES if kind in centre.kinds]
        centre = self.chance.choice(centres)
        fault = self._fault(kind, centre)
        data_format = _FORMATS.get(kind, "bufr")
        station = f"0-{self.chance.randint(900, 999)}-0-{self.chance.randint(10000, 99999)}"
        observed = f"{now:%Y-%m-%dT%H:%M:00Z}"
        file_name = f"WIGOS_{station}_{now:%Y%m%dT%H%M%S}.{_SUFFIX[data_format]}"
        topic = f"origin/a/wis2/{centre.centre_id}/{_TOPICS[kind]}"
        data_id = f"{centre.centre_id}/{_TOPICS[kind]}/{station}_{now:%Y%m%dT%H%M%S}_{self._count}"
        has_copy = kind not in (Kind.UNCACHED, Kind.RECOMMENDED) and self.chance.random() < 0.7  # noqa: PLR2004
        is_inline = kind is Kind.INLINE or (kind is Kind.WARNING and self.chance.random() < 0.5)  # noqa: PLR2004
        return Item(
            kind=kind,
            centre=centre,
            topic=topic,
            data_id=data_id,
            pubtime=_pubtime(now, centre),
            rel="canonical",
            name=DataName(data_format, self.chance.getrandbits(32), self._size(kind)),
            file_name=file_name,
            observed=observed,
            fault=fault,
            is_inline=is_inline,
            # A page with status 200 is only seen through by a checksum.
            has_integrity=fault.is_lasting or self.chance.random() < 0.9,  # noqa: PLR2004
            has_copy=has_copy,
            has_origin=not has_copy or fault.is_lasting or self.chance.random() < 0.95,  # noqa: PLR2004
            outcome=_outcome(kind, fault, has_copy=has_copy),
        )

    def _changed(self, kind: Kind, now: datetime) -> Item:
        earlier = self.announced.pop(self.chance.randrange(len(self.announced)))
        if kind is Kind.DELETION:
            return replace(
                earlier,
                kind=kind,
                pubtime=_pubtime(now, earlier.centre),
                rel="deletion",
                fault=Fault.NONE,
                is_inline=False,
                has_copy=False,
                has_origin=True,
                outcome=Outcome.DELETED,
            )
        return replace(
            earlier,
            kind=kind,
            pubtime=_pubtime(now, earlier.centre),
            rel="update",
            name=replace(earlier.name, seed=self.chance.getrandbits(32)),
            fault=Fault.NONE,
            has_origin=True,
        )

    def _fault(self, kind: Kind, centre: Centre) -> Fault:
        if kind not in (Kind.LINKED, Kind.MODEL):
            return Fault.NONE
        percent = self.mix.fault_percent * (_FLAKY_FACTOR if centre.is_flaky else 0.5)
        if self.chance.random() * 100 >= percent:
            return Fault.NONE
        return self.chance.choice(_FAULTS)

    def _size(self, kind: Kind) -> int:
        smallest, largest = _SIZES[kind]
        # Most are small: sizes are spread evenly over their logarithm.
        return int(smallest * (largest / smallest) ** self.chance.random())


def _outcome(kind: Kind, fault: Fault, *, has_copy: bool) -> Outcome:
    if kind is Kind.RECOMMENDED:
        return Outcome.NEVER
    if kind is Kind.UNCACHED:
        return Outcome.UNCACHED
    return Outcome.NEVER if fault.is_lasting and not has_copy else Outcome.CACHED


def _pubtime(now: datetime, centre: Centre) -> str:
    """Return a time as this centre's software writes it."""
    if centre.is_old:
        return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{now.microsecond:06d}000+00:00"
    return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def path_of(item: Item) -> str:
    """Return where the item is on its data server."""
    return f"/{item.fault}/{item.name.text}/{item.file_name}"


def copy_path_of(item: Item) -> str:
    """Return where the item is on the other Global Cache: well served."""
    return f"/{Fault.NONE}/{item.name.text}/{item.file_name}"


def origin_notification(item: Item, base_url: str) -> bytes:
    """Return the WNM of the item's own centre, whose data server is `base_url`."""
    return _notification(item, base_url + path_of(item), global_cache=None)


def copy_notification(item: Item, base_url: str) -> bytes:
    """Return the WNM of the other Global Cache, whose data server is `base_url`."""
    return _notification(item, base_url + copy_path_of(item), global_cache=OTHER_CACHE_ID)


def _notification(item: Item, href: str, *, global_cache: str | None) -> bytes:
    data = b"" if item.rel == "deletion" else make_data(item.name)
    properties: dict[str, Any] = {
        "data_id": item.data_id,
        "metadata_id": f"urn:wmo:md:{item.centre.centre_id}:{item.kind}",
        "pubtime": item.pubtime,
        "datetime": item.observed,
        "producer": item.centre.country,
    }
    link: dict[str, Any] = {
        "rel": item.rel,
        "href": href,
        "type": MEDIA_TYPES[item.name.format],
    }
    if item.rel != "deletion":
        if item.has_integrity:
            method = "sha512" if item.name.seed % 2 else "sha256"
            digest = base64.b64encode(hashlib.new(method, data).digest()).decode()
            properties["integrity"] = {"method": method, "value": digest}
        # Numbers as strings are common among older publishers (SPEC.md section 10).
        link["length"] = str(len(data)) if item.centre.is_old else len(data)
        if item.is_inline:
            content = _content(data, item)
            if content is not None:
                properties["content"] = content
        if item.kind is Kind.UNCACHED:
            properties["cache"] = False
    if global_cache is not None:
        properties["global-cache"] = global_cache
    if item.centre.is_old:
        properties["wigos_station_identifier"] = item.file_name.split("_")[1]
    message: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "type": "Feature",
        "geometry": {
            "type": "Point",
            "coordinates": [item.centre.longitude, item.centre.latitude],
        },
        "properties": properties,
        "links": [
            link,
            {"rel": "via", "href": "https://example.org/simulated", "type": "text/html"},
        ],
    }
    message |= {"version": "v04"} if item.centre.is_old else {"conformsTo": _CONFORMS_TO}
    return json.dumps(message, separators=(",", ":")).encode()


def _content(data: bytes, item: Item) -> Mapping[str, object] | None:
    """Return the inline form, None where it does not fit."""
    encoding, value = "base64", base64.b64encode(data).decode()
    if item.name.format == "xml":
        encoding, value = "utf-8", data.decode()
    elif item.name.seed % 5 == 0:
        encoding, value = "gzip", base64.b64encode(gzip.compress(data, mtime=0)).decode()
    if len(value) > _MAX_INLINE_CHARS:
        return None
    return {"encoding": encoding, "value": value, "size": len(data)}


def cache_topic(topic: str) -> str:
    """Return where a Global Cache announces what came on `topic`."""
    return "cache/" + topic.partition("/")[2]


def publications(
    item: Item, brokers: Sequence[str], chance: random.Random
) -> list[tuple[Literal["origin", "copy"], str]]:
    """Return which notification goes to which Global Broker, in order, repeats included.

    At least one of them reaches a broker, so that the item must come out.
    """
    result: list[tuple[Literal["origin", "copy"], str]] = []
    sources: list[Literal["origin", "copy"]] = []
    if item.has_origin:
        sources.append("origin")
    if item.has_copy:
        sources.append("copy")
    for source in sources:
        for broker in brokers:
            result.append((source, broker))
            if chance.random() < 0.03:  # noqa: PLR2004 - sent once more, as after a reconnection
                result.append((source, broker))
    # Now and then one broker misses one of them; another path still brings it.
    if len(result) > len(brokers) and chance.random() < 0.05:  # noqa: PLR2004
        lost = chance.choice(brokers)
        kept = [entry for entry in result if entry != (sources[0], lost)]
        if {source for source, _ in kept} == set(sources):
            result = kept
    return result
