"""The registry against a plain model, on a real redis-server, under random histories."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from testkit.fakes.redis_registry import Service
from testkit.servers.redis import number_in
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.ports.registry import (
    UNBOUNDED,
    Claimed,
    Commit,
    Failure,
    ItemKey,
    Lease,
    Looked,
    Notice,
    Renewed,
)
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.wis2.decision import (
    FUTURE_TOLERANCE_MS,
    WRONG_CLOCK_MS,
    Decision,
    Held,
    decide,
    is_in_future,
    trusted_ns,
)
from wis2_gc_common.wis2.pubtime import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from redis.typing import EncodableT, FieldT

    from wis2_gc_common.wis2.decision import Rel


pytest_plugins = ("testkit.servers.redis",)

#: Neighbours that a double cannot tell apart, lengths that a text would order wrongly, and one of a
#: future beyond 64 bits.
PUBTIMES = (9, 10, 1_764_000_000_123_456_788, 1_764_000_000_123_456_789, 9 * 10**20)
CENTRES = ("ca-eccc-msc", "de-dwd")
RELS = ("canonical", "update", "deletion")

ITEM = ItemKey(CENTRES[0], "item")

pubtimes = st.sampled_from(PUBTIMES)
centres = st.sampled_from(CENTRES)
rels = st.sampled_from(RELS)


# One decision

HOUR_MS = 3_600_000
WINDOW_MS = 12 * HOUR_MS
MEMORY_MS = 26 * HOUR_MS
#: Before now: moments far from any edge, for the two clocks differ by what the test takes.
AGES_MS = (60_000, 2 * FUTURE_TOLERANCE_MS, 11 * HOUR_MS, 13 * HOUR_MS, 25 * HOUR_MS, 27 * HOUR_MS)
#: After now, or after what was finished.
LEADS_MS = (
    -HOUR_MS,
    0,
    FUTURE_TOLERANCE_MS // 2,
    2 * FUTURE_TOLERANCE_MS,
    5 * HOUR_MS,
    WRONG_CLOCK_MS - HOUR_MS,
    WRONG_CLOCK_MS + HOUR_MS,
    10**13,
)


@dataclass(frozen=True)
class Moment:
    """A pubtime in numbers, or by the clock."""

    lead_ms: int | None = None
    ns: int = 0

    def pubtime_ns(self, now_ms: int) -> int:
        return self.ns if self.lead_ms is None else (now_ms + self.lead_ms) * NS_PER_MS + self.ns


points = st.builds(Moment, st.just(None), pubtimes) | st.builds(
    Moment,
    st.builds(int.__sub__, st.sampled_from(LEADS_MS), st.sampled_from(AGES_MS)),
    st.integers(-1, 1),
)


@dataclass(frozen=True)
class Holding:
    """A `Held` whose times are still to be filled in."""

    state: str | None
    pubtime: Moment
    age_ms: int
    running: Moment | None
    deleting: Moment | None

    def at(self, now_ms: int) -> Held:
        finished = self.state is not None
        return Held(
            self.state,  # type: ignore[arg-type]
            self.pubtime.pubtime_ns(now_ms) if finished else 0,
            now_ms - self.age_ms if finished else 0,
            None if self.running is None else self.running.pubtime_ns(now_ms),
            None if self.deleting is None else self.deleting.pubtime_ns(now_ms),
        )


holdings = st.none() | st.builds(
    Holding,
    st.sampled_from(["done", "deleted", None]),
    points,
    st.sampled_from(AGES_MS),
    st.none() | points,
    st.none() | points,
)


def write_record(raw: redis.Redis, record: str, held: Held, *, now_ms: int) -> None:
    fields: dict[FieldT, EncodableT] = {"n": 1}
    if held.state is None:
        fields |= {"f": 1, "v": 7}
    else:
        fields |= {"s": held.state[0] if held.state == "done" else "x", "p": held.pubtime_ns}
        fields |= {"z": held.finished_ms, "g": 1}
    if held.running_pubtime_ns is not None:
        fields |= {"v": held.running_pubtime_ns, "o": "holder", "w": "w", "l": now_ms + 60_000}
        fields |= {"m": "x", "t": now_ms // 1000, "f": 2}
    if held.deleting_ns is not None:
        fields |= {"d": held.deleting_ns}
    raw.hset(keys.record_key(record), mapping=fields)


def remembered(held: Held | None, now_ms: int) -> Held | None:
    """Return what is left when what was finished long ago is forgotten."""
    if held is None or held.state is None or now_ms - held.finished_ms <= MEMORY_MS:
        return held
    left = replace(held, state=None, pubtime_ns=0, finished_ms=0)
    # Nothing else in the record: nothing is held.
    return None if left == Held(None) else left


@given(holding=holdings, rel=rels, moment=points)
@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_lua_decides_as_the_decision_table_does(
    shared_service: Service, holding: Holding | None, rel: Rel, moment: Moment
) -> None:
    service = shared_service
    service.raw.flushall()
    seconds, microseconds = service.raw.time()
    now_ms = seconds * 1000 + microseconds // 1000
    record = keys.item_record(*ITEM)
    held = None
    if holding is not None:
        held = holding.at(now_ms)
        write_record(service.raw, record, held, now_ms=now_ms)
        held = remembered(held, now_ms)
    pubtime_ns = moment.pubtime_ns(now_ms)
    # What the listener sees is what the manager decides on.
    looked = service.listener.look([ITEM], deletions={})
    assert looked.held == [held]
    assert 0 <= looked.now_ms - now_ms < 60_000

    about = {"pubtime_ns": pubtime_ns, "now_ms": now_ms, "repeat_window_ms": WINDOW_MS}
    notice = Notice(ITEM.data_id, pubtime_ns, rel, ITEM.centre_id, "id")
    expected = decide(held, rel=rel, **about)
    # Redis' clock goes on while it is asked: no answer that is another one a moment later.
    later = {**about, "now_ms": now_ms + 5_000}
    assume(decide(held, rel=rel, **later) is expected)
    if rel == "deletion":
        # Noted by the listener unless it is of no effect.
        noted = service.listener.look([ITEM], deletions={ITEM: pubtime_ns}).held[0]
        before = None if held is None else held.deleting_ns
        idle = None if held is None else replace(held, running_pubtime_ns=None)
        assume(decide(idle, rel=rel, **later) is decide(idle, rel=rel, **about))
        if decide(idle, rel=rel, **about) is Decision.DELETE:
            assert noted is not None
            assert noted.deleting_ns is not None
            # The clock goes on between the two.
            newest = max(trusted_ns(pubtime_ns, now_ms), before or 0)
            assert 0 <= noted.deleting_ns - newest < 60_000 * NS_PER_MS
        else:
            assert noted == held
    claimed = service(service.registry.claim(notice, owner="o", worker="w", attempt=3, source=b"s"))
    assert claimed.decision is expected
    assert (claimed.lease is not None) == expected.is_granted


@pytest.fixture
def shared_service(redis_url: str) -> Iterator[Service]:
    service = Service(redis_url)
    yield service
    service.close()


# Histories


@dataclass
class Attempt:
    """Who holds a lease, as the model sees it."""

    lease: Lease
    owner: str
    worker: str
    is_live: bool = True


@dataclass
class Record:
    """One record of the model."""

    held: Held = field(default_factory=lambda: Held(None))
    is_there: bool = False
    attempt: Attempt | None = None
    version: int | None = None
    """Pubtime of the last version claimed, until it is committed."""
    object_key: str | None = None
    parked: dict[int, list[str]] = field(default_factory=dict)
    """Message ids by pubtime."""
    failed: dict[tuple[int, str], tuple[int, str]] = field(default_factory=dict)
    """(pubtime, message id) → attempt and reason of the first failure."""
    counted: dict[tuple[int, str, str], int] = field(default_factory=dict)
    """(pubtime, message id, reason) → newest attempt."""
    given_up: set[int] = field(default_factory=set)
    """Pubtimes."""
    last_commit: int | None = None
    """The attempt that did it."""
    last_released: int | None = None
    """The newest attempt, while it is one that was released."""

    def note_deletion(self, pubtime_ns: int, now_ms: int) -> None:
        newest = max(self.held.deleting_ns or 0, trusted_ns(pubtime_ns, now_ms))
        self.held = replace(self.held, deleting_ns=newest)
        self.is_there = True

    @property
    def seen(self) -> Held | None:
        """What the decision table is asked about, without who is running."""
        return self.held if self.is_there else None


@dataclass
class World:
    """All that the model knows of what Redis holds: what a failover takes back."""

    records: dict[str, Record] = field(default_factory=dict)
    ids: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """Centre and message id → (record, pubtime) it is processed for."""
    counters: Counter[str] = field(default_factory=Counter)
    flags: dict[str, float] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    quota: int | None = None
    """Items that a centre may hold."""
    given_up: int = 0

    def items_left(self, centre_id: str) -> float:
        held = self.held[catalogue.field(catalogue.HELD_ITEMS, centre_id)]
        return math.inf if self.quota is None else self.quota - held

    def hold(self, metric: catalogue.Metric, centre_id: str, amount: int) -> None:
        self.held[catalogue.field(metric, centre_id)] += amount


class RegistryMachine(RuleBasedStateMachine):
    """Random claims, crashes, commits and failures; the model says what each must answer.

    Also of a failover that loses the last writes: what Redis holds is then as it was, what the
    managers believe is not.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.service = Service(url)
        self.service.raw.flushall()
        self.registry = self.service.registry
        self.world = World()
        self.leases: list[tuple[Lease, str, str]] = []
        """All that were ever granted, with their owners and workers."""
        self.numbers = itertools.count()
        self.past: list[tuple[World, dict[bytes, tuple[bytes, int]]]] = []
        """What the model and Redis held after each of the last steps."""

    def teardown(self) -> None:
        try:
            self.nothing_is_stuck_once_leases_have_ended()
        finally:
            self.service.close()

    def now_ms(self) -> int:
        seconds, microseconds = self.service.raw.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def remember(self) -> None:
        raw = self.service.raw
        names = list(raw.scan_iter())
        pipeline = raw.pipeline(transaction=False)
        for name in names:
            pipeline.dump(name)
            pipeline.pttl(name)
        answers = pipeline.execute()
        kept = dict(zip(names, zip(answers[::2], answers[1::2], strict=True), strict=True))
        self.past = [*self.past[-3:], (copy.deepcopy(self.world), kept)]

    @rule(steps=st.integers(1, 3))
    def a_failover_loses_the_last_writes(self, steps: int) -> None:
        if len(self.past) <= steps:
            return
        self.world, kept = self.past[-1 - steps]
        self.past = self.past[: -1 - steps]
        self.service.raw.flushall()
        for name, (value, ttl_ms) in kept.items():
            self.service.raw.restore(name, max(ttl_ms, 0), value)

    # What the model expects

    def record(self, name: str) -> Record:
        return self.world.records.setdefault(name, Record())

    def expected(
        self, notice: Notice, owner: str, worker: str
    ) -> tuple[Decision, str, Attempt | None]:
        """Return the decision, the record's name, and the attempt whose owner asks again."""
        name = keys.item_record(notice.centre_id, notice.data_id)
        record = self.record(name)
        about: dict[str, Any] = {
            "rel": notice.rel,
            "pubtime_ns": notice.pubtime_ns,
            "now_ms": self.now_ms(),
            "repeat_window_ms": WINDOW_MS,
        }
        idle = decide(record.seen, **about)
        if idle.is_dropped:
            return idle, name, None
        is_over = not record.is_there and self.world.items_left(notice.centre_id) <= 0
        version = name, notice.pubtime_ns
        if self.world.ids.get((notice.centre_id, notice.message_id), version) != version:
            return Decision.DUPLICATE_ID, name, None
        attempt = record.attempt
        if attempt is None or not attempt.is_live:
            return Decision.OVER_QUOTA if is_over else idle, name, None
        running = attempt.lease.notice.pubtime_ns
        if attempt.owner == owner:
            if running == notice.pubtime_ns and attempt.worker == worker:
                return idle, name, attempt
            return Decision.WAIT, name, None
        live = replace(record.held, running_pubtime_ns=running)
        return decide(live, **about), name, None

    def is_holder(self, lease: Lease) -> bool:
        attempt = self.record(lease.record).attempt
        return attempt is not None and attempt.lease == lease

    # Steps

    def do_claim(
        self, notice: Notice, owner: str, worker: str, number: int | None = None
    ) -> Claimed:
        """`number`: that of an attempt whose claim is sent again."""
        decision, name, own = self.expected(notice, owner, worker)
        record = self.record(name)
        number = 1000 + next(self.numbers) if number is None else number
        before_ms = self.now_ms()
        claimed: Claimed = self.service(
            self.registry.claim(
                notice,
                owner=owner,
                worker=worker,
                attempt=number,
                source=notice.message_id.encode(),
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
            if notice.rel == "deletion":
                self.note(record, notice, before_ms)
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
        assert (lease.record, lease.attempt, lease.notice) == (name, number, notice)
        if record.version != notice.pubtime_ns:
            assert claimed.items_left == min(self.world.items_left(notice.centre_id), UNBOUNDED)
            self.world.hold(catalogue.HELD_ITEMS, notice.centre_id, 1)
            record.version = notice.pubtime_ns
        else:
            assert claimed.items_left == UNBOUNDED
        if own is None or own.lease != lease:
            record.attempt = Attempt(lease, owner, worker)
            record.is_there = True
            if (lease, owner, worker) not in self.leases:
                self.leases.append((lease, owner, worker))
        record.last_released = None
        self.world.ids[notice.centre_id, notice.message_id] = (name, notice.pubtime_ns)
        if notice.rel == "deletion":
            self.note(record, notice, before_ms)
        is_replacing = record.held.state == "done"
        assert claimed.object_key == (record.object_key if is_replacing else None)
        assert claimed.parked == len(record.parked.get(notice.pubtime_ns, ()))
        return claimed

    def note(self, record: Record, notice: Notice, before_ms: int) -> None:
        record.note_deletion(notice.pubtime_ns, before_ms)
        if is_in_future(notice.pubtime_ns, before_ms):
            # What the clock said in between is known to Redis alone.
            key = keys.record_key(keys.item_record(notice.centre_id, notice.data_id))
            found = number_in(self.service.raw, key, "d")
            assert record.held.deleting_ns is not None
            assert 0 <= found - record.held.deleting_ns < 60_000 * NS_PER_MS
            record.held = replace(record.held, deleting_ns=found)

    def pick(self, data: st.DataObject) -> Lease:
        # Newest first, so that histories shrink to, and mostly deal with, the last attempt.
        return self.pick_all(data)[0]

    def pick_all(self, data: st.DataObject) -> tuple[Lease, str, str]:
        return data.draw(st.sampled_from(self.leases[::-1]))

    @rule(
        data_id=st.sampled_from(["item", "other"]),
        pubtime_ns=pubtimes,
        rel=rels,
        centre_id=centres,
        message=st.none() | st.sampled_from(["id-a", "id-b"]),
        worker=st.sampled_from(["w1", "w2"]),
    )
    def a_notification_is_claimed(
        self,
        data_id: str,
        pubtime_ns: int,
        rel: Rel,
        centre_id: str,
        message: str | None,
        worker: str,
    ) -> None:
        number = next(self.numbers)
        notice = Notice(data_id, pubtime_ns, rel, centre_id, message or f"id {number}")
        self.do_claim(notice, f"owner {number}", worker)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), worker=st.sampled_from(["w1", "w2"]))
    def a_copy_arrives_over_another_broker(self, data: st.DataObject, worker: str) -> None:
        lease = self.pick(data)
        self.do_claim(
            replace(lease.notice, message_id=f"copy {next(self.numbers) % 20}"),
            f"owner {next(self.numbers)}",
            worker,
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), is_resent=st.booleans())
    def a_claim_is_resent_or_its_message_redelivered(
        self, data: st.DataObject, is_resent: bool
    ) -> None:
        lease, owner, worker = self.pick_all(data)
        self.do_claim(lease.notice, owner, worker if is_resent else "another worker")

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_claim_is_sent_again(self, data: st.DataObject) -> None:
        lease, owner, worker = self.pick_all(data)
        if self.is_holder(lease):
            self.do_claim(lease.notice, owner, worker, lease.attempt)

    @rule(data_id=st.sampled_from(["item", "other"]), pubtime_ns=pubtimes, centre_id=centres)
    def a_listener_sees_a_deletion(self, data_id: str, pubtime_ns: int, centre_id: str) -> None:
        key = ItemKey(centre_id, data_id)
        notice = Notice(data_id, pubtime_ns, "deletion", centre_id, "")
        record = self.record(keys.item_record(*key))
        before_ms = self.now_ms()
        idle = decide(
            record.seen,
            rel="deletion",
            pubtime_ns=pubtime_ns,
            now_ms=before_ms,
            repeat_window_ms=WINDOW_MS,
        )
        self.service.listener.look([], deletions={key: pubtime_ns})
        is_over = not record.is_there and self.world.items_left(centre_id) <= 0
        if idle is Decision.DELETE and not is_over:
            self.note(record, notice, before_ms)

    @rule(items=st.none() | st.integers(0, 4), bytes_=st.none() | st.integers(0, 4))
    def a_quota_is_set(self, items: int | None, bytes_: int | None) -> None:
        self.world.quota = items
        self.service(self.registry.keep_quotas(items=items, bytes_=bytes_))

    @rule()
    def what_is_held_is_added_up(self) -> None:
        if self.service.raw.hexists(keys.HELD, "slot"):
            self.service.raw.hincrby(keys.HELD, "slot", -1)
        self.service(self.registry.keep_quotas(items=self.world.quota, bytes_=None))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_lease_ends(self, data: st.DataObject) -> None:
        lease = self.pick(data)
        self.end_lease(lease.record)

    def end_lease(self, name: str) -> None:
        attempt = self.record(name).attempt
        if attempt is not None:
            self.service.raw.hset(keys.record_key(name), "l", 0)
            attempt.is_live = False

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def leases_are_renewed(self, data: st.DataObject) -> None:
        leases = data.draw(st.lists(st.sampled_from([lease for lease, *_ in self.leases])))
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
    def parked_sources_are_read(self, data: st.DataObject) -> None:
        lease = self.pick(data)
        parked = self.record(lease.record).parked.get(lease.notice.pubtime_ns, [])
        expected = [message.encode() for message in parked] if self.is_holder(lease) else []
        assert self.service(self.registry.parked(lease)) == expected

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), kind=st.sampled_from(["download", "integrity"]), own=st.booleans())
    def a_source_fails(
        self, data: st.DataObject, kind: Literal["download", "integrity"], own: bool
    ) -> None:
        lease = self.pick(data)
        message = lease.notice.message_id if own else "id of a parked one"
        reason = "timeout" if kind == "download" else "integrity"
        centre = lease.notice.centre_id
        failure = Failure(kind, message, centre, "host", reason)
        record = self.record(lease.record)
        pubtime = lease.notice.pubtime_ns
        expected = False
        if self.is_holder(lease):
            if record.counted.get((pubtime, message, reason)) != lease.attempt:
                entries = [*record.failed, *record.counted]
                if sum(entry[0] == pubtime for entry in entries) % 8 >= 6:
                    self.world.hold(catalogue.HELD_ITEMS, centre, 1)
                self.world.counters[catalogue.field(catalogue.SOURCE_FAILURES, reason)] += 1
                self.world.flags[catalogue.field(catalogue.DATASERVER_STATUS, centre, "host")] = 0
                if (pubtime, message) not in record.failed:
                    metric = (
                        catalogue.DOWNLOADED_ERRORS
                        if kind == "download"
                        else catalogue.INTEGRITY_FAILED
                    )
                    self.world.counters[catalogue.field(metric, centre)] += 1
                    record.failed[pubtime, message] = (lease.attempt, reason)
                    expected = True
            else:
                expected = record.failed[pubtime, message] == (lease.attempt, reason)
            record.counted[pubtime, message, reason] = lease.attempt
        for _ in range(2):
            assert self.service(self.registry.fail(lease, failure)) == expected

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        cached=st.sampled_from(["cached", "uncached", "override"]),
        key_length=st.sampled_from([30, 60, 61, 150, 700]),
        repeats=st.integers(1, 2),
    )
    def an_item_is_committed(
        self,
        data: st.DataObject,
        cached: Literal["cached", "uncached", "override"],
        key_length: int,
        repeats: int,
    ) -> None:
        lease = self.pick(data)
        notice = lease.notice
        outcome: Literal["cached", "uncached", "override", "deleted"] = (
            "deleted" if notice.rel == "deletion" else cached
        )
        number = next(self.numbers)
        key = f"{number:0{key_length}d}" if outcome == "cached" else None
        commit = Commit(outcome, notice.centre_id, False, "host", key, 100, 0.5)
        was_committed = self.record(lease.record).last_commit == lease.attempt
        is_holder = self.is_holder(lease)
        for number in range(repeats):
            answer = self.service(self.registry.commit(lease, commit))
            assert answer == (is_holder or was_committed)
            if is_holder and not number:
                self.finish(lease, commit)

    def finished_ms(self, lease: Lease) -> int:
        """Return what Redis' clock said at the commit."""
        found = number_in(self.service.raw, keys.record_key(lease.record), "z")
        assert 0 <= self.now_ms() - found < 60_000
        return found

    def finish(self, lease: Lease, commit: Commit) -> None:
        notice, record = lease.notice, self.record(lease.record)
        record.last_commit = lease.attempt
        record.attempt = record.version = None
        record.object_key = commit.object_key
        deleting_ns = record.held.deleting_ns
        now_ms = self.finished_ms(lease)
        trusted = trusted_ns(notice.pubtime_ns, now_ms)
        is_over = deleting_ns is not None and deleting_ns <= trusted
        record.held = Held(
            "deleted" if commit.outcome == "deleted" else "done",
            notice.pubtime_ns,
            now_ms,
            deleting_ns=None if is_over else deleting_ns,
        )
        if is_in_future(notice.pubtime_ns, now_ms):
            self.world.counters[catalogue.field(catalogue.FUTURE_PUBTIMES, notice.centre_id)] += 1
        record.parked.pop(notice.pubtime_ns, None)
        record.given_up.discard(notice.pubtime_ns)
        version = notice.pubtime_ns
        record.failed = {of: what for of, what in record.failed.items() if of[0] != version}
        record.counted = {of: at for of, at in record.counted.items() if of[0] != version}
        self.world.counters[catalogue.field(catalogue.ITEMS, commit.outcome)] += 1
        centre = commit.centre_id
        if commit.outcome == "cached":
            self.world.counters[catalogue.field(catalogue.DOWNLOADED, centre)] += 1
            self.world.counters[catalogue.field(catalogue.CACHED_VOLUME, centre)] += (
                commit.size_bytes
            )
            self.world.flags[catalogue.field(catalogue.DATASERVER_STATUS, centre, "host")] = 1
            self.world.hold(catalogue.HELD_BYTES, notice.centre_id, 4096)
        elif commit.outcome == "uncached":
            self.world.counters[catalogue.field(catalogue.NO_CACHE, centre)] += 1
        elif commit.outcome == "override":
            self.world.counters[catalogue.field(catalogue.CACHE_OVERRIDE, centre)] += 1

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        is_final=st.booleans(),
        is_drain=st.booleans(),
        has_seen_all=st.booleans(),
        repeats=st.integers(1, 2),
    )
    def an_item_is_released(
        self, data: st.DataObject, is_final: bool, is_drain: bool, has_seen_all: bool, repeats: int
    ) -> None:
        lease = self.pick(data)
        is_final = is_final and not is_drain
        record, pubtime = self.record(lease.record), lease.notice.pubtime_ns
        parked = len(record.parked.get(pubtime, ()))
        seen = parked if has_seen_all else max(parked - 1, 0)
        for _ in range(repeats):
            expected = self.release_in_model(lease, is_final=is_final, is_drain=is_drain, seen=seen)
            answer = self.service(
                self.registry.release(
                    lease,
                    cause=None if is_drain else Cause(Reason.TIMEOUT, "5 s"),
                    parked_seen=seen,
                    is_final=is_final,
                )
            )
            assert answer == expected

    def release_in_model(self, lease: Lease, *, is_final: bool, is_drain: bool, seen: int) -> str:
        record, notice = self.record(lease.record), lease.notice
        pubtime = notice.pubtime_ns
        if not self.is_holder(lease):
            return "released" if record.last_released == lease.attempt else "lost"
        if not is_drain and len(record.parked.get(pubtime, ())) > seen:
            return "more"
        record.attempt = None
        record.last_released = lease.attempt
        message = notice.centre_id, notice.message_id
        if self.world.ids.get(message) == (lease.record, pubtime):
            del self.world.ids[message]
        if is_final:
            record.parked.pop(pubtime, None)
            if pubtime not in record.given_up:
                record.given_up.add(pubtime)
                self.world.counters[catalogue.field(catalogue.GIVEN_UP, "timeout")] += 1
                self.world.given_up += 1
        return "released"

    # What always holds

    @invariant()
    def counters_equal_the_transitions(self) -> None:
        snapshot = self.service(self.service.reader.snapshot())
        assert snapshot.counters == dict(self.world.counters)
        flags = {
            name: value
            for name, value in snapshot.gauges.items()
            if name.startswith(catalogue.DATASERVER_STATUS.name)
        }
        assert flags == self.world.flags
        held = {name: value for name, value in snapshot.held.items() if name != "slot"}
        held.pop(catalogue.QUOTA_BYTES.name, None)
        assert held.pop(catalogue.QUOTA_ITEMS.name, None) == self.world.quota
        assert held == dict(self.world.held)
        cached = self.world.counters.get(catalogue.field(catalogue.ITEMS, "cached"), 0)
        assert sum(snapshot.delay_buckets) == cached
        self.remember()

    @invariant()
    def an_item_has_at_most_one_owner(self) -> None:
        leases = [lease for lease, *_ in self.leases]
        records = self.world.records.items()
        live = {name for name, r in records if r.attempt and r.attempt.is_live}
        for name in {lease.record for lease in leases} & live:
            # A renewal is what only the owner gets, and changes nothing of a live lease.
            renewed = self.service(
                self.registry.renew([lease for lease in leases if lease.record == name])
            )
            assert sum(answer.is_held for answer in renewed) == 1

    @invariant()
    def what_is_looked_at_is_what_was_done(self) -> None:
        items = [
            ItemKey(centre_id, data_id)
            for centre_id in CENTRES
            for data_id in ("item", "other", "never seen")
        ]
        expected = []
        for item in items:
            record = self.world.records.get(keys.item_record(*item), Record())
            attempt = record.attempt
            seen = record.seen
            if seen is not None and attempt is not None and attempt.is_live:
                seen = replace(seen, running_pubtime_ns=attempt.lease.notice.pubtime_ns)
            expected.append(seen)
        looked: Looked = self.service(self.registry.look(items))
        assert looked.held == expected

    def nothing_is_stuck_once_leases_have_ended(self) -> None:
        """Every item takes a right version that is newer, also if its holders are gone."""
        self.a_quota_is_set(None, None)
        for name in list(self.world.records):
            self.end_lease(name)
        pubtime_ns = (self.now_ms() + FUTURE_TOLERANCE_MS // 2) * NS_PER_MS
        for centre_id in CENTRES:
            for data_id in ("item", "other"):
                name = f"last of {data_id}"
                newest = Notice(data_id, pubtime_ns, "update", centre_id, name)
                claimed = self.do_claim(newest, f"last owner of {data_id} {centre_id}", "w1")
                assert claimed.lease is not None
                commit = Commit("cached", centre_id, False, "host", "key", 1, 0.1)
                assert self.service(self.registry.commit(claimed.lease, commit))
        failures = self.service(self.service.reader.failures(1000))
        assert len(failures) == self.world.given_up


@pytest.mark.timeout(600)  # takes a few seconds; shrinking a failure takes minutes
def test_random_histories_agree_with_the_model(redis_url: str) -> None:
    run_machine(
        cast("type[RegistryMachine]", lambda: RegistryMachine(redis_url)),
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
