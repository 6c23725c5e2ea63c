"""`kill -9` of any of our processes at any moment: every item is announced, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.load import Load, assert_all_came_out

if TYPE_CHECKING:
    from testkit.servers.nodes import Node
    from testkit.worlds.world import World

SERVICES = ("listener-a", "manager-1", "listener-b", "manager-2", "metrics")


@pytest.mark.parametrize("victims", [("manager-1", "manager-2"), ("listener-a", "listener-b")])
def test_all_of_a_kind_killed_together(world: World, node: Node, victims: tuple[str, ...]) -> None:
    load = Load(world, node)
    for _ in range(3):
        load.wait_for(60)
        for name in victims:
            world.processes[name].kill()
        load.wait_for(20)
        for name in victims:
            world.processes[name].start()
    load.wait_for(40)
    assert_all_came_out(world, load)


def test_one_after_the_other(world: World, node: Node) -> None:
    load = Load(world, node)
    for number in range(15):
        load.wait_for(25)
        process = world.processes[SERVICES[number % len(SERVICES)]]
        process.kill()
        process.start()
    assert_all_came_out(world, load)


def test_stopped_for_a_roll_out(world: World, node: Node) -> None:
    load = Load(world, node)
    for name in SERVICES:
        load.wait_for(40)
        assert world.processes[name].stop() == 0, "a stop is not a failure"
        world.processes[name].start()
    load.wait_for(40)
    assert_all_came_out(world, load)


def test_a_manager_that_hangs_is_replaced_and_its_return_harms_nothing(
    world: World, node: Node
) -> None:
    load = Load(world, node)
    load.wait_for(60)
    world.processes["manager-1"].pause()
    load.wait_for(400)
    world.processes["manager-1"].go_on()
    load.wait_for(40)
    assert_all_came_out(world, load)
