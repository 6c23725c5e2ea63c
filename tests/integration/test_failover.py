"""A failover as ElastiCache makes one: a name that points to another server afterwards.

Two servers on one port of two loopback addresses, one the replica of the other, and a name that
resolves to the primary. What was connected stays so, to a server that only reads now, or that
never answers again.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
import redis

from testkit.servers.redis import RedisServer, require_redis
from testkit.worlds.world import wait_until
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports.lanes import READY, bulk_lane
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.ports.registry import Commit, Notice
from wis2_gc_common.redis import connection
from wis2_gc_common.redis.queue_keys import queue_keys
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.settings.values import QueueUrl
from wis2_gc_common.wis2.decision import Decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

NAME = "primary.test"
ANSWER_S = 1.5
QUEUE, DEAD = QueueUrl("redis-stream", "notifications"), QueueUrl("redis-stream", "dead-letters")


class Pair:
    """The two servers and the name."""

    def __init__(self, old: RedisServer, new: RedisServer) -> None:
        self.old, self.new = old, new
        self.points_to = old

    @property
    def url(self) -> str:
        return f"redis://{NAME}:{self.old.port}/0"

    def fail_over(self) -> None:
        """Let them change their roles; nothing is lost on the way."""
        with redis.Redis.from_url(self.old.url) as admin:
            admin.execute_command("FAILOVER TO", self.new.host, self.new.port)
            wait_until(lambda: admin.role()[0] == b"slave", "the old primary is a replica")

    def promote(self) -> None:
        """Make the replica a primary, without asking the old one."""
        with redis.Redis.from_url(self.new.url) as admin:
            admin.replicaof("NO", "ONE")

    def rename(self) -> None:
        """Let the name point to the new primary."""
        self.points_to = self.new


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    require_redis()
    # Redis waits five seconds for more replicas to come.
    old = RedisServer(tmp_path / "old", options=("--repl-diskless-sync-delay", "0")).start()
    announced = ("--replica-announce-ip", "127.0.0.2")
    new = RedisServer(tmp_path / "new", host="127.0.0.2", port=old.port, options=announced).start()
    pair = Pair(old, new)
    resolve = socket.getaddrinfo

    def resolve_name(host: Any, *rest: Any, **options: Any) -> Any:
        return resolve(pair.points_to.host if host == NAME else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    with redis.Redis.from_url(new.url) as admin:
        admin.replicaof(old.host, old.port)
        wait_until(
            lambda: admin.info("replication")["master_link_status"] == "up", "it is a replica"
        )
    yield pair
    for server in (old, new):
        server.stop()


def envelope(number: int) -> Envelope:
    return Envelope(f"origin/a/wis2/de-dwd-{number}/data/core", b"{}", "fr", number)


async def eventually(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a call gives, which may fail once while it finds out that it must reconnect."""
    try:
        return await call()
    except Unavailable:
        return await call()


@pytest.mark.parametrize("how", ["changes its role", "hangs"])
async def test_the_registry_goes_where_the_name_points(
    pair: Pair, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", ANSWER_S)
    registry = RedisRegistry(pair.url, retention_hours=24, lease_s=30)
    listener = RedisListenerRegistry(pair.url, retention_hours=24)
    reader = RedisReader(pair.url)
    notice = Notice("wis2/item", 1_764_000_000_123_456_789, "canonical", "ca-eccc-msc", "id-1")

    async def claim() -> Any:
        return await registry.claim(notice, owner="o", worker="w", attempt=7, source=b"s")

    lease = (await claim()).lease
    await asyncio.to_thread(listener.count, {"a": 1})
    await reader.snapshot()
    await in_step(pair)
    if how == "hangs":
        pair.old.pause()
        pair.promote()
    else:
        pair.fail_over()
        with pytest.raises(Unavailable, match="read only"):
            await claim()
    pair.rename()

    assert (await eventually(claim)).lease == lease
    commit = Commit("cached", "ca-eccc-msc", False, "host", "key", 1, 1.0)
    for _ in range(2):
        assert await registry.commit(lease, commit)
    await eventually(lambda: asyncio.to_thread(listener.count, {"a": 1}))
    with redis.Redis.from_url(pair.new.url) as admin:
        counters = admin.hgetall("{gc}counters")
    assert counters[b"wmo_wis2_gc_downloaded_total|ca-eccc-msc"] == b"1"
    assert counters[b"a"] == b"2"
    snapshot = await eventually(reader.snapshot)
    if how == "hangs":
        assert snapshot.counters["a"] == 2
    assert (await claim()).decision is Decision.DUPLICATE
    await registry.close()
    await reader.close()
    listener.close()
    pair.old.resume()


@pytest.mark.parametrize("how", ["changes its role", "hangs"])
async def test_the_queue_goes_where_the_name_points(
    pair: Pair, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", ANSWER_S)
    sender = open_sender(QUEUE, redis_url=pair.url, max_length=100)
    queue = open_queue(QUEUE, DEAD, redis_url=pair.url, consumer="one", visibility_s=60)
    letters = open_dead_letters(QUEUE, DEAD, redis_url=pair.url)
    sent = [envelope(number) for number in range(5)]
    assert sender.send(sent) == [Sent.ACCEPTED] * 5
    done, dead = await queue.receive(2, wait_s=5)
    assert letters.list(1) == []
    await in_step(pair)
    # A receive that waits while it happens.
    more = await queue.receive(3, wait_s=5)
    assert len(more) == 3
    await in_step(pair)
    waiting = asyncio.create_task(queue.receive(1, wait_s=30))
    await asyncio.sleep(0)
    if how == "hangs":
        pair.old.pause()
        pair.promote()
    else:
        pair.fail_over()
    pair.rename()
    with pytest.raises(Unavailable):
        await waiting

    assert await eventually(lambda: asyncio.to_thread(sender.send, [envelope(9)])) == [
        Sent.ACCEPTED
    ]
    await eventually(lambda: queue.delete([done.receipt]))
    await queue.dead_letter(dead, reason="dns", last_error="")
    await queue.put_back(more[0], delay_s=0, attempts=1)
    got = [one.envelope.uid for one in await eventually(lambda: queue.receive(10, wait_s=5))]
    while len(got) < 2:
        got += [one.envelope.uid for one in await queue.receive(10, wait_s=5)]
    assert len(got) == 2
    assert more[0].envelope.uid in got
    assert await eventually(lambda: asyncio.to_thread(letters.redrive)) == 1
    keys = queue_keys("notifications", "")
    lanes = (keys.lanes[READY], keys.lanes[bulk_lane(dead.envelope.topic)])
    with redis.Redis.from_url(pair.new.url) as admin:
        # What was redriven is bulk.
        assert [admin.xlen(lane) for lane in lanes] == [4, 1]
    await queue.close()
    sender.close()
    letters.close()
    pair.old.resume()


async def in_step(pair: Pair) -> None:
    """Wait until the replica has all that was answered."""
    with redis.Redis.from_url(pair.old.url) as admin:
        assert await asyncio.to_thread(admin.wait, 1, 10_000) == 1
