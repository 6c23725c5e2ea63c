"""`wis2-gc-metrics` and `wis2-gc` as commands, against a real redis-server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testkit.servers import kubernetes_api as clusters
from testkit.worlds.metrics_service import (
    BIN,
    CENTRE_ID,
    DEAD_LETTERS,
    QUEUE,
    environment,
    running,
)
from testkit.worlds.world import wait_until
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.metrics import field
from wis2_gc_common.open_queue import open_queue, open_sender
from wis2_gc_common.ports.queue import Envelope
from wis2_gc_common.ports.registry import Commit, Failure, Notice, ProcessStatus
from wis2_gc_common.redis.registry_manager import RedisRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.servers.kubernetes_api import Cluster
    from testkit.servers.redis import RedisServer

pytest_plugins = ("testkit.servers.redis",)

DATA_ID = "wis2/xx-a/data/core/weather/1"
PUBTIME_NS = 1_800_000_000_123_456_789
MAX_RESIDENT_KB = 90 * 1024


def operate(redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "wis2-gc", *arguments],
        env=environment(redis_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def samples(text: str) -> dict[str, float]:
    return {
        ",".join([s.name, *(v for k, v in sorted(s.labels.items()) if k != "report_by")]): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


async def a_morning(redis_url: str) -> None:
    """One item cached, one given up, one message waiting, one dead."""
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    queue = open_queue(
        QUEUE, DEAD_LETTERS, redis_url=redis_url, consumer="m-1", visibility_s=30
    )  # fmt: skip
    sender = open_sender(QUEUE, redis_url=redis_url, max_length=1000)
    try:
        done = Notice(DATA_ID, PUBTIME_NS, "canonical", "xx-a", "id-1")
        lease = (await registry.claim(done, owner="o-1", worker="w", attempt=1, source=b"x")).lease
        assert lease is not None
        cached = Commit("cached", "xx-a", False, "data.xx-a.test", "2027/k", 85_000, 0.15)
        assert await registry.commit(lease, cached)
        lost = Notice("wis2/xx-b/lost", PUBTIME_NS, "canonical", "xx-b", "id-2")
        lease = (await registry.claim(lost, owner="o-2", worker="w", attempt=2, source=b"x")).lease
        assert lease is not None
        failure = Failure("download", "id-2", "xx-b", "data.xx-b.test", "not_found")
        assert await registry.fail(lease, failure)
        await registry.release(lease, cause=Cause(Reason.NOT_FOUND), parked_seen=0, is_final=True)
        await registry.count({field(catalogue.RECEIVED, "fr"): 7})
        envelopes = [Envelope("origin/a/wis2/xx-a/data/core", b"{}", "fr", 1), Envelope(
            "origin/a/wis2/xx-b/data/core", b"{}", "fr", 2)]  # fmt: skip
        await asyncio.to_thread(sender.send, envelopes)
        (received,) = await queue.receive(1, wait_s=5)
        await queue.dead_letter(received, reason="unexpected", last_error="KeyError")
    finally:
        await registry.close()
        await queue.close()
        await asyncio.to_thread(sender.close)


async def say_alive(redis_url: str, *listeners: str) -> None:
    """Report listeners and a manager; good for 15 s, so after the service has started."""
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    try:
        facts = {"last_message_s": 1_800_000_000.5}
        for name in listeners:
            await registry.heartbeat(ProcessStatus("listener", name, True, facts=facts))
        await registry.heartbeat(ProcessStatus("manager", "m-1", True))
    finally:
        await registry.close()


@pytest.fixture
def busy_redis(redis_url: str) -> str:
    asyncio.run(a_morning(redis_url))
    return redis_url


def test_metrics_show_what_the_registry_counted_and_what_the_queue_holds(busy_redis: str) -> None:
    with running(busy_redis) as service:
        asyncio.run(say_alive(busy_redis, "fr"))
        answer = service.client.get("/metrics")
        assert answer.status_code == 200
        found = samples(answer.text)
        assert answer.text.count(f'report_by="{CENTRE_ID}"') >= 5
        assert found["wmo_wis2_gc_downloaded_total,xx-a"] == 1
        assert found["wmo_wis2_gc_downloaded_errors_total,xx-b"] == 1
        assert found["wmo_wis2_gc_dataserver_status_flag,xx-a,data.xx-a.test"] == 1
        assert found["wmo_wis2_gc_dataserver_status_flag,xx-b,data.xx-b.test"] == 0
        assert found["wis2_gc_announce_delay_seconds_count"] == 1
        assert found["wis2_gc_announce_delay_seconds_bucket,0.1"] == 0
        assert found["wis2_gc_announce_delay_seconds_bucket,0.2"] == 1
        assert found["wmo_wis2_gc_cached_volume_bytes_total,xx-a"] == 85_000
        assert found["wis2_gc_listener_ready,fr"] == 1
        assert found["wis2_gc_listener_last_message_timestamp_seconds,fr"] == 1_800_000_000.5
        assert found["wis2_gc_manager_ready,m-1"] == 1
        assert found["wis2_gc_queue_messages,ready"] == 1
        assert found["wis2_gc_queue_messages,dead"] == 1
        assert found["wis2_gc_items_given_up_total,not_found"] == 1


def test_asking_for_the_depth_consumes_nothing(busy_redis: str) -> None:
    with running(busy_redis) as service:
        before = service.client.get("/api/queue").json()
        for _ in range(5):
            service.client.get("/metrics")
        assert service.client.get("/metrics").status_code == 200
        after = service.client.get("/api/queue").json()
    assert (before["ready"], before["in_flight"], before["dead"]) == (1, 0, 1)
    assert (after["ready"], after["in_flight"], after["dead"]) == (1, 0, 1)


def test_the_api_tells_an_items_history(busy_redis: str) -> None:
    with running(busy_redis) as service:
        asked = {"centre_id": "xx-a", "data_id": DATA_ID}
        item = service.client.get("/api/item", params=asked).json()
        assert item["state"] == "done"
        assert item["pubtime"] == "2027-01-15T08:00:00.123456789Z"
        assert item["object_key"] == "2027/k"
        (failure,) = service.client.get("/api/failures").json()["failures"]
        assert (failure["data_id"], failure["error"]) == ("wis2/xx-b/lost", "not_found")
        summary = service.client.get("/api/summary").json()
        assert summary["totals"]["cached"] == 1
        assert summary["totals"]["given_up"] == 1
        assert summary["delay"]["within_120_s"] == 1


def test_readiness_waits_for_the_expected_listeners(busy_redis: str) -> None:
    with running(busy_redis, GC_EXPECTED_BROKERS="fr,br") as service:
        asyncio.run(say_alive(busy_redis, "fr"))
        answer = service.until("/readyz", lambda answer: len(answer.json()["missing"]) == 1)
        assert answer.status_code == 503
        assert answer.json()["missing"] == ["listener br does not report"]
        asyncio.run(say_alive(busy_redis, "fr", "br"))
        service.until("/readyz", lambda answer: answer.status_code == 200)


def test_a_registry_that_is_away_is_503_never_zeros_and_comes_back_by_itself(
    own_redis: RedisServer,
) -> None:
    asyncio.run(a_morning(own_redis.url))
    with running(own_redis.url) as service:
        before = samples(service.client.get("/metrics").text)
        own_redis.kill()
        answer = service.client.get("/metrics")
        assert answer.status_code == 503
        assert answer.text == "the registry does not answer\n"
        assert service.client.get("/healthz").status_code == 200
        assert service.client.get("/readyz").status_code == 503
        assert service.client.get("/api/summary").status_code == 503
        own_redis.start()
        answer = service.until("/metrics", lambda answer: answer.status_code == 200)
        after = samples(answer.text)
        counters = [name for name in before if "_total" in name]
        assert len(counters) > 5
        assert {name: after[name] for name in counters} == {name: before[name] for name in counters}


def test_a_registry_that_hangs_is_away_and_holds_up_no_probe(own_redis: RedisServer) -> None:
    with running(own_redis.url) as service:
        assert service.client.get("/metrics").status_code == 200
        own_redis.pause()
        try:
            assert service.client.get("/healthz").status_code == 200
            assert service.client.get("/metrics").status_code == 503
        finally:
            own_redis.resume()
        service.until("/metrics", lambda answer: answer.status_code == 200)


def test_the_service_starts_without_the_registry(own_redis: RedisServer) -> None:
    own_redis.stop()
    with running(own_redis.url) as service:
        assert service.client.get("/metrics").status_code == 503
        own_redis.start()
        service.until("/metrics", lambda answer: answer.status_code == 200)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_prompt_and_clean_also_with_open_connections(
    redis_url: str, signal_number: signal.Signals
) -> None:
    with running(redis_url) as service:
        # A kept-alive connection, and one that never says anything.
        service.client.get("/healthz")
        with socket.create_connection(("127.0.0.1", service.port), timeout=5):
            assert service.stop(signal_number) == 0
        assert json.loads(service.lines[-1])["event"] == "metrics_stopped"
        assert not [line for line in service.lines if "Traceback" in line]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clusters.running(tmp_path) as cluster:
        yield cluster


def of(cluster: Cluster) -> dict[str, str]:
    return {
        "GC_KUBERNETES_RELEASE": clusters.RELEASE,
        "GC_KUBERNETES_API_URL": cluster.url,
        "GC_KUBERNETES_CREDENTIALS": str(cluster.credentials),
    }


def test_the_rollouts_are_those_of_the_cluster(redis_url: str, cluster: Cluster) -> None:
    cluster.deployments = [clusters.workload("wis2-manager")]
    cluster.stateful_sets = [clusters.workload("wis2-broker", updatedReplicas=1)]
    with running(redis_url, **of(cluster)) as service:
        answer = service.client.get("/api/rollouts").json()
    assert answer["is_in_cluster"] is True
    found = [(load["kind"], load["name"], load["is_complete"]) for load in answer["workloads"]]
    assert found == [("StatefulSet", "wis2-broker", False), ("Deployment", "wis2-manager", True)]


def test_a_cluster_that_refuses_or_hangs_is_told_and_holds_up_nothing(
    redis_url: str, cluster: Cluster
) -> None:
    cluster.status = 403
    with running(redis_url, **of(cluster)) as service:
        answer = service.client.get("/api/rollouts")
        assert answer.status_code == 503
        assert answer.json() == {"detail": "the Kubernetes API refuses us"}
        cluster.status = 200
        cluster.gate.clear()
        away = "the Kubernetes API does not answer"
        service.until("/api/rollouts", lambda answer: answer.json() == {"detail": away})
        assert service.client.get("/metrics").status_code == 200
        assert service.client.get("/api/summary").status_code == 200
        cluster.gate.set()
        service.until("/api/rollouts", lambda answer: answer.status_code == 200)

        def told() -> list[str]:
            return [json.loads(line)["event"] for line in service.lines if "rollouts" in line]

        # A line is read a moment after the answer it goes with.
        wait_until(lambda: len(told()) > 1, "what is back is told")
        assert told() == ["rollouts_unavailable", "rollouts_available"]


def test_a_stop_does_not_wait_for_a_cluster_that_hangs(redis_url: str, cluster: Cluster) -> None:
    cluster.gate.clear()
    with running(redis_url, **of(cluster)) as service:
        assert service.client.get("/api/rollouts").status_code == 503
        assert service.stop() == 0
        assert json.loads(service.lines[-1])["event"] == "metrics_stopped"
        assert not [line for line in service.lines if "Traceback" in line]


def test_memory_stays_below_90_mb(busy_redis: str, cluster: Cluster) -> None:
    cluster.deployments = [clusters.workload(f"wis2-{number}") for number in range(200)]
    with running(busy_redis, **of(cluster)) as service:
        paths = ("/metrics", "/api/summary", "/api/centres", "/api/rollouts", "/", "/openapi.json")
        for _ in range(20):
            for path in paths:
                assert service.client.get(path).status_code == 200
        status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    assert peak_kb < MAX_RESIDENT_KB


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GC_CENTRE_ID", "nonsense"),
        ("GC_REDIS_URL", "http://x"),
        ("GC_HTTP_PORT", "70000"),
        ("GC_HTTP_HOST", "192.0.2.1"),
        ("GC_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com"),
        ("GC_EXPECTED_BROKERS", "a b"),
        ("GC_KUBERNETES_RELEASE", "A b"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_exit_code_2(name: str, value: str) -> None:
    result = subprocess.run(
        [BIN / "wis2-gc-metrics"],
        env=environment("redis://127.0.0.1:1/0") | {name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    # An address that cannot be had is told under the port's name.
    told = "GC_HTTP_PORT" if name == "GC_HTTP_HOST" else name
    assert result.stderr.startswith(f"wis2-gc-metrics: {told}: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_port_in_use_is_exit_code_2(redis_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [BIN / "wis2-gc-metrics"],
            env=environment(redis_url, GC_HTTP_PORT=port),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 2
    assert "GC_HTTP_PORT: cannot listen on" in result.stderr


def test_the_operators_command_tells_the_same(busy_redis: str) -> None:
    asyncio.run(say_alive(busy_redis, "fr"))
    status = operate(busy_redis, "status", "--json")
    assert status.returncode == 0
    found = json.loads(status.stdout)
    assert found["totals"]["cached"] == 1
    assert found["queue"]["ready"] == 1
    assert [process["name"] for process in found["listeners"]] == ["fr"]
    item = operate(busy_redis, "item", "xx-a", DATA_ID)
    assert item.returncode == 0
    assert "2027-01-15T08:00:00.123456789Z" in item.stdout
    assert operate(busy_redis, "item", "xx-b", DATA_ID).returncode == 1
    failures = json.loads(operate(busy_redis, "failures", "--json").stdout)
    assert [failure["data_id"] for failure in failures] == ["wis2/xx-b/lost"]
    assert operate(busy_redis, "check").returncode == 0


def test_dead_letters_are_listed_and_redriven(busy_redis: str) -> None:
    (letter,) = json.loads(operate(busy_redis, "dead-letters", "list", "--json").stdout)
    assert (letter["reason"], letter["last_error"]) == ("unexpected", "KeyError")
    redriven = operate(busy_redis, "dead-letters", "redrive", "--limit", "5")
    assert redriven.stdout == "1 dead letter put back into the queue\n"
    assert json.loads(operate(busy_redis, "status", "--json").stdout)["queue"] == {
        "ready": 2,
        "in_flight": 0,
        "delayed": 0,
        "dead": 0,
        "oldest_s": pytest.approx(0, abs=60),
    }
    assert operate(busy_redis, "dead-letters", "list").stdout == "there are no dead letters\n"


def test_output_into_a_closed_pipe_is_not_an_error(busy_redis: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [BIN / "wis2-gc", "status"],
            env=environment(busy_redis),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")
