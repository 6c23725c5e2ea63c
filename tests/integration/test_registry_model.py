"""The registry against a plain model, on a real redis-server, under random histories."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from wis2_gc_common import metrics_catalogue as catalogue
from wis2_gc_common.decision import Decision, Held, decide, is_foreign_deletion
from wis2_gc_common.registry import keys
from wis2_gc_common.registry.base import Claimed, Commit, Failure, Lease, Notice, Renewed
from wis2_gc_common.registry.redis import RedisReader, RedisRegistry

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytest_plugins = ("tests.support.redis",)

#: Neighbours that a double cannot tell apart, lengths that a text would order wrongly, and one
#: beyond 64 bits.
PUBTIMES = (9, 10, 1_764_000_000_123_456_788, 1_764_000_000_123_456_789, 9 * 10**20)
CENTRES = ("ca-eccc-msc", "de-dwd")
RELS = ("canonical", "update", "deletion")

pubtimes = st.sampled_from(PUBTIMES)
centres = st.sampled_from(CENTRES)
rels = st.sampled_from(RELS)


class Service:
    """The registry and its reader, called without `await`."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.registry = RedisRegistry.connect(url, retention_hours=24, lease_s=600)
        self.reader = RedisReader.connect(url)
        self.raw = redis.Redis.from_url(url)

    def __call__(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    def close(self) -> None:
        self(self.registry.close())
        self(self.reader.close())
        self._runner.close()
        self.raw.close()


# One decision


@st.composite
def held_records(draw: st.DrawFn) -> Held | None:
    state = draw(st.sampled_from(["done", "deleted", None]))
    running = draw(st.none() | pubtimes)
    if state is None:
        return (
            draw(st.sampled_from([None, Held(None)]))
            if running is None
            else Held(None, running_pubtime_ns=running, running_centre_id=draw(centres))
        )
    return Held(
        state,
        draw(pubtimes),
        draw(centres),
        running,
        "" if running is None else draw(centres),
        draw(st.none() | pubtimes),
    )


def write_record(raw: redis.Redis, record: str, held: Held | None, *, now_ms: int) -> None:
    if held is None:
        return
    fields: dict[str, Any] = {"f": 1, "n": 1}
    if held.state is not None:
        fields |= {"s": held.state[0] if held.state == "done" else "x", "p": held.pubtime_ns}
        fields |= {"c": held.centre_id, "g": 1}
    if held.running_pubtime_ns is not None:
        fields |= {"v": held.running_pubtime_ns, "o": "holder", "w": "w", "l": now_ms + 60_000}
        fields |= {"m": "x", "t": now_ms // 1000, "a": held.running_centre_id, "f": 2}
    if held.deleting_ns is not None:
        fields |= {"d": held.deleting_ns}
    raw.hset(keys.record_key(record), mapping=fields)


@given(
    own=held_records(),
    foreign=held_records(),
    rel=rels,
    pubtime_ns=pubtimes,
    centre_id=centres,
)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_lua_decides_as_the_decision_table_does(
    redis_url, own, foreign, rel, pubtime_ns, centre_id
):
    service = Service(redis_url)
    try:
        service.raw.flushall()
        seconds, microseconds = service.raw.time()
        now_ms = seconds * 1000 + microseconds // 1000
        record = keys.item_record("item")
        foreign_record = keys.foreign_deletion_record("item", centre_id)
        write_record(service.raw, record, own, now_ms=now_ms)
        write_record(service.raw, foreign_record, foreign, now_ms=now_ms)
        # What the listener sees is what the manager decides on.
        assert service(service.registry.look(["item"])) == [own]

        is_foreign = is_foreign_deletion(own, rel=rel, centre_id=centre_id)
        held = foreign if is_foreign else own
        notice = Notice("item", pubtime_ns, rel, centre_id, "id")
        claimed = service(service.registry.claim(notice, owner="o", worker="w", source=b"s"))
        expected = decide(held, rel=rel, pubtime_ns=pubtime_ns, centre_id=centre_id)
        assert claimed.decision is expected
        assert (claimed.lease is not None) == expected.is_granted
        if claimed.lease is not None:
            assert claimed.lease.record == (foreign_record if is_foreign else record)
    finally:
        service.close()


# Histories


@dataclass
class Attempt:
    """Who holds a lease, as the model sees it."""

    lease: Lease
    worker: str
    is_live: bool = True


@dataclass
class Record:
    """One record of the model."""

    held: Held = field(default_factory=lambda: Held(None))
    is_there: bool = False
    attempt: Attempt | None = None
    object_key: str | None = None
    parked: dict[int, list[str]] = field(default_factory=dict)
    """Message ids by pubtime."""
    failed: dict[tuple[int, str], tuple[int, str]] = field(default_factory=dict)
    """(pubtime, message id) → fence and reason of the first failure."""
    counted: dict[tuple[int, str, str], int] = field(default_factory=dict)
    """(pubtime, message id, reason) → newest fence."""

    def note_deletion(self, notice: Notice) -> None:
        if notice.rel == "deletion":
            newest = max(self.held.deleting_ns or 0, notice.pubtime_ns)
            self.held = replace(self.held, deleting_ns=newest)

    @property
    def seen(self) -> Held | None:
        """What the decision table is asked about, without who is running."""
        return self.held if self.is_there else None


class RegistryMachine(RuleBasedStateMachine):
    """Random claims, crashes, commits and failures; the model says what each must answer."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.service = Service(url)
        self.service.raw.flushall()
        self.registry = self.service.registry
        self.records: dict[str, Record] = {}
        self.ids: dict[str, tuple[str, int]] = {}
        """Message id → (record, pubtime) it is processed for."""
        self.leases: list[tuple[Lease, str]] = []
        """All that were ever granted, with their workers."""
        self.committed: list[tuple[str, int]] = []
        """(record, fence) of each commit that counted."""
        self.counters: Counter[str] = Counter()
        self.flags: dict[str, float] = {}
        self.given_up = 0
        self.numbers = itertools.count()

    def teardown(self) -> None:
        try:
            self.nothing_is_stuck_once_leases_have_ended()
        finally:
            self.service.close()

    # What the model expects

    def record(self, name: str) -> Record:
        return self.records.setdefault(name, Record())

    def expected(
        self, notice: Notice, owner: str, worker: str
    ) -> tuple[Decision, str, Attempt | None]:
        """Return the decision, the record's name, and the attempt that a resend asks for."""
        name = keys.item_record(notice.data_id)
        if is_foreign_deletion(self.record(name).seen, rel=notice.rel, centre_id=notice.centre_id):
            name = keys.foreign_deletion_record(notice.data_id, notice.centre_id)
        record = self.record(name)
        about = {
            "rel": notice.rel,
            "pubtime_ns": notice.pubtime_ns,
            "centre_id": notice.centre_id,
        }
        idle: Decision = decide(record.seen, **about)  # type: ignore[arg-type]
        if idle.is_dropped:
            return idle, name, None
        if self.ids.get(notice.message_id, (name, notice.pubtime_ns)) != (
            name,
            notice.pubtime_ns,
        ):
            return Decision.DUPLICATE_ID, name, None
        attempt = record.attempt
        if attempt is None or not attempt.is_live:
            return idle, name, None
        running = attempt.lease.notice.pubtime_ns
        if attempt.lease.owner == owner:
            if running == notice.pubtime_ns and attempt.worker == worker:
                return idle, name, attempt
            return Decision.WAIT, name, None
        live = replace(
            record.held,
            running_pubtime_ns=running,
            running_centre_id=attempt.lease.notice.centre_id,
        )
        return decide(live, **about), name, None  # type: ignore[arg-type]

    def is_holder(self, lease: Lease) -> bool:
        attempt = self.record(lease.record).attempt
        return attempt is not None and attempt.lease == lease

    # Steps

    def do_claim(self, notice: Notice, owner: str, worker: str) -> Claimed:
        decision, name, resend = self.expected(notice, owner, worker)
        record = self.record(name)
        claimed: Claimed = self.service(
            self.registry.claim(
                notice, owner=owner, worker=worker, source=notice.message_id.encode()
            )
        )
        assert claimed.decision is decision
        attempt = record.attempt
        if decision.is_dropped and decision is not Decision.DUPLICATE_ID:
            is_running = (
                attempt is not None
                and attempt.is_live
                and attempt.lease.notice.pubtime_ns == notice.pubtime_ns
            )
            if not is_running:
                record.parked.pop(notice.pubtime_ns, None)
        if decision is Decision.WAIT:
            assert 0 < claimed.retry_after_s <= 600
            assert attempt is not None
            if attempt.lease.notice.centre_id == notice.centre_id:
                record.note_deletion(notice)
        if decision is Decision.BUSY:
            assert attempt is not None
            parked = record.parked.setdefault(notice.pubtime_ns, [])
            is_new = notice.message_id not in {*parked, attempt.lease.notice.message_id}
            # A holder's message id is that of the newest claim by this holder.
            if is_new and len(parked) < 16:
                parked.append(notice.message_id)
            assert claimed.parked == len(parked)
        if not decision.is_granted:
            assert claimed.lease is None
            return claimed
        lease = claimed.lease
        assert lease is not None
        assert (lease.record, lease.owner, lease.notice) == (name, owner, notice)
        if resend is not None:
            assert lease == resend.lease
        else:
            assert all(lease.fence > old.fence for old, _ in self.leases if old.record == name)
            record.attempt = Attempt(lease, worker)
            record.is_there = True
            self.leases.append((lease, worker))
        self.ids[notice.message_id] = (name, notice.pubtime_ns)
        record.note_deletion(notice)
        is_replacing = record.held.state == "done"
        assert claimed.object_key == (record.object_key if is_replacing else None)
        assert claimed.object_centre_id == (record.held.centre_id if is_replacing else None)
        assert claimed.parked == len(record.parked.get(notice.pubtime_ns, ()))
        return claimed

    def pick(self, data: st.DataObject) -> tuple[Lease, str]:
        # Newest first, so that histories shrink to, and mostly deal with, the last attempt.
        return data.draw(st.sampled_from(self.leases[::-1]))

    @rule(
        data_id=st.sampled_from(["item", "other"]),
        pubtime_ns=pubtimes,
        rel=rels,
        centre_id=centres,
        message=st.none() | st.sampled_from(["id-a", "id-b"]),
        worker=st.sampled_from(["w1", "w2"]),
    )
    def a_notification_is_claimed(self, data_id, pubtime_ns, rel, centre_id, message, worker):
        number = next(self.numbers)
        notice = Notice(data_id, pubtime_ns, rel, centre_id, message or f"id {number}")
        self.do_claim(notice, f"owner {number}", worker)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), worker=st.sampled_from(["w1", "w2"]))
    def a_copy_arrives_over_another_broker(self, data, worker):
        lease, _ = self.pick(data)
        self.do_claim(
            replace(lease.notice, message_id=f"copy {next(self.numbers) % 20}"),
            f"owner {next(self.numbers)}",
            worker,
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), is_resent=st.booleans())
    def a_claim_is_resent_or_its_message_redelivered(self, data, is_resent):
        lease, worker = self.pick(data)
        self.do_claim(lease.notice, lease.owner, worker if is_resent else "another worker")

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_lease_ends(self, data):
        lease, _ = self.pick(data)
        self.end_lease(lease.record)

    def end_lease(self, name: str) -> None:
        attempt = self.record(name).attempt
        if attempt is not None:
            self.service.raw.hset(keys.record_key(name), "l", 0)
            attempt.is_live = False

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def leases_are_renewed(self, data):
        leases = data.draw(st.lists(st.sampled_from([lease for lease, _ in self.leases])))
        expected = []
        for lease in leases:
            record = self.record(lease.record)
            is_held = self.is_holder(lease)
            parked = len(record.parked.get(lease.notice.pubtime_ns, ())) if is_held else 0
            expected.append(Renewed(is_held=is_held, parked=parked))
            if is_held:
                assert record.attempt is not None
                record.attempt.is_live = True
        assert self.service(self.registry.renew(leases)) == expected

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def parked_sources_are_read(self, data):
        lease, _ = self.pick(data)
        parked = self.record(lease.record).parked.get(lease.notice.pubtime_ns, [])
        expected = [message.encode() for message in parked] if self.is_holder(lease) else []
        assert self.service(self.registry.parked(lease)) == expected

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), kind=st.sampled_from(["download", "integrity"]), own=st.booleans())
    def a_source_fails(self, data, kind, own):
        lease, _ = self.pick(data)
        message = lease.notice.message_id if own else "id of a parked one"
        reason = "timeout" if kind == "download" else "integrity"
        centre = lease.notice.centre_id
        failure = Failure(kind, message, centre, "host", reason)
        record = self.record(lease.record)
        pubtime = lease.notice.pubtime_ns
        expected = False
        if self.is_holder(lease):
            if record.counted.get((pubtime, message, reason)) != lease.fence:
                self.counters[catalogue.field(catalogue.SOURCE_FAILURES, reason)] += 1
                self.flags[catalogue.field(catalogue.DATASERVER_STATUS, centre, "host")] = 0
                if (pubtime, message) not in record.failed:
                    metric = (
                        catalogue.DOWNLOADED_ERRORS
                        if kind == "download"
                        else catalogue.INTEGRITY_FAILED
                    )
                    self.counters[catalogue.field(metric, centre)] += 1
                    record.failed[pubtime, message] = (lease.fence, reason)
                    expected = True
            else:
                expected = record.failed[pubtime, message] == (lease.fence, reason)
            record.counted[pubtime, message, reason] = lease.fence
        for _ in range(2):
            assert self.service(self.registry.fail(lease, failure)) == expected

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        cached=st.sampled_from(["cached", "uncached", "override"]),
        key_length=st.sampled_from([30, 60, 61, 150, 700]),
        repeats=st.integers(1, 2),
    )
    def an_item_is_committed(self, data, cached, key_length, repeats):
        lease, _ = self.pick(data)
        notice = lease.notice
        outcome = "deleted" if notice.rel == "deletion" else cached
        number = next(self.numbers)
        key = f"{number:0{key_length}d}" if outcome == "cached" else None
        commit = Commit(outcome, notice.centre_id, False, "host", key, 100, 0.5)
        was_committed = self.last_commit(lease.record) == lease.fence
        is_holder = self.is_holder(lease)
        if is_holder:
            self.finish(lease, commit)
        for _ in range(repeats):
            answer = self.service(self.registry.commit(lease, commit))
            assert answer == (is_holder or was_committed)

    def last_commit(self, name: str) -> int | None:
        return next((fence for other, fence in self.committed[::-1] if other == name), None)

    def finish(self, lease: Lease, commit: Commit) -> None:
        notice, record = lease.notice, self.record(lease.record)
        self.committed.append((lease.record, lease.fence))
        record.attempt = None
        record.object_key = commit.object_key
        deleting_ns = record.held.deleting_ns
        is_over = deleting_ns is not None and deleting_ns <= notice.pubtime_ns
        record.held = Held(
            "deleted" if commit.outcome == "deleted" else "done",
            notice.pubtime_ns,
            notice.centre_id,
            deleting_ns=None if is_over else deleting_ns,
        )
        record.parked.pop(notice.pubtime_ns, None)
        for table in (record.failed, record.counted):
            for entry in [entry for entry in table if entry[0] == notice.pubtime_ns]:
                del table[entry]  # type: ignore[attr-defined]
        self.counters[catalogue.field(catalogue.ITEMS, commit.outcome)] += 1
        centre = commit.centre_id
        if commit.outcome == "cached":
            self.counters[catalogue.field(catalogue.DOWNLOADED, centre)] += 1
            self.counters[catalogue.field(catalogue.CACHED_VOLUME, centre)] += commit.size_bytes
            self.flags[catalogue.field(catalogue.DATASERVER_STATUS, centre, "host")] = 1
        elif commit.outcome == "uncached":
            self.counters[catalogue.field(catalogue.NO_CACHE, centre)] += 1
        elif commit.outcome == "override":
            self.counters[catalogue.field(catalogue.CACHE_OVERRIDE, centre)] += 1

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        is_final=st.booleans(),
        is_drain=st.booleans(),
        has_seen_all=st.booleans(),
        repeats=st.integers(1, 2),
    )
    def an_item_is_released(self, data, is_final, is_drain, has_seen_all, repeats):
        lease, _ = self.pick(data)
        is_final = is_final and not is_drain
        record, pubtime = self.record(lease.record), lease.notice.pubtime_ns
        parked = len(record.parked.get(pubtime, ()))
        seen = parked if has_seen_all else max(parked - 1, 0)
        for _ in range(repeats):
            expected = self.release_in_model(lease, is_final=is_final, is_drain=is_drain, seen=seen)
            answer = self.service(
                self.registry.release(
                    lease,
                    error="" if is_drain else "timeout: 5 s",
                    parked_seen=seen,
                    is_final=is_final,
                )
            )
            assert answer == expected

    def release_in_model(self, lease: Lease, *, is_final: bool, is_drain: bool, seen: int) -> str:
        record, pubtime = self.record(lease.record), lease.notice.pubtime_ns
        if not self.is_holder(lease):
            newest = max(old.fence for old, _ in self.leases if old.record == lease.record)
            is_repeat = (
                lease.fence == newest
                and record.attempt is None
                and self.last_commit(lease.record) != lease.fence
            )
            return "released" if is_repeat else "lost"
        if not is_drain and len(record.parked.get(pubtime, ())) > seen:
            return "more"
        record.attempt = None
        if self.ids.get(lease.notice.message_id) == (lease.record, pubtime):
            del self.ids[lease.notice.message_id]
        if is_final:
            record.parked.pop(pubtime, None)
            self.counters[catalogue.field(catalogue.GIVEN_UP, "timeout")] += 1
            self.given_up += 1
        return "released"

    # What always holds

    @invariant()
    def counters_equal_the_transitions(self):
        snapshot = self.service(self.service.reader.snapshot())
        assert snapshot.counters == dict(self.counters)
        flags = {
            name: value
            for name, value in snapshot.gauges.items()
            if name.startswith(catalogue.DATASERVER_STATUS.name)
        }
        assert flags == self.flags
        cached = self.counters[catalogue.field(catalogue.ITEMS, "cached")]
        assert sum(snapshot.delay_buckets) == cached

    @invariant()
    def an_item_has_at_most_one_owner(self):
        leases = [lease for lease, _ in self.leases]
        live = {name for name, r in self.records.items() if r.attempt and r.attempt.is_live}
        for name in {lease.record for lease in leases} & live:
            # A renewal is what only the owner gets, and changes nothing of a live lease.
            renewed = self.service(
                self.registry.renew([lease for lease in leases if lease.record == name])
            )
            assert sum(answer.is_held for answer in renewed) == 1

    @invariant()
    def what_is_looked_at_is_what_was_done(self):
        ids = ["item", "other", "never seen"]
        expected = []
        for data_id in ids:
            record = self.records.get(keys.item_record(data_id), Record())
            attempt = record.attempt
            seen = record.seen
            if seen is not None and attempt is not None and attempt.is_live:
                notice = attempt.lease.notice
                seen = replace(
                    seen,
                    running_pubtime_ns=notice.pubtime_ns,
                    running_centre_id=notice.centre_id,
                )
            expected.append(seen)
        assert self.service(self.registry.look(ids)) == expected

    def nothing_is_stuck_once_leases_have_ended(self) -> None:
        """Every item takes a new version, whatever became of its holders."""
        for name in list(self.records):
            self.end_lease(name)
        for data_id in ("item", "other"):
            newest = Notice(data_id, 10**21 - 1, "update", CENTRES[0], f"last of {data_id}")
            claimed = self.do_claim(newest, f"last owner of {data_id}", "w1")
            assert claimed.lease is not None
            commit = Commit("cached", CENTRES[0], False, "host", "key", 1, 0.1)
            assert self.service(self.registry.commit(claimed.lease, commit))
        failures = self.service(self.service.reader.failures(1000))
        assert len(failures) == self.given_up


@pytest.mark.timeout(600)  # takes a few seconds; shrinking a failure takes minutes
def test_random_histories_agree_with_the_model(redis_url):
    run_machine(
        lambda: RegistryMachine(redis_url),
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
