"""What the registry's users see while Redis is away, refuses, or is not what it was."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis

from wis2_gc_common.errors import Cause, PartError, Reason, Unavailable
from wis2_gc_common.ports.registry import (
    Claimed,
    Commit,
    Failure,
    ItemKey,
    Lease,
    Looked,
    Notice,
    ProcessStatus,
)
from wis2_gc_common.redis import connection
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.wis2.decision import Decision, Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from testkit.servers.redis import RedisServer

pytest_plugins = ("testkit.servers.redis",)

FIRST = Notice("wis2/item", 1_764_000_000_123_456_789, "canonical", "ca-eccc-msc", "id-1")
LEASE = Lease(FIRST, 1, "i:record")
A, X = ItemKey("c", "a"), ItemKey("c", "x")


def look(listener: RedisListenerRegistry) -> Looked:
    return listener.look([A], deletions={})


#: Less than a call would wait for that had no time-out of its own.
QUICK_S = 20.0


@dataclass
class Clients:
    """Three users of one server; they outlive its death."""

    server: RedisServer
    registry: RedisRegistry
    reader: RedisReader
    listener: RedisListenerRegistry

    async def claim(self, notice: Notice = FIRST) -> Claimed:
        return await self.registry.claim(notice, owner="owner", worker="w", attempt=7, source=b"s")

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Every call that goes to Redis."""
        registry, reader, listener = self.registry, self.reader, self.listener
        status = ProcessStatus("manager", "m", True)
        failure = Failure("download", "id", "c", "h", "timeout")
        return {
            "claim": self.claim,
            "renew": lambda: registry.renew([LEASE]),
            "parked": lambda: registry.parked(LEASE),
            "fail": lambda: registry.fail(LEASE, failure),
            "commit": lambda: registry.commit(LEASE, Commit("uncached", "c", False)),
            "release": lambda: registry.release(LEASE, cause=None, parked_seen=0, is_final=False),
            "look": lambda: registry.look([A]),
            "count": lambda: registry.count({"a": 1}),
            "heartbeat": lambda: registry.heartbeat(status),
            "ping": registry.ping,
            "snapshot": reader.snapshot,
            "item": lambda: reader.item(A),
            "failures": lambda: reader.failures(1),
            "listener look": lambda: asyncio.to_thread(look, listener),
            "listener note": lambda: asyncio.to_thread(listener.look, [A], deletions={A: 1}),
            "listener count": lambda: asyncio.to_thread(listener.count, {"a": 1}),
            "listener heartbeat": lambda: asyncio.to_thread(listener.heartbeat, status),
            "listener session": lambda: asyncio.to_thread(
                listener.hold_session, "fr", "pod", lease_s=5
            ),
        }

    async def refused(self) -> dict[str, str]:
        """Return call → part of the calls that raise Unavailable; none lingers."""
        details: dict[str, str] = {}
        for name, call in self.calls().items():
            start = time.monotonic()
            try:
                await call()
            except Unavailable as error:
                details[name] = error.part
            assert time.monotonic() - start < QUICK_S
        return details


@pytest.fixture
async def clients(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clients]:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 1.5)
    url = own_redis.url
    clients = Clients(
        own_redis,
        RedisRegistry(url, retention_hours=24, lease_s=30),
        RedisReader(url),
        RedisListenerRegistry(url, retention_hours=24),
    )
    yield clients
    await clients.registry.close()
    await clients.reader.close()
    clients.listener.close()


async def test_without_redis_every_call_says_so_at_once_and_works_again_when_it_is_back(
    clients: Clients,
) -> None:
    assert await clients.refused() == {}
    lease = (await clients.claim()).lease
    clients.server.kill()
    assert await clients.refused() == dict.fromkeys(clients.calls(), "registry")
    clients.server.start()
    assert await clients.refused() == {}
    # Nothing that was answered is forgotten, and the scripts are loaded again.
    assert (await clients.claim()).lease == lease


async def test_a_restart_between_two_calls_is_not_even_noticed(clients: Clients) -> None:
    lease = (await clients.claim()).lease
    await clients.reader.snapshot()
    await asyncio.to_thread(look, clients.listener)
    clients.server.restart()
    assert await clients.refused() == {}
    assert (await clients.claim()).lease == lease


async def test_a_hanging_redis_is_given_up_in_time_and_a_late_answer_is_not_mistaken(
    clients: Clients,
) -> None:
    await clients.claim()
    clients.server.pause()
    answers = await asyncio.gather(
        *(clients.registry.look([ItemKey("c", f"item {n}")]) for n in range(600)),
        return_exceptions=True,
    )
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert set(await clients.refused()) == set(clients.calls())
    clients.server.resume()
    assert (await clients.registry.look([ItemKey("c", "unknown")])).held == [None]
    assert (await clients.claim()).decision is Decision.NEW


