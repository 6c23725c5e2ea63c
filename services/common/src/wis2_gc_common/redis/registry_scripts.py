"""The Lua scripts of the registry, read once at import."""

from __future__ import annotations

from functools import partial

from wis2_gc_common.redis.scripts import load

_load = partial(load, "registry")

# Scripts that finish an item, or take almost no memory, always run: so a full Redis empties again.
RENEW = _load("shared/record", "renew", when_full=True)
PARKED = _load("shared/record", "read_parked")
FAIL = _load("shared/record", "shared/labels", "fail_source", when_full=True)
COMMIT = _load("shared/record", "shared/order", "shared/labels", "commit", when_full=True)
RELEASE = _load("shared/record", "release", when_full=True)
NOTE = _load("shared/record", "shared/order", "shared/quota", "note_deletions")
LOOK = _load("shared/record", "look_up")
COUNT = _load("shared/record", "shared/labels", "add_counts", when_full=True)
REFUSE = _load("note_refused", when_full=True)
HEARTBEAT = _load("shared/record", "heartbeat", when_full=True)
SESSION = _load("hold_session", when_full=True)
KEEP_LABELS = _load("shared/record", "keep_labels", when_full=True)
KEEP_QUOTAS = _load("shared/record", "keep_quotas", when_full=True)
ADMIT = _load("admit_event", when_full=True)
# Scripts that begin an item, or ask whether it may begin. If the queue is in the same Redis, each
# finished item frees more memory than it takes; otherwise the records would grow without bound.
CLAIM = _load("shared/record", "shared/order", "shared/quota", "claim")
PING = _load("ping")
CLAIM_WHEN_FULL = _load("shared/record", "shared/order", "shared/quota", "claim", when_full=True)
PING_WHEN_FULL = _load("ping", when_full=True)
