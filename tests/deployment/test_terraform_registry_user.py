"""The registry's user in ElastiCache: its access rules, on a real redis-server.

A call that the rules forbid would only be seen in production: here every call of the registry's
contract is made as that user.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.metrics import DROPPED, field
from wis2_gc_common.ports.registry import (
    Commit,
    Failure,
    ItemKey,
    Notice,
    ProcessStatus,
    Refusal,
)
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.wis2.decision import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ("testkit.servers.redis",)

USERS = Path(__file__).parents[2] / "terraform" / "modules" / "registry" / "users.tf"
NOTICE = Notice("wis2/item", 1_764_000_000_123_456_789, "canonical", "ca-eccc-msc", "id-1")

STATUS = ProcessStatus("manager", "m", is_ready=True)


@pytest.fixture
def user_url(redis_server: Any, redis_url: str) -> Iterator[str]:
    """URL of a login with the rules of `users.tf`."""
    (rules,) = re.findall(r'access_string = "(on .*)"', USERS.read_text("utf-8"))
    admin: Any = redis.Redis.from_url(redis_url)
    admin.execute_command("ACL SETUSER", "cache", ">word", *rules.split())
    yield redis_url.replace("redis://", "redis://cache:word@")
    admin.execute_command("ACL DELUSER", "cache")
    admin.close()


async def test_the_registrys_user_may_do_all_that_a_manager_does(user_url: str) -> None:
    registry = RedisRegistry(user_url, retention_hours=24, lease_s=30)
    await registry.ping()
    claimed = await registry.claim(NOTICE, owner="o", worker="w", attempt=1, source=b"s")
    assert claimed.lease is not None
    from_another = replace(NOTICE, message_id="id-2")
    await registry.claim(from_another, owner="p", worker="w", attempt=2, source=b"t")
    assert (await registry.renew([claimed.lease]))[0].is_held
    await registry.parked(claimed.lease)
    failure = Failure("download", "id-1", NOTICE.centre_id, "host", "timeout")
    assert await registry.fail(claimed.lease, failure)
    assert await registry.commit(
        claimed.lease, Commit("cached", NOTICE.centre_id, is_metadata=False, dataserver="host")
    )
    key = ItemKey(NOTICE.centre_id, NOTICE.data_id)
    assert (await registry.look([key])).held[0] is not None
    await registry.count({field(DROPPED, "fr", "duplicate"): 1})
    other = await registry.claim(
        Notice("wis2/other", NOTICE.pubtime_ns, "canonical", "b", "id-2"),
        owner="o",
        worker="w",
        attempt=3,
        source=b"s",
    )
    assert other.lease is not None
    released = await registry.release(
        other.lease, cause=Cause(Reason.TIMEOUT, "x"), parked_seen=0, is_final=True
    )
    assert released == "released"
    await registry.heartbeat(STATUS)
    assert await registry.admit_event("ca-eccc-msc", interval_s=60)
    assert await registry.refusals(10) == []
    await registry.close()


def test_the_registrys_user_may_do_all_that_a_listener_does(user_url: str) -> None:
    registry = RedisListenerRegistry(user_url, retention_hours=24)
    key = ItemKey("ca-eccc-msc", "wis2/item")
    assert registry.look([key], deletions={}).held == [None]
    assert registry.look([key], deletions={key: 1}).held == [Held(None, deleting_ns=1)]
    registry.count({field(DROPPED, "fr", "duplicate"): 1})
    registry.refuse([Refusal("ca-eccc-msc", "origin/a/wis2/ca-eccc-msc/metadata", 0, "oversize")])
    registry.heartbeat(STATUS)
    assert registry.hold_session("fr", "pod/1", lease_s=5)
    registry.leave_session("fr", "pod/1")
    registry.close()


async def test_the_registrys_user_may_read_all_that_the_metrics_service_shows(
    user_url: str,
) -> None:
    reader = RedisReader(user_url)
    await reader.snapshot()
    await reader.item(ItemKey("ca-eccc-msc", "wis2/item"))
    await reader.failures(10)
    await reader.close()


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "somebody:else")]
)
def test_the_registrys_user_may_do_nothing_else(user_url: str, command: tuple[str, ...]) -> None:
    client: Any = redis.Redis.from_url(user_url)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)
    client.close()
