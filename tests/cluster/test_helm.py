"""What `make deploy` does with Helm, by a real one: 3 and 4 (HELMS names the programs)."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy import release
from deploy.cluster import upgrade, waiting
from deploy.environment import RELEASE, Environment
from deploy.release import revision_before
from deploy.session import Declined, DeployError, Session
from tests.cluster import kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)

HELMS = os.environ.get("HELMS", "helm").split(":")
CHART = """
apiVersion: v1
kind: ConfigMap
metadata: {name: what-runs}
data: {version: {{ .Values.version | quote }}}
{{- if .Values.fails }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: never-ready}
spec:
  progressDeadlineSeconds: {{ .Values.deadline }}
  selector: {matchLabels: {app: never-ready}}
  template:
    metadata: {labels: {app: never-ready}}
    spec:
      securityContext:
        {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: none
          image: wis2-gc.invalid/no-such-image:1
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
{{- end }}
"""


@pytest.fixture(params=HELMS)
def namespace(prefix: str) -> Iterator[kube.Namespace]:
    # Of each test: the one before it may still be ending.
    found = kube.Namespace(f"{prefix}-helm-{secrets.token_hex(3)}")
    found.create()
    yield found
    found.delete()


@pytest.fixture
def session(request: pytest.FixtureRequest, namespace: kube.Namespace, tmp_path: Path) -> Session:
    helm = request.node.callspec.params["namespace"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/helm").symlink_to(shutil.which(helm) or helm)
    (tmp_path / "chart/templates").mkdir(parents=True)
    (tmp_path / "chart/Chart.yaml").write_text("{apiVersion: v2, name: tried, version: 1.0.0}")
    (tmp_path / "chart/values.yaml").write_text("{deadline: 1800}")
    (tmp_path / "chart/templates/all.yaml").write_text(CHART)
    config = tmp_path / "kubeconfig"
    raw = subprocess.run(["kubectl", "config", "view", "--raw", "--minify", "--flatten"],
                         capture_output=True, check=True).stdout  # fmt: skip
    config.write_bytes(raw)
    environment = {**os.environ, "KUBECONFIG": str(config),
                   "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}  # fmt: skip
    opened = Environment("dev", tmp_path, "210987654321", "eu-west-3")
    current = ("kubectl", "config", "current-context")
    name = subprocess.run(current, env=environment, capture_output=True, check=True).stdout.decode()
    rename = ("kubectl", "config", "rename-context", name.strip(), opened.cluster_name)
    subprocess.run(rename, env=environment, capture_output=True, check=True)
    return Session(opened, environment, say=kube.say)


def install(session: Session, namespace: str, version: str, *, fails: bool = False) -> None:
    upgrade(
        session, RELEASE, "chart", "--namespace", namespace, "--set",
        f"version={version},fails={str(fails).lower()}", timeout="10s" if fails else "2m",
    )  # fmt: skip


def running(session: Session, namespace: str) -> str:
    what = ("get", "configmap", "what-runs", "-o", "jsonpath={.data.version}")
    return session.read(*session.kubectl(*what, namespace=namespace))


def statuses(session: Session, namespace: str) -> list[str]:
    return [revision["status"] for revision in release.history(session, namespace)]


def gave_up(session: Session, namespace: str) -> bool:
    """Return whether Kubernetes has said that the Deployment makes no progress."""
    what = ("get", "deployment", "never-ready", "-o", "jsonpath={.status.conditions[*].reason}")
    reasons = session.read(*session.kubectl(*what, namespace=namespace))
    return "ProgressDeadlineExceeded" in reasons


def test_a_release_that_fails_is_taken_back_and_a_rollback_goes_to_what_ran(
    session: Session, namespace: kube.Namespace
) -> None:
    name = namespace.name
    install(session, name, "one")
    install(session, name, "two")
    with pytest.raises(DeployError):
        install(session, name, "three", fails=True)
    assert statuses(session, name) == ["superseded", "superseded", "failed", "deployed"]
    assert running(session, name) == "two"
    # 4 is 2 again; Helm's own choice is 3, which failed.
    history = release.history(session, name)
    assert revision_before(history) == 1
    release.roll_back_to(session, name, 1)
    assert running(session, name) == "one"
    # Taken back by nobody: what ran is the last that was deployed.
    how = ("--set", "version=four,fails=true", "--wait", "--timeout", "10s", "-n", name)
    with pytest.raises(DeployError):
        session.run(*session.helm("upgrade", RELEASE, "chart", *how))
    assert statuses(session, name)[-2:] == ["deployed", "failed"]
    assert revision_before(release.history(session, name)) == 5
    # A field that somebody else has changed since is ours again.
    change = ("patch", "configmap", "what-runs", "--type=merge", "-p", '{"data":{"version":"x"}}')
    session.read(*session.kubectl(*change, "--field-manager=somebody", namespace=name))
    install(session, name, "five")
    assert running(session, name) == "five"


def test_a_release_ends_at_its_own_time_out_and_not_at_kubernetes(
    session: Session, namespace: kube.Namespace
) -> None:
    """Of a Deployment that makes no progress Kubernetes says so after its deadline.

    Helm 4 then ends, too: by its own way of waiting, which is not that of `make deploy`.
    """
    what = ("upgrade", "--install", RELEASE, "chart", "-n", namespace.name, "--set", "fails=true")
    ours = waiting(session)
    # (how it waits, seconds that Kubernetes waits, seconds that Helm waits)
    for how, deadline, timeout in ((("--wait",), 1800, 4), (ours, 2, 8)):
        seconds = ("--set", f"deadline={deadline}", "--timeout", f"{timeout}s")
        with pytest.raises(DeployError) as error:
            session.read(*session.helm(*what, *how, *seconds))
        kube.say(f"{how}, deadline {deadline}, timeout {timeout}: {error.value}")
        assert "context deadline exceeded" in str(error.value)
        assert gave_up(session, namespace.name) == (deadline < timeout)


def test_a_helm_that_was_killed_is_noticed_and_what_ran_is_brought_back(
    session: Session, namespace: kube.Namespace
) -> None:
    name = namespace.name
    install(session, name, "one")
    helm = session.helm("upgrade", RELEASE, "chart", "-n", name, "--wait", "--timeout", "5m",
                        "--set", "version=two,fails=true")  # fmt: skip
    root = session.environment.root
    path = f"{root}/bin:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(root / "kubeconfig"), "PATH": path}
    process = subprocess.Popen(helm, cwd=root, stdout=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + 120
        while statuses(session, name)[-1] != "pending-upgrade":
            assert time.monotonic() < deadline
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(DeployError):
        install(session, name, "three")
    with pytest.raises(Declined, match="another Helm runs"):
        release.end_interrupted(session, name)
    later = replace(session, now=lambda: time.time() + 3600)
    release.end_interrupted(later, name)
    assert statuses(session, name)[-1] == "deployed"
    assert running(session, name) == "one"
    install(session, name, "three")
    assert running(session, name) == "three"
