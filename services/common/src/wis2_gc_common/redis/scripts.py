"""Loads the Lua scripts in `lua/`; `queue_scripts` and `registry_scripts` name them.

Files in `shared/` hold functions that several scripts use; each other file is one script.

In the files, `METRIC.NAME` stands for the name of that metric in `wis2_gc_common.metrics`: the
catalogue stays the only source, at no cost for the script.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from wis2_gc_common import metrics

_METRIC = re.compile(r"\bMETRIC\.([A-Z_]+)")
#: Redis 7.0 or later runs a script with this flag also when its memory is full. Without the flag it
#: refuses the script's first command that may take memory.
_RUNS_WHEN_FULL = "#!lua flags=allow-oom"


@dataclass(frozen=True, slots=True)
class Script:
    """One script, with the name that EVALSHA uses."""

    name: str
    source: str
    sha: str


def load(folder: str, *names: str, constants: str = "", when_full: bool = False) -> Script:
    """Return the script made of `lua/{folder}/{name}.lua`, in this order; the last names it.

    `constants`: Lua that comes first. `when_full`: also runs while the memory of Redis is full.
    """
    lua = files(__package__) / "lua" / folder
    texts = [(lua / f"{name}.lua").read_text(encoding="utf-8") for name in names]
    head = [_RUNS_WHEN_FULL] if when_full else []
    head += [constants] if constants else []
    source = _METRIC.sub(_metric_name, "\n".join([*head, *texts]))
    # SHA-1 is Redis' own name for a script, not a protection.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(names[-1], source, sha)


def _metric_name(match: re.Match[str]) -> str:
    metric = getattr(metrics, match[1])
    if not isinstance(metric, metrics.Metric):
        raise TypeError(f"{match[1]} is not a metric")
    return f"'{metric.name}'"