async def test_a_full_redis_without_the_queue_takes_no_claims_but_still_tells_duplicates(
    clients: Clients,
) -> None:
    lease = (await clients.claim()).lease
    assert lease is not None
    await clients.registry.commit(lease, Commit("uncached", "c", False))
    elsewhere = RedisRegistry(
        clients.server.url, retention_hours=24, lease_s=30, claims_when_full=False
    )
    with redis.Redis.from_url(clients.server.url) as admin:
        before = await clients.reader.snapshot()
        admin.config_set("maxmemory", 1)
        other = Notice("other", 1, "canonical", "c", "id-2")
        with pytest.raises(Unavailable, match="maxmemory"):
            await elsewhere.claim(other, owner="o", worker="w", attempt=1, source=b"s")
        with pytest.raises(Unavailable):
            await elsewhere.ping()
        assert (await clients.claim()).decision is Decision.DUPLICATE
        assert await clients.reader.snapshot() == before
        admin.config_set("maxmemory", 0)
    await elsewhere.ping()
    await elsewhere.close()


async def test_a_full_redis_with_the_queue_in_it_is_still_worked_off(clients: Clients) -> None:
    with redis.Redis.from_url(clients.server.url) as admin:
        admin.config_set("maxmemory", 1)
        await clients.registry.ping()
        lease = (await clients.claim()).lease
        assert lease is not None
        failure = Failure("download", "id-1", "c", "h", "timeout")
        assert await clients.registry.fail(lease, failure)
        assert (await clients.registry.renew([lease]))[0].is_held
        assert await clients.registry.commit(
            lease, Commit("cached", "c", False, "h", "key", 1, 1.0)
        )
        other = (await clients.claim(Notice("other", 1, "canonical", "c", "id-2"))).lease
        assert other is not None
        answer = await clients.registry.release(
            other, cause=Cause(Reason.TIMEOUT, "x"), parked_seen=0, is_final=True
        )
        assert answer == "released"
        await clients.registry.count({"a": 1})
        await clients.registry.heartbeat(ProcessStatus("manager", "m", is_ready=True))
        assert await clients.registry.admit_event("c", interval_s=60)
        assert not await clients.registry.admit_event("c", interval_s=60)
        assert (await clients.reader.snapshot()).counters["a"] == 1


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + QUICK_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_replica_after_a_failover_is_left_for_a_new_connection(clients: Clients) -> None:
    await clients.claim()
    await asyncio.to_thread(look, clients.listener)
    with redis.Redis.from_url(clients.server.url) as admin:
        admin.replicaof("127.0.0.1", "1")
        assert admin.info("clients")["connected_clients"] == 3
        with pytest.raises(Unavailable):
            await clients.claim(Notice("other", 1, "canonical", "c", "id-2"))
        with pytest.raises(Unavailable):
            await asyncio.to_thread(clients.listener.count, {"a": 1})
        # Where the name points may have changed: only the admin's connection is left.
        await _until(lambda: admin.info("clients")["connected_clients"] == 1)
        refused = await clients.refused()
        assert {"claim", "ping", "count", "heartbeat", "listener count"} <= set(refused)
        assert {"look", "snapshot", "listener look"}.isdisjoint(refused)
        admin.config_set("replica-serve-stale-data", "no")
        assert set(await clients.refused()) == set(clients.calls())
        admin.replicaof("NO", "ONE")
    assert await clients.refused() == {}


async def test_one_scripts_error_does_not_fail_the_others_of_its_pipeline(clients: Clients) -> None:
    with redis.Redis.from_url(clients.server.url) as admin:
        admin.set("{gc}processes", "not a hash")
    status = ProcessStatus("manager", "m", True)
    claimed, beat, held = await asyncio.gather(
        clients.claim(),
        clients.registry.heartbeat(status),
        clients.registry.look([A]),
        return_exceptions=True,
    )
    assert isinstance(claimed, Claimed)
    assert isinstance(beat, PartError)
    assert isinstance(held, Looked)
    assert held.held == [None]


async def test_scripts_forgotten_by_redis_are_loaded_again_within_the_call(
    clients: Clients,
) -> None:
    await clients.refused()
    with redis.Redis.from_url(clients.server.url) as admin:
        admin.script_flush()
        other = Notice("other", 1, "canonical", "c", "id-2")
        claims = await asyncio.gather(clients.claim(other), clients.registry.look([X, X]))
        assert claims[0].decision is Decision.NEW
        assert claims[1].held == [None, None]
        admin.script_flush()
    # Of several scripts in one write, those behind a forgotten one are run again after it.
    await asyncio.to_thread(clients.listener.look, [X], deletions={})
    looked = await asyncio.to_thread(clients.listener.look, [X], deletions={X: 5})
    assert looked.held == [Held(None, deleting_ns=5)]


async def test_a_cancelled_claim_harms_no_other(clients: Clients) -> None:
    await clients.claim()
    clients.server.pause()
    notices = [Notice(f"item {n}", 1, "canonical", "c", f"id {n}") for n in range(3)]
    tasks = [asyncio.ensure_future(clients.claim(notice)) for notice in notices]
    for _ in range(5):
        await asyncio.sleep(0)
    tasks[1].cancel()
    clients.server.resume()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    leases = [answer.lease for answer in answers if isinstance(answer, Claimed)]
    assert [lease and lease.notice for lease in leases] == [notices[0], notices[2]]
