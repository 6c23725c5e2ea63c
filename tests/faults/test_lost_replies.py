"""Replies of Redis or SQS that get lost: what was done is not done, or counted, a second time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from testkit.servers.lossy_proxy import LossyProxy
from testkit.worlds.world import open_world, wait_until
from tests.faults.load import PATIENT, Load, assert_all_came_out

if TYPE_CHECKING:
    from pathlib import Path

    from testkit.servers.nodes import Node


@pytest.mark.parametrize("seed", [1, 2])
def test_counters_are_exact_under_lost_replies_and_time_outs(
    tmp_path: Path, node: Node, seed: int
) -> None:
    all_comes_out_behind_a_lossy_proxy("cache_redis_port", tmp_path, node, seed)


@pytest.mark.skipif(os.environ.get("QUEUE") != "sqs", reason="make test-faults runs it on SQS")
def test_messages_sent_and_received_twice_change_nothing(tmp_path: Path, node: Node) -> None:
    all_comes_out_behind_a_lossy_proxy("cache_sqs_port", tmp_path, node)


def all_comes_out_behind_a_lossy_proxy(
    option: str, directory: Path, node: Node, seed: int = 1
) -> None:
    """Lose replies of the part that the world's `option` puts behind a proxy, then count."""
    proxies: list[LossyProxy] = []

    def behind_a_proxy(port: int) -> int:
        proxies.append(LossyProxy(port, loss=0.04, seed=seed))
        return proxies[0].port

    try:
        with open_world(directory / "world", **{option: behind_a_proxy}, **PATIENT) as world:
            load = Load(world, node)
            load.wait_for(300)
            wait_until(lambda: proxies[0].lost >= 30, "30 replies are lost", timeout=60)
            proxies[0].calm()
            assert_all_came_out(world, load)
    finally:
        for proxy in proxies:
            proxy.close()
