"""wis2-rules.md M1 to M17: the metrics, exact."""

from __future__ import annotations

import time

import pytest

from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import CENTRE_ID, World, wait_until

DATA = b"BUFR"
HOST = "127.0.0.1"


def test_every_wmo_metric_is_there_with_its_type(world: World) -> None:
    _, _, body = world.get(f"http://127.0.0.1:{world.metrics_port}/metrics")
    text = body.decode()
    counters = ["downloaded", "downloaded_errors", "integrity_failed", "no_cache", "cache_override"]
    gauges = [
        "last_download_timestamp_seconds",
        "dataserver_status_flag",
        "last_metadata_timestamp_seconds",
        "dataserver_last_download_timestamp_seconds",
    ]
    for name in counters:
        assert f"# TYPE wmo_wis2_gc_{name}_total counter" in text
    for name in gauges:
        assert f"# TYPE wmo_wis2_gc_{name} gauge" in text


def test_openmetrics_is_served_to_who_asks(world: World) -> None:
    status, headers, body = world.get(
        f"http://127.0.0.1:{world.metrics_port}/metrics",
        Accept="application/openmetrics-text; version=1.0.0",
    )
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.decode().endswith("# EOF\n")


def test_a_download_moves_its_counter_its_timestamps_and_the_flag(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    before = time.time()
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA)))
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre), "the metrics")
    found = world.wmo(centre)
    for name in ("last_download_timestamp_seconds",
                 f"dataserver_last_download_timestamp_seconds@{HOST}"):  # fmt: skip
        assert before - 1 <= found.pop(name) <= time.time() + 1
    assert found == {"downloaded_total": 1, f"dataserver_status_flag@{HOST}": 1}


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_the_volume_cached_is_counted_in_bytes_for_each_centre(
    world: World, node: Node, topic: str, centre: str, accept: str
) -> None:
    fetched, inlined, failed = (unique_data_id() for _ in range(3))
    message = wnm(data_id=fetched, href=node.serve("/a", b"x" * 100_000))
    world.publish(topic, message)
    world.announced(fetched)
    world.publish(topic, wnm(data_id=inlined, href=node.serve("/b", DATA), content=inline(DATA)))
    world.announced(inlined)
    wrong = wnm(data_id=failed, href=node.serve("/c", DATA), integrity=integrity_of(b"other"))
    world.publish(topic, wrong)
    world.publish(topic, message)
    world.publish(topic, wnm(data_id=unique_data_id(), href=node.serve("/d", DATA), cache=False))
    wait_until(lambda: world.counters(centre).get("no_cache_total"), "the last is counted")
    world.settle(including_delayed=True)
    _, _, body = world.get(f"http://127.0.0.1:{world.metrics_port}/metrics", Accept=accept)
    name = "wmo_wis2_gc_cached_volume_bytes_total"
    labels = f'centre_id="{centre}",report_by="{CENTRE_ID}"'
    assert f"{name}{{{labels}}} {100_004}.0\n" in body.decode()


def test_a_failed_download_counts_once_however_often_it_is_tried(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", Answer(status=404))))
    wait_until(lambda: node.requests["/a"] == 3, "the first attempt and two retries")
    world.settle(including_delayed=True)
    assert world.wmo(centre) == {
        "downloaded_errors_total": 1,
        f"dataserver_status_flag@{HOST}": 0,
    }


@pytest.mark.parametrize("href", ["http://10.11.12.13/a", f"http://{HOST}:6379/a"])
def test_a_link_that_our_guard_refuses_is_a_failed_download_and_no_server_down(
    world: World, topic: str, centre: str, data_id: str, href: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=href))
    wait_until(lambda: world.counters(centre), "the failure is counted")
    world.settle(including_delayed=True)
    assert world.wmo(centre) == {"downloaded_errors_total": 1}


def test_every_notification_of_a_dead_server_counts_once_though_not_each_is_tried(
    world: World, centre: str, topic: str
) -> None:
    node = Node()
    href = f"http://127.0.0.1:{node.port}"
    node.close()
    for number in range(40):
        world.publish(topic, wnm(data_id=unique_data_id(), href=f"{href}/{number}"))
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 40}, "all are counted")
    world.settle(including_delayed=True)
    assert world.counters(centre) == {"downloaded_errors_total": 40}


def test_a_failure_that_later_succeeds_counts_as_both(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    href = node.serve("/a", Answer(status=404), Answer(DATA))
    world.publish(topic, wnm(data_id=data_id, href=href))
    world.announced(data_id)
    wait_until(
        lambda: world.counters(centre) == {"downloaded_errors_total": 1, "downloaded_total": 1},
        "both are counted",
    )
    assert world.wmo(centre)[f"dataserver_status_flag@{HOST}"] == 1


def test_a_failed_integrity_check_is_not_a_download_error(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    href = node.serve("/a", DATA)
    world.publish(topic, wnm(data_id=data_id, href=href, integrity=integrity_of(b"other")))
    wait_until(lambda: node.requests["/a"] == 3, "the first attempt and two retries")
    world.settle(including_delayed=True)
    assert world.wmo(centre) == {
        "integrity_failed_total": 1,
        f"dataserver_status_flag@{HOST}": 0,
    }


def test_inline_content_counts_as_if_downloaded_from_the_links_host(
    world: World, topic: str, centre: str, data_id: str
) -> None:
    href = "https://data.example.org:8443/a"
    world.publish(topic, wnm(data_id=data_id, href=href, content=inline(DATA)))
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre), "the metrics")
    found = world.wmo(centre)
    assert found.pop("last_download_timestamp_seconds") > 0
    assert found.pop("dataserver_last_download_timestamp_seconds@data.example.org") > 0
    assert found == {"downloaded_total": 1, "dataserver_status_flag@data.example.org": 1}


