"""The invented centres. By ISO 3166 no country has their codes, XA to XZ."""

from __future__ import annotations

from dataclasses import dataclass

from local.world.mix import Kind


@dataclass(frozen=True, slots=True)
class Centre:
    """One WIS2 Node: a publisher with a web server on its own address."""

    centre_id: str
    country: str
    address: str
    """Loopback address of its data server."""
    longitude: float
    latitude: float
    kinds: tuple[Kind, ...]
    is_https: bool = False
    is_flaky: bool = False
    """Its data server has most of the faults."""
    is_old: bool = False
    """It writes notifications as older software does."""
    is_odd: bool = False
    """Its ids, data_ids and links are valid but unusual (wis2-rules.md W1 to W8)."""


_OBSERVATIONS = (Kind.INLINE, Kind.LINKED)

CENTRES = (
    Centre(
        "xa-simland-met", "Simland", "127.0.11.1", 12.5, 47.1,
        (*_OBSERVATIONS, Kind.WARNING, Kind.METADATA, Kind.DAILY, Kind.UNCACHED),
    ),
    Centre(
        "xb-northsea-weather", "Northsea", "127.0.11.2", 3.2, 55.4,
        (*_OBSERVATIONS, Kind.MODEL, Kind.METADATA, Kind.DAILY, Kind.RECOMMENDED), is_https=True,
    ),
    Centre(
        "xc-highplateau-nms", "High Plateau", "127.0.11.3", 88.0, 31.7,
        (*_OBSERVATIONS, Kind.WARNING), is_old=True,
    ),
    Centre(
        "xd-islands-hydro", "The Islands", "127.0.11.4", -150.2, -17.6,
        (*_OBSERVATIONS, Kind.METADATA, Kind.UNCACHED, Kind.RECOMMENDED),
    ),
    Centre(
        "xe-rickety-met", "Rickety Coast", "127.0.11.5", -9.4, 5.3,
        (*_OBSERVATIONS, Kind.WARNING), is_flaky=True,
    ),
    Centre(
        "xf-oddbits-met", "Odd Bits", "127.0.11.6", 40.0, -3.5,
        (*_OBSERVATIONS, Kind.METADATA, Kind.DAILY), is_odd=True,
    ),
    Centre("xg-gts-to-wis2", "Gateway", "127.0.11.7", 8.7, 50.1, (Kind.GATEWAY,)),
    Centre("xh-border-north", "Border North", "127.0.11.8", 20.0, 41.0, (Kind.SHARED,)),
    Centre(
        "xi-border-south", "Border South", "127.0.11.9", 20.0, 40.0, (Kind.SHARED,), is_old=True
    ),
)  # fmt: skip

#: The other Global Caches, and the addresses of their data servers.
OTHER_CACHES = {
    f"{country}-other-global-cache": f"127.0.12.{number}"
    for number, country in enumerate(("xu", "xv", "xw", "xx", "xy", "xz"), 1)
}


def centre(centre_id: str) -> Centre:
    """Return the centre of this name. Raises KeyError."""
    for candidate in CENTRES:
        if candidate.centre_id == centre_id:
            return candidate
    raise KeyError(centre_id)
