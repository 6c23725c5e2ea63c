"""A registry in memory, for the manager's unit tests.

It passes `tests/integration/test_registry_contract.py`, as the real one does. It has no clock of
leases and TTLs: `end_lease` and `expire_leases` are what time does. Every step can be made to
fail, before or after it took effect (`Traps`).
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from testkit.fakes.claims import hour_now
from wis2_gc_common.ports.envelope_bytes import encode_envelope
from wis2_gc_common.ports.registry import UNBOUNDED, Claimed, Lease, Looked, Renewed
from wis2_gc_common.redis.registry_keys import item_digest
from wis2_gc_common.redis.registry_manager import MAX_PARKED, MAX_PARKED_BYTES
from wis2_gc_common.wis2.decision import Decision, Held, decide, trusted_ns
from wis2_gc_common.wis2.pubtime import parse_pubtime

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Mapping, Sequence

    from testkit.fakes.manager import Traps
    from wis2_gc_common.errors import Cause
    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import (
        Commit,
        Failure,
        ItemKey,
        Notice,
        ProcessStatus,
        Refusal,
    )

LEASE_S = 30.0
REPEAT_WINDOW_MS = 12 * 3_600_000


@dataclass
class Record:
    """What is known of one item."""

    held: Held = field(default_factory=lambda: Held(None))
    object_key: str | None = None
    lease: Lease | None = None
    """Of the newest attempt; None once it is committed."""
    owner: str = ""
    """"" once the attempt is released."""
    worker: str = ""
    is_live: bool = False
    version: int | None = None
    """Pubtime of the last one claimed, until it is committed."""
    committed: int | None = None
    """The attempt that did it."""
    last_error: str = ""

    def note_deletion(self, notice: Notice, now_ms: int) -> None:
        newest = max(self.held.deleting_ns or 0, trusted_ns(notice.pubtime_ns, now_ms))
        self.held = dataclasses.replace(self.held, deleting_ns=newest)


class FakeRegistry:
    """`Registry` in memory; `fails`, `commits` and `releases` are what took effect."""

    def __init__(self, traps: Traps, *, hour: Callable[[], str] = hour_now) -> None:
        self._traps = traps
        self._hour = hour
        self.records: dict[str, Record] = {}
        self._parked: defaultdict[tuple[str, int], dict[str, bytes]] = defaultdict(dict)
        """By record and pubtime: sources by message id."""
        self._failed: dict[tuple[str, int, str], tuple[int, str]] = {}
        """By record, pubtime and message id: attempt and reason of the first failure."""
        self._counted: dict[tuple[str, int, str, str], int] = {}
        """By record, pubtime, message id and reason: the newest attempt."""
        self._given_up: set[tuple[str, int]] = set()
        """Records and pubtimes."""
        self._ids: dict[tuple[str, str], tuple[str, int]] = {}
        """Centre and message id → the record and pubtime it is processed for."""
        self._begun: Counter[str] = Counter()
        """Items that count against each centre's quota."""
        self.fails: list[Failure] = []
        self.commits: list[Commit] = []
        self.releases: list[dict[str, Any]] = []
        self.given_up: Counter[str] = Counter()
        """Items by reason, as `items_given_up_total` counts them."""
        self.flags: dict[tuple[str, str], int] = {}
        """By centre and data server."""
        self.counts: Counter[str] = Counter()
        self.statuses: list[ProcessStatus] = []
        self.parked_reads = 0
        self.refused: list[Refusal] = []
        self.told: set[str] = set()
        """Centres that another manager has just sent an event about."""
        self.event_interval_s = 0.0
        self.claim_gate: asyncio.Event | None = None
        """A claim that has taken effect answers when this is set."""
        self.known: Collection[str] | None = None
        self.left: dict[str, int] = {}
        """`items_left` and `bytes_left` of every claim, with any quotas."""
        self.quotas: tuple[int | None, int | None] | None = None
        self.is_closed = False

    # What only tests do

    def end_lease(self, lease: Lease) -> None:
        """What time does."""
        self.records[lease.record].is_live = False

    def expire_leases(self) -> None:
        """What time does to all of them."""
        for record in self.records.values():
            record.is_live = False

    def park(
        self,
        data_id: str,
        source: Envelope | bytes,
        *,
        centre_id: str = "yy-met",
        pubtime: str = "2026-11-23T12:00:00Z",
    ) -> None:
        """Park a source with that version of an item, without a look at it."""
        sources = self._parked[item_digest(centre_id, data_id), parse_pubtime(pubtime)]
        packed = source if isinstance(source, bytes) else encode_envelope(source)
        sources[f"parked by the test: {len(sources)}"] = packed

    @property
    def sources(self) -> list[bytes]:
        """All that are parked."""
        return [source for parked in self._parked.values() for source in parked.values()]

    # Claims

    async def claim(
        self, notice: Notice, *, owner: str, worker: str, attempt: int, source: bytes
    ) -> Claimed:
        self._traps.enter("claim")
        claimed = self._claim(notice, owner, worker, attempt, source)
        if self.claim_gate is not None:
            await self.claim_gate.wait()
        self._traps.leave("claim")
        return claimed

    def _claim(
        self, notice: Notice, owner: str, worker: str, attempt: int, source: bytes
    ) -> Claimed:
        name = item_digest(notice.centre_id, notice.data_id)
        record = self.records.get(name)
        now_ms = _now_ms()
        decision = decide(
            None if record is None else record.held,
            rel=notice.rel,
            pubtime_ns=notice.pubtime_ns,
            now_ms=now_ms,
            repeat_window_ms=REPEAT_WINDOW_MS,
        )
        is_same = record is not None and record.version == notice.pubtime_ns
        is_running = record is not None and record.is_live
        if decision.is_dropped:
            if not (is_running and is_same):
                self._parked.pop((name, notice.pubtime_ns), None)
            return Claimed(decision)
        message, version = (notice.centre_id, notice.message_id), (name, notice.pubtime_ns)
        if self._ids.get(message, version) != version:
            return Claimed(Decision.DUPLICATE_ID)
        is_own = (
            record is not None
            and is_same
            and is_running
            and (record.owner, record.worker) == (owner, worker)
        )
        if record is not None and is_running and not is_own:
            if is_same and record.owner != owner:
                return Claimed(Decision.BUSY, parked=self._park(record, notice, source))
            if notice.rel == "deletion":
                record.note_deletion(notice, now_ms)
            return Claimed(Decision.WAIT, retry_after_s=LEASE_S)
        left = {**self._room(notice.centre_id), **self.left}
        if is_same:
            left["items_left"] = UNBOUNDED
        elif record is None and left["items_left"] <= 0:
            return Claimed(Decision.OVER_QUOTA)
        else:
            self._begun[notice.centre_id] += 1
        if record is None:
            record = self.records[name] = Record()
        record.lease = Lease(notice, attempt, name)
        record.owner, record.worker, record.is_live = owner, worker, True
        record.version = notice.pubtime_ns
        if notice.rel == "deletion":
            record.note_deletion(notice, now_ms)
        self._ids[message] = version
        return Claimed(
            decision,
            lease=record.lease,
            hour=self._hour(),
            object_key=record.object_key if record.held.state == "done" else None,
            parked=len(self._parked[version]),
            **left,
        )

    def _room(self, centre_id: str) -> dict[str, int]:
        items, bytes_ = self.quotas or (None, None)
        begun = self._begun[centre_id]
        return {
            "items_left": UNBOUNDED if items is None else items - begun,
            "bytes_left": UNBOUNDED if bytes_ is None else bytes_,
        }

    def _park(self, record: Record, notice: Notice, source: bytes) -> int:
        assert record.lease is not None
        parked = self._parked[record.lease.record, notice.pubtime_ns]
        size = sum(map(len, parked.values())) + len(source)
        if (
            notice.message_id not in {*parked, record.lease.notice.message_id}
            and len(parked) < MAX_PARKED
            and size <= MAX_PARKED_BYTES
        ):
            parked[notice.message_id] = source
        return len(parked)

    def _held(self, lease: Lease) -> Record | None:
        """Return the record if nobody else has taken the item, and it is not released."""
        record = self.records[lease.record]
        return record if record.lease == lease and record.owner else None

    def _sources_of(self, lease: Lease) -> dict[str, bytes]:
        return self._parked[lease.record, lease.notice.pubtime_ns]

    async def renew(self, leases: Sequence[Lease]) -> list[Renewed]:
        self._traps.enter("renew")
        return [self._renewed(lease) for lease in leases]

    def _renewed(self, lease: Lease) -> Renewed:
        record = self._held(lease)
        if record is None:
            return Renewed(is_held=False, parked=0)
        record.is_live = True
        return Renewed(is_held=True, parked=len(self._sources_of(lease)))

    async def parked(self, lease: Lease) -> list[bytes]:
        self._traps.enter("parked")
        self.parked_reads += 1
        return [] if self._held(lease) is None else list(self._sources_of(lease).values())

    # Ends

    async def fail(self, lease: Lease, failure: Failure) -> bool:
        self._traps.enter("fail")
        is_first = self._held(lease) is not None and self._fail(lease, failure)
        self._traps.leave("fail")
        return is_first

    def _fail(self, lease: Lease, failure: Failure) -> bool:
        source = lease.record, lease.notice.pubtime_ns, failure.message_id
        this = lease.attempt, failure.reason
        if self._counted.get((*source, failure.reason)) == lease.attempt:
            return self._failed[source] == this
        self._counted[(*source, failure.reason)] = lease.attempt
        if failure.dataserver:
            self.flags[failure.centre_id, failure.dataserver] = 0
        if source in self._failed:
            return False
        self._failed[source] = this
        self.fails.append(failure)
        return True

    async def commit(self, lease: Lease, commit: Commit) -> bool:
        self._traps.enter("commit")
        record = self.records[lease.record]
        was_done = record.committed == lease.attempt
        is_done = was_done or self._held(lease) is not None
        if is_done and not was_done:
            self._finish(record, lease, commit)
        self._traps.leave("commit")
        return is_done

    def _finish(self, record: Record, lease: Lease, commit: Commit) -> None:
        now_ms, pubtime_ns = _now_ms(), lease.notice.pubtime_ns
        deleting_ns = record.held.deleting_ns
        if deleting_ns is not None and deleting_ns <= trusted_ns(pubtime_ns, now_ms):
            deleting_ns = None
        state: Literal["done", "deleted"] = "deleted" if commit.outcome == "deleted" else "done"
        record.held = Held(state, pubtime_ns, now_ms, deleting_ns=deleting_ns)
        record.committed = lease.attempt
        record.object_key = commit.object_key
        record.lease = record.version = None
        record.owner, record.is_live = "", False
        version = lease.record, pubtime_ns
        self._parked.pop(version, None)
        self._failed = {of: what for of, what in self._failed.items() if of[:2] != version}
        self._counted = {of: attempt for of, attempt in self._counted.items() if of[:2] != version}
        self._given_up.discard(version)
        if commit.outcome == "cached" and commit.dataserver:
            self.flags[commit.centre_id, commit.dataserver] = 1
        self.commits.append(commit)

    async def release(
        self, lease: Lease, *, cause: Cause | None, parked_seen: int, is_final: bool
    ) -> Literal["released", "more", "lost"]:
        self._traps.enter("release")
        answer = self._release(lease, cause, parked_seen, is_final=is_final)
        self._traps.leave("release")
        return answer

    def _release(
        self, lease: Lease, cause: Cause | None, parked_seen: int, *, is_final: bool
    ) -> Literal["released", "more", "lost"]:
        record = self.records[lease.record]
        if record.lease != lease:
            return "lost"
        if not record.owner:
            return "released"
        if cause is not None and len(self._sources_of(lease)) > parked_seen:
            return "more"
        record.owner, record.is_live = "", False
        record.last_error = "" if cause is None else str(cause)
        notice = lease.notice
        message = notice.centre_id, notice.message_id
        if self._ids.get(message) == (lease.record, notice.pubtime_ns):
            del self._ids[message]
        if is_final:
            self._sources_of(lease).clear()
            self._give_up((lease.record, notice.pubtime_ns), "" if cause is None else cause.reason)
        self.releases.append({"error": record.last_error, "is_final": is_final})
        return "released"

    def _give_up(self, version: tuple[str, int], reason: str) -> None:
        if version not in self._given_up:
            self._given_up.add(version)
            self.given_up[reason] += 1

    async def look(self, items: Sequence[ItemKey]) -> Looked:
        return Looked(_now_ms(), [self._looked(item) for item in items])

    def _looked(self, item: ItemKey) -> Held | None:
        record = self.records.get(item_digest(*item))
        if record is None:
            return None
        running = record.version if record.is_live else None
        return dataclasses.replace(record.held, running_pubtime_ns=running)

    # All else

    async def count(self, counts: Mapping[str, int]) -> None:
        self._traps.enter("count")
        self.counts.update(counts)

    async def keep_labels(self, known: Collection[str] | None) -> int:
        self._traps.enter("keep_labels")
        self.known = known
        return 0

    async def keep_quotas(self, *, items: int | None, bytes_: int | None) -> None:
        self.quotas = items, bytes_

    async def memory_bytes(self) -> int:
        return 1024 * 1024

    async def admit_event(self, centre_id: str, *, interval_s: float) -> bool:
        self._traps.enter("admit_event")
        self.event_interval_s = interval_s
        is_first = centre_id not in self.told
        if interval_s > 0:
            self.told.add(centre_id)
        return is_first

    async def refusals(self, limit: int) -> list[Refusal]:
        self._traps.enter("refusals")
        taken, self.refused = self.refused[:limit], self.refused[limit:]
        return taken

    async def heartbeat(self, status: ProcessStatus) -> None:
        self._traps.enter("heartbeat")
        self.statuses.append(status)

    async def ping(self) -> None:
        self._traps.enter("ping")

    async def close(self) -> None:
        self.is_closed = True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
