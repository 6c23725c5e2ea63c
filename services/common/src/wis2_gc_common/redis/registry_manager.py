"""The manager's side of the registry on Redis or Valkey (architecture.md#registry).

Each change of a record is one Lua script, so it happens completely or not at all, and every script
may be sent twice. Redis' own clock decides on leases. `maxmemory-policy` must be `noeviction`.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

from wis2_gc_common.errors import Reason
from wis2_gc_common.metrics import CATALOGUE, DELAY_BUCKETS_S
from wis2_gc_common.ports.registry import (
    Claimed,
    Lease,
    Looked,
    ProcessStatus,
    Refusal,
    Renewed,
)
from wis2_gc_common.redis import memory
from wis2_gc_common.redis import registry_calls as calls
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis import registry_scripts as scripts
from wis2_gc_common.redis.connection import Connections
from wis2_gc_common.runtime.batching import Batcher
from wis2_gc_common.wis2.decision import Decision
from wis2_gc_common.wis2.object_key import hour_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from wis2_gc_common.errors import Cause
    from wis2_gc_common.ports.registry import Commit, Failure, ItemKey, Notice
    from wis2_gc_common.redis.scripts import Argument, Call, Script

#: Most sources that wait with one item, and their bytes.
MAX_PARKED = 16
MAX_PARKED_BYTES = 32 * 1024
DEFAULT_REPEAT_WINDOW_HOURS = 12
#: A message id is remembered for a day, with any retention (wis2-rules.md 10).
_MESSAGE_TTL_S = 24 * 3600 + calls.MARGIN_S
#: Labels of centres and data servers that are unused for more days are removed.
LABEL_DAYS = 7
#: Most entries in the list of known centres; WIS2 has about 170 centres in 2026.
MAX_KNOWN_CENTRES = 600
_PING_TTL_S = 60
_LEASES_PER_RENEWAL = 128
_MAX_ERROR_BYTES = 200
#: What centres hold is counted in this many slots of time, besides the running one.
_SLOTS = 26
#: The least that a file takes in its file system.
_BLOCK_BYTES = 4096
#: No pubtime, however old, adds more than a day to the sum of the delays.
_MAX_DELAY_S = 86_400.0
#: Redis keeps a small hash compact while no value is longer than 64 bytes.
_PIECE_BYTES = 60
_DECISIONS = {decision.value.encode(): decision for decision in Decision}
_REASONS = frozenset(reason.value for reason in Reason)


def _metrics(kind: str, *labels: str) -> list[str]:
    return [m.name for m in CATALOGUE if m.type == kind and m.labels == labels]


#: Names of the counters and gauges of a centre, and of the gauges of a data server.
_PER_LABEL = (
    _metrics("counter", "centre_id"),
    _metrics("gauge", "centre_id"),
    _metrics("gauge", "centre_id", "dataserver"),
)


class RedisRegistry:
    """The manager's side (`Registry`). Used on one event loop; the first call connects to `url`.

    `retention_hours`: GC_RETENTION_HOURS; records live two hours longer than that after their
    last change. `lease_s`: how long a claim lasts unless it is renewed. `repeat_window_hours`:
    GC_REPEAT_WINDOW_HOURS. `claims_when_full`: whether new items begin while the memory of
    Redis is full; True if the queue is in the same Redis.

    Who retries: a broken connection is replaced and its commands are sent once more, at once; a
    time-out (5 s, of which 3 s for connecting) is not retried here. After that the caller retries.
    """

    def __init__(
        self,
        url: str,
        *,
        retention_hours: int,
        lease_s: float,
        repeat_window_hours: int = DEFAULT_REPEAT_WINDOW_HOURS,
        claims_when_full: bool = True,
    ) -> None:
        self._connections = Connections(url, "registry")
        self._claim = scripts.CLAIM_WHEN_FULL if claims_when_full else scripts.CLAIM
        self._ping = scripts.PING_WHEN_FULL if claims_when_full else scripts.PING
        self._batcher: Batcher[Call, Any] = Batcher(self._send)
        self._item_ttl_s = calls.memory_s(retention_hours)
        self._slot_ms = self._item_ttl_s * 1000 // _SLOTS
        self._repeat_window_ms = repeat_window_hours * 3_600_000
        self._lease_ms = max(1, round(lease_s * 1000))
        self._count_token = calls.count_tokens()

    async def claim(
        self, notice: Notice, *, owner: str, worker: str, attempt: int, source: bytes
    ) -> Claimed:
        """See `Registry`. The id of its notification identifies a source.

        A message id counts as processed once an item is granted under it, and is free again when
        that item is released. The decision table comes first, so that a plain duplicate is counted
        as a duplicate.
        """
        pubtime = notice.pubtime_ns
        record = keys.item_record(notice.centre_id, notice.data_id)
        digest = keys.message_digest(notice.centre_id, notice.message_id)
        decision, since, parked, wait_ms, object_key, *quota = await self._run(
            self._claim,
            (
                keys.message_key(digest),
                keys.record_key(record),
                keys.parked_key(record, pubtime),
                keys.KNOWN,
                keys.HELD,
            ),
            (
                notice.rel,
                pubtime,
                digest,
                keys.item_token(record, pubtime),
                owner,
                worker,
                attempt,
                source,
                self._lease_ms,
                self._item_ttl_s,
                _MESSAGE_TTL_S,
                MAX_PARKED,
                self._repeat_window_ms,
                calls.label(notice.centre_id),
                MAX_PARKED_BYTES,
            ),
        )
        decision = _DECISIONS[decision]
        if not decision.is_granted:
            return Claimed(decision, retry_after_s=wait_ms / 1000, parked=parked)
        items_left, bytes_left, label = quota
        return Claimed(
            decision,
            lease=Lease(notice, attempt, record, label.decode()),
            hour=_hour(since),
            object_key=object_key.decode() or None,
            parked=parked,
            items_left=items_left,
            bytes_left=bytes_left,
        )

    async def renew(self, leases: Sequence[Lease]) -> list[Renewed]:
        """See `Registry`. An expired lease that nobody has taken is valid again."""
        parts = [
            leases[start : start + _LEASES_PER_RENEWAL]
            for start in range(0, len(leases), _LEASES_PER_RENEWAL)
        ]
        answers = await asyncio.gather(*(self._renew(part) for part in parts))
        return [renewed for part in answers for renewed in part]

    async def _renew(self, leases: Sequence[Lease]) -> list[Renewed]:
        names: list[str] = []
        arguments: list[Argument] = [self._lease_ms, self._item_ttl_s]
        for lease in leases:
            names += (keys.record_key(lease.record), _parked_key(lease))
            arguments.append(lease.attempt)
        answers = await self._run(scripts.RENEW, names, arguments)
        return [Renewed(is_held=parked >= 0, parked=max(parked, 0)) for parked in answers]

    async def parked(self, lease: Lease) -> list[bytes]:
        """See `Registry`. In order of arrival; none when the lease is lost."""
        names = [keys.record_key(lease.record), _parked_key(lease)]
        answer: list[bytes] = await self._run(scripts.PARKED, names, (lease.attempt,))
        return [source[2:] for source in sorted(answer, key=lambda source: source[:2])]

    async def fail(self, lease: Lease, failure: Failure) -> bool:
        """See `Registry`. Counts nothing, and returns False, when the lease is lost.

        `source_failures_total` counts once per notification, reason and attempt.
        """
        names = [
            keys.record_key(lease.record),
            keys.failed_key(lease.record, lease.notice.pubtime_ns),
            keys.COUNTERS,
            keys.GAUGES,
            *keys.LABELS,
            keys.HELD,
        ]
        arguments = (
            lease.attempt,
            keys.message_digest(lease.notice.centre_id, failure.message_id),
            failure.kind,
            calls.label(failure.centre_id),
            calls.label(failure.dataserver),
            _reason(failure.reason),
            self._item_ttl_s,
            lease.quota,
        )
        return bool(await self._run(scripts.FAIL, names, arguments))

    async def commit(self, lease: Lease, commit: Commit) -> bool:
        """See `Registry`. An expired lease that nobody has taken may commit."""
        names = [
            keys.record_key(lease.record),
            _parked_key(lease),
            keys.failed_key(lease.record, lease.notice.pubtime_ns),
            keys.COUNTERS,
            keys.GAUGES,
            keys.DELAYS,
            *keys.LABELS,
            keys.HELD,
        ]
        delay_s = min(max(commit.delay_s, 0.0), _MAX_DELAY_S)
        arguments = (
            lease.attempt,
            lease.notice.pubtime_ns,
            calls.label(lease.notice.centre_id),
            commit.outcome,
            calls.label(commit.centre_id),
            calls.label(commit.dataserver),
            int(commit.is_metadata),
            commit.size_bytes,
            bisect_left(DELAY_BUCKETS_S, delay_s),
            round(delay_s * 1e6),
            self._item_ttl_s,
            _in_blocks(commit.size_bytes),
            lease.quota,
            *_pieces(commit.object_key),
        )
        return bool(await self._run(scripts.COMMIT, names, arguments))

    async def release(
        self, lease: Lease, *, cause: Cause | None, parked_seen: int, is_final: bool
    ) -> Literal["released", "more", "lost"]:
        """See `Registry`.

        The reason of `cause` labels `items_given_up_total`.
        """
        notice = lease.notice
        names = [
            keys.record_key(lease.record),
            _parked_key(lease),
            keys.message_key(keys.message_digest(notice.centre_id, notice.message_id)),
            keys.COUNTERS,
            keys.FAILURES,
            keys.failed_key(lease.record, notice.pubtime_ns),
        ]
        text = "" if cause is None else _cut(str(cause))
        item = {
            "data_id": notice.data_id,
            "centre_id": notice.centre_id,
            "pubtime_ns": notice.pubtime_ns,
            "error": text,
        }
        arguments = (
            lease.attempt,
            keys.item_token(lease.record, notice.pubtime_ns),
            text,
            parked_seen,
            int(is_final),
            "" if cause is None else cause.reason.value,
            json.dumps(item) if is_final else "",
            self._item_ttl_s,
        )
        answer = (await self._run(scripts.RELEASE, names, arguments)).decode()
        return cast("Literal['released', 'more', 'lost']", answer)

    async def look(self, items: Sequence[ItemKey]) -> Looked:
        """See `Registry`."""
        return calls.looked(await self._run(*calls.look(items, self._item_ttl_s)))

    async def count(self, counts: Mapping[str, int]) -> None:
        """See `Registry`. Exact, except for a call that is repeated after Unavailable."""
        if counts:
            await self._run(scripts.COUNT, *calls.count(self._count_token(), counts))

    async def keep_labels(self, known: Collection[str] | None) -> int:
        """See `Registry`. Unused labels stay for seven days."""
        names = [keys.COUNTERS, keys.GAUGES, *keys.LABELS]
        counts = [len(metrics) for metrics in _PER_LABEL]
        metrics = [name for names_of_kind in _PER_LABEL for name in names_of_kind]
        listed = sorted(known or ())[:MAX_KNOWN_CENTRES]
        arguments: list[Argument] = [LABEL_DAYS, int(bool(known)), *counts, *metrics, *listed]
        return int(await self._run(scripts.KEEP_LABELS, names, arguments))

    async def keep_quotas(self, *, items: int | None, bytes_: int | None) -> None:
        """See `Registry`. An item counts while its record lives, and for an hour after that."""
        limits = ["" if limit is None else limit for limit in (items, bytes_)]
        names = [keys.HELD, keys.HELD_SLOTS]
        await self._run(scripts.KEEP_QUOTAS, names, (self._slot_ms, _SLOTS, *limits))

    async def memory_bytes(self) -> int:
        """See `Registry`. 0 also if our account may not ask."""
        (answer,) = await self._connections.exchange([memory.INFO])
        return memory.numbers("registry", answer).get(b"maxmemory", 0)

    async def admit_event(self, centre_id: str, *, interval_s: float) -> bool:
        """See `Registry`."""
        key, ttl_ms = keys.event_key(centre_id), max(1, round(interval_s * 1000))
        return bool(await self._run(scripts.ADMIT, [key], (ttl_ms,)))

    async def refusals(self, limit: int) -> list[Refusal]:
        """See `Registry`."""
        answer: list[bytes] | None = await self._connections.command("LPOP", keys.REFUSALS, limit)
        return [Refusal(**json.loads(text)) for text in answer or ()]

    async def heartbeat(self, status: ProcessStatus) -> None:
        """See `Registry`."""
        await self._run(scripts.HEARTBEAT, *calls.heartbeat(status))

    async def ping(self) -> None:
        """See `Registry`."""
        await self._run(self._ping, [keys.PING], (_PING_TTL_S,))

    async def close(self) -> None:
        """See `Registry`."""
        await self._batcher.close()
        await self._connections.close()

    async def _run(
        self, script: Script, names: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        return await self._batcher.ask((script, names, arguments))

    async def _send(self, calls: list[Call]) -> list[Any]:
        return await self._connections.run(*calls)


def _parked_key(lease: Lease) -> str:
    return keys.parked_key(lease.record, lease.notice.pubtime_ns)


@lru_cache(maxsize=64)
def _hour(second: int) -> str:
    return hour_folder(datetime.fromtimestamp(second, UTC))


def _pieces(object_key: str | None) -> list[bytes]:
    text = (object_key or "").encode()
    return [text[at : at + _PIECE_BYTES] for at in range(0, len(text), _PIECE_BYTES)]


def _in_blocks(size_bytes: int) -> int:
    return max(1, -(-size_bytes // _BLOCK_BYTES)) * _BLOCK_BYTES


def _reason(text: str) -> str:
    return text if text in _REASONS else Reason.UNEXPECTED.value


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_MAX_ERROR_BYTES].decode("utf-8", "ignore")
