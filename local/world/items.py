"""What the invented centres publish: data items, their notifications, and the expected outcomes.

Pure, except for the random generator that is passed in: the same seed gives the same world, except
for times and notification ids. An id is never used twice: otherwise a second run on the same state
would repeat the ids of the first, and the cache would rightly drop them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from local.world.centres import CENTRES, OTHER_CACHES, Centre
from local.world.data import MEDIA_TYPES, DataName, make_data
from local.world.mix import Fault, Kind
from wis2_gc_common.wis2.pubtime import parse_pubtime

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from local.world.mix import Mix

#: A source of notifications: the centre itself. Other sources are Global Caches, by centre-id.
ORIGIN = "origin"
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
    Kind.DAILY: "metadata",
    Kind.SHARED: f"{_WEATHER}/surface-based-observations/synop",
}
#: T1 T2 A1 A2 ii CCCC of bulletins (WMO-No. 386, attachment II-5).
_BULLETINS = (
    ("ISAI01", "SBBR"), ("SMIN01", "DEMS"), ("SAUS31", "KWBC"), ("SIBX21", "EBBR"),
    ("FTPA32", "KWBC"), ("IUAD02", "ANFF"), ("WSRA31", "RUPK"), ("SMVA10", "FMEE"),
)  # fmt: skip
_FORMATS = {
    Kind.MODEL: "grib2",
    Kind.WARNING: "xml",
    Kind.METADATA: "json",
    Kind.DAILY: "json",
}
_SIZES = {
    Kind.INLINE: (180, 1200),
    Kind.LINKED: (2_000, 60_000),
    Kind.WARNING: (900, 2_400),
    Kind.MODEL: (2_000_000, 8_000_000),
    Kind.METADATA: (1_200, 4_000),
    Kind.UNCACHED: (2_000, 200_000),
    Kind.RECOMMENDED: (200, 2_000),
    Kind.GATEWAY: (90, 3_500),
    Kind.DAILY: (1_200, 4_000),
    Kind.SHARED: (180, 1_200),
}
_MAX_INLINE_CHARS = 4096
_SUFFIX = {"bufr": "bufr4", "grib2": "grib2", "xml": "xml", "json": "json", "txt": "txt"}
_FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)
#: A flaky server has this many times the faults of the mix, every other server half of them.
_FLAKY_FACTOR = 5.0
#: Observations of the whole world are published at the full hour.
BURST_MINUTES = 2
BURST_FACTOR = 4.0
#: How many records a centre announces again and again.
_DAILY_RECORDS = 5
#: After this a canonical with a later pubtime is new (wis2-rules.md 8).
_REPEAT_WINDOW = timedelta(hours=12)
#: We do not know to the minute when an item is done, nor which of two close ones is done first.
_UNSURE = timedelta(minutes=10)
_A_MOMENT = timedelta(seconds=30)
_OLD_REL = "http://def.wmo.int/def/rel/wnm/-/"


class WorldOutcome(StrEnum):
    """The expected outcome of a notification in a Global Cache."""

    CACHED = "cached"
    UNCACHED = "uncached"
    """Announced with the origin's link."""
    DELETED = "deleted"
    NEVER = "never"
    """Must not be announced: recommended data, or data that no server gives."""


