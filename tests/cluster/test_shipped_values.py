"""Every values file of the chart, and what none of them shows, is accepted by the API server.

Server-side dry run, with Pod Security `restricted`, and a warning is an error. Custom resources are
tried where the cluster knows their kinds; the test's output names those it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.deployment.chart import cases, manifests, merged, values_file
from tests.cluster.installation import ten_lines
from tests.cluster.kube import say

if TYPE_CHECKING:
    from tests.cluster.kube import Manifest, Namespace


def known_kinds(namespace: Namespace) -> set[str]:
    """Return `group/Kind` of all that the API server knows, without versions."""
    return {
        f"{group}/{kind}"
        for line in namespace.kubectl("api-resources", "--no-headers").splitlines()
        for *_, version, _namespaced, kind in [line.split()]
        for group in [version.rpartition("/")[0]]
    }


#: Also what the README has a centre with its own Kubernetes write.
CASES = {**cases(), "README": merged(values_file("on-premises"), ten_lines())}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_api_server_accepts_it_without_a_warning(name: str, namespace: Namespace) -> None:
    known = known_kinds(namespace)
    tried: list[Manifest] = []
    unknown: list[Manifest] = []
    for item in manifests(CASES[name]):
        group = item["apiVersion"].rpartition("/")[0]
        (tried if f"{group}/{item['kind']}" in known else unknown).append(item)
        # The chart's own namespace is the one it is installed into.
        item["metadata"].pop("namespace", None)
        if item["kind"] == "Pod":
            # The chart's class is there when Helm's test runs, and not after a dry run.
            item["spec"].pop("priorityClassName", None)
    namespace.apply(*tried, dry_run=True)
    names = sorted({item["kind"] for item in unknown})
    say(f"{name}: {len(tried)} objects accepted; kinds not known here: {names or 'none'}")
    assert len(tried) > 20
