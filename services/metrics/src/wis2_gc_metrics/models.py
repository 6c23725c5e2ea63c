"""The answers of `/api/…`; the OpenAPI document shows them with these docstrings.

Times are RFC 3339 text in UTC; null means that it has not happened.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ApiAnswer(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class Problem(ApiAnswer):
    """Why there is no answer."""

    detail: str


class DelayAnswer(ApiAnswer):
    """Delay from pubtime to our announcement; null where nothing was announced."""

    count: Annotated[int, Field(description="Items cached.")]
    p50_s: float | None
    p99_s: float | None
    within_120_s: Annotated[float | None, Field(description="Share of the items, 0 to 1.")]
    within_300_s: float | None
    within_600_s: float | None


class RecentAnswer(ApiAnswer):
    """The last minute, or less after a start. What is counted: see the totals."""

    seconds: float
    received_per_s: float
    duplicates_dropped_per_s: float
    cached_per_s: float
    announced_per_s: float
    failed_per_s: float
    delay: DelayAnswer


class TotalsAnswer(ApiAnswer):
    """Counts since the cache was set up."""

    received: Annotated[int, Field(description="Notifications from all Global Brokers.")]
    duplicates_dropped: Annotated[
        int, Field(description="Notifications of an item that we have, or are getting.")
    ]
    others_dropped: Annotated[
        int, Field(description="Our own, recommended or invalid notifications.")
    ]
    cached: Annotated[int, Field(description="Items.")]
    announced: Annotated[
        int, Field(description="Items: cached, cache: false, overrides and deletions together.")
    ]
    failed: Annotated[
        int,
        Field(
            description="Notifications whose download or check failed, each once, at its first "
            "failure; many succeed later."
        ),
    ]
    given_up: Annotated[
        int,
        Field(
            description="Items given up after the last retry, each once, however many "
            "notifications announce it; a later one may still bring it."
        ),
    ]
    stored_bytes: int


class QueueAnswer(ApiAnswer):
    """How many notifications wait."""

    ready: int
    in_flight: int
    delayed: int
    dead: int
    oldest_s: Annotated[
        float | None,
        Field(description="Age of the oldest; null if the queue does not report it."),
    ]


class CountAnswer(ApiAnswer):
    """How many processes of a kind report, and how many of them are ready."""

    ready: int
    total: int


class SummaryAnswer(ApiAnswer):
    """The numbers of the whole cache."""

    at: str
    centre_id: str
    is_ready: bool
    missing: list[str]
    totals: TotalsAnswer
    delay: DelayAnswer
    recent: RecentAnswer | None
    queue: Annotated[QueueAnswer | None, Field(description="Null while the queue is away.")]
    listeners: CountAnswer
    managers: CountAnswer


class DataServerAnswer(ApiAnswer):
    """One data server of a centre."""

    name: str
    is_up: Annotated[
        bool | None, Field(description="What it did last; what we refuse or lack is not counted.")
    ]
    last_download: str | None


class CentreAnswer(ApiAnswer):
    """One centre that data came from."""

    centre_id: str
    downloaded: Annotated[int, Field(description="Items cached.")]
    download_errors: Annotated[
        int, Field(description="Notifications, each once, at its first failure.")
    ]
    integrity_failures: Annotated[
        int, Field(description="Notifications, each once, at its first failure.")
    ]
    no_cache: Annotated[int, Field(description="Notifications, without duplicates.")]
    overrides: Annotated[int, Field(description="Notifications, without duplicates.")]
    invalid: Annotated[int, Field(description="Notifications that break the rules.")]
    future_pubtimes: Annotated[int, Field(description="Items announced ahead of our clock.")]
    held_items: Annotated[int, Field(description="Within the retention, as its quota counts.")]
    held_bytes: Annotated[int, Field(description="Within the retention, in blocks of 4096.")]
    last_download: str | None
    last_metadata: str | None
    data_servers: list[DataServerAnswer]


class CentresAnswer(ApiAnswer):
    """All centres, by name."""

    max_items: Annotated[int | None, Field(description="A centre may hold; other: half of it.")]
    max_bytes: Annotated[int | None, Field(description="A centre may hold; other: half of it.")]
    centres: list[CentreAnswer]


class BrokerAnswer(ApiAnswer):
    """One Global Broker and its listener."""

    name: str
    is_ready: bool
    is_reporting: bool
    last_report: str | None
    last_message: str | None
    received: Annotated[int, Field(description="Notifications.")]
    queued: Annotated[int, Field(description="Notifications.")]
    dropped: Annotated[int, Field(description="Notifications.")]
    facts: Annotated[dict[str, Any], Field(description="What the listener says about itself.")]


class BrokersAnswer(ApiAnswer):
    """All Global Brokers that are expected, report or ever counted, by name."""

    brokers: list[BrokerAnswer]


class ManagerAnswer(ApiAnswer):
    """One manager."""

    name: str
    is_ready: bool
    last_report: str
    facts: dict[str, Any]


class ManagersAnswer(ApiAnswer):
    """All managers that report, by name."""

    managers: list[ManagerAnswer]


class FailureAnswer(ApiAnswer):
    """One item that was given up; it is listed once."""

    at: str
    data_id: str
    centre_id: str
    pubtime: str
    error: str
    attempts: int


class FailuresAnswer(ApiAnswer):
    """The newest given-up items, newest first."""

    failures: list[FailureAnswer]


class ItemAnswer(ApiAnswer):
    """What is known of one data item."""

    centre_id: str
    data_id: str
    state: Literal["done", "deleted", "running", "failed"]
    finished_state: Literal["done", "deleted"] | None
    finished_at: str | None
    pubtime: Annotated[str | None, Field(description="Of the last finished version.")]
    running_pubtime: str | None
    object_key: Annotated[
        str | None, Field(description="Where the object lies under the data server's base URL.")
    ]
    attempts: int
    last_error: str
    parked: Annotated[int, Field(description="Fall-back sources that wait with it.")]


class WorkloadAnswer(ApiAnswer):
    """One Deployment or StatefulSet of our release; the numbers are pods."""

    kind: Literal["Deployment", "StatefulSet"]
    name: str
    version: Annotated[str, Field(description="Tag or digest of its image.")]
    desired: int
    updated: Annotated[int, Field(description="Of the newest template.")]
    ready: int
    available: int
    is_complete: Annotated[
        bool, Field(description="All desired pods are available and new, and no old one is left.")
    ]
    problem: Annotated[
        str | None, Field(description="Why Kubernetes says that the rollout has stopped.")
    ]


class RolloutsAnswer(ApiAnswer):
    """The workloads of our release, by name; none outside of a cluster."""

    is_in_cluster: bool
    workloads: list[WorkloadAnswer]


class ReasonAnswer(ApiAnswer):
    """One thing that is wrong."""

    code: str
    state: Literal["degraded", "down"]
    subject: Annotated[str, Field(description="A broker, a centre or managers; empty: all of it.")]
    words: str
    runbook: Annotated[str, Field(description="The section that says what to do.")]


class VerdictAnswer(ApiAnswer):
    """Whether the cache is well, and why not."""

    state: Literal["well", "degraded", "down"]
    reasons: Annotated[list[ReasonAnswer], Field(description="The worst first.")]
    window_s: Annotated[
        float | None,
        Field(description="The period that is judged; null: too little was read, so what requires "
                          "a period is not judged."),
    ]  # fmt: skip


class HealthAnswer(ApiAnswer):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyAnswer(ApiAnswer):
    """Whether the whole cache is ready, and what is missing."""

    status: Literal["ok", "unavailable"]
    missing: list[str]