@dataclass(frozen=True, slots=True)
class WorldItem:
    """One notification of a centre, and what is true about it."""

    kind: Kind
    centre: Centre
    topic: str
    """Topic of the origin's notification."""
    data_id: str
    pubtime: str
    rel: Literal["canonical", "update", "deletion"]
    name: DataName
    file_name: str
    observed: str
    fault: Fault = Fault.NONE
    is_inline: bool = False
    has_integrity: bool = True
    copies: tuple[str, ...] = ()
    """The other Global Caches that store and announce it."""
    gts: tuple[str, str] | None = None
    """TTAAii and CCCC of a gateway's bulletin."""
    has_origin: bool = True
    """The origin's own notification reaches the Global Brokers."""
    outcome: WorldOutcome = WorldOutcome.CACHED

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies our announcement of it."""
        return self.centre.centre_id, self.data_id, self.pubtime, self.rel

    @property
    def has_copy(self) -> bool:
        """Whether another Global Cache has it."""
        return bool(self.copies)


@dataclass(slots=True)
class Author:
    """Invents one item after the other.

    `announced`: items that came out and may be updated or deleted; the caller fills it.
    """

    mix: Mix
    chance: random.Random
    announced: list[WorldItem] = field(default_factory=list)
    _count: int = 0
    _waiting: deque[WorldItem] = field(default_factory=deque)
    """Items that follow the previous one: the other centre's, or the one after a deletion."""
    _daily_at: dict[str, datetime] = field(default_factory=dict)
    """When the daily records were last new."""

    def rate_factor(self, now: datetime) -> float:
        """Return the factor for the publishing rate at `now`: gateways have bursts."""
        is_burst = now.minute < BURST_MINUTES and self.mix.kinds[Kind.GATEWAY] > 0
        return BURST_FACTOR if is_burst else 1.0

    def next_item(self, now: datetime) -> WorldItem:
        """Return a new item, published `now` (UTC)."""
        if self._waiting:
            return self._waiting.popleft()
        weights = dict(self.mix.kinds)
        # All additional items of a burst are the gateway's.
        weights[Kind.GATEWAY] += (self.rate_factor(now) - 1) * sum(weights.values())
        kind = self.chance.choices([*weights], [*weights.values()])[0]
        self._count += 1
        if kind in (Kind.UPDATE, Kind.DELETION):
            if self.announced:
                return self._changed(kind, now)
            kind = Kind.INLINE
        if kind is Kind.DAILY:
            return self._daily(now)
        if kind is Kind.SHARED:
            return self._shared(now)
        return self._new(kind, now)

    def _new(self, kind: Kind, now: datetime) -> WorldItem:
        centres = [centre for centre in CENTRES if kind in centre.kinds]
        centre = self.chance.choice(centres)
        fault = self._fault(kind, centre)
        data_format = _FORMATS.get(kind, "bufr")
        station = f"0-{self.chance.randint(900, 999)}-0-{self.chance.randint(10000, 99999)}"
        file_name = f"WIGOS_{station}_{now:%Y%m%dT%H%M%S}.{_SUFFIX[data_format]}"
        gts = None
        below = _TOPICS.get(kind, "")
        data_id = f"{centre.centre_id}/{below}/{station}_{now:%Y%m%dT%H%M%S}_{self._count}"
        if kind is Kind.GATEWAY:
            gts = self.chance.choice(_BULLETINS)
            data_format = self.chance.choice(("bufr", "txt"))
            below = "data/core/" + "/".join((*gts[0][:4], gts[0][4:], gts[1]))
            # Gateways give all bulletins of one heading and time the same file name.
            file_name = f"A_{gts[0]}{gts[1]}{now:%d%H%M}_C_XGTS_{now:%Y%m%d%H%M%S}.bin"
            data_id = f"{centre.centre_id}/{below}/{file_name}.{self._count}"
        if centre.is_odd:
            # With blanks and percent signs, and as long as real data_ids can be.
            data_id = f"{data_id} 100%25 of it%20".ljust(180, "-")
        copies = self._copies(kind)
        is_inline = kind in (Kind.INLINE, Kind.SHARED) or (
            kind in (Kind.WARNING, Kind.GATEWAY) and self.chance.random() < 0.5  # noqa: PLR2004
        )
        return WorldItem(
            kind=kind,
            centre=centre,
            topic=f"origin/a/wis2/{centre.centre_id}/{below}",
            data_id=data_id,
            pubtime=_pubtime(now, centre),
            rel="canonical",
            name=DataName(data_format, self.chance.getrandbits(32), self._size(kind)),
            file_name=file_name,
            observed=f"{now:%Y-%m-%dT%H:%M:00Z}",
            fault=fault,
            is_inline=is_inline,
            # Only a checksum detects an error page with status 200.
            has_integrity=fault.is_lasting or self.chance.random() < 0.9,  # noqa: PLR2004
            copies=copies,
            has_origin=not copies or fault.is_lasting or self.chance.random() < 0.95,  # noqa: PLR2004
            gts=gts,
            outcome=_outcome(kind, fault, has_copy=bool(copies)),
        )

    def _copies(self, kind: Kind) -> tuple[str, ...]:
        if kind in (Kind.UNCACHED, Kind.RECOMMENDED) or self.chance.random() < 0.3:  # noqa: PLR2004
            return ()
        # Not all of them: this world must run on a laptop.
        return tuple(self.chance.sample([*OTHER_CACHES], self.chance.choice((1, 1, 2, 3, 6))))

    def _daily(self, now: datetime) -> WorldItem:
        """Return one of the records that are announced again and again under one data_id."""
        item = self._new(Kind.DAILY, now)
        data_id = f"{item.centre.centre_id}/metadata/{self.chance.randrange(_DAILY_RECORDS)}"
        last = self._daily_at.get(data_id)
        # If a later world used the same state, the cache would already know the records.
        began = self._daily_at.setdefault("", now)
        item = replace(item, data_id=f"{data_id}/{began:%Y%m%dT%H%M%S}", has_origin=True)
        if last is None or now - last > _REPEAT_WINDOW + _UNSURE:
            self._daily_at[data_id] = now
            return item
        if _A_MOMENT < now - last < _REPEAT_WINDOW - _UNSURE:
            return replace(item, outcome=WorldOutcome.NEVER)
        return self._new(Kind.METADATA, now)

    def _shared(self, now: datetime) -> WorldItem:
        """Return an item of one centre; the next one has the same data_id in another centre."""
        item = self._new(Kind.SHARED, now)
        data_id = f"shared/{item.file_name}_{self._count}"
        one, other = (
            replace(
                item,
                centre=centre,
                topic=f"origin/a/wis2/{centre.centre_id}/{_TOPICS[Kind.SHARED]}",
                data_id=data_id,
                pubtime=_pubtime(now, centre),
                name=replace(item.name, seed=self.chance.getrandbits(32)),
            )
            for centre in CENTRES
            if Kind.SHARED in centre.kinds
        )
        self._waiting.append(other)
        return one

    def _changed(self, kind: Kind, now: datetime) -> WorldItem:
        earlier = self.announced.pop(self.chance.randrange(len(self.announced)))
        again = replace(
            earlier,
            name=replace(earlier.name, seed=self.chance.getrandbits(32)),
            fault=Fault.NONE,
            has_origin=True,
        )
        if parse_pubtime(_pubtime(now, earlier.centre)) <= parse_pubtime(earlier.pubtime):
            now += timedelta(seconds=1)  # the gateway writes whole seconds
        if kind is Kind.UPDATE:
            return replace(again, kind=kind, pubtime=_pubtime(now, earlier.centre), rel="update")
        if self.chance.random() < 0.5:  # noqa: PLR2004 - published again, a moment later
            later = _pubtime(now + timedelta(seconds=1), earlier.centre)
            self._waiting.append(replace(again, pubtime=later, rel="canonical", copies=()))
        return replace(
            earlier,
            kind=kind,
            pubtime=_pubtime(now, earlier.centre),
            rel="deletion",
            fault=Fault.NONE,
            is_inline=False,
            copies=(),
            has_origin=True,
            outcome=WorldOutcome.DELETED,
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
        # Most are small: sizes are evenly distributed over their logarithm.
        return int(smallest * (largest / smallest) ** self.chance.random())


def _outcome(kind: Kind, fault: Fault, *, has_copy: bool) -> WorldOutcome:
    if kind is Kind.RECOMMENDED:
        return WorldOutcome.NEVER
    if kind is Kind.UNCACHED:
        return WorldOutcome.UNCACHED
    return WorldOutcome.NEVER if fault.is_lasting and not has_copy else WorldOutcome.CACHED


def _pubtime(now: datetime, centre: Centre) -> str:
    """Return a time as this centre's software writes it."""
    utc = now.astimezone(UTC)
    if centre.is_old:
        return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond:06d}000+00:00"
    if Kind.GATEWAY in centre.kinds:
        return f"{utc:%Y-%m-%dT%H:%M:%SZ}"
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def path_of(item: WorldItem, *, source: str = ORIGIN) -> str:
    """Return the item's path on its centre's data server, or on a Global Cache's (no faults)."""
    fault = item.fault if source == ORIGIN else Fault.NONE
    # Like links of content management systems, whose path ends in a query.
    query = f"get?file={item.file_name}" if item.centre.is_odd else item.file_name
    return f"/{fault}/{item.name.text}/{query}"


