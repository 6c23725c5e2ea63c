from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

import httpx
import pytest

from testkit.fakes.reader import FakeQueue, FakeReader, listener, manager, snapshot_of
from testkit.fakes.workloads import COMPLETE, FakeSource
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.metrics import field
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.ports.registry import FailureRecord, ItemKey, ItemRecord
from wis2_gc_common.wis2.decision import Held
from wis2_gc_common.wis2.pubtime import parse_pubtime
from wis2_gc_metrics.app import create_app
from wis2_gc_metrics.readings import Readings
from wis2_gc_metrics.rollouts import Rollouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


CENTRE_ID = "xx-test-global-cache"
ROLLOUTS = "/api/rollouts"
HEALTH = "/api/health"
API = ["/api/summary", "/api/centres", "/api/brokers", "/api/managers", "/api/queue",
       "/api/failures", "/api/item?centre_id=fr-a&data_id=x"]  # fmt: skip
PAGE = ["/", "/static/status.css", "/static/status.js", "/static/icon.svg"]


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


def client_of(
    reader: FakeReader,
    queue: FakeQueue,
    *,
    expected: tuple[str, ...] = (),
    rollouts: Rollouts | None = None,
) -> httpx.AsyncClient:
    app = create_app(
        Readings(reader, queue),
        centre_id=CENTRE_ID,
        expected_brokers=expected,
        rollouts=rollouts,
    )
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://metrics.test")


@pytest.fixture
async def client(reader: FakeReader, queue: FakeQueue) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(reader, queue) as client:
        yield client


