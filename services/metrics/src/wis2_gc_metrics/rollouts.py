"""The workloads of our release in the cluster, and whether their rollouts are complete."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_metrics.readings import SharedRead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = get_logger(__name__)

#: How old a reading of the cluster may be, in seconds: a rollout takes minutes.
ROLLOUTS_MAX_AGE_S = 5.0

Kind = Literal["Deployment", "StatefulSet"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One Deployment or StatefulSet as Kubernetes sees it; replicas are pods."""

    kind: Kind
    name: str
    version: str
    """Tag or digest of its image."""
    desired: int
    updated: int
    """Pods of the newest template."""
    ready: int
    available: int
    total: int
    """Pods of any template, also ending ones; some are left while this is above `updated`."""
    is_observed: bool
    """Whether Kubernetes has started on the newest template."""
    problem: str | None
    """Why the rollout makes no progress, by Kubernetes; None while it does."""

    @property
    def is_complete(self) -> bool:
        """Whether all desired pods have the newest template, and no others are left."""
        return (
            self.is_observed
            and self.updated >= self.desired
            and self.total <= self.updated
            and self.available >= self.desired
        )


class WorkloadSource(Protocol):
    """A source of the workloads of our release."""

    async def workloads(self) -> Sequence[Workload]:
        """Return them. Raises Unavailable("Kubernetes API"); Misconfigured: it refuses us."""

    async def close(self) -> None:
        """Release connections. Never raises."""


def version_of(image: str) -> str:
    """Return an image's tag or digest, without the registry: `sha256:…` or `1.2.0`, or ""."""
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]


class Rollouts:
    """Reads the cluster for all callers: rarely, one read at a time."""

    def __init__(
        self, source: WorkloadSource, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._shared = SharedRead(self._read, clock=clock)
        self._problem: str | None = None

    async def now(self) -> Sequence[Workload]:
        """Return the workloads, at most some seconds old. Raises what the source raises."""
        return await self._shared.get(max_age_s=ROLLOUTS_MAX_AGE_S)

    async def close(self) -> None:
        """Close the source. Never raises."""
        await self._source.close()

    async def _read(self) -> Sequence[Workload]:
        try:
            workloads = await self._source.workloads()
        except Unavailable as error:
            if self._problem is None:
                _log.warning("rollouts_unavailable", part=error.part, detail=error.detail)
            self._problem = error.detail
            raise
        if self._problem is not None:
            _log.info("rollouts_available")
        self._problem = None
        return sorted(workloads, key=lambda workload: (workload.name, workload.kind))
