"""The Lua scripts, made ready to be sent.

In the files, `METRIC.NAME` stands for the name of that metric in `metrics_catalogue`: the
catalogue stays the one source, and a script costs nothing more for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from wis2_gc_common import metrics_catalogue

_METRIC = re.compile(r"\bMETRIC\.([A-Z_]+)")


@dataclass(frozen=True, slots=True)
class Script:
    """One script under the name by which EVALSHA knows it."""

    name: str
    source: str
    sha: str


def load(name: str, *shared: str) -> Script:
    """Return the script `name`.lua with the `shared` files in front."""
    folder = files("wis2_gc_common.registry")
    texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*shared, name)]
    source = _METRIC.sub(_metric_name, "\n".join(texts))
    # SHA-1 is the name Redis itself gives a script, not a protection.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)


def _metric_name(match: re.Match[str]) -> str:
    metric = getattr(metrics_catalogue, match[1])
    if not isinstance(metric, metrics_catalogue.Metric):
        raise TypeError(f"{match[1]} is no metric")
    return f"'{metric.name}'"


CLAIM = load("claim", "record", "order")
RENEW = load("renew", "record")
PARKED = load("parked", "record")
FAIL = load("fail", "record", "labels")
COMMIT = load("commit", "record", "order", "labels")
RELEASE = load("release", "record")
NOTE = load("note", "record", "order")
LOOK = load("look", "record")
COUNT = load("count", "record", "labels")
REFUSE = load("refuse")
HEARTBEAT = load("heartbeat", "record")
