"""The registry's primary changes under load: nothing is lost or counted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from local.parts.ports import free_port
from testkit.servers.lossy_proxy import LossyProxy
from testkit.servers.redis import RedisServer
from testkit.worlds.world import open_world, wait_until
from tests.faults.load import PATIENT, Load, assert_all_came_out

if TYPE_CHECKING:
    from pathlib import Path

    from testkit.servers.nodes import Node


def test_a_failover_loses_nothing_and_counters_stay_exact(tmp_path: Path, node: Node) -> None:
    """The old primary stays, as a replica: clients that are connected to it get READONLY.

    All the replica has by then is what the primary had (Redis' own FAILOVER): what an unplanned
    one costs is what replication had not sent yet.
    """
    proxies: list[LossyProxy] = []

    def by_name(port: int) -> int:
        proxies.append(LossyProxy(port, loss=0.0))
        return proxies[0].port

    replica = RedisServer(tmp_path / "replica", port=free_port()).start()
    try:
        with open_world(tmp_path / "world", cache_redis_port=by_name, **PATIENT) as world:
            with redis.Redis.from_url(replica.url) as admin:
                admin.replicaof("127.0.0.1", world.redis.port)
                wait_until(
                    lambda: admin.info("replication")["master_link_status"] == "up",
                    "the replica follows",
                )
            load = Load(world, node)
            load.wait_for(100)
            with redis.Redis.from_url(world.redis.url) as admin:
                admin.execute_command("FAILOVER TO", "127.0.0.1", replica.port)
                wait_until(lambda: admin.role()[0] == b"slave", "it is a replica")
            # The name still points to it for a while.
            load.wait_for(60)
            proxies[0].turn_to(replica.port)
            load.wait_for(100)
            assert_all_came_out(world, load)
            with redis.Redis.from_url(replica.url) as admin:
                assert admin.role()[0] == b"master"
    finally:
        replica.stop()
        for proxy in proxies:
            proxy.close()
