"""What the simulated world publishes, and in which proportions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from wis2_gc_common.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """The kind of a data item, or what happens to an earlier one."""

    INLINE = "inline"
    """A surface observation of some hundred bytes, inside the notification and linked."""
    LINKED = "linked"
    """Observations of some kilobytes."""
    WARNING = "warning"
    """A CAP warning."""
    MODEL = "model"
    """A model field of several megabytes."""
    METADATA = "metadata"
    """A discovery metadata record."""
    GATEWAY = "gateway"
    """A small bulletin of the GTS-to-WIS2 gateway."""
    DAILY = "daily"
    """A metadata record that its centre announces again and again, as canonical. It is new if half
    a day has passed since; otherwise it is a repeat, which must not be announced."""
    SHARED = "shared"
    """One data_id of two centres: two items."""
    UPDATE = "update"
    DELETION = "deletion"
    UNCACHED = "uncached"
    """`cache: false`."""
    RECOMMENDED = "recommended"
    """Recommended data, which a Global Cache ignores (wis2-rules.md 2)."""


class Fault(StrEnum):
    """How a data server treats a download."""

    NONE = "none"
    SLOW = "slow"
    """The whole takes some seconds."""
    NOT_FOUND = "not-found"
    """404, always."""
    UNAVAILABLE = "unavailable"
    """503 at first, later success."""
    THROTTLED = "throttled"
    """429 with Retry-After at first, later success."""
    CUT = "cut"
    """The connection ends early at first, later success."""
    CORRUPT = "corrupt"
    """Wrong bytes, in the announced number."""
    LONGER = "longer"
    """More bytes than announced."""
    HTML = "html"
    """An error page with status 200."""

    @property
    def is_lasting(self) -> bool:
        """Whether this server never gives the data."""
        return self in _LASTING


_LASTING = frozenset({Fault.NOT_FOUND, Fault.CORRUPT, Fault.LONGER, Fault.HTML})

_KINDS: Mapping[Kind, float] = MappingProxyType(
    {
        Kind.INLINE: 50,
        Kind.LINKED: 25,
        Kind.WARNING: 4,
        Kind.MODEL: 0.5,
        Kind.METADATA: 3,
        Kind.GATEWAY: 30,
        Kind.DAILY: 3,
        Kind.SHARED: 3,
        Kind.UPDATE: 5,
        Kind.DELETION: 1,
        Kind.UNCACHED: 5,
        Kind.RECOMMENDED: 6,
    }
)
_FAULT_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class Mix:
    """`kinds`: weights. `fault_percent`: how many linked items get a fault."""

    kinds: Mapping[Kind, float]
    fault_percent: float

    def __str__(self) -> str:
        kinds = ",".join(f"{kind}={weight:g}" for kind, weight in self.kinds.items())
        return f"{kinds},faults={self.fault_percent:g}"


DEFAULT_MIX = Mix(_KINDS, _FAULT_PERCENT)


def parse_mix(text: str) -> Mix:
    """Return the default mix with the changes in `model=10,deletion=0,faults=20`.

    Raises SettingsError: an unknown kind, not a number, over 100 percent, nothing left to publish.
    """
    kinds = dict(DEFAULT_MIX.kinds)
    fault_percent = DEFAULT_MIX.fault_percent
    for entry in text.replace(",", " ").split():
        name, _, number = entry.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1e6:  # noqa: PLR2004 - also refuses NaN
            raise SettingsError(
                "MIX", f"{entry!r}: requires NAME=WEIGHT with a weight of 0 or more"
            )
        if name == "faults":
            if value > 100:  # noqa: PLR2004
                raise SettingsError("MIX", f"{entry!r}: requires a percentage, from 0 to 100")
            fault_percent = value
        elif name in set(Kind):
            kinds[Kind(name)] = value
        else:
            raise SettingsError("MIX", f"{name!r} is not one of {', '.join(Kind)}, faults")
    # Updates and deletions require an earlier item.
    first = [kind for kind in Kind if kind not in (Kind.UPDATE, Kind.DELETION)]
    if not any(kinds[kind] for kind in first):
        raise SettingsError("MIX", "leaves nothing to publish")
    return Mix(MappingProxyType(kinds), fault_percent)
