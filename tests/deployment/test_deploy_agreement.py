"""What `make deploy` takes for granted of Terraform, chart and images is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deploy import cluster, terraform
from deploy.checks import SECRETS, TOOLS
from deploy.cluster import select_add_ons
from deploy.environment import RELEASE, SERVICES, Environment
from deploy.main import ALL
from deploy.release import COMPONENTS, own_values
from testkit.deployment import chart
from testkit.deployment.kubernetes_schemas import VERSIONS, problems
from tests.deployment.deployments import ACCOUNT, DIGESTS, REGION
from wis2_gc_manager.pipeline.retry import MAX_DELIVERIES

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "terraform/main"
NAMES = {
    "cluster": "wis2-gc-prod",
    "region": REGION,
    "namespace": "wis2-gc",
    "vpc_id": "vpc-0a",
    "metrics_domain": "metrics.example.org",
    "certificate_arn": "arn:aws:acm:eu-west-3:210987654321:certificate/0d",
    "public_subnet_ids": ["subnet-0a", "subnet-0b", "subnet-0c"],
    "node_subnets": [{"id": "subnet-1a"}, {"id": "subnet-1b"}, {"id": "subnet-1c"}],
    "tags": {"Project": "wis2-global-cache"},
    "load_balancer_tags": [{"key": "Project", "value": "wis2-global-cache"}],
    "pod_log_group": "/wis2-gc/wis2-gc-prod/pods",
    "alarm_topic": "arn:aws:sns:eu-west-3:210987654321:wis2-gc-prod-alarms",
}
CONTROLLER = "aws-load-balancer-controller"
ENVIRONMENT = Environment("prod", ROOT, ACCOUNT, REGION)


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def add_ons(compute: str, environment: str = "prod") -> Any:
    found = select_add_ons(
        text("deploy/addons.json"), compute=compute, environment=environment, names=NAMES
    )
    charts = [SimpleNamespace(**each) for each in found["charts"]]
    return SimpleNamespace(**(found | {"charts": charts}))


def add_on(name: str, compute: str = "auto") -> Any:
    (found,) = [each for each in add_ons(compute).charts if each.name == name]
    return found


def manifest(kind: str, *, is_first: bool = True) -> Any:
    all_of_them = add_ons("auto").first if is_first else add_ons("auto").manifests
    (found,) = [each for each in all_of_them if each["kind"] == kind]
    return found


def test_a_release_ends_by_its_own_time_out_and_not_by_kubernetes() -> None:
    minutes = [int(cluster.TIMEOUT.removesuffix("m"))]
    for each in (chart.CHART.joinpath("README.md"), *(ROOT / "docs").glob("*.md")):
        minutes += map(int, re.findall(r"--timeout (\d+)m\b", each.read_text("utf-8")))
    assert len(minutes) > 1
    # All Deployments that there are.
    objects = chart.manifests(chart.cases()["on-premises"])
    specs = [item["spec"] for item in objects if item["kind"] == "Deployment"]
    assert len(specs) > 4
    for spec in specs:
        assert spec["progressDeadlineSeconds"] > 60 * max(minutes)
        assert spec["progressDeadlineSeconds"] > spec.get("minReadySeconds", 0)


def test_sqs_leaves_a_message_to_the_managers_until_they_have_buried_it() -> None:
    variable = text("terraform/main/variables.tf").split('variable "queue_max_receive_count"')[1]
    for pattern in (r"default += (\d+)", r"queue_max_receive_count >= (\d+)"):
        found = re.search(pattern, variable)
        assert found is not None
        assert int(found[1]) > MAX_DELIVERIES


def test_terraform_has_every_output_that_is_read() -> None:
    declared = set(re.findall(r'^output "(\w+)"', text("terraform/main/outputs.tf"), re.MULTILINE))
    assert set(terraform.OUTPUTS) <= declared


def test_the_release_has_the_name_that_terraform_gives_the_roles_to() -> None:
    variable = text("terraform/main/variables.tf").partition('"service_account_prefix"')[2]
    default = re.search(r'default\s*=\s*"([^"]+)"', variable)
    assert default
    assert default[1] == RELEASE
    rendered = chart.render(chart.cases()["prod"], release=RELEASE)
    for service in SERVICES:
        account = yaml.safe_load(rendered[f"{service}/serviceaccount.yaml"])
        assert account["metadata"]["name"] == f"{RELEASE}-{service}"


def test_names_that_terraform_makes_are_the_ones_we_use() -> None:
    assert 'name     = "wis2-gc-${var.environment}"' in text("terraform/main/main.tf")
    assert ENVIRONMENT.cluster_name == "wis2-gc-prod"
    assert '"wis2-gc-state-${var.account_id}-${var.region}"' in text("terraform/bootstrap/main.tf")
    assert ENVIRONMENT.state_bucket == f"wis2-gc-state-{ACCOUNT}-{REGION}"
    assert "global-brokers/${broker}" in text("terraform/modules/secrets/main.tf")
    assert 'resource "aws_eip" "protected"' in text("terraform/modules/addresses/main.tf")


def test_the_secrets_looked_for_are_those_that_terraform_makes() -> None:
    text = (ROOT / "terraform/modules/secrets/main.tf").read_text("utf-8")
    passwords = text.partition("passwords = merge({")[2].partition("}")[0]
    assert tuple(sorted(re.findall(r"^ *(\w+) *= \[", passwords, re.MULTILINE))) == SECRETS
    assert "accounts/${name}" in text


def test_images_have_one_name_in_terraform_chart_and_build() -> None:
    assert '"${var.name}/wis2-gc-${each.key}"' in text("terraform/modules/images/main.tf")
    assert 'tags       = ["${REGISTRY}wis2-gc-${service}:${TAG}"]' in text("images/docker-bake.hcl")
    values = chart.merged(chart.cases()["prod"], {"image": {"registry": "host/wis2-gc-prod"}})
    assert "host/wis2-gc-prod/wis2-gc-manager" in chart.render(values)["manager/workload.yaml"]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_chart_accepts_what_a_deployment_gives_it(name: str) -> None:
    told = json.loads(text(f"terraform/tests/helm_values/{name}.json"))
    secrets = ("global-brokers/meteo-fr", "broker")
    rendered = chart.render(
        chart.merged(
            {**told, "brokers": [{"name": "meteo-fr", "secretArn": "arn"}]},
            chart.values_file(name),
            own_values(DIGESTS, dict.fromkeys(secrets, "1")),
        ),
        release=RELEASE,
    )
    assert f"wis2-gc-manager@{DIGESTS['manager']}" in rendered["manager/workload.yaml"]
    listener = yaml.safe_load(rendered["listener/workload.yaml"])
    assert listener["metadata"]["name"] == f"{RELEASE}-listener-meteo-fr"


def test_another_revision_of_a_secret_rolls_what_reads_it() -> None:
    def pods(revisions: dict[str, str]) -> dict[str, Any]:
        values = own_values(DIGESTS, revisions)
        rendered = chart.render(chart.merged(chart.cases()["prod"], values))
        return {
            component: next(
                each["spec"]["template"]
                for each in yaml.safe_load_all(rendered[f"{component}/workload.yaml"]) if each
            )
            for component in COMPONENTS
        }  # fmt: skip

    # As Terraform's output secret_names has them.
    names = {
        "registry": {"listener", "manager", "metrics"},
        "broker": {"manager", "broker"},
        "deployment": {"listener", "manager"},
        "accounts/gb-fr": {"broker"},
        # The first listener's is another one.
        "global-brokers/inmet-br": set(),
        "global-brokers/meteo-fr": {"listener"},
    }
    first = pods(dict.fromkeys(names, "a"))
    assert first == pods(dict.fromkeys(names, "a"))
    for name, rolled in names.items():
        other = pods(dict.fromkeys(names, "a") | {name: "b"})
        assert {c for c in COMPONENTS if first[c] != other[c]} == rolled, name


def test_components_are_the_charts() -> None:
    rendered = chart.render(chart.cases()["prod"])
    for component in COMPONENTS:
        assert f"app.kubernetes.io/component: {component}" in rendered[f"{component}/workload.yaml"]


def test_add_ons_run_as_the_accounts_that_terraform_gives_roles_to() -> None:
    roles = {
        match["name"]: (match["namespace"], match["account"])
        for match in re.finditer(
            r'^    (?P<name>[a-z-]+) = \{\s+namespace\s+= "(?P<namespace>[^"]+)"\s+'
            r'service_account\s+= "(?P<account>[^"]+)"',
            text("terraform/modules/identity/addons.tf"),
            re.MULTILINE,
        )
    }
    assert {"external-secrets", "keda", "external-dns", "load-balancer-controller"} <= set(roles)

    def account(values: dict[str, Any]) -> str | None:
        values = values.get("alertmanager", values)
        given = values.get("serviceAccount") or values.get("rbac", {}).get("serviceAccount", {})
        name: str | None = given.get("name") or given.get("operator", {}).get("name")
        return name

    ours = {(each.namespace, account(each.values)) for each in add_ons("node_groups").charts}
    # The driver of the volumes is EKS's own add-on.
    assert ours == set(roles.values()) - {("kube-system", "ebs-csi-controller-sa")}


def test_auto_mode_gets_no_controller_that_it_has_built_in() -> None:
    names = [each.name for each in add_ons("auto").charts]
    assert names == ["external-secrets", "keda", "external-dns", "fluent-bit", "monitoring"]
    assert [each.name for each in add_ons("auto", "dev").charts] == names[:-1]
    kinds = [manifest["kind"] for manifest in add_ons("node_groups").manifests]
    assert kinds == ["ClusterSecretStore"]
    assert [each["kind"] for each in add_ons("node_groups").first] == ["Namespace"]
    assert "IngressClass" in [manifest["kind"] for manifest in add_ons("auto").manifests]


def test_logs_are_shipped_where_a_log_group_is_given_and_only_ours() -> None:
    without = select_add_ons(
        text("deploy/addons.json"),
        compute="auto", environment="prod", names=NAMES | {"pod_log_group": ""},
    )  # fmt: skip
    assert "fluent-bit" not in [each["name"] for each in without["charts"]]
    config = add_on("fluent-bit").values["config"]
    assert "Path /var/log/containers/*_wis2-gc_*.log\n" in config["inputs"]
    assert f"log_group_name {NAMES['pod_log_group']}\n" in config["outputs"]
    assert 'name              = "/wis2-gc/${var.name}/pods"' in text(
        "terraform/modules/cluster/main.tf"
    )
    assert "log-group:/wis2-gc/${var.name}/pods:*" in text("terraform/modules/identity/addons.tf")


def test_network_policies_are_enforced_before_anything_runs() -> None:
    """Without this EKS takes the policies and ignores them; node groups: modules.tftest.hcl."""
    switch = manifest("ConfigMap")
    assert (switch["metadata"]["namespace"], switch["metadata"]["name"]) == (
        "kube-system", "amazon-vpc-cni",
    )  # fmt: skip
    assert switch["data"] == {"enable-network-policy-controller": "true"}
    assert all(chart.values_file(name).get("networkPolicy") is None for name in ("dev", "prod"))


def test_nodes_are_of_a_pool_of_ours_from_the_first_chart_on() -> None:
    nodes, pool = manifest("NodeClass"), manifest("NodePool")
    assert [problem for each in (nodes, pool) for problem in problems(each, VERSIONS[-1])] == []
    reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
    assert (reference["kind"], reference["name"]) == (nodes["kind"], nodes["metadata"]["name"])
    assert nodes["spec"]["role"] == f"{ENVIRONMENT.cluster_name}-node"
    assert 'name = "${var.name}-node"' in text("terraform/modules/cluster/roles.tf")
    assert nodes["spec"]["subnetSelectorTerms"] == NAMES["node_subnets"]
    assert nodes["spec"]["tags"] == NAMES["tags"]
    # The images are for this architecture alone.
    assert "linux/amd64" in text("deploy/images.py")
    wanted = {
        each["key"]: each["values"] for each in pool["spec"]["template"]["spec"]["requirements"]
    }
    assert wanted["kubernetes.io/arch"] == ["amd64"]


def test_nodes_are_renewed_one_at_a_time_in_two_hours_of_the_night() -> None:
    spec = manifest("NodePool")["spec"]
    disruption, node = spec["disruption"], spec["template"]["spec"]
    always, closed = disruption["budgets"]
    assert always == {"nodes": "1"}
    assert (closed["nodes"], closed["reasons"]) == ("0", ["Drifted"])
    # To save a node, no pod is moved.
    assert disruption["consolidationPolicy"] == "WhenEmpty"
    _, hour, *days = closed["schedule"].split()
    assert days == ["*"] * 3
    assert (int(hour) + int(closed["duration"].removesuffix("h"))) % 24 == 2
    # Budgets do not hold an expired node: pods' own do, for so long. AWS allows 21 days in all.
    lifetime, patience = (
        int(node[name].removesuffix("h")) for name in ("expireAfter", "terminationGracePeriod")
    )
    assert lifetime + patience <= 21 * 24
    assert patience == 24


def test_what_the_cluster_makes_has_the_tags_of_everything() -> None:
    ours = manifest("IngressClassParams", is_first=False)["spec"]
    assert ours["tags"] == NAMES["load_balancer_tags"]
    assert add_on(CONTROLLER, "node_groups").values["defaultTags"] == NAMES["tags"]


def test_volumes_of_the_add_ons_find_a_class_of_storage() -> None:
    assert manifest("StorageClass")["metadata"]["annotations"] == {
        "storageclass.kubernetes.io/is-default-class": "true"
    }
    assert '"defaultStorageClass"' not in text("deploy/addons.json")
    assert "defaultStorageClass = { enabled = true }" in text("terraform/modules/cluster/addons.tf")


def test_the_metrics_service_is_reached_in_the_public_subnets_with_all_tags() -> None:
    controller = add_on(CONTROLLER, "node_groups").values["ingressClassParams"]
    for spec in (manifest("IngressClassParams", is_first=False)["spec"], controller["spec"]):
        assert spec["scheme"] == "internet-facing"
        assert spec["subnets"] == {"ids": NAMES["public_subnet_ids"]}


def test_alerts_reach_the_topic_of_the_alarms() -> None:
    """As the chart comes, they go to a receiver that does nothing."""
    config = add_on("monitoring").values["alertmanager"]["config"]
    receivers = {each["name"]: each for each in config["receivers"]}
    (told,) = receivers[config["route"]["receiver"]]["sns_configs"]
    assert told["topic_arn"] == NAMES["alarm_topic"]
    assert told["sigv4"] == {"region": REGION}
    # Those that only say that all is well.
    (silent,) = config["route"]["routes"]
    assert list(receivers[silent["receiver"]]) == ["name"]


def test_the_load_balancer_controller_asks_for_nothing_that_its_role_may_not() -> None:
    """It looks for a firewall at each load balancer unless told not to, and fails without leave."""
    controller = add_on(CONTROLLER, "node_groups")
    role = text("terraform/modules/identity/addons.tf")
    for switch, service in (
        ("enableShield", "shield"), ("enableWaf", "waf-regional"), ("enableWafv2", "wafv2"),
    ):  # fmt: skip
        assert controller.values[switch] is False
        assert f'"{service}:' not in role


def test_add_ons_are_pinned_and_fetched_over_https() -> None:
    for each in add_ons("node_groups").charts:
        assert re.fullmatch(r"\d+\.\d+\.\d+", each.version)
        assert each.repository.startswith("https://")


def test_a_name_alone_is_filled_with_a_value_of_any_kind() -> None:
    entry = {"manifest": {"alone": "${many}", "within": "a ${one} b", "list": ["${one}", 1, True]}}
    filled = select_add_ons(
        json.dumps({"charts": [], "manifests": [entry]}),
        compute="auto", environment="dev", names={"one": "x", "many": ["y", "z"]},
    )["manifests"][0]  # fmt: skip
    assert filled == {"alone": ["y", "z"], "within": "a x b", "list": ["x", 1, True]}


def test_nothing_is_left_to_fill_in_the_add_ons() -> None:
    for compute in ("auto", "node_groups"):
        assert "${" not in str(add_ons(compute))
    with pytest.raises(KeyError):
        select_add_ons(
            json.dumps({"charts": [], "manifests": [{"manifest": {"x": "a ${mistyped}"}}]}),
            compute="auto", environment="dev", names=NAMES,
        )  # fmt: skip


def test_names_that_the_chart_refers_to_are_the_add_ons() -> None:
    defaults = yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8"))
    store = add_ons("node_groups").manifests[0]
    assert defaults["secrets"]["externalStore"]["kind"] == store["kind"]
    assert defaults["secrets"]["externalStore"]["name"] == store["metadata"]["name"]
    namespaces = {each.name: each.namespace for each in add_ons("auto").charts}
    assert defaults["networkPolicy"]["monitoringNamespace"] == namespaces["monitoring"]
    assert defaults["networkPolicy"]["kedaNamespace"] == namespaces["keda"]
    for name in ("dev", "prod"):
        assert chart.values_file(name)["web"]["ingress"]["className"] == "alb"


def test_what_dev_asks_for_needs_no_prometheus_operator() -> None:
    monitoring = chart.merged(
        yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8")), chart.values_file("dev")
    )["monitoring"]
    assert not any(monitoring[kind] for kind in ("serviceMonitor", "podMonitor", "rules"))


def test_the_namespace_lets_no_privileged_pod_in() -> None:
    namespace = add_ons("node_groups").first[0]["metadata"]
    assert namespace["name"] == NAMES["namespace"]
    labels = namespace["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


_ONLY_LOCKED = """
import importlib.abc, importlib.metadata, runpy, sys
locked = set(sys.argv[1].split())
owners = importlib.metadata.packages_distributions()

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owned = {owner.lower().replace("_", "-") for owner in owners.get(name, ())}
        if owned and not owned & locked:
            raise ModuleNotFoundError(f"{name} is not in requirements/deploy.txt", name=name)
        return None

