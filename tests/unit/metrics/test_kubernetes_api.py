from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from testkit.servers import kubernetes_api as clusters
from testkit.servers.kubernetes_api import TOKEN, Cluster, condition, workload
from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_metrics import kubernetes_api
from wis2_gc_metrics.kubernetes_api import KubernetesApi
from wis2_gc_metrics.rollouts import Workload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LATE = "Progressing", "False"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clusters.running(tmp_path) as cluster:
        yield cluster


@asynccontextmanager
async def api_of(cluster: Cluster, *, timeout_s: float = 30.0) -> AsyncIterator[KubernetesApi]:
    api = KubernetesApi(
        cluster.url,
        credentials=cluster.credentials,
        release=clusters.RELEASE,
        timeout_s=timeout_s,
    )
    try:
        yield api
    finally:
        await api.close()


async def read(cluster: Cluster) -> list[Workload]:
    async with api_of(cluster) as api:
        return await api.workloads()


async def test_the_workloads_are_those_of_both_lists(cluster: Cluster) -> None:
    cluster.deployments = [
        workload("wis2-manager", image="r.example/wis2-gc-manager@sha256:abc"),
        workload("wis2-metrics", observedGeneration=2, updatedReplicas=1, availableReplicas=1),
    ]
    cluster.stateful_sets = [workload("wis2-broker", image="docker.io/emqx/emqx:5.8.9")]
    manager, metrics, broker = await read(cluster)
    assert manager == Workload(
        kind="Deployment",
        name="wis2-manager",
        version="sha256:abc",
        desired=2,
        updated=2,
        ready=2,
        available=2,
        total=2,
        is_observed=True,
        problem=None,
    )
    assert (metrics.is_observed, metrics.updated, metrics.available) == (False, 1, 1)
    assert (broker.kind, broker.name, broker.version) == ("StatefulSet", "wis2-broker", "5.8.9")
    assert [load.is_complete for load in (manager, metrics, broker)] == [True, False, True]


async def test_it_asks_for_our_release_in_our_namespace_with_the_pods_token(
    cluster: Cluster,
) -> None:
    assert await read(cluster) == []
    paths = [urlsplit(path) for path, _ in cluster.asked]
    prefix = f"/apis/apps/v1/namespaces/{clusters.NAMESPACE}"
    assert [path.path for path in paths] == [f"{prefix}/deployments", f"{prefix}/statefulsets"]
    for path in paths:
        selector = f"app.kubernetes.io/instance={clusters.RELEASE}"
        assert parse_qs(path.query) == {"labelSelector": [selector]}
    assert {token for _, token in cluster.asked} == {f"Bearer {TOKEN}"}


async def test_a_token_that_was_renewed_is_used(cluster: Cluster) -> None:
    async with api_of(cluster) as api:
        await api.workloads()
        (cluster.credentials / "token").write_text("the.next-one\n")
        await api.workloads()
    assert {token for _, token in cluster.asked[2:]} == {"Bearer the.next-one"}


async def test_what_kubernetes_leaves_out_is_zero(cluster: Cluster) -> None:
    cluster.deployments = [
        workload(
            "wis2-manager",
            observedGeneration=None,
            replicas=None,
            updatedReplicas=None,
            readyReplicas=None,
            availableReplicas=None,
        )
    ]
    (load,) = await read(cluster)
    assert (load.total, load.updated, load.ready, load.available) == (0, 0, 0, 0)
    assert not load.is_observed
    assert load.desired == 2


async def test_a_pod_that_still_ends_on_a_lost_node_is_one_too_many(cluster: Cluster) -> None:
    cluster.deployments = [workload("wis2-manager", terminatingReplicas=1)]
    (load,) = await read(cluster)
    assert (load.total, load.updated, load.available) == (3, 2, 2)
    assert not load.is_complete


