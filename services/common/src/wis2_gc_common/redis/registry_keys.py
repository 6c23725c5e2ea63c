"""Every key and every field name that the registry uses in Redis.

All keys carry the hash tag `{gc}`: in cluster mode a script may use only keys of one slot. Redis
holds millions of records, so names are short and digests have 22 characters for 32 hex digits: a
record stays a listpack (small integers as integers, no value above 64 bytes).

Record (hash), finished part:
    s  "d" done or "x" deleted        p  pubtime in nanoseconds
    z  when it was finished, Redis' own clock in milliseconds      g  attempt that committed it
    0, 1, 2, …  the object key in pieces
Record, running part (`o`, `w`, `l`, `m` are removed at its end; `v`, `t`, `f` on commit):
    v  pubtime in nanoseconds         o  owner                     w  worker
    l  end of the lease, Redis' own clock in milliseconds          m  digest of the message id
    t  when its hour folder was chosen, seconds since 1970         f  attempt
Record, both:
    d  trusted pubtime of a deletion that has arrived and is not finished
    n  attempts at the version        e  last error

An attempt is a random number drawn by its claim. A counter could give the same number twice, after
a failover that loses the last claims.
"""

from __future__ import annotations

import base64
import hashlib

_TAG = "{gc}"

COUNTERS = f"{_TAG}counters"
"""Hash: `metrics.field` → integer. No TTL."""
GAUGES = f"{_TAG}gauges"
"""Hash: `metrics.field` → number. No TTL."""
DELAYS = f"{_TAG}delays"
"""Hash: index of the bucket → count, `sum_us` → microseconds. No TTL."""
SERIES = f"{_TAG}series"
"""Hash of numbers, made from `SEEN`: they bound the labels. No TTL.

`|unknown` centres that are not in `KNOWN`; `|hosts` data servers, `|unknown hosts` of unknown
centres; a centre-id: its data servers.
"""
SEEN = f"{_TAG}seen"
"""Hash: `centre-id`, or `centre-id|data server` → day since 1970 of its last use. No TTL."""
KNOWN = f"{_TAG}known"
"""Set: centre-ids in the list of known ones; absent if there is no list. No TTL."""
COLD = f"{_TAG}cold"
"""Hash: centre-id of a removed label → `metric value metric value …`, its counters. No TTL."""
LABELS = (SERIES, SEEN, KNOWN, COLD)
"""The keys, in this order, of each script that counts per centre."""
HELD = f"{_TAG}held"
"""Hash of what centres hold, for their quotas (quota.lua). No TTL.

`metrics.field` → sum, and the quota itself; `slot`: number of the running slot of time, about an
hour.
"""
HELD_SLOTS = f"{_TAG}held-slots"
"""Hash: number of a past slot, `|`, field of `HELD` → what was added in it. No TTL."""
PROCESSES = f"{_TAG}processes"
"""Hash: `kind/name` → milliseconds since 1970, a space, JSON."""
FAILURES = f"{_TAG}failures"
"""List, newest first: given-up items."""
REFUSALS = f"{_TAG}refusals"
"""List, oldest first: refused notifications of which their centres are not told yet."""
PING = f"{_TAG}ping"
"""String that `ping` writes."""

DELAY_SUM = "sum_us"


def item_record(centre_id: str, data_id: str) -> str:
    """Return the name of an item's record (`Lease.record`)."""
    return "i:" + _short(bytes.fromhex(item_digest(centre_id, data_id)))


def record_key(record: str) -> str:
    """Return the key of a record (hash)."""
    return _TAG + record


def parked_key(record: str, pubtime_ns: int) -> str:
    """Return the key of the fall-back sources of one version (hash by message id's digest)."""
    return f"{_TAG}p{record}:{pubtime_ns}"


def failed_key(record: str, pubtime_ns: int) -> str:
    """Return the key of the counted failures of one version (hash, see fail_source.lua)."""
    return f"{_TAG}f{record}:{pubtime_ns}"


def message_digest(centre_id: str, message_id: str) -> str:
    """Return 16 characters that stand for a message id on the topics of a centre.

    The digest contains the centre: nobody can use up the ids of another centre.
    """
    return _short(hashlib.sha256(f"{centre_id}\n{message_id}".encode()).digest()[:12])


def message_key(digest: str) -> str:
    """Return the key (string) that says for which data item a message id was processed."""
    return f"{_TAG}m:{digest}"


def item_token(record: str, pubtime_ns: int) -> str:
    """Return the value of a message key: an integer, which Redis stores in the pointer."""
    digest = hashlib.sha256(f"{record}:{pubtime_ns}".encode()).digest()
    return str(int.from_bytes(digest[:8], "big") >> 1)


def count_key(token: str) -> str:
    """Return the key (string) that remembers one `count` while it may be resent."""
    return f"{_TAG}n:{token}"


def event_key(centre_id: str) -> str:
    """Return the key (string) that exists while no further event about a centre may be sent."""
    return f"{_TAG}e:{centre_id}"


def session_key(broker_name: str) -> str:
    """Return the key (string) that says which listener may connect to a Global Broker."""
    return f"{_TAG}l:{broker_name}"


def process_field(kind: str, name: str) -> str:
    """Return the field of one process in `PROCESSES`."""
    return f"{kind}/{name}"


def _short(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def item_digest(centre_id: str, data_id: str) -> str:
    """Return 32 hex digits that stand for an item in the registry's fixed-size keys.

    `centre_id`: that of the topic (wis2-rules.md 6); it contains no line feed.
    """
    return hashlib.sha256(f"{centre_id}\n{data_id}".encode()).hexdigest()[:32]