sys.meta_path.insert(0, Refuse())
sys.argv[1:] = ["check", "--env", ""]
runpy.run_module("deploy", run_name="__main__")
"""


def test_a_deployment_requires_only_packages_of_its_lock() -> None:
    """deploy/run.sh installs that lock alone; here everything is at hand, and would hide it."""
    lock = re.findall(r"^([a-z0-9.-]+)==", text("requirements/deploy.txt"), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", _ONLY_LOCKED, " ".join({*lock, "wis2-gc-common"})],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ".:services/common/src"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: name the environment: ENV=dev or ENV=prod\n"


DOCS = [
    str(path.relative_to(ROOT))
    for where in (".", "docs", "helm/*", "terraform")
    for path in ROOT.glob(f"{where}/*.md")
]


def test_every_target_that_the_docs_name_is_there() -> None:
    makefiles = "\n".join(
        text(path) for path in ("Makefile", "deploy/deploy.mk", "images/images.mk")
    )
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefiles, re.MULTILINE))
    for path in DOCS:
        for words in re.findall(r"`?make ((?:[a-z-]+ ?)+)", text(path)):
            if f"`make {words}" in text(path) or f"\nmake {words}" in text(path):
                assert set(words.split()) <= targets, (path, words)


def test_commands_in_the_guide_name_the_namespace_that_terraform_gives() -> None:
    variable = text("terraform/main/variables.tf").partition('variable "namespace"')[2]
    given = re.search(r'default\s*=\s*"([^"]+)"', variable)
    assert given is not None
    named = re.findall(r"kubectl -n (\S+) exec deploy/", text("docs/deploy.md"))
    assert set(named) == {given[1]}


def test_every_step_is_in_the_deployment_guide_and_the_makefile() -> None:
    guide, makefile = text("docs/deploy.md"), text("deploy/deploy.mk")
    for number, name in enumerate(ALL, start=1):
        target = name if name == "smoke" else f"deploy-{name}"
        assert f"| {number} {name} | `{target}` |" in guide
        assert re.search(rf"^{target}: ##", makefile, re.MULTILINE)
        assert f"$(STEP) {name} " in makefile


def test_the_steps_are_drawn_in_their_order() -> None:
    (drawn,) = re.findall(r"^ *check --> .*$", text("docs/architecture.md"), re.MULTILINE)
    steps = re.sub(r'\["[^"]*"\]', "", drawn).split("-->")
    assert tuple(step.strip() for step in steps) == ALL


def test_versions_of_tools_in_the_guide_are_those_that_are_checked() -> None:
    guide = text("docs/deploy.md")
    for tool, (least, _) in TOOLS.items():
        if tool != "git":
            row = next(line for line in guide.splitlines() if line.startswith(f"| `{tool}`"))
            assert row.split("|")[2].strip() == ".".join(map(str, least))


def test_kubectl_is_at_most_one_version_older_than_the_cluster() -> None:
    source = text("terraform/main/variables.tf").partition('variable "kubernetes_version"')[2]
    (cluster,) = re.findall(r'default\s*=\s*"1\.(\d+)"', source.partition("\n}\n")[0])
    assert TOOLS["kubectl"][0] >= (1, int(cluster) - 1)


def test_the_load_balancer_reaches_the_ports_that_the_broker_listens_at() -> None:
    source = text("terraform/modules/balancer/main.tf")
    ports = re.findall(r"(\w+) += \{ world = (\d+), pods = (\d+) \}", source)
    objects = chart.objects(chart.cases()["prod"])
    service = objects[("Service", "wis2-broker-public")]["spec"]["ports"]
    (broker,) = objects[("StatefulSet", "wis2-broker")]["spec"]["template"]["spec"]["containers"]
    listens = {port["name"]: port["containerPort"] for port in broker["ports"]}
    assert {name: (int(world), int(pods)) for name, world, pods in ports} == {
        port["name"]: (port["port"], listens[port["targetPort"]]) for port in service
    }
