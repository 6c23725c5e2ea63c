"""What the cluster says of our release: each workload, and whether its rollout is complete."""

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

#: How old a look into the cluster may be, in seconds: a rollout takes minutes.
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
    """Pods of any template, and those that end: some are left while this is more than `updated`."""
    is_observed: bool
    """Whether Kubernetes has begun with the newest template."""
    problem: str | None
    """Why Kubernetes says that the rollout does not get on; None while it does."""


class WorkloadSource(Protocol):
    """Where the workloads of our release are looked up."""

    async def workloads(self) -> Sequence[Workload]:
        """Return them. Raises Unavailable("Kubernetes API"); Misconfigured: it refuses us."""

    async def close(self) -> None:
        """Release what is held. Never raises."""


def is_complete(workload: Workload) -> bool:
    """Return whether every wanted pod is there, of the newest template, and no other."""
    return (
        workload.is_observed
        and workload.updated >= workload.desired
        and workload.total <= workload.updated
        and workload.available >= workload.desired
    )


def version_of(image: str) -> str:
    """Return an image's tag or digest, without the registry: `sha256:…` or `1.2.0`, or ""."""
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]


class Rollouts:
    """Looks into the cluster for all who ask: seldom, one look at a time."""

    def __init__(
        self, source: WorkloadSource, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._shared = SharedRead(self._read, clock=clock)
        self._problem: str | None = None

    async def now(self) -> Sequence[Workload]:
        """Return the workloads as they were some seconds ago. Raises as the source does."""
        return await self._shared.get(max_age_s=ROLLOUTS_MAX_AGE_S)

    async def close(self) -> None:
        """Release what the source holds. Never raises."""
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
