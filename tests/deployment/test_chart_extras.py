"""What an installation adds to the chart without changing it, and `helm test`."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from testkit.deployment import chart

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = chart.cases()
COMPONENT = "app.kubernetes.io/component"
SCRIPT = chart.CHART / "files" / "helm-test.py"


@pytest.mark.parametrize("case", ["gateway", "in-cluster"])
def test_the_pods_of_a_part_get_what_is_given_for_it(case: str) -> None:
    parts = CASES[case]["pods"]
    seen = set()
    for _item, template in chart.pod_specs(chart.manifests(CASES[case])):
        part = template["metadata"]["labels"][COMPONENT]
        if part not in parts:
            continue
        seen.add(part)
        given, spec = parts[part], template["spec"]
        container = spec["containers"][0]
        assert given["podAnnotations"].items() <= template["metadata"]["annotations"].items()
        assert given["podLabels"].items() <= template["metadata"]["labels"].items()
        assert spec["affinity"] == given["affinity"]
        assert spec["priorityClassName"] == given["priorityClassName"]
        assert spec["imagePullSecrets"] == [{"name": given["imagePullSecrets"][0]}]
        assert given["extraEnv"][0] in container["env"]
        assert given["extraVolumes"][0] in spec["volumes"]
        assert given["extraVolumeMounts"][0] in container["volumeMounts"]
    assert seen == set(parts)


def test_what_is_given_for_one_part_changes_no_other() -> None:
    values = CASES["on-premises"]
    change = {"pods": {"manager": chart.pod_extras("manager")}}
    before, after = (chart.objects(v) for v in (values, chart.merged(values, change)))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("Deployment", "wis2-manager")}


def test_the_zones_of_the_broker_and_an_affinity_of_its_own_stand_together() -> None:
    extras = {"pods": {"broker": chart.pod_extras("broker")}}
    objects = chart.objects(CASES["prod"], extras)
    affinity = objects["StatefulSet", "wis2-broker"]["spec"]["template"]["spec"]["affinity"]
    assert set(affinity) == {"nodeAffinity", "podAntiAffinity"}
    nodes = {"pods": {"broker": {"affinity": {"nodeAffinity": affinity["nodeAffinity"]}}}}
    with pytest.raises(helm_python.HelmError, match="set one"):
        chart.render(chart.merged(CASES["prod"], nodes))


def test_common_labels_are_on_every_object_and_every_pod() -> None:
    labels = CASES["gateway"]["commonLabels"].items()
    everything = chart.manifests(CASES["gateway"])
    objects = [item for item in everything if item["metadata"]["name"] != "wis2-notes"]
    assert all(labels <= item["metadata"]["labels"].items() for item in objects)
    pods = [template for _, template in chart.pod_specs(objects)]
    assert pods
    assert all(labels <= template["metadata"]["labels"].items() for template in pods)


@pytest.mark.parametrize("name", [COMPONENT, "wis2-global-cache/broker", "helm.sh/chart"])
def test_labels_that_the_chart_goes_by_cannot_be_given(name: str) -> None:
    for values in (
        {"commonLabels": {name: "x"}},
        {"pods": {"manager": {"podLabels": {name: "x"}}}},
    ):
        with pytest.raises(helm_python.HelmError):
            chart.render(chart.merged(CASES["prod"], values))


def test_a_part_that_is_none_and_a_mistyped_extra_are_refused() -> None:
    refused: tuple[chart.Values, ...] = ({"managers": {}}, {"manager": {"podAnotations": {}}})
    for pods in refused:
        with pytest.raises(helm_python.HelmError, match="/pods"):
            chart.render(chart.merged(CASES["prod"], {"pods": pods}))


def test_objects_of_the_installation_are_templates() -> None:
    notes = chart.objects(CASES["gateway"])["ConfigMap", "wis2-notes"]
    assert notes["data"] == {"centre": "int-example-global-cache"}


def test_helm_test_asks_the_metrics_service_in_a_pod_that_restricted_namespaces_take() -> None:
    objects = chart.objects(CASES["prod"])
    pod = objects["Pod", "wis2-test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = pod["spec"]["containers"][0]
    assert container["command"][2] == SCRIPT.read_text("utf-8")
    assert container["env"] == [{"name": "METRICS_URL", "value": "http://wis2-metrics"}]
    manager = objects["Deployment", "wis2-manager"]["spec"]["template"]["spec"]
    assert pod["spec"]["securityContext"] == manager["securityContext"]
    assert container["securityContext"] == manager["containers"][0]["securityContext"]
    # The default policy, which denies all, is for it too.
    policy = objects["NetworkPolicy", "wis2-test"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


class Answers(BaseHTTPRequestHandler):
    summary: Any = None

    def do_GET(self) -> None:
        content = b"" if self.path == "/metrics" else json.dumps(self.summary).encode()
        self.send_response(503 if self.summary is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def metrics_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


NOT_SUBSCRIBED = "listener br is not subscribed"


@pytest.mark.parametrize(
    ("missing", "ready", "code"),
    [
        ([], 2, 0),
        ([NOT_SUBSCRIBED], 1, 0),
        ([NOT_SUBSCRIBED, "listener fr is not subscribed"], 0, 1),
        (["listener br does not report"], 1, 1),
        (["no manager reports"], 2, 1),
        (None, 0, 1),
    ],
)
def test_helm_test_fails_for_what_is_ours_and_tells_the_rest(
    metrics_url: str, missing: list[str] | None, ready: int, code: int
) -> None:
    answer = {"missing": missing, "listeners": {"ready": ready, "total": 2}}
    Answers.summary = None if missing is None else answer
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text("utf-8")],
        env={"METRICS_URL": metrics_url}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert all(line in done.stdout for line in missing or ())
    assert "Traceback" not in done.stderr


def test_the_values_that_the_readme_gives_a_centre_are_an_installation() -> None:
    readme = (chart.CHART / "README.md").read_text("utf-8")
    block = readme.partition("## A centre with its own Kubernetes")[2].split("```")[1]
    given = yaml.safe_load(block.removeprefix("yaml"))
    values = chart.merged(chart.values_file("on-premises"), given)
    objects = chart.objects(values)
    claim = objects["PersistentVolumeClaim", "wis2-store"]["spec"]
    assert claim["storageClassName"] == given["store"]["volume"]["storageClassName"]
    assert objects["Service", "wis2-broker-public"]["spec"]["type"] == "NodePort"
