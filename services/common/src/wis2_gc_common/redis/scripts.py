"""The Lua scripts in `lua/`, made ready to be sent; `queue_scripts`, `registry_scripts` name them.

In the files, `METRIC.NAME` stands for the name of that metric in `wis2_gc_common.metrics`: the
catalogue stays the one source, and a script costs nothing more for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from wis2_gc_common import metrics

_METRIC = re.compile(r"\bMETRIC\.([A-Z_]+)")
#: Redis, 7.0 or later, runs such a script also with its memory full. Without it, it refuses the
#: script's first command that may take memory.
_RUNS_WHEN_FULL = "#!lua flags=allow-oom"


@dataclass(frozen=True, slots=True)
class Script:
    """One script under the name by which EVALSHA knows it."""

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
    # SHA-1 is the name Redis itself gives a script, not a protection.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(names[-1], source, sha)


def _metric_name(match: re.Match[str]) -> str:
    metric = getattr(metrics, match[1])
    if not isinstance(metric, metrics.Metric):
        raise TypeError(f"{match[1]} is not a metric")
    return f"'{metric.name}'"
