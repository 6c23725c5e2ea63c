"""kubectl and helm, against the cluster that KUBECONFIG names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from deploy.release import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Manifest = dict[str, Any]
#: Of a release, and of what waits for pods: on a busy machine of two cores they take their time.
TIMEOUT_S = 600


class CommandFailed(AssertionError):
    """A command of kubectl or helm ended badly; what it said."""


def run(*command: str, given: str | None = None, timeout_s: float = TIMEOUT_S + 60) -> str:
    """Run it, return what it prints. Raises CommandFailed."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def say(text: str) -> None:
    """Tell what a run shows, on a line of its own (pytest -s)."""
    sys.stdout.write(f"\n{time.strftime('%T')} {text}")
    sys.stdout.flush()


def why_not() -> str | None:
    """Return why there is no cluster to test against; None: there is one."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster"
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        run("kubectl", "get", "--raw", "/readyz", "--request-timeout=20s", timeout_s=60)
    except CommandFailed as error:
        return f"the cluster of KUBECONFIG does not answer: {error}"
    return None


class Namespace:
    """A namespace of the test's own, with Pod Security `restricted`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        levels = {f"pod-security.kubernetes.io/{m}": "restricted" for m in ("enforce", "warn")}
        labels = {"wis2-gc-test": "yes", **levels}
        metadata = {"name": self.name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def delete(self) -> None:
        # Its pods may take a minute to end: longer than a test has to tidy up.
        self.kubectl("delete", "namespace", self.name, "--ignore-not-found", "--wait=false")

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl, return what it prints. Raises CommandFailed."""
        return run("kubectl", "--namespace", self.name, *arguments, given=given)

    def get(self, kinds: str, *arguments: str) -> list[Manifest]:
        found: Manifest = json.loads(self.kubectl("get", kinds, *arguments, "-o", "json"))
        items: list[Manifest] = found.get("items", [found])
        return items

    def apply(self, *objects: Manifest, dry_run: bool = False) -> str:
        """Apply them by the API server; a warning is an error. Raises CommandFailed."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        extra = ("--dry-run=server",) if dry_run else ()
        return self.kubectl(
            "apply", "--server-side", "--warnings-as-errors", *extra, "-f", "-", given=text
        )

    def secret(self, name: str, **data: str) -> None:
        """Make a secret, or change it."""
        self.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        )

    def ask(self, service: str, path: str, *, order: bool = False) -> Manifest:
        """Ask a Service over HTTP, by way of the API server. Raises CommandFailed."""
        url = f"/api/v1/namespaces/{self.name}/services/{service}/proxy/{path}"
        if order:
            answer = self.kubectl("create", "--raw", url, "-f", "-", given="{}")
        else:
            answer = self.kubectl("get", "--raw", url)
        result: Manifest = json.loads(answer)
        return result

    def helm(self, *arguments: str, values: Manifest | None = None) -> str:
        """Run helm; `values` are the last file of values. Raises CommandFailed."""
        command = ["helm", "--namespace", self.name, *arguments]
        if values is None:
            return run(*command)
        return run(*command, "--values", "-", given=json.dumps(values))

    def templates(self) -> dict[str, Manifest]:
        """Return the pod template of each Deployment and StatefulSet, by `Kind/name`."""
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["spec"]["template"]
            for item in self.get("deployments,statefulsets")
        }

    def left_of(self, release: str) -> set[str]:
        """Return `Kind/name` of all objects that carry a release's label."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")
        labels = f"--selector=app.kubernetes.io/instance={release}"
        found = self.get(",".join(kinds.split()), labels)
        return {f"{item['kind']}/{item['metadata']['name']}" for item in found}

    def unfinished(self) -> str:
        """Return what `make deploy-rollout` would still wait for; empty: all is rolled out."""
        ending = run("kubectl", "-n", self.name, "get", "pod", "-o", ENDING)
        names = run("kubectl", "-n", self.name, "get", "deployment,statefulset", "-o", "name")
        try:
            run("kubectl", "-n", self.name, "rollout", "status", "--timeout=1s", *names.split())
        except CommandFailed as problem:
            return f"{ending}; {problem}"
        return ending.strip()

    def drain(self, node: str, release: str) -> list[str]:
        """Move a release's pods off a node; return the evictions that a budget refused at first."""
        arguments = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={TIMEOUT_S}s",
                     f"--pod-selector=app.kubernetes.io/instance={release}")  # fmt: skip
        said = run("sh", "-c", 'exec kubectl drain "$@" 2>&1', "kubectl", node, *arguments)
        return [line for line in said.splitlines() if "disruption budget" in line]

    @contextlib.contextmanager
    def wanted_replicas(self, name: str) -> Iterator[list[int]]:
        """Yield a list that has, at the end, each number of pods that was wanted meanwhile."""
        path = 'jsonpath={.spec.replicas}{"\\n"}'
        command = ("kubectl", "-n", self.name, "get", name, "--watch", "-o", path)
        seen: list[int] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            seen.append(int(watch.stdout.readline()))
            try:
                yield seen
                assert watch.poll() is None, "the watch has ended"
            finally:
                watch.terminate()
            seen += [int(number) for number in watch.stdout.read().split()]

    def wait_for_rollouts(self) -> None:
        """Wait until every Deployment and StatefulSet is new and ready. Raises CommandFailed."""
        for name in self.templates():
            self.kubectl("rollout", "status", name, f"--timeout={TIMEOUT_S}s")


def rolled(before: dict[str, Manifest], after: dict[str, Manifest]) -> dict[str, list[str]]:
    """Return what has come, gone or rolled, and why: the fields of its pods that changed."""
    result: dict[str, list[str]] = {}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            result[name] = ["new"]
        elif name not in after:
            result[name] = ["gone"]
        elif changes := sorted(
            path for path, _ in set(_fields(before[name])) ^ set(_fields(after[name]))
        ):
            result[name] = list(dict.fromkeys(changes))
    return result


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{index}]")
    else:
        yield path, str(value)


def wait_until(condition: Callable[[], Any], what: str, *, timeout_s: float = TIMEOUT_S) -> Any:
    """Return the first true value of `condition`. Raises AssertionError: none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(1)
