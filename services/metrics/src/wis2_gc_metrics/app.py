"""The HTTP interface of the cache: `/metrics`, probes, `/api/…` and the status page."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.health.judge import judge
from wis2_gc_common.ports.registry import ItemKey
from wis2_gc_metrics import answers
from wis2_gc_metrics.exposition import expose
from wis2_gc_metrics.headers import HeadAsGet, SecurityHeaders
from wis2_gc_metrics.models import (
    BrokersAnswer,
    CentresAnswer,
    FailuresAnswer,
    HealthAnswer,
    ItemAnswer,
    ManagersAnswer,
    Problem,
    QueueAnswer,
    ReadyAnswer,
    RolloutsAnswer,
    SummaryAnswer,
    VerdictAnswer,
)
from wis2_gc_metrics.page import page_routes
from wis2_gc_metrics.readings import API_MAX_AGE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from wis2_gc_metrics.exposition import Reading
    from wis2_gc_metrics.readings import Readings
    from wis2_gc_metrics.rollouts import Rollouts

_RETRY_AFTER = {"Retry-After": "5"}
_AWAY: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "Registry or queue does not answer."}
}
_NOT_SHOWN: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "The Kubernetes API does not answer, or refuses us."}
}
_WRONG: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A parameter is missing or out of bounds."}
}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus or OpenMetrics text, as `Accept` prefers.",
        "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
    },
    503: {
        "description": "The registry does not answer; never zeros.",
        "content": {"text/plain": _TEXT},
    },
}
#: A notification has at most 8192 bytes (wis2-rules.md 23), so no data_id is longer.
_MAX_CENTRE_ID_CHARS = 64
_MAX_DATA_ID_CHARS = 8192
#: Of 8 kB each, they make an answer of 2 MB; `wis2-gc failures` shows more.
_MAX_FAILURES = 200


def create_app(
    readings: Readings,
    *,
    centre_id: str,
    expected_brokers: Sequence[str] = (),
    rollouts: Rollouts | None = None,
) -> FastAPI:
    """Return the application; it closes `readings` and `rollouts` when it stops.

    `rollouts`: None outside a cluster.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sampler = asyncio.create_task(readings.sample_for_ever(), name="sampler")
        try:
            yield
        finally:
            sampler.cancel()
            with suppress(asyncio.CancelledError):
                await sampler
            await readings.close()
            if rollouts is not None:
                await rollouts.close()

    app = FastAPI(
        title="WIS2 Global Cache",
        summary="What this cache received, cached and announced.",
        version="1",
        # The interactive pages load scripts from other hosts; our policy forbids that.
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat any Host header that a client sends.
        redirect_slashes=False,
        lifespan=lifespan,
        routes=list(page_routes()),
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _wrong)
    _add_metrics(app, readings, centre_id=centre_id, expected_brokers=expected_brokers)
    _add_probes(app, readings, expected_brokers=expected_brokers)
    _add_overviews(app, readings, centre_id=centre_id, expected_brokers=expected_brokers)
    _add_lookups(app, readings)
    _add_rollouts(app, rollouts)
    return app


async def _unavailable(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Unavailable):  # registered only for this error
        raise error
    return JSONResponse({"detail": answers.away(error)}, 503, headers=_RETRY_AFTER)


async def _wrong(_request: Request, error: Exception) -> Response:
    """Answer with the names of the wrong parameters, and repeat nothing from the request."""
    if not isinstance(error, RequestValidationError):  # registered only for this error
        raise error
    # The names are our own, and the schema shows their rules.
    names = sorted({str(problem["loc"][-1]) for problem in error.errors()})
    return JSONResponse({"detail": f"missing or out of bounds: {', '.join(names)}"}, 422)


def _add_metrics(
    app: FastAPI, readings: Readings, *, centre_id: str, expected_brokers: Sequence[str]
) -> None:
    @app.get(
        "/metrics",
        tags=["metrics"],
        response_class=PlainTextResponse,
        responses=_METRICS_ANSWERS,
    )
    async def metrics(request: Request) -> Response:
        """Return all metrics as Prometheus or OpenMetrics text, as requested.

        While the queue is away its series are absent, and `wis2_gc_queue_readable` is 0.
        """
        try:
            reading = await readings.now()
        except Unavailable as error:
            return PlainTextResponse(f"{answers.away(error)}\n", 503, headers=_RETRY_AFTER)
        facts = readings.lookback.facts(reading, expected_brokers=expected_brokers)
        body, content_type = expose(
            reading,
            judge(facts),
            report_by=centre_id,
            expected_brokers=expected_brokers,
            accept=request.headers.get("accept", ""),
        )
        # Set the whole header: Starlette would add a second charset to a media type.
        return Response(body, headers={"Content-Type": content_type, "Vary": "Accept"})


