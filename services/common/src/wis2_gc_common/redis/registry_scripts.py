"""The Lua scripts of the registry, read once at import."""

from __future__ import annotations

from functools import partial

from wis2_gc_common.redis.scripts import load

_load = partial(load, "registry")

# Scripts that finish an item, or take almost no memory, always run: so a full Redis empties again.
RENEW = _load("record", "renew", when_full=True)
PARKED = _load("record", "parked")
FAIL = _load("record", "labels", "fail", when_full=True)
COMMIT = _load("record", "order", "labels", "commit", when_full=True)
RELEASE = _load("record", "release", when_full=True)
NOTE = _load("record", "order", "quota", "note")
LOOK = _load("record", "look")
COUNT = _load("record", "labels", "count", when_full=True)
REFUSE = _load("refuse", when_full=True)
HEARTBEAT = _load("record", "heartbeat", when_full=True)
SESSION = _load("session", when_full=True)
KEEP_LABELS = _load("record", "keep_labels", when_full=True)
KEEP_QUOTAS = _load("record", "keep_quotas", when_full=True)
ADMIT = _load("admit", when_full=True)
# Scripts that begin an item, or ask whether it may begin. If the queue is in the same Redis, each
# finished item frees more memory than it takes; otherwise the records would grow without bound.
CLAIM = _load("record", "order", "quota", "claim")
PING = _load("ping")
CLAIM_WHEN_FULL = _load("record", "order", "quota", "claim", when_full=True)
PING_WHEN_FULL = _load("ping", when_full=True)