def notification(item: WorldItem, base_url: str, *, source: str = ORIGIN) -> bytes:
    """Return a new WNM of the item: its centre's, or the copy of the Global Cache `source`.

    `base_url`: of the data server of the announcing centre or cache.
    """
    href = base_url + path_of(item, source=source)
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
        # Older publishers often write numbers as strings (wis2-rules.md W1).
        link["length"] = str(len(data)) if item.centre.is_old else len(data)
        if item.is_inline:
            content = _content(data, item)
            if content is not None:
                properties["content"] = content
        if item.kind is Kind.UNCACHED:
            properties["cache"] = False
    if source != ORIGIN:
        properties["global-cache"] = source
    if item.gts is not None:
        properties["gts"] = {"ttaaii": item.gts[0], "cccc": item.gts[1]}
    if item.centre.is_old:
        properties["wigos_station_identifier"] = item.file_name.split("_")[1]
    links = [link, {"rel": "via", "href": "https://example.org/simulated", "type": "text/html"}]
    if item.centre.is_old and item.rel != "canonical":
        # Old nodes write the relation as a URI, in a link beside a canonical one (wis2-rules.md 7).
        links = [{**link, "rel": "canonical"}, *links[1:], {**link, "rel": _OLD_REL + item.rel}]
    message_id = str(uuid.uuid4())
    message: dict[str, Any] = {
        "id": f"odd:{message_id}" if item.centre.is_odd else message_id,
        "type": "Feature",
        "geometry": {
            "type": "Point",
            "coordinates": [item.centre.longitude, item.centre.latitude],
        },
        "properties": properties,
        "links": links,
    }
    message |= {"version": "v04"} if item.centre.is_old else {"conformsTo": _CONFORMS_TO}
    return json.dumps(message, separators=(",", ":")).encode()


