"""Which world a state directory holds: a simulated one or the real WIS2, and never both."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from local.parts.local_server import write_private
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings.parsers import parse_broker_url
from wis2_gc_common.settings.reader import blamed_on

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from local.settings import RunSettings

NOTE = "kept-world.json"
_SIMULATED, _REAL, _PERHAPS_BOTH = "simulated", "real", "perhaps both"
#: A simulated world writes there, and a run with real Global Brokers never does.
_BOOKS = "world"
#: What holds items, or records of them; none of these is there, or all are empty, before the first.
_DATA = ("data/**/*", "buckets/**/*", "redis/appendonlydir/*.incr.aof", f"{_BOOKS}/ledger.json")
#: In the file of settings that each run writes for the operator.
_SIMULATED_BROKERS = "GC_EXPECTED_BROKERS=alpha,beta\n"


@dataclass(frozen=True, slots=True)
class KeptWorld:
    """What a state directory is used with."""

    kind: str
    centre_id: str = ""
    brokers: Mapping[str, str] | None = None
    """The addresses of real Global Brokers by name, without passwords."""

    def __str__(self) -> str:
        if self.kind == _SIMULATED:
            return "a simulated world"
        if self.kind == _PERHAPS_BOTH:
            return "a simulated world, and perhaps data of real Global Brokers"
        names = f" ({', '.join(self.brokers)})" if self.brokers else ""
        return f"data of real Global Brokers{names}"


def world_of(run: RunSettings, centre_id: str) -> KeptWorld:
    """Return the world of this run."""
    if run.is_simulated:
        return KeptWorld(_SIMULATED, centre_id)
    brokers = sorted(run.brokers, key=lambda broker: broker.name)
    return KeptWorld(
        _REAL, centre_id, {broker.name: str(parse_broker_url(broker.url)) for broker in brokers}
    )


def take_for(directory: Path, world: KeptWorld, *, keeps_both: bool) -> None:
    """Note that the state directory holds this world; raise SettingsError if it holds another.

    Real Global Brokers may come and go: that is the same world. `keeps_both`: go on with a
    directory that perhaps holds both already.
    """
    held = _held(directory)
    is_kept = held is not None and held.kind == _PERHAPS_BOTH and keeps_both
    if held is not None and held.kind != world.kind and not is_kept:
        raise SettingsError("STATE", _refusal(directory, held, world))
    with blamed_on("STATE", f"cannot write {directory / NOTE}"):
        write_private(directory / NOTE, json.dumps(asdict(world), indent=1) + "\n")


def _held(directory: Path) -> KeptWorld | None:
    """Return the world of which the directory has data; None if it has none."""
    # A run that ended between its note and its first item has left nothing to mix.
    if not any(
        file.is_file() and file.stat().st_size
        for pattern in _DATA
        for file in directory.glob(pattern)
    ):
        return None
    # A note that a power cut left empty says as little as none.
    with contextlib.suppress(OSError, ValueError, TypeError):
        note = KeptWorld(**json.loads((directory / NOTE).read_text(encoding="utf-8")))
        if isinstance(note.brokers, dict | None):
            return note
    return _held_without_note(directory)


def _held_without_note(directory: Path) -> KeptWorld:
    """Return what the files of runs that made no note tell."""
    if not (directory / _BOOKS).is_dir():
        return KeptWorld(_REAL)
    last = ""
    with contextlib.suppress(OSError, ValueError):
        last = (directory / "environment").read_text(encoding="utf-8")
    return KeptWorld(_SIMULATED if _SIMULATED_BROKERS in last else _PERHAPS_BOTH)


def _refusal(directory: Path, held: KeptWorld, world: KeptWorld) -> str:
    is_simulated = world.kind == _SIMULATED
    now = "without BROKERS the world is simulated" if is_simulated else "BROKERS is set"
    ways = [
        f"remove it (make clean STATE={shlex.quote(str(directory))})",
        "use another directory (STATE=…)",
    ]
    if held.kind == _PERHAPS_BOTH:
        ways.append("keep all that is in it (WORLD=keep)")
    return f"{directory} holds {held}; {now}. They are never mixed: {', or '.join(ways)}"