async def test_a_rollout_that_stopped_says_so_in_our_words(cluster: Cluster) -> None:
    message = 'ReplicaSet "wis2-manager-7d" has timed out progressing.'
    cluster.deployments = [
        workload("fine", conditions=[condition("Progressing", "True", message="progresses")]),
        workload(
            "late",
            conditions=[
                condition("Available", "False", message="no minimum availability"),
                condition(*LATE, reason="ProgressDeadlineExceeded", message=message),
            ],
        ),
        workload("silent", conditions=[condition(*LATE, reason="ProgressDeadlineExceeded")]),
        workload("long", conditions=[condition(*LATE, message="x" * 5000)]),
    ]
    problems = [load.problem for load in await read(cluster)]
    assert problems == [
        None,
        "no progress in the time it has",
        "no progress in the time it has",
        "no progress",
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_told_apart_with_what_the_api_says(
    cluster: Cluster, status: int
) -> None:
    cluster.status = status
    cluster.body = b'{"message": "deployments.apps is forbidden"}'
    with pytest.raises(Misconfigured, match=rf"HTTP {status} .*apps is forbidden") as raised:
        await read(cluster)
    assert raised.value.part == "Kubernetes API"
    assert len(cluster.asked) == 1


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_any_other_status_is_an_api_that_is_away(cluster: Cluster, status: int) -> None:
    cluster.status = status
    with pytest.raises(Unavailable, match=f"HTTP {status}") as raised:
        await read(cluster)
    assert type(raised.value) is Unavailable


async def test_the_token_follows_no_redirect(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with clusters.running(tmp_path / "other") as other:
        cluster.status, cluster.location = 302, f"{other.url}/apis"
        with pytest.raises(Unavailable, match="HTTP 302"):
            await read(cluster)
        assert other.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"items": null}',
        b'{"items": [{}]}',
        b'{"items": "\xff"}',
        json.dumps({"items": [workload("x", replicas="two")]}).encode(),
    ],
)
async def test_garbage_is_an_api_that_is_away(cluster: Cluster, body: bytes) -> None:
    cluster.body = body
    with pytest.raises(Unavailable, match="no list of workloads"):
        await read(cluster)


async def test_a_pod_without_containers_has_no_version(cluster: Cluster) -> None:
    load = workload("x")
    load["spec"]["template"]["spec"]["containers"] = []
    cluster.deployments = [load]
    assert [found.version for found in await read(cluster)] == [""]


async def test_an_endless_answer_is_given_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "MAX_ANSWER_BYTES", 10_000)
    cluster.body = b" " * 20_000
    with pytest.raises(Unavailable, match="more than 10000 bytes"):
        await read(cluster)


async def test_an_api_that_does_not_answer_is_given_up_and_asked_again(cluster: Cluster) -> None:
    cluster.gate.clear()
    async with api_of(cluster, timeout_s=0.5) as api:
        with pytest.raises(Unavailable, match="Kubernetes API unavailable"):
            await api.workloads()
        cluster.gate.set()
        for _ in range(60):  # a busy machine may be slower than the time-out
            with suppress(Unavailable):
                assert await api.workloads() == []
                return
    pytest.fail("it does not come back")


async def test_an_api_that_is_not_there_is_away(cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        cluster.url = f"https://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable) as raised:
            await read(cluster)
    assert type(raised.value) is Unavailable


async def test_no_other_authority_is_trusted_and_a_renewed_one_is(cluster: Cluster) -> None:
    right = (cluster.credentials / "ca.crt").read_bytes()
    async with api_of(cluster) as api:
        await api.workloads()
        trustme.CA().cert_pem.write_to_path(str(cluster.credentials / "ca.crt"))
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await api.workloads()
        assert len(cluster.asked) == 2
        (cluster.credentials / "ca.crt").write_bytes(right)
        assert await api.workloads() == []


@pytest.mark.parametrize("name", ["token", "ca.crt", "namespace"])
@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
async def test_credentials_that_are_not_there_are_named(
    cluster: Cluster, name: str, content: bytes | None
) -> None:
    path = cluster.credentials / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match=str(path)):
        await read(cluster)
    assert cluster.asked == []


@pytest.mark.parametrize(("name", "text"), [("token", "hush\r\nX: y"), ("ca.crt", "hush")])
async def test_credentials_that_are_none_are_named_and_not_shown(
    cluster: Cluster, name: str, text: str
) -> None:
    (cluster.credentials / name).write_text(text)
    with pytest.raises(Misconfigured, match=name) as raised:
        await read(cluster)
    assert "hush" not in str(raised.value)
    assert cluster.asked == []