def _content(data: bytes, item: WorldItem) -> Mapping[str, object] | None:
    """Return the inline form; None if it does not fit."""
    encoding, value = "base64", base64.b64encode(data).decode()
    if item.name.format == "xml":
        encoding, value = "utf-8", data.decode()
    elif item.name.seed % 5 == 0:
        encoding, value = "gzip", base64.b64encode(gzip.compress(data, mtime=0)).decode()
    if len(value) > _MAX_INLINE_CHARS:
        return None
    return {"encoding": encoding, "value": value, "size": len(data)}


def can_change(item: WorldItem) -> bool:
    """Whether an item that came out may be updated or deleted.

    Not a daily one: whether its next announcement is a repeat depends on its last.
    """
    is_sound = item.outcome is WorldOutcome.CACHED and item.fault is Fault.NONE
    return is_sound and item.kind is not Kind.DAILY


def cache_topic(topic: str) -> str:
    """Return the topic on which a Global Cache announces what came on `topic`."""
    return "cache/" + topic.partition("/")[2]


def publications(
    item: WorldItem, brokers: Sequence[str], chance: random.Random
) -> list[tuple[str, str]]:
    """Return (source, broker) pairs: what goes to which Global Broker, in order, repeats included.

    A source is ORIGIN, or a Global Cache that has a copy. At least one notification of each reaches
    a broker, so that the item must come out.
    """
    result: list[tuple[str, str]] = []
    sources = (*((ORIGIN,) if item.has_origin else ()), *item.copies)
    for source in sources:
        for broker in brokers:
            result.append((source, broker))
            if chance.random() < 0.03:  # noqa: PLR2004 - sent again, as after a reconnection
                result.append((source, broker))
    # Sometimes one broker misses one of them; another path still brings it.
    if len(result) > len(brokers) and chance.random() < 0.05:  # noqa: PLR2004
        lost = chance.choice(brokers)
        kept = [entry for entry in result if entry != (sources[0], lost)]
        if {source for source, _ in kept} == set(sources):
            result = kept
    return result
