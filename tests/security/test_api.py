"""Anybody may ask the metrics service anything: it names nothing of ours, and keeps its schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks

from local.parts.nginx import Nginx
from testkit.servers.redis import RedisServer
from testkit.worlds.metrics_service import running
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.metrics import field
from wis2_gc_common.ports.registry import Failure, Notice, ProcessStatus
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_metrics.app import create_app
from wis2_gc_metrics.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemathesis import APIOperation, Case, Response

    from testkit.worlds.metrics_service import Service

    Operation = APIOperation[Any, Any, Any, Any]

PUBTIME_NS = 1_800_000_000_123_456_789
CENTRE = "xx-nasty"
EVIL = "evil.example"
MAX_ANSWER_BYTES = 2_000_000
MAX_FAILURES = 200
#: What parts of ours have said when they failed, and what strangers wish we would show.
MARKS = (
    "s3cr3t", "10.11.12.13", "fd00:", "6379", ".internal", ".svc", "/srv/wis2", "/home/",
    "Traceback", "line 117", "ConnectionError", "AKIA", "arn:aws", "amazonaws", "redis://", "https://data",
)  # fmt: skip
NASTY = (
    "https://data.example.net/a?key=s3cr3t&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE",
    "redis://:s3cr3t@10.11.12.13:6379/0 is away",
    "Error 111 connecting to wis2-redis.cache.svc.cluster.local:6379. Connection refused.",
    "connecting to [fd00::12]:6379",
    "store-1.intra.internal has the address 10.11.12.13",
    "[Errno 28] No space left on device: '/srv/wis2/objects/.incoming/x'",
    'Traceback (most recent call last):\n  File "/home/wis2/gc.py", line 117\nConnectionError: x',
    "User: arn:aws:iam::111122223333:role/wis2 may not, sqs.eu-west-1.amazonaws.com",
)


def make_schema() -> Any:
    app = create_app(Readings(None, None), centre_id=CENTRE)  # type: ignore[arg-type]
    return schemathesis.openapi.from_dict(app.openapi())


OPERATIONS: list[Operation] = [result.ok() for result in make_schema().get_all_operations()]
LABELS = [operation.label for operation in OPERATIONS]
EVERYTHING = ["/", *(operation.path for operation in OPERATIONS), "/openapi.json", "/nothing"]
load_all_checks()


async def fail(registry: RedisRegistry, data_id: str, cause: Cause, attempt: int) -> None:
    """Give one item up, as a manager does."""
    notice = Notice(data_id, PUBTIME_NS, "canonical", CENTRE, f"id-{data_id}")
    claimed = await registry.claim(notice, owner="o", worker="w", attempt=attempt, source=b"x")
    assert claimed.lease is not None
    failure = Failure("download", f"id-{data_id}", CENTRE, "data.xx.test", "connect")
    await registry.fail(claimed.lease, failure)
    await registry.release(claimed.lease, cause=cause, parked_seen=0, is_final=True)


async def fill(redis_url: str) -> None:
    """Write as managers and listeners do when everything goes wrong at once."""
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    try:
        for number, detail in enumerate(NASTY):
            for cause in (
                Cause(Reason.CONNECT, detail),
                Cause(Reason.UNEXPECTED, detail),
                Cause(Reason.THROTTLED, f"status 429 {detail}: {detail}"),
            ):
                await fail(registry, f"{number}{cause.reason}", cause, number + 1)
        await registry.count({field(catalogue.INVALID, CENTRE): 7})
    finally:
        await registry.close()


async def report(redis_url: str) -> None:
    """Say how badly they are: processes are forgotten after 15 s."""
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    parts = ("registry", "queue", "store", "public URL", "broker", NASTY[1], NASTY[4])
    try:
        for number, detail in enumerate(NASTY):
            facts: dict[str, Any] = {
                "in_flight": number, "problems": dict.fromkeys(parts, detail),
                "public_url_problem": detail, "load": float("nan"), "path": "/srv/wis2",
                "list": [detail],
            }  # fmt: skip
            await registry.heartbeat(ProcessStatus("manager", f"m-{number}", False, facts=facts))
            for start in ("", "no connection: ", "queue unavailable: "):
                facts = {"broker": "mqtts://gb.example:8883", "last_problem": start + detail}
                name = f"l-{number}{start[:1]}"
                await registry.heartbeat(ProcessStatus("listener", name, False, facts=facts))
    finally:
        await registry.close()


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(own_redis: RedisServer) -> Iterator[Service]:
    asyncio.run(fill(own_redis.url))
    with running(own_redis.url) as service:
        yield service


def test_no_answer_shows_what_went_wrong_inside(service: Service, own_redis: RedisServer) -> None:
    asyncio.run(report(own_redis.url))
    # An answer is as old as a second.
    service.until("/api/managers", lambda answer: answer.json()["managers"])
    failures, managers, brokers = (
        service.client.get(f"/api/{path}").json()[path]
        for path in ("failures", "managers", "brokers")
    )
    assert len(failures) == 3 * len(NASTY)
    assert {failure["error"] for failure in failures} == {
        "unexpected", "connect", "throttled: status 429",
    }  # fmt: skip
    assert len(managers) == len(NASTY)
    assert managers[0]["facts"]["public_url_problem"] == "a problem, see its log"
    assert managers[0]["facts"]["problems"] == dict.fromkeys(
        ("registry", "queue", "store", "public URL", "broker"), "away"
    )
    assert len(brokers) == 3 * len(NASTY)
    answers = [service.client.get(path) for path in EVERYTHING]
    for failure in failures:
        asked = {name: failure[name] for name in ("centre_id", "data_id")}
        answers.append(service.client.get("/api/item", params=asked))
        assert answers[-1].status_code == 200
    shown = "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert "no manager receives" in shown
    assert [mark for mark in MARKS if mark.lower() in shown.lower()] == []


def test_no_answer_repeats_the_host_it_was_asked_with(service: Service) -> None:
    for path in EVERYTHING:
        for asked in (path, f"{path}/", f"{path}?limit=no"):
            answer = service.client.get(asked, headers={"Host": EVIL, "X-Forwarded-Host": EVIL})
            assert EVIL not in f"{answer.headers}{answer.text}", asked


@pytest.mark.parametrize("store", ["file", "s3"])
def test_the_data_server_does_not_repeat_the_host_either(tmp_path: Path, store: str) -> None:
    where: dict[str, Any] = {"root": tmp_path / "objects"}
    if store == "s3":
        where = {"bucket_url": "http://127.0.0.1:9/bucket"}  # nobody is there
    else:
        (tmp_path / "objects/2026-11-28/01").mkdir(parents=True)
    nginx = Nginx(tmp_path / "nginx", **where)
    nginx.start()
    try:
        for path in ("", "/", "/data", "/data/", "/data/2026-11-28", "/data//2026-11-28/01"):
            answer = httpx.get(
                f"http://127.0.0.1:{nginx.port}{path}", headers={"Host": EVIL}, timeout=30
            )
            assert answer.status_code in {404, 502}, path
            assert EVIL not in f"{answer.headers}{answer.text}", path
    finally:
        nginx.stop()


def is_bounded(ctx: Any, response: Response, case: Case[Any]) -> None:
    assert len(response.content) <= MAX_ANSWER_BYTES


def repeats_no_host(ctx: Any, response: Response, case: Case[Any]) -> None:
    assert EVIL not in f"{response.headers}{response.text}"


CHECKS = [
    checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
    checks.negative_data_rejection, checks.positive_data_acceptance,
    is_bounded, repeats_no_host,
]  # fmt: skip


def ask(operation: Operation, service: Service) -> set[int]:
    """Return the statuses of what schemathesis thinks of asking."""
    seen: set[int] = set()
    # What cannot be wrong has no negative cases.
    modes = GenerationMode if operation.query else [GenerationMode.POSITIVE]
    for mode in modes:

        @settings(
            max_examples=40, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask_one(case: Case[Any]) -> None:
            response = case.call(service.url, headers={"Host": EVIL})
            seen.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        ask_one()
    return seen


@pytest.fixture(scope="module")
def large(service: Service, own_redis: RedisServer) -> Service:
    """As long answers as strangers can make: data_ids as long as a notification allows."""
    asyncio.run(give_up_long_ones(own_redis.url))
    return service


async def give_up_long_ones(redis_url: str) -> None:
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    try:
        for number in range(MAX_FAILURES):
            await fail(registry, f"{number:08}" * 1000, Cause(Reason.NOT_FOUND), 1)
    finally:
        await registry.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=LABELS)
def test_every_answer_is_as_the_schema_says(operation: Operation, large: Service) -> None:
    seen = ask(operation, large)
    # No listener and no manager report here.
    allowed = {503} if operation.path == "/readyz" else {200, 404, 422}
    assert seen & {200, 404, 503}
    assert seen <= allowed


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
def test_nothing_can_be_changed(service: Service, method: str) -> None:
    for path in EVERYTHING:
        answer = service.client.request(method, path, headers={"Host": EVIL})
        assert answer.status_code == (404 if path == "/nothing" else 405), path
        assert EVIL not in f"{answer.headers}{answer.text}"


def test_the_longest_answer_is_bounded(large: Service) -> None:
    answer = large.client.get("/api/failures", params={"limit": MAX_FAILURES})
    assert len(answer.json()["failures"]) == MAX_FAILURES
    assert 1_000_000 < len(answer.content) <= MAX_ANSWER_BYTES


def test_with_the_registry_away_every_answer_is_as_the_schema_says(
    service: Service, own_redis: RedisServer
) -> None:
    own_redis.kill()
    try:
        for operation in OPERATIONS:
            seen = ask(operation, service)
            needs_none = operation.path in {"/healthz", "/api/health", "/api/rollouts"}
            assert seen <= ({200} if needs_none else {503, 422}), operation.label
            assert seen & {200, 503}
    finally:
        own_redis.start()