def _add_probes(app: FastAPI, readings: Readings, *, expected_brokers: Sequence[str]) -> None:
    @app.get("/healthz", tags=["probes"])
    async def health() -> HealthAnswer:
        """Say that this process lives; ask nobody else."""
        return HealthAnswer()

    @app.get("/readyz", tags=["probes"], responses={503: {"model": ReadyAnswer}})
    async def ready(response: Response) -> ReadyAnswer:
        """Say whether listeners are subscribed, a manager receives and the queue answers."""
        try:
            reading = await readings.now(max_age_s=API_MAX_AGE_S)
        except Unavailable as error:
            missing = [answers.away(error)]
        else:
            missing = answers.what_is_missing(reading, expected_brokers=expected_brokers)
        response.status_code = 503 if missing else 200
        return ReadyAnswer(status="unavailable" if missing else "ok", missing=missing)


def _add_overviews(
    app: FastAPI, readings: Readings, *, centre_id: str, expected_brokers: Sequence[str]
) -> None:
    async def recent_reading() -> Reading:
        return await readings.now(max_age_s=API_MAX_AGE_S)

    @app.get("/api/health", tags=["overview"])
    async def verdict() -> VerdictAnswer:
        """Say whether the cache is well, and why not; also while the registry is away."""
        facts = await readings.facts(expected_brokers=expected_brokers, max_age_s=API_MAX_AGE_S)
        return answers.verdict(facts)

    @app.get("/api/summary", tags=["overview"], responses=_AWAY)
    async def summary() -> SummaryAnswer:
        """Return the numbers of the whole cache."""
        reading = await recent_reading()
        return answers.summary(
            reading,
            readings.history.recent(reading),
            centre_id=centre_id,
            expected_brokers=expected_brokers,
        )

    @app.get("/api/centres", tags=["overview"], responses=_AWAY)
    async def centres() -> CentresAnswer:
        """Return per centre what was counted, and its data servers."""
        return answers.centres((await recent_reading()).snapshot)

    @app.get("/api/brokers", tags=["overview"], responses=_AWAY)
    async def brokers() -> BrokersAnswer:
        """Return the Global Brokers and their listeners."""
        snapshot = (await recent_reading()).snapshot
        return answers.brokers(snapshot, expected_brokers=expected_brokers)

    @app.get("/api/managers", tags=["overview"], responses=_AWAY)
    async def managers() -> ManagersAnswer:
        """Return the managers that report."""
        return answers.managers((await recent_reading()).snapshot)

    @app.get("/api/queue", tags=["overview"], responses=_AWAY)
    async def queue() -> QueueAnswer:
        """Return how many notifications wait."""
        depth = (await recent_reading()).depth
        if isinstance(depth, Unavailable):
            raise depth.again()
        return answers.queue(depth)


def _add_lookups(app: FastAPI, readings: Readings) -> None:
    @app.get("/api/failures", tags=["items"], responses={**_WRONG, **_AWAY})
    async def failures(
        limit: Annotated[int, Query(ge=1, le=_MAX_FAILURES)] = 50,
    ) -> FailuresAnswer:
        """Return the newest given-up items, newest first."""
        return answers.failures(await readings.failures(limit))

    @app.get(
        "/api/item",
        tags=["items"],
        responses={
            404: {"model": Problem, "description": "Nothing is known of it."},
            **_WRONG,
            **_AWAY,
        },
    )
    async def item(
        centre_id: Annotated[str, Query(min_length=1, max_length=_MAX_CENTRE_ID_CHARS)],
        data_id: Annotated[str, Query(min_length=1, max_length=_MAX_DATA_ID_CHARS)],
    ) -> ItemAnswer:
        """Return what is known of one item of a centre: why it is there, or is not.

        `centre_id` is the 4th level of its topic.
        """
        key = ItemKey(centre_id, data_id)
        record = await readings.item(key)
        if record is None:
            raise HTTPException(404, "nothing is known of this data_id of this centre")
        return answers.item(key, record)


def _add_rollouts(app: FastAPI, rollouts: Rollouts | None) -> None:
    @app.get("/api/rollouts", tags=["overview"], responses=_NOT_SHOWN)
    async def rollouts_of_the_release() -> RolloutsAnswer:
        """Return the workloads of our release, and whether their rollouts are complete."""
        return answers.rollouts(None if rollouts is None else await rollouts.now())
