"""Whether every workload of the release runs as it is meant to, as the Kubernetes API has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from deploy.smoke.waiting import NotYet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_REQUEST_TIMEOUT_S = 20
#: Why a container waits, where waiting is no part of an ordinary start.
_TROUBLE = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One Deployment or StatefulSet."""

    name: str
    """`deployment/wis2-global-cache-manager`."""
    wanted: int
    updated: int
    """Replicas of the newest template."""
    available: int
    total: int
    """Replicas of any template: old ones are still there while this is more than `wanted`."""
    is_observed: bool
    """Whether Kubernetes has begun with the newest template."""


class Workloads(Protocol):
    """Where workloads are looked up."""

    def read(self) -> list[Workload]:
        """Return the release's workloads. Raises NotYet: the API does not answer."""

    def troubles(self) -> list[str]:
        """Return what is wrong with its pods, a line each. Raises NotYet as `read`."""


def unfinished(workloads: Sequence[Workload]) -> list[str]:
    """Return what is not rolled out, a line each."""
    lines = []
    for load in workloads:
        if not load.is_observed:
            lines.append(f"{load.name}: not begun")
        elif load.updated < load.wanted:
            lines.append(f"{load.name}: {load.updated} of {load.wanted} are new")
        elif load.total > load.updated:
            lines.append(f"{load.name}: {load.total - load.updated} old ones are still there")
        elif load.available < load.wanted:
            lines.append(f"{load.name}: {load.available} of {load.wanted} are available")
    return lines


def check_rollouts(workloads: Workloads) -> str:
    """Return how many workloads run. Raises NotYet with what does not, and why."""
    found = workloads.read()
    if not found:
        raise NotYet("the release has no workloads")
    lines = unfinished(found)
    if lines:
        raise NotYet("; ".join((*lines, *workloads.troubles())))
    return f"{len(found)} workloads, {sum(load.wanted for load in found)} replicas"


class KubernetesWorkloads:
    """The workloads of one release, by the `kubernetes` client."""

    def __init__(self, *, kubeconfig: Path, context: str, namespace: str, release: str) -> None:
        # Slow to import, and of no use to who only looks at a broker.
        from kubernetes import client, config  # noqa: PLC0415

        connect: Any = config.new_client_from_config
        api = connect(str(kubeconfig), context=context)
        self._apps: Any = client.AppsV1Api(api)
        self._core: Any = client.CoreV1Api(api)
        self._arguments = {
            "namespace": namespace,
            "label_selector": f"app.kubernetes.io/instance={release}",
            "_request_timeout": _REQUEST_TIMEOUT_S,
        }

    def read(self) -> list[Workload]:
        """Return Deployments, then StatefulSets. Raises NotYet: the API does not answer."""
        deployments = self._ask(self._apps.list_namespaced_deployment)
        stateful_sets = self._ask(self._apps.list_namespaced_stateful_set)
        return [
            *(_workload("deployment", each) for each in deployments),
            *(_workload("statefulset", each) for each in stateful_sets),
        ]

    def troubles(self) -> list[str]:
        """Return why pods do not start: no image, no room, a crash."""
        lines = []
        for pod in self._ask(self._core.list_namespaced_pod):
            statuses = [
                *(pod.status.init_container_statuses or ()),
                *(pod.status.container_statuses or ()),
            ]
            for status in statuses:
                waiting = status.state.waiting if status.state else None
                if waiting is not None and waiting.reason in _TROUBLE:
                    lines.append(f"pod {pod.metadata.name}: {waiting.reason}")
            lines.extend(
                f"pod {pod.metadata.name}: {condition.message}"
                for condition in pod.status.conditions or ()
                if condition.type == "PodScheduled" and condition.status == "False"
            )
        return lines

    def _ask(self, method: Any) -> list[Any]:
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return list(method(**self._arguments).items)
        except ApiException as error:
            raise NotYet(f"the Kubernetes API answers {error.status} {error.reason}") from None
        except HTTPError as error:
            raise NotYet(f"the Kubernetes API does not answer: {error}"[:300]) from None


def _workload(kind: str, found: Any) -> Workload:
    status, wanted = found.status, found.spec.replicas
    available = status.ready_replicas if kind == "statefulset" else status.available_replicas
    return Workload(
        name=f"{kind}/{found.metadata.name}",
        wanted=1 if wanted is None else wanted,
        updated=status.updated_replicas or 0,
        available=available or 0,
        total=status.replicas or 0,
        is_observed=(status.observed_generation or 0) >= (found.metadata.generation or 0),
    )
