"""The Lua scripts of the Redis-stream queue, read once at import."""

from __future__ import annotations

from functools import partial

from wis2_gc_common.ports.lanes import LANES
from wis2_gc_common.redis.scripts import load

_load = partial(load, "queue", constants=f"local LANES = {LANES}")

# All scripts except intake run when the memory of Redis is full: accepted messages must be
# finished. Read-only scripts run anyway and must not have the flag: Redis takes a script with flags
# for one that writes, and a primary that became a replica in a failover would refuse it.
SEND = _load("lanes", "send")
RECEIVE = _load("lanes", "receive", when_full=True)
RECOVER = _load("lanes", "recover", when_full=True)
EXTEND = _load("lanes", "holds", "extend", when_full=True)
DELETE = _load("lanes", "holds", "delete", when_full=True)
PUT_BACK = _load("lanes", "holds", "put_back", when_full=True)
DEAD_LETTER = _load("lanes", "holds", "dead_letter", when_full=True)
HAND_BACK = _load("lanes", "hand_back", when_full=True)
DEPTH = _load("depth")
REDRIVE = _load("lanes", "redrive", when_full=True)
DEAD_PAGE = _load("dead_page")
