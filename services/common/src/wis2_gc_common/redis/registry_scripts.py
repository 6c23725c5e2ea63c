"""The Lua scripts, made ready to be sent.

In the files, `METRIC.NAME` stands for the name of that metric in `metrics_catalogue`: the
catalogue stays the one source, and a script costs nothing more for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from wis2_gc_common import metrics as metrics_catalogue

_METRIC = re.compile(r"\bMETRIC\.([A-Z_]+)")


@dataclass(frozen=True, slots=True)
class Script:
    """One script under the name by which EVALSHA knows it."""

    name: str
    source: str
    sha: str


#: Redis, 7.0 or later, runs such a script also with its memory full. Without it, it refuses the
#: script's first command that may take memory.
RUNS_WHEN_FULL = "#!lua flags=allow-oom"


def load(name: str, *shared: str, when_full: bool = False) -> Script:
    """Return the script `name`.lua with the `shared` files in front.

    `when_full`: also runs while the memory of Redis is full.
    """
    folder = files("wis2_gc_common.redis") / "lua" / "registry"
    texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*shared, name)]
    if when_full:
        texts.insert(0, RUNS_WHEN_FULL)
    source = _METRIC.sub(_metric_name, "\n".join(texts))
    # SHA-1 is the name Redis itself gives a script, not a protection.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)


def _metric_name(match: re.Match[str]) -> str:
    metric = getattr(metrics_catalogue, match[1])
    if not isinstance(metric, metrics_catalogue.Metric):
        raise TypeError(f"{match[1]} is no metric")
    return f"'{metric.name}'"


# What finishes an item, or takes next to no memory, runs always: a full Redis must be worked off.
RENEW = load("renew", "record", when_full=True)
PARKED = load("parked", "record")
FAIL = load("fail", "record", "labels", when_full=True)
COMMIT = load("commit", "record", "order", "labels", when_full=True)
RELEASE = load("release", "record", when_full=True)
NOTE = load("note", "record", "order", "quota")
LOOK = load("look", "record")
COUNT = load("count", "record", "labels", when_full=True)
REFUSE = load("refuse", when_full=True)
HEARTBEAT = load("heartbeat", "record", when_full=True)
SESSION = load("session", when_full=True)
KEEP_LABELS = load("keep_labels", "record", when_full=True)
KEEP_QUOTAS = load("keep_quotas", "record", when_full=True)
ADMIT = load("admit", when_full=True)
# What begins an item, and what asks whether one may begin: where the queue is in the same Redis,
# each item done frees more than it takes; elsewhere the records would grow without bound.
CLAIM = load("claim", "record", "order", "quota")
PING = load("ping")
CLAIM_WHEN_FULL = load("claim", "record", "order", "quota", when_full=True)
PING_WHEN_FULL = load("ping", when_full=True)