async def test_metrics_are_prometheus_text_unless_openmetrics_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    plain = await client.get("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["vary"] == "Accept"
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    opened = await client.get("/metrics", headers={"Accept": accept})
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")


async def test_metrics_say_503_in_one_line_while_the_registry_is_away(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.is_away = True
    answer = await client.get("/metrics")
    assert answer.status_code == 503
    assert answer.text == "the registry does not answer\n"
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_keep_what_was_counted_while_only_the_queue_is_away(
    client: httpx.AsyncClient, reader: FakeReader, queue: FakeQueue, accept: str
) -> None:
    reader.content = snapshot_of(counters={field(catalogue.DOWNLOADED, "ca-eccc-msc"): 7})
    counted = f'wmo_wis2_gc_downloaded_total{{centre_id="ca-eccc-msc",report_by="{CENTRE_ID}"}} 7.0'
    before = (await client.get("/metrics", headers={"Accept": accept})).text.splitlines()
    queue.is_away = True
    answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    now = answer.text.splitlines()
    assert counted in now
    assert "wis2_gc_queue_readable 0.0" in now
    gone = [line for line in before if line not in now]
    assert gone, "the queue's series"
    of_the_queue = ("wis2_gc_queue_", 'wis2_gc_health_reason{reason="queue_away"} 0.0')
    assert all(line.startswith(of_the_queue) for line in gone), gone
    assert [line for line in now if line not in before] == [
        "wis2_gc_queue_readable 0.0",
        'wis2_gc_health_reason{reason="queue_away"} 1.0',
    ]


async def test_the_api_keeps_its_numbers_while_only_the_queue_is_away(
    client: httpx.AsyncClient, reader: FakeReader, queue: FakeQueue
) -> None:
    reader.content = snapshot_of(processes=(listener("fr"), manager("m-1")))
    queue.is_away = True
    summary = (await client.get("/api/summary")).json()
    assert (summary["queue"], summary["is_ready"]) == (None, False)
    assert summary["missing"] == ["the queue does not answer"]
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["missing"]) == (503, ["the queue does not answer"])
    answer = await client.get("/api/queue")
    assert (answer.status_code, answer.json()) == (503, {"detail": "the queue does not answer"})


async def test_metrics_are_there_again_when_the_registry_is(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.is_away = True
    assert (await client.get("/metrics")).status_code == 503
    reader.is_away = False
    assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("path", API)
async def test_the_api_says_503_while_the_registry_is_away_and_gives_no_address_away(
    client: httpx.AsyncClient, reader: FakeReader, path: str
) -> None:
    reader.is_away = True
    answer = await client.get(path)
    assert answer.status_code == 503
    assert answer.json() == {"detail": "the registry does not answer"}


async def test_the_process_is_alive_while_the_registry_is_away(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.is_away = True
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_is_what_has_every_expected_listener_and_a_manager(
    reader: FakeReader, queue: FakeQueue
) -> None:
    async with client_of(reader, queue, expected=("fr", "br")) as client:
        reader.content = snapshot_of(processes=(listener("fr"), manager("m-1")))
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    missing = ["listener br does not report"]
    assert answer.json() == {"status": "unavailable", "missing": missing}
    reader.content = snapshot_of(processes=(listener("fr"), listener("br"), manager("m-1")))
    async with client_of(reader, queue, expected=("fr", "br")) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "missing": []})


async def test_nothing_is_ready_while_the_registry_is_away(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.is_away = True
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["the registry does not answer"]


async def test_the_health_of_a_cache_that_works_is_well(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.content = snapshot_of(processes=(listener("fr"), manager("m-1")))
    assert (await client.get(HEALTH)).json() == {"state": "well", "reasons": [], "window_s": None}
    assert "wis2_gc_health_state 0.0" in (await client.get("/metrics")).text.splitlines()


async def test_the_health_has_reasons_without_what_the_public_must_not_read(
    reader: FakeReader, queue: FakeQueue
) -> None:
    url = "https://data.intra/x"
    reader.content = snapshot_of(
        processes=(
            listener("fr"),
            listener("br", is_ready=False, last_problem="TLS: 10.0.0.9"),
            manager("m-1", is_ready=False, problems={"store": "/srv/x", "queue": "10.0.0.1"}),
            manager("m-2", public_url_problem=url, problems={url: "10.0.0.1"}),
        )
    )
    queue.is_away = True
    async with client_of(reader, queue, expected=("fr", "br", "jp")) as client:
        answer = await client.get(HEALTH)
        metrics = (await client.get("/metrics")).text.splitlines()
    assert answer.status_code == 200
    assert not re.search("intra|srv|10\\.0|gone", answer.text)
    health = answer.json()
    assert health["state"] == "degraded"
    assert [(reason["code"], reason["subject"]) for reason in health["reasons"]] == [
        ("queue_away", "m-1"),
        ("queue_away", ""),
        ("store_away", "m-1"),
        ("public_url_fails", "m-2"),
        ("listener_missing", "br"),
        ("listener_missing", "jp"),
    ]
    assert health["reasons"][2] == {
        "code": "store_away",
        "state": "degraded",
        "subject": "m-1",
        "words": "the store takes no objects: 1 of 2 managers say so, m-1",
        "runbook": "docs/operations.md#store-away",
    }
    assert "wis2_gc_health_state 1.0" in metrics
    assert 'wis2_gc_health_reason{reason="store_away"} 1.0' in metrics
    assert 'wis2_gc_health_reason{reason="no_manager"} 0.0' in metrics


async def test_the_health_says_down_while_the_registry_is_away(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.is_away = True
    answer = await client.get(HEALTH)
    assert (answer.status_code, answer.json()["state"]) == (200, "down")
    assert [reason["code"] for reason in answer.json()["reasons"]] == ["registry_away"]
    assert "10.0.0.1" not in answer.text


async def test_five_minutes_of_readings_are_judged(queue: FakeQueue) -> None:
    reader = FakeReader()
    moment = 1_800_000_000.0
    readings = Readings(reader, queue, wall_clock=lambda: moment)
    app = create_app(readings, centre_id=CENTRE_ID)
    transport = httpx.ASGITransport(app=app)
    processes = (listener("fr"), manager("m-1"))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
        for minute in range(6):
            counters = {
                field(name, "fr"): minute * 60 for name in (catalogue.RECEIVED, catalogue.QUEUED)
            }
            reader.content = snapshot_of(counters=counters, processes=processes)
            moment = 1_800_000_000.0 + 60 * minute
            await readings.now()
        health = (await client.get(HEALTH)).json()
    assert health["window_s"] == 300
    assert [reason["words"] for reason in health["reasons"]] == [
        "240 items were queued in 5 minutes, and none was announced"
    ]


async def test_the_summary_tells_the_whole_cache_in_numbers(
    client: httpx.AsyncClient, reader: FakeReader, queue: FakeQueue
) -> None:
    buckets = [0] * (len(catalogue.DELAY_BUCKETS_S) + 1)
    buckets[catalogue.DELAY_BUCKETS_S.index(0.1)] = 9
    buckets[-1] = 1
    reader.content = snapshot_of(
        counters={
            field(catalogue.RECEIVED, "fr"): 80,
            field(catalogue.DROPPED, "fr", "duplicate"): 70,
            field(catalogue.ITEMS, "cached"): 10,
        },
        delay_buckets=tuple(buckets),
        processes=(listener("fr"), listener("br", is_ready=False), manager("m-1")),
    )
    queue.content = Depth(ready=1, in_flight=2, delayed=3, dead=4, oldest_s=5.5)
    summary = (await client.get("/api/summary")).json()
    assert summary["centre_id"] == CENTRE_ID
    assert summary["is_ready"] is False
    assert summary["missing"] == ["listener br is not subscribed"]
    assert summary["totals"] == {
        "received": 80,
        "duplicates_dropped": 70,
        "others_dropped": 0,
        "cached": 10,
        "announced": 10,
        "failed": 0,
        "given_up": 0,
        "stored_bytes": 0,
    }
    assert summary["delay"]["count"] == 10
    assert 0.05 <= summary["delay"]["p50_s"] <= 0.1
    assert summary["delay"]["p99_s"] == 3600.0
    assert summary["delay"]["within_120_s"] == 0.9
    assert summary["recent"] is None
    assert summary["queue"] == {
        "ready": 1,
        "in_flight": 2,
        "delayed": 3,
        "dead": 4,
        "oldest_s": 5.5,
    }
    assert summary["listeners"] == {"ready": 1, "total": 2}
    assert summary["managers"] == {"ready": 1, "total": 1}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", summary["at"])


async def test_the_age_of_a_queue_that_does_not_tell_it_is_null(
    client: httpx.AsyncClient, queue: FakeQueue
) -> None:
    queue.content = Depth(ready=1, in_flight=2, delayed=3, dead=4, oldest_s=None)
    summary = (await client.get("/api/summary")).json()
    assert summary["queue"]["oldest_s"] is None


async def test_a_centre_has_its_counters_and_its_data_servers(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.content = snapshot_of(
        counters={
            field(catalogue.DOWNLOADED, "ca-eccc-msc"): 7,
            field(catalogue.DOWNLOADED_ERRORS, "ca-eccc-msc"): 2,
            field(catalogue.NO_CACHE, "br-inmet"): 3,
            field(catalogue.INVALID, "aa-careless"): 5,
            field(catalogue.FUTURE_PUBTIMES, "aa-careless"): 6,
        },
        gauges={
            field(catalogue.LAST_DOWNLOAD, "ca-eccc-msc"): 1_800_000_000.25,
            field(catalogue.DATASERVER_STATUS, "ca-eccc-msc", "b.example"): 0,
            field(catalogue.DATASERVER_STATUS, "ca-eccc-msc", "a.example"): 1,
            field(catalogue.DATASERVER_LAST_DOWNLOAD, "ca-eccc-msc", "a.example"): 1_800_000_000,
            field(catalogue.LAST_METADATA, "br-inmet"): float("inf"),
        },
        held={
            field(catalogue.HELD_ITEMS, "ca-eccc-msc"): 9,
            field(catalogue.HELD_BYTES, "ca-eccc-msc"): 4096,
            field(catalogue.HELD_ITEMS, "other"): 5,
            field(catalogue.QUOTA_ITEMS): 10,
        },
    )
    answer = (await client.get("/api/centres")).json()
    assert (answer["max_items"], answer["max_bytes"]) == (10, None)
    centres = answer["centres"]
    names = [centre["centre_id"] for centre in centres]
    assert names == ["aa-careless", "br-inmet", "ca-eccc-msc", "other"]
    careless = centres.pop(0)
    assert (careless["invalid"], careless["future_pubtimes"]) == (5, 6)
    assert [centre["held_items"] for centre in centres] == [0, 9, 5]
    assert [centre["held_bytes"] for centre in centres] == [0, 4096, 0]
    assert centres[0]["no_cache"] == 3
    assert centres[0]["last_download"] is None
    assert centres[0]["last_metadata"] is None
    assert centres[1]["downloaded"] == 7
    assert centres[1]["download_errors"] == 2
    assert centres[1]["last_download"] == "2027-01-15T08:00:00.25Z"
    assert centres[1]["data_servers"] == [
        {"name": "a.example", "is_up": True, "last_download": "2027-01-15T08:00:00Z"},
        {"name": "b.example", "is_up": False, "last_download": None},
    ]


async def test_brokers_are_those_expected_reporting_or_ever_counted(
    reader: FakeReader, queue: FakeQueue
) -> None:
    reader.content = snapshot_of(
        counters={
            field(catalogue.RECEIVED, "old"): 5,
            field(catalogue.RECEIVED, "fr"): 9,
            field(catalogue.QUEUED, "fr"): 4,
            field(catalogue.DROPPED, "fr", "own"): 2,
            field(catalogue.DROPPED, "fr", "duplicate"): 3,
        },
        processes=(listener("fr", last_message_s=1_800_000_000.5, connected=True),),
    )
    async with client_of(reader, queue, expected=("br",)) as client:
        brokers = (await client.get("/api/brokers")).json()["brokers"]
    assert [(b["name"], b["is_reporting"], b["is_ready"]) for b in brokers] == [
        ("br", False, False),
        ("fr", True, True),
        ("old", False, False),
    ]
    assert brokers[1]["last_message"] == "2027-01-15T08:00:00.5Z"
    assert brokers[1]["received"] == 9
    assert brokers[1]["queued"] == 4
    assert brokers[1]["dropped"] == 5
    assert brokers[1]["facts"]["connected"] is True
    assert brokers[2]["last_report"] is None


async def test_managers_show_what_they_say_about_themselves(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.content = snapshot_of(processes=(manager("m-2"), manager("m-1", working_on=3)))
    managers = (await client.get("/api/managers")).json()["managers"]
    assert [m["name"] for m in managers] == ["m-1", "m-2"]
    assert managers[0]["facts"] == {"working_on": 3}
    assert managers[0]["last_report"] == "2027-01-15T08:00:00Z"


async def test_failures_are_limited_and_keep_their_order(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.failure_records = [
        FailureRecord(
            at_s=1_800_000_000.0 - number,
            data_id=f"wis2/xx/{number}",
            centre_id="xx-a",
            pubtime_ns=parse_pubtime("2026-01-02T03:04:05.123456789Z"),
            error="not_found",
            attempts=6,
        )
        for number in range(60)
    ]
    failures = (await client.get("/api/failures")).json()["failures"]
    assert len(failures) == 50
    assert failures[0] == {
        "at": "2027-01-15T08:00:00Z",
        "data_id": "wis2/xx/0",
        "centre_id": "xx-a",
        "pubtime": "2026-01-02T03:04:05.123456789Z",
        "error": "not_found",
        "attempts": 6,
    }
    assert len((await client.get("/api/failures?limit=3")).json()["failures"]) == 3


@pytest.mark.parametrize("limit", ["0", "-1", "201", "many", "1e3", ""])
async def test_a_limit_out_of_bounds_is_refused_and_not_repeated(
    client: httpx.AsyncClient, limit: str
) -> None:
    answer = await client.get("/api/failures", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.json() == {"detail": "missing or out of bounds: limit"}


@pytest.mark.parametrize(
    "path", ["/metrics", "/readyz", "/api/summary", "/", "/nothing", "/api/item"]
)
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    get, head = await client.get(path), await client.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers == get.headers


async def test_an_item_is_found_by_its_centre_and_data_id(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    data_id = "wis2/fr-a/data core%20ä"
    reader.items[ItemKey("fr-a", data_id)] = ItemRecord(
        state="running",
        held=Held(
            "done",
            parse_pubtime("2026-01-02T03:04:05.123456789Z"),
            1_800_000_000_250,
            running_pubtime_ns=parse_pubtime("2026-01-02T04:00:00Z"),
        ),
        object_key="2026-01-02/03/x",
        attempts=2,
        last_error="timeout",
        parked=3,
    )
    answer = await client.get("/api/item", params={"centre_id": "fr-a", "data_id": data_id})
    assert answer.status_code == 200
    assert answer.json() == {
        "centre_id": "fr-a",
        "data_id": data_id,
        "state": "running",
        "finished_state": "done",
        "finished_at": "2027-01-15T08:00:00.25Z",
        "pubtime": "2026-01-02T03:04:05.123456789Z",
        "running_pubtime": "2026-01-02T04:00:00Z",
        "object_key": "2026-01-02/03/x",
        "attempts": 2,
        "last_error": "timeout",
        "parked": 3,
    }
    other = await client.get("/api/item", params={"centre_id": "fr-b", "data_id": data_id})
    assert other.status_code == 404


async def test_an_item_that_failed_at_once_has_no_pubtime(
    client: httpx.AsyncClient, reader: FakeReader
) -> None:
    reader.items[ItemKey("fr-a", "x")] = ItemRecord("failed", Held(None), None, 1, "dns", 0)
    item = (await client.get("/api/item?centre_id=fr-a&data_id=x")).json()
    assert (item["state"], item["pubtime"], item["finished_state"]) == ("failed", None, None)


async def test_an_unknown_item_is_404_and_a_missing_or_endless_data_id_422(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/api/item?centre_id=fr-a&data_id=nobody")).status_code == 404
    for query in (
        "",
        "data_id=x",
        "centre_id=fr-a",
        "centre_id=fr-a&data_id=",
        "centre_id=&data_id=x",
    ):
        assert (await client.get(f"/api/item?{query}")).status_code == 422
    endless = {"centre_id": "fr-a", "data_id": "x" * 8193}
    assert (await client.get("/api/item", params=endless)).status_code == 422


async def test_outside_of_a_cluster_there_are_no_rollouts(client: httpx.AsyncClient) -> None:
    answer = await client.get(ROLLOUTS)
    assert answer.status_code == 200
    assert answer.json() == {"is_in_cluster": False, "workloads": []}


async def test_the_rollouts_are_those_of_the_release(reader: FakeReader, queue: FakeQueue) -> None:
    source = FakeSource()
    late = replace(COMPLETE, name="wis2-metrics", updated=1, problem="has timed out progressing")
    source.content = [late, COMPLETE]
    async with client_of(reader, queue, rollouts=Rollouts(source)) as client:
        answer = (await client.get(ROLLOUTS)).json()
    assert answer["is_in_cluster"] is True
    manager, metrics = answer["workloads"]
    assert manager == {
        "kind": "Deployment",
        "name": "wis2-manager",
        "version": "1.0",
        "desired": 3,
        "updated": 3,
        "ready": 3,
        "available": 3,
        "is_complete": True,
        "problem": None,
    }
    assert (metrics["name"], metrics["is_complete"]) == ("wis2-metrics", False)
    assert metrics["problem"] == "has timed out progressing"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (Unavailable("Kubernetes API", "10.0.0.1"), "the Kubernetes API does not answer"),
        (Misconfigured("Kubernetes API", "X", "10.0.0.1"), "the Kubernetes API refuses us"),
    ],
)
async def test_a_cluster_that_does_not_tell_is_one_line_and_touches_nothing_else(
    reader: FakeReader, queue: FakeQueue, error: Misconfigured | Unavailable, detail: str
) -> None:
    reader.content = snapshot_of(processes=(listener("fr"), manager("m-1")))
    source = FakeSource()
    source.error = error
    async with client_of(reader, queue, rollouts=Rollouts(source)) as client:
        answer = await client.get(ROLLOUTS)
        assert answer.status_code == 503
        assert answer.json() == {"detail": detail}
        assert answer.headers["retry-after"] == "5"
        for path in ("/metrics", "/readyz", "/api/summary"):
            assert (await client.get(path)).status_code == 200


async def test_a_cluster_that_hangs_holds_up_nothing_else(
    reader: FakeReader, queue: FakeQueue
) -> None:
    reader.content = snapshot_of(processes=(listener("fr"), manager("m-1")))
    source = FakeSource()
    source.gate.clear()
    async with client_of(reader, queue, rollouts=Rollouts(source)) as client:
        hanging = asyncio.create_task(client.get(ROLLOUTS))
        await source.is_asked.wait()
        for path in ("/metrics", "/readyz", "/api/summary"):
            assert (await client.get(path)).status_code == 200
        assert not hanging.done()
        source.gate.set()
        assert (await hanging).status_code == 200


@pytest.mark.parametrize(
    "path", [*PAGE, *API, HEALTH, ROLLOUTS, "/metrics", "/healthz", "/readyz", "/nothing"]
)
async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in {"no-store", "no-cache"}


@pytest.mark.parametrize("path", [*API, "/healthz"])
async def test_text_of_strangers_is_never_served_as_html(
    client: httpx.AsyncClient, reader: FakeReader, path: str
) -> None:
    hostile = "<script>alert(1)</script>"
    reader.failure_records = [FailureRecord(1.0, hostile, "xx-a", 0, hostile, 1)]
    reader.items[ItemKey("fr-a", "x")] = ItemRecord("failed", Held(None), None, 1, hostile, 0)
    assert (await client.get(path)).headers["content-type"] == "application/json"


async def test_only_reading_is_allowed(client: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/metrics", "/api/summary"):
            assert (await client.request(method, path)).status_code == 405


async def test_openapi_describes_every_answer(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        content = methods["get"]["responses"]["200"]["content"]
        if path != "/metrics":
            assert "$ref" in content["application/json"]["schema"], path
    assert {path.partition("?")[0] for path in [*API, HEALTH, ROLLOUTS]} <= document["paths"].keys()


async def test_there_is_no_interactive_page_that_loads_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/docs", "/redoc"):
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", PAGE)
async def test_the_page_is_revalidated_not_refetched(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path)
    assert first.status_code == 200
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    static = files("wis2_gc_metrics") / "static"
    page = (static / "index.html").read_text(encoding="utf-8")
    script = (static / "status.js").read_text(encoding="utf-8")
    style = (static / "status.css").read_text(encoding="utf-8")
    for text in (page, script, style):
        assert "//" not in text.replace("// ", "")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page) == []
    for trap in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert trap not in script


async def test_stopping_closes_the_connections(reader: FakeReader, queue: FakeQueue) -> None:
    source = FakeSource()
    app = create_app(Readings(reader, queue), centre_id=CENTRE_ID, rollouts=Rollouts(source))
    async with app.router.lifespan_context(app):
        was_closed = reader.is_closed
    assert not was_closed
    assert source.is_closed
    assert reader.is_closed
    assert queue.is_closed


async def test_no_answer_repeats_the_host_it_was_asked_with(client: httpx.AsyncClient) -> None:
    for path in ("/metrics/", "/api/summary/", "/readyz/", "/nothing"):
        answer = await client.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 404
        assert "evil.example" not in f"{answer.headers}{answer.text}"