@pytest.mark.parametrize("same_id", [True, False])
def test_a_duplicate_changes_nothing(
    world: World, node: Node, topic: str, centre: str, data_id: str, same_id: bool
) -> None:
    message = wnm(data_id=data_id, href=node.serve("/a", DATA))
    world.publish(topic, message)
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre), "the metrics")
    before = world.wmo(centre)
    if not same_id:
        message["id"] = "another"
    world.publish(topic, message, brokers="abab")
    world.settle()
    assert world.wmo(centre) == before


def test_cache_false_changes_no_cache_only(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA), cache=False))
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre) == {"no_cache_total": 1}, "the count")


def test_metadata_set_their_own_timestamp(
    world: World, node: Node, centre: str, data_id: str
) -> None:
    message = wnm(data_id=data_id, href=node.serve("/a.json", b"{}"))
    world.publish(f"origin/a/wis2/{centre}/metadata", message)
    world.announced(data_id)
    wait_until(
        lambda: time.time() - 60 < world.wmo(centre).get("last_metadata_timestamp_seconds", 0),
        "the timestamp",
    )
    assert world.counters(centre) == {"downloaded_total": 1}


def test_the_counters_are_served_while_only_the_queue_is_away(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA)))
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre), "the metrics")
    world.settle()
    before = world.wmo(centre)
    url = f"http://127.0.0.1:{world.metrics_port}/metrics"
    if not hasattr(world, "sqs"):
        # A queue on Redis is away together with the counters: 503, in the test below.
        assert world.metrics()["wis2_gc_queue_readable", frozenset()] == 1
        return
    world.sqs.kill()
    try:
        wait_until(lambda: b"\nwis2_gc_queue_readable 0.0\n" in world.get(url)[2], "it is missed")
        assert world.wmo(centre) == before
        assert b"\nwis2_gc_queue_messages{" not in world.get(url)[2]
    finally:
        world.sqs.start()
    wait_until(world.is_ready, "the cache is ready again", timeout=60)
    assert world.metrics()["wis2_gc_queue_readable", frozenset()] == 1


def test_metrics_are_at_most_60_s_old_and_nothing_on_the_way_may_keep_them(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA)))
    world.announced(data_id)
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 1}, "the count", timeout=60)
    url = f"http://127.0.0.1:{world.metrics_port}/metrics"
    assert world.get(url)[1]["cache-control"] == "no-store"


def test_keys_in_links_are_followed_and_shown_nowhere(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    query = "X-Amz-Credential=k3y%2Fx&X-Amz-Signature=k3y"
    href = node.serve(f"/a?{query}", DATA)
    world.publish(topic, wnm(data_id=data_id, href=href))
    world.announced(data_id)
    missing = f"http://user:k3y@127.0.0.1:{node.port}/b?{query}"
    world.publish(topic, wnm(data_id=unique_data_id(), href=missing))
    wait_until(lambda: world.counters(centre).get("downloaded_errors_total"), "the failure")
    wait_until(
        lambda: any(event.topic == f"monitor/a/wis2/{centre}" for event in world.events),
        "the monitoring event",
    )
    world.settle(including_delayed=True)
    origin = f"http://127.0.0.1:{world.metrics_port}"
    said = {path: world.get(f"{origin}/{path}")[2].decode()
            for path in ("metrics", "api/centres", "api/failures", "api/managers")}  # fmt: skip
    said["events"] = "".join(event.payload.decode() for event in world.events)
    said |= {name: process.log for name, process in world.processes.items()}
    assert [where for where, text in said.items() if "k3y" in text] == []
    assert f"dataserver_status_flag@{HOST}" in world.wmo(centre)


def test_counters_survive_the_restart_of_every_process_and_of_redis(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA)))
    world.announced(data_id)
    wait_until(lambda: world.wmo(centre), "the metrics")
    before = world.wmo(centre)
    world.redis.stop()
    status, _, body = world.get(f"http://127.0.0.1:{world.metrics_port}/metrics")
    assert status == 503
    assert b"wmo_wis2_gc_downloaded_total{" not in body
    for process in world.processes.values():
        process.kill()
    world.redis.start()
    for process in world.processes.values():
        process.start()
    wait_until(world.is_ready, "the cache is ready again", timeout=60)
    assert world.wmo(centre) == before
    again = unique_data_id()
    world.publish(topic, wnm(data_id=again, href=node.serve("/b", DATA)))
    world.announced(again)
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 2}, "the next one")
