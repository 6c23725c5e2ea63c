"""Whether every workload of the release runs as it is meant to, as `kubectl get -o json` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.session import DeployError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Why a container waits, where that is part of an ordinary start.
_STARTING = ("ContainerCreating", "PodInitializing")


def check_rollouts(workloads: Sequence[dict[str, Any]], pods: Sequence[dict[str, Any]]) -> str:
    """Return how many workloads run. Raises DeployError with what does not, and why. Pure."""
    if not workloads:
        raise DeployError("the release has no workloads")
    lines = [line for each in workloads if (line := unfinished(each))]
    # Counted by no workload: a pod on a lost node ends only with the node.
    lines += [
        f"pod {pod['metadata']['name']}: still ends on {pod['spec'].get('nodeName')}"
        for pod in pods
        if pod["metadata"].get("deletionTimestamp")
    ]
    if lines:
        raise DeployError("; ".join((*lines, *(line for pod in pods for line in _troubles(pod)))))
    replicas = sum(each["spec"].get("replicas", 1) for each in workloads)
    return f"{len(workloads)} workloads, {replicas} replicas"


def unfinished(workload: dict[str, Any]) -> str:
    """Return why a Deployment or StatefulSet is not rolled out; empty: it is."""
    status, wanted = workload["status"], workload["spec"].get("replicas", 1)
    kind, metadata = workload["kind"].lower(), workload["metadata"]
    ready = "readyReplicas" if kind == "statefulset" else "availableReplicas"
    updated, available = status.get("updatedReplicas", 0), status.get(ready, 0)
    old = status.get("replicas", 0) - updated
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        line = "not begun"
    elif updated < wanted:
        line = f"{updated} of {wanted} are new"
    elif old > 0:
        line = f"{old} old ones are still there"
    elif available < wanted:
        line = f"{available} of {wanted} are available"
    else:
        return ""
    return f"{kind}/{metadata['name']}: {line}"


def _troubles(pod: dict[str, Any]) -> list[str]:
    """Return why a pod does not start: no image, no room, a crash."""
    name, status = pod["metadata"]["name"], pod["status"]
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    reasons = [each.get("state", {}).get("waiting", {}).get("reason") for each in containers]
    return [
        *(f"pod {name}: {reason}" for reason in reasons if reason and reason not in _STARTING),
        *(f"pod {name}: {each['message']}" for each in status.get("conditions", ())
          if each["type"] == "PodScheduled" and each["status"] == "False"),
    ]  # fmt: skip
