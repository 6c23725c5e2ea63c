"""The cache in pods under load: nothing is lost or doubled, whatever happens to its pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation
from tests.cluster.kube import say, wait_until

if TYPE_CHECKING:
    from tests.cluster.kube import Namespace

pytestmark = pytest.mark.timeout(3600)
_ITEMS_A_SECOND = 8


@pytest.fixture(scope="module")
def installation(namespace: Namespace, world_namespace: Namespace) -> Installation:
    nodes = namespace.get("nodes")
    made = Installation(namespace, world_namespace, nodes[-1]["metadata"]["name"])
    made.install()
    return made


def test_items_are_announced_once(installation: Installation) -> None:
    installation.publish(_ITEMS_A_SECOND)
    wait_until(lambda: installation.report()["published"] >= 200, "200 items are published")
    installation.publish(0)
    wait_until(lambda: not installation.report()["missing"], "all items are announced")
    report = installation.report()
    say(f"{report}")
    assert not report["doubled"]
    assert not report["unknown"]
    verified = installation.verify()
    assert verified == {"fetched": report["published"], "problems": []}
