"""The registry of the manager's unit tests beside the real one, under random histories."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from testkit.fakes.manager import Traps
from testkit.fakes.redis_registry import Service
from testkit.fakes.registry import FakeRegistry
from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.ports.registry import Claimed, Commit, Failure, Lease, Notice
from wis2_gc_common.redis import registry_keys as keys

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from wis2_gc_common.wis2.decision import Rel

pytest_plugins = ("testkit.servers.redis",)

#: All of the past: what a pubtime of the future means depends on the millisecond.
PUBTIMES = (9, 10, 1_764_000_000_123_456_788, 1_764_000_000_123_456_789)


class Granted(NamedTuple):
    """One claim, at both."""

    real: Lease
    fake: Lease
    owner: str
    worker: str


class Pair(RuleBasedStateMachine):
    """Every call goes to both, and both must answer the same."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.service = Service(url)
        self.service.raw.flushall()
        self.real = self.service.registry
        self.fake = FakeRegistry(Traps())
        self.granted: list[Granted] = []
        self.numbers = itertools.count()

    def teardown(self) -> None:
        self.service.close()

    def both(self, real: Coroutine[Any, Any, Any], fake: Coroutine[Any, Any, Any]) -> Any:
        expected, found = self.service(real), asyncio.run(fake)
        assert found == expected
        return found

    def pick(self, data: st.DataObject) -> Granted:
        return data.draw(st.sampled_from(self.granted[::-1]))

    def claim(self, notice: Notice, owner: str, worker: str, attempt: int) -> None:
        call: dict[str, Any] = {"owner": owner, "worker": worker, "attempt": attempt}
        source = notice.message_id.encode() * 300
        real: Claimed = self.service(self.real.claim(notice, source=source, **call))
        fake = asyncio.run(self.fake.claim(notice, source=source, **call))
        for answer in (real, fake):
            assert (answer.retry_after_s > 0) == (answer.decision.value == "wait")
        # Names of records and the label of a quota are the real one's own.
        plain: dict[str, Any] = {"retry_after_s": 0.0, "lease": None}
        assert replace(fake, **plain) == replace(real, **plain)
        if real.lease is None:
            assert fake.lease is None
            return
        assert fake.lease is not None
        one = Granted(real.lease, fake.lease, owner, worker)
        if one not in self.granted:
            self.granted.append(one)

    @rule(
        data_id=st.sampled_from(["item", "other"]),
        pubtime_ns=st.sampled_from(PUBTIMES),
        rel=st.sampled_from(["canonical", "update", "deletion"]),
        centre_id=st.sampled_from(["ca-eccc-msc", "de-dwd"]),
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
        self.claim(notice, f"owner {number}", worker, 1000 + number)

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), worker=st.sampled_from(["w1", "w2"]))
    def copies_arrive_over_other_brokers(self, data: st.DataObject, worker: str) -> None:
        notice = self.pick(data).real.notice
        for _ in range(data.draw(st.sampled_from([1, 2, 20]))):
            number = next(self.numbers)
            copy = replace(notice, message_id=f"copy {number % 40}")
            self.claim(copy, f"owner {number}", worker, 1000 + number)

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), how=st.sampled_from(["sent again", "restarted", "redelivered"]))
    def a_claim_comes_again(self, data: st.DataObject, how: str) -> None:
        real, fake, owner, worker = self.pick(data)
        attempt = 1000 + next(self.numbers)
        if how == "sent again":
            attempt = real.attempt
            [held] = self.both(self.real.renew([real]), self.fake.renew([fake]))
            if not held.is_held:
                return  # nobody sends that
        self.claim(real.notice, owner, "another" if how == "redelivered" else worker, attempt)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def a_lease_ends(self, data: st.DataObject) -> None:
        one = self.pick(data)
        self.fake.end_lease(one.fake)
        self.service.raw.hset(keys.record_key(one.real.record), "l", 0)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def leases_are_renewed(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(self.granted), max_size=4))
        self.both(
            self.real.renew([one.real for one in some]), self.fake.renew([one.fake for one in some])
        )

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def parked_sources_are_read(self, data: st.DataObject) -> None:
        one = self.pick(data)
        self.both(self.real.parked(one.real), self.fake.parked(one.fake))

    @precondition(lambda self: self.granted)
    @rule(
        data=st.data(),
        message=st.sampled_from(["own", "parked"]),
        reason=st.sampled_from(["timeout", "integrity"]),
    )
    def a_source_fails(self, data: st.DataObject, message: str, reason: str) -> None:
        one = self.pick(data)
        failure = Failure("download", message, "de-dwd", "host", reason)
        self.both(self.real.fail(one.real, failure), self.fake.fail(one.fake, failure))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def an_item_is_committed(self, data: st.DataObject) -> None:
        one = self.pick(data)
        is_deletion = one.real.notice.rel == "deletion"
        others: list[Literal["cached", "override"]] = ["cached", "override"]
        outcome = "deleted" if is_deletion else data.draw(st.sampled_from(others))
        key = f"key {next(self.numbers)}" if outcome == "cached" else None
        commit = Commit(outcome, "de-dwd", False, "host", key, 5, 0.5)
        self.both(self.real.commit(one.real, commit), self.fake.commit(one.fake, commit))

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), cause=st.none() | st.just(Cause(Reason.TIMEOUT)), seen=st.integers(0, 3))
    def an_item_is_released(self, data: st.DataObject, cause: Cause | None, seen: int) -> None:
        one = self.pick(data)
        is_final = cause is not None and data.draw(st.booleans())
        options: dict[str, Any] = {"cause": cause, "parked_seen": seen, "is_final": is_final}
        self.both(self.real.release(one.real, **options), self.fake.release(one.fake, **options))


@pytest.mark.timeout(600)  # takes a few seconds; shrinking a failure takes minutes
def test_the_fake_answers_as_the_real_one_does(redis_url: str) -> None:
    run_machine(
        cast("type[Pair]", lambda: Pair(redis_url)),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
