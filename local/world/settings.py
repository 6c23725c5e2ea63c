"""The settings of the simulated world, from its environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local.world.mix import Mix, parse_mix

if TYPE_CHECKING:
    from collections.abc import Mapping

#: One variable for all settings: the world has one caller, `local/run.py`.
VARIABLE = "WIS2_WORLD"


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """The world around one cache."""

    directory: Path
    """It contains the ports and `ledger.json`, the ground truth."""
    global_brokers: Mapping[str, str]
    """Name → URL of the publishing account."""
    ca_file: Path
    tls_chain_file: Path
    tls_key_file: Path
    """For the data servers that speak HTTPS."""
    centre_id: str
    """Centre-id of the cache under test."""
    cache_broker_url: str
    """Where to read its announcements; "" if that is not possible."""
    data_base_url: str
    ready_url: str
    """The world publishes once this answers 200; "": at once."""
    rate: float
    mix: str
    seed: int
    items: int
    """Stop after this many; 0: never."""

    def parsed_mix(self) -> Mix:
        """Return `mix` as weights."""
        return parse_mix(self.mix)


def to_environment(settings: WorldSettings) -> dict[str, str]:
    """Return the environment variable for these settings."""
    return {VARIABLE: json.dumps(asdict(settings), default=str)}


def from_environment(environment: Mapping[str, str]) -> WorldSettings:
    """Return the settings of `to_environment`. Raises KeyError, ValueError or TypeError."""
    values = json.loads(environment[VARIABLE])
    for name in ("directory", "ca_file", "tls_chain_file", "tls_key_file"):
        values[name] = Path(values[name])
    return WorldSettings(**values)
