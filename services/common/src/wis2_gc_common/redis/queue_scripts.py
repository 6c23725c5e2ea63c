"""The Lua scripts of the Redis-stream queue, read once at import."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from wis2_gc_common.redis.queue_keys import LANES
from wis2_gc_common.redis.registry_scripts import RUNS_WHEN_FULL


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name by which Redis knows it once it has run."""

    source: str
    sha: str


def _script(*names: str, when_full: bool = True) -> Script:
    folder = resources.files(__package__) / "lua" / "queue"
    texts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in names]
    texts.insert(0, f"local LANES = {LANES}")
    if when_full:
        texts.insert(0, RUNS_WHEN_FULL)
    source = "\n".join(texts)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


# All but taking in runs with the memory of Redis full: what is taken in must come out. What only
# reads runs anyway, and must not carry the flag: Redis takes a script with flags for one that
# writes, and a primary that a failover made a replica would refuse it.
SEND = _script("lanes", "send", when_full=False)
RECEIVE = _script("lanes", "receive")
RECOVER = _script("lanes", "recover")
EXTEND = _script("lanes", "holds", "extend")
DELETE = _script("lanes", "holds", "delete")
PUT_BACK = _script("lanes", "holds", "put_back")
DEAD_LETTER = _script("lanes", "holds", "dead_letter")
HAND_BACK = _script("lanes", "hand_back")
DEPTH = _script("depth", when_full=False)
REDRIVE = _script("lanes", "redrive")
DEAD_PAGE = _script("dead_page", when_full=False)
