"""The Lua scripts of the Redis-stream queue, read once at import."""

from __future__ import annotations

from functools import partial

from wis2_gc_common.ports.lanes import LANES
from wis2_gc_common.redis.scripts import load

_load = partial(load, "queue", constants=f"local LANES = {LANES}")

# All scripts except intake run when the memory of Redis is full: accepted messages must be
# finished. Read-only scripts run anyway and must not have the flag: Redis takes a script with flags
# for one that writes, and a primary that became a replica in a failover would refuse it.
SEND = _load("shared/lanes", "send")
RECEIVE = _load("shared/lanes", "receive", when_full=True)
RECOVER = _load("shared/lanes", "recover", when_full=True)
EXTEND = _load("shared/lanes", "shared/holds", "extend", when_full=True)
DELETE = _load("shared/lanes", "shared/holds", "delete", when_full=True)
PUT_BACK = _load("shared/lanes", "shared/holds", "put_back", when_full=True)
DEAD_LETTER = _load("shared/lanes", "shared/holds", "dead_letter", when_full=True)
HAND_BACK = _load("shared/lanes", "hand_back", when_full=True)
DEPTH = _load("depth")
REDRIVE = _load("shared/lanes", "redrive", when_full=True)
DEAD_PAGE = _load("dead_page")
