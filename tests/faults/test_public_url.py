"""The web server in front of the objects fails: no announcement leads nowhere, and none is lost."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import unique_data_id, wnm
from testkit.worlds.world import wait_until
from tests.faults.load import TOPIC, Load, assert_all_came_out
from wis2_gc_common.metrics import PUBLIC_CHECKS

if TYPE_CHECKING:
    from local.parts.nginx import Nginx
    from testkit.servers.nodes import Node
    from testkit.worlds.world import World


def refuse(nginx: Nginx, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    """Have it answer 500 to all that `location` (in nginx's form) matches."""
    text = nginx.configuration()
    first = text.index("location =")
    monkeypatch.setattr(
        nginx,
        "configuration",
        lambda: f"{text[:first]}{location} {{ return 500; }}\n{text[first:]}",
    )
    nginx.stop()
    nginx.start()


def problems(world: World) -> list[str]:
    """Return what the managers say in `/readyz`."""
    said = []
    for name in ("manager-1", "manager-2"):
        ports = re.findall(r'"http_port": ?(\d+)', world.processes[name].log)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/readyz", timeout=30).close()
        except urllib.error.HTTPError as error:
            with error:
                said.append(json.load(error)["problem"])
    return said


def failed_checks(world: World) -> float:
    return world.metrics().get((PUBLIC_CHECKS.name, frozenset({("result", "failed")})), 0)


@pytest.mark.parametrize("how", ["stopped", "500 for all"])
def test_the_web_server_fails_for_all(
    world: World, node: Node, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    load = Load(world, node)
    load.wait_for(60)
    if how == "stopped":
        world.nginx.stop()
        detail = "public URL away: cannot be connected to"
    else:
        refuse(world.nginx, monkeypatch, f"location ~ ^{world.nginx.path}/")
        detail = "public URL away: status 500"
    wait_until(lambda: not world.is_ready(), "readiness says that no manager receives")
    wait_until(lambda: len(problems(world)) == 2, "both managers say so")
    assert all(detail in problem for problem in problems(world))
    begin = len(load.bodies)
    load.wait_for(40)
    assert not any(world.announcements(data_id) for data_id in list(load.bodies)[begin:])
    monkeypatch.undo()
    world.nginx.stop()
    world.nginx.start()
    assert_all_came_out(world, load)
    assert failed_checks(world) >= 3


def test_one_object_that_fails_stops_nothing(
    world: World, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(world.nginx, monkeypatch, "location ~ broken")
    load = Load(world, node)
    load.wait_for(20)
    load.stop()
    world.settle()
    # The last of all, so that it is looked at.
    broken = unique_data_id("broken")
    href = node.serve("/broken.bufr", b"BUFR")
    world.publish(TOPIC, wnm(data_id=broken, href=href), brokers="a")
    link = world.announced(broken).link()["href"]
    assert world.get(link)[0] == 500
    wait_until(lambda: failed_checks(world) >= 2, "it is looked at")
    assert world.is_ready()
    assert problems(world) == []
    more = Load(world, node)
    more.wait_for(20)
    more.stop()
    monkeypatch.undo()
    world.nginx.stop()
    world.nginx.start()
    more.bodies |= load.bodies | {broken: b"BUFR"}
    assert_all_came_out(world, more)
