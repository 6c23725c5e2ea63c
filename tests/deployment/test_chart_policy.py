"""What must hold for every pod that the chart makes."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

import pytest

from testkit.deployment import chart
from wis2_gc_common.settings import catalogue as settings

CASES = chart.cases()
PODS = [
    pytest.param(item, template, id=f"{name}-{item['metadata']['name']}")
    for name, values in sorted(CASES.items())
    for item, template in chart.pod_specs(chart.manifests(values))
]
every_pod = pytest.mark.parametrize(("item", "template"), PODS)


@every_pod
def test_it_runs_without_privilege(item: chart.Manifest, template: chart.Manifest) -> None:
    assert problems_of_privilege(template) == []


def problems_of_privilege(template: chart.Manifest) -> list[str]:
    """Return how a pod departs from Kubernetes' `restricted` standard, and from ours."""
    spec = template["spec"]
    pod = spec["securityContext"]
    found = []
    if not (pod.get("runAsNonRoot") is True and int(pod.get("runAsUser", 0)) > 0):
        found.append("root")
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("seccomp")
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [v["name"] for v in spec["volumes"] if "hostPath" in v]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container["securityContext"]
        if context.get("readOnlyRootFilesystem") is not True:
            found.append("writable root")
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            found.append("privilege")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if "/tmp" not in {m["mountPath"] for m in container["volumeMounts"]}:
            found.append("no /tmp")
    return found


@every_pod
def test_it_gets_no_token_of_the_kubernetes_api_by_itself(
    item: chart.Manifest, template: chart.Manifest
) -> None:
    assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", sorted(CASES))
def test_only_the_metrics_service_has_a_token_and_only_where_it_shows_rollouts(name: str) -> None:
    objects = chart.manifests(CASES[name])
    with_token = {
        item["metadata"]["name"]
        for item, template in chart.pod_specs(objects)
        if "serviceAccountToken" in json.dumps(template)
    }
    assert with_token == ({"wis2-metrics"} if _shows_rollouts(name) else set())


def test_the_token_is_where_the_service_looks_for_it_and_is_soon_too_old() -> None:
    metrics = chart.objects(CASES["prod"])[("Deployment", "wis2-metrics")]
    pod = metrics["spec"]["template"]["spec"]
    mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
    mount = mounts["kubernetes-api"]
    assert mount["mountPath"] == settings.KUBERNETES_CREDENTIALS.default
    assert mount["readOnly"] is True
    projected = next(v for v in pod["volumes"] if v["name"] == "kubernetes-api")["projected"]
    token, authorities, namespace = projected["sources"]
    assert token == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
    assert authorities["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    (item,) = namespace["downwardAPI"]["items"]
    assert (item["path"], item["fieldRef"]["fieldPath"]) == ("namespace", "metadata.namespace")


def _shows_rollouts(name: str) -> bool:
    return bool(CASES[name].get("metrics", {}).get("rollouts", True))


@every_pod
def test_it_is_probed_and_bounded(item: chart.Manifest, template: chart.Manifest) -> None:
    for container in template["spec"]["containers"]:
        assert container["livenessProbe"]
        assert container["readinessProbe"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        # Not `latest`: what runs is known.
        assert re.search(r":[^/:]+$|@sha256:[0-9a-f]{64}$", container["image"])
        assert not container["image"].endswith(":latest")
    for volume in template["spec"]["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


@every_pod
def test_it_is_spread_and_budgeted(item: chart.Manifest, template: chart.Manifest) -> None:
    labels = template["metadata"]["labels"]
    keys = set()
    for constraint in template["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
        keys.add(constraint["topologyKey"])
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


@every_pod
def test_it_is_given_time_to_stop(item: chart.Manifest, template: chart.Manifest) -> None:
    assert template["spec"]["terminationGracePeriodSeconds"] >= 30


@pytest.mark.parametrize(
    ("drain", "seconds"), [(None, 40), (0, 20), (20, 40), (45.5, 66), (3600, 3620)]
)
def test_a_manager_is_given_longer_than_it_drains(drain: float | None, seconds: int) -> None:
    settings = {} if drain is None else {"GC_DRAIN_TIMEOUT": drain}
    values = chart.merged(CASES["prod"], {"manager": {"settings": settings}})
    manager = chart.objects(values)[("Deployment", "wis2-manager")]
    assert manager["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_pod_has_one_disruption_budget_that_lets_nodes_be_drained(name: str) -> None:
    objects = chart.manifests(CASES[name])
    budgets = [m for m in objects if m["kind"] == "PodDisruptionBudget"]
    for item, template in chart.pod_specs(objects):
        own = [b for b in budgets if chart.selects(b["spec"]["selector"]["matchLabels"], template)]
        assert len(own) == 1, item["metadata"]["name"]
        assert own[0]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_autoscaler_moves_a_pod_whose_memory_would_be_missed(name: str) -> None:
    for item, template in chart.pod_specs(chart.manifests(CASES[name])):
        annotations = template["metadata"]["annotations"]
        evictable = annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict", "true")
        assert (evictable == "false") == (item["kind"] == "StatefulSet"), item["metadata"]["name"]
        # Karpenter evicts no such pod from an expired node, and kills it there at last.
        assert "karpenter.sh/do-not-disrupt" not in annotations


def test_the_broker_stands_in_the_zones_of_its_load_balancer() -> None:
    def terms(values: chart.Values) -> Any:
        broker = chart.objects(values)[("StatefulSet", "wis2-broker")]
        affinity = broker["spec"]["template"]["spec"].get("affinity", {"nodeAffinity": {}})
        wanted = affinity["nodeAffinity"].get("requiredDuringSchedulingIgnoredDuringExecution", {})
        return wanted.get("nodeSelectorTerms", [])

    zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-west-3a"]}
    dev = chart.merged(CASES["dev"], {"broker": {"zones": ["eu-west-3a"]}})
    assert terms(dev) == [{"matchExpressions": [zones]}]
    assert terms(chart.merged(dev, {"broker": {"zones": []}})) == []


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_load_balancer_asks_each_pod_how_it_is_and_not_how_the_registry_is(name: str) -> None:
    objects = chart.objects(CASES[name])
    pod = objects[("Deployment", "wis2-metrics")]["spec"]["template"]["spec"]
    annotations = objects[("Ingress", "wis2-metrics")]["metadata"]["annotations"]
    probed = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
    assert annotations["alb.ingress.kubernetes.io/healthcheck-path"] == probed


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_pod_is_denied_by_default_and_has_a_policy_of_its_own(name: str) -> None:
    objects = chart.manifests(CASES[name])
    policies = [m for m in objects if m["kind"] == "NetworkPolicy"]
    default = [p for p in policies if p["metadata"]["name"] == "wis2-default-deny"]
    assert [p["spec"]["policyTypes"] for p in default] == [["Ingress", "Egress"]]
    assert not {"ingress", "egress"} & default[0]["spec"].keys()
    for item, template in chart.pod_specs(objects):
        assert chart.selects(default[0]["spec"]["podSelector"]["matchLabels"], template)
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        own = [p for p in policies if p["metadata"]["name"] == f"wis2-{component}"]
        assert len(own) == 1, item["metadata"]["name"]
        assert chart.selects(own[0]["spec"]["podSelector"]["matchLabels"], template)
        assert set(own[0]["spec"]["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_policy_opens_everything_by_an_empty_list(name: str) -> None:
    # `to: []` and `from: []` mean everybody.
    for policy in (m for m in chart.manifests(CASES[name]) if m["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", []):
            assert "from" not in rule or rule["from"]
            assert rule["ports"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_open_on_all_ports_is_in_no_other_rule_of_its_policy(name: str) -> None:
    # The VPC CNI's controller would leave only the ports of the other rule.
    for policy in (m for m in chart.manifests(CASES[name]) if m["kind"] == "NetworkPolicy"):
        ranges = [
            (peer["ipBlock"]["cidr"], "ports" in rule)
            for rule in policy["spec"].get("egress", [])
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        for cidr, has_ports in ranges:
            others = [other for other, _ in ranges if other == cidr]
            assert has_ports or len(others) == 1, (policy["metadata"]["name"], cidr)


def test_each_listener_has_a_budget_of_its_own() -> None:
    objects = chart.manifests(CASES["prod"])
    budgets = [m for m in objects if m["kind"] == "PodDisruptionBudget"]
    listeners = [
        template
        for _, template in chart.pod_specs(objects)
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "listener"
    ]
    assert len(listeners) >= 2
    of_each = [
        {
            b["metadata"]["name"]
            for b in budgets
            if chart.selects(b["spec"]["selector"]["matchLabels"], template)
        }
        for template in listeners
    ]
    assert len(set.union(*of_each)) == len(listeners)


PRIVATE = ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1",
           "0.0.0.0", "fd00::1", "fe80::1", "::1"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("name", ["dev", "prod", "on-premises"])
def test_a_strangers_link_leads_a_manager_to_no_private_address(name: str, address: str) -> None:
    policy = chart.objects(CASES[name])[("NetworkPolicy", "wis2-manager")]
    anywhere = [rule for rule in policy["spec"]["egress"] if "ports" not in rule]
    assert len(anywhere) == 1
    assert not _reaches(anywhere[0], address)
    assert _reaches(anywhere[0], "193.0.6.139")
    assert _reaches(anywhere[0], "2001:67c:2e8::1")


@pytest.mark.parametrize("name", ["dev", "prod", "on-premises"])
def test_the_metadata_service_of_the_node_is_out_of_reach_for_all(name: str) -> None:
    for policy in (m for m in chart.manifests(CASES[name]) if m["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert not _reaches(rule, "169.254.169.254"), policy["metadata"]["name"]
            assert not _reaches(rule, "fd00:ec2::254"), policy["metadata"]["name"]


def test_allowed_networks_of_the_manager_are_let_through() -> None:
    policy = chart.objects(CASES["gateway"])[("NetworkPolicy", "wis2-manager")]
    anywhere = next(rule for rule in policy["spec"]["egress"] if "ports" not in rule)
    assert _reaches(anywhere, "10.1.0.7")
    assert _reaches(anywhere, "10.2.0.7")
    assert _reaches(anywhere, "10.3.0.7")
    assert not _reaches(anywhere, "10.3.0.8")


def test_denied_networks_of_the_manager_are_not_let_through() -> None:
    policy = chart.objects(CASES["gateway"])[("NetworkPolicy", "wis2-manager")]
    anywhere = next(rule for rule in policy["spec"]["egress"] if "ports" not in rule)
    for address in ("141.38.1.1", "193.0.6.139", "2001:67c:2e8::1"):
        assert not _reaches(anywhere, address)
    for address in ("141.39.1.1", "193.0.6.140", "2001:67c:2e9::1"):
        assert _reaches(anywhere, address)


def test_managers_reach_a_public_url_in_a_private_network_on_its_port_alone() -> None:
    networks = {"publicUrl": {"networks": ["10.5.0.0/16"], "port": 4443}}
    values = chart.merged(CASES["on-premises"], {"networkPolicy": networks})
    policy = chart.objects(values)[("NetworkPolicy", "wis2-manager")]
    [rule] = [rule for rule in policy["spec"]["egress"] if _reaches(rule, "10.5.0.7")]
    assert rule["ports"] == [{"protocol": "TCP", "port": 4443}]


@pytest.mark.parametrize("name", ["dev", "prod", "on-premises"])
def test_only_managers_reach_plain_mqtt_and_only_prometheus_the_dashboard(name: str) -> None:
    policy = chart.objects(CASES[name])[("NetworkPolicy", "wis2-broker")]
    peers = {
        port["port"]: rule.get("from")
        for rule in policy["spec"]["ingress"]
        for port in rule["ports"]
    }
    component = "app.kubernetes.io/component"
    assert [p["podSelector"]["matchLabels"][component] for p in peers[1883]] == ["manager"]
    assert [p["podSelector"]["matchLabels"][component] for p in peers[4370]] == ["broker"]
    assert list(peers[18083][0]) == ["namespaceSelector"]
    open_to_all = {port for port, peer in peers.items() if peer is None}
    # The last one is for Global Brokers' accounts; without any it is closed.
    expected = {8883, 8084} if name == "on-premises" else {11883, 8083, 18884}
    assert open_to_all == expected


def test_the_world_sees_tls_only() -> None:
    public = [
        m
        for m in chart.manifests(CASES["on-premises"])
        if m["kind"] == "Service" and m["spec"].get("type", "ClusterIP") != "ClusterIP"
    ]
    assert [m["metadata"]["name"] for m in public] == ["wis2-broker-public"]
    assert [p["port"] for p in public[0]["spec"]["ports"]] == [8883, 443]


def _public_service(service: chart.Values, case: str = "prod") -> chart.Manifest:
    values = chart.merged(CASES[case], {"broker": {"service": service}})
    return chart.objects(values)[("Service", "wis2-broker-public")]


def test_a_load_balancer_made_elsewhere_finds_a_service_inside() -> None:
    ports = {"mqtts": 30883, "wss": 0, "accounts": 0}
    service = _public_service({"type": "ClusterIP", "nodePorts": ports})
    # Kubernetes refuses both with this type.
    assert "externalTrafficPolicy" not in service["spec"]
    assert not [port for port in service["spec"]["ports"] if "nodePort" in port]
    assert "loadBalancerClass" not in service["spec"]
    assert "annotations" not in service["metadata"]


def test_on_premises_nothing_waits_for_a_load_balancer_that_is_not_there() -> None:
    service = chart.objects(CASES["on-premises"])[("Service", "wis2-broker-public")]
    assert service["spec"]["type"] == "NodePort"
    # Every node to which the firewall leads answers.
    assert service["spec"]["externalTrafficPolicy"] == "Cluster"
    ports = {port["port"]: port["nodePort"] for port in service["spec"]["ports"]}
    assert ports == {8883: 30883, 443: 30443}
    chosen = _public_service({"type": "NodePort"})
    assert not [port for port in chosen["spec"]["ports"] if "nodePort" in port]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_on_aws_the_pods_are_bound_to_the_load_balancer_that_is_there(name: str) -> None:
    objects = chart.objects(CASES[name])
    services = [m for (kind, _), m in objects.items() if kind == "Service"]
    # None of them has a load balancer made.
    assert {m["spec"].get("type", "ClusterIP") for m in services} == {"ClusterIP"}
    arns = CASES[name]["broker"]["targetGroupBinding"]["arns"]
    assert arns.keys() == {"mqtts", "wss", "accounts"}
    ports = {p["name"] for p in objects[("Service", "wis2-broker-public")]["spec"]["ports"]}
    for port, arn in arns.items():
        spec = objects[("TargetGroupBinding", f"wis2-broker-{port}")]["spec"]
        assert spec["targetGroupARN"] == arn
        assert spec["serviceRef"] == {"name": "wis2-broker-public", "port": port}
        assert port in ports


@pytest.mark.parametrize("name", sorted(CASES))
def test_there_is_no_password_anywhere(name: str) -> None:
    texts = chart.render(CASES[name])
    objects = chart.manifests(CASES[name])
    assert "Secret" not in {m["kind"] for m in objects}
    for path, text in texts.items():
        # A login in a URL is a template of External Secrets, or it is not there.
        for login in re.findall(r"://[^/\s:@\"]*:([^@\s\"]*)@", text):
            assert login.startswith("{{"), path
    for _, template in chart.pod_specs(objects):
        for container in template["spec"]["containers"]:
            for entry in container.get("env", []):
                if entry["name"].endswith("_FILE"):
                    # Where a secret is, not what it is: a volume of a Secret.
                    assert entry["value"].startswith("/")
                elif re.search("PASSWORD|COOKIE|LICENSE|ACCESS_KEY|SECRET", entry["name"]):
                    assert entry.keys() == {"name", "valueFrom"}
                    assert entry["valueFrom"].keys() == {"secretKeyRef"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_kubernetes_api_may_be_asked_for_rollouts_and_for_nothing_else(name: str) -> None:
    objects = chart.manifests(CASES[name])
    rights = [m for m in objects if m["apiVersion"].startswith("rbac.authorization.k8s.io/")]
    if not _shows_rollouts(name):
        assert rights == []
        return
    role, binding = rights
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert role["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": ["list"]}
    ]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    metrics = chart.by_id(objects)[("Deployment", "wis2-metrics")]
    account = metrics["spec"]["template"]["spec"]["serviceAccountName"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account, "namespace": chart.NAMESPACE}
    ]


@pytest.mark.parametrize("name", sorted(CASES))
def test_only_the_metrics_service_is_let_through_to_the_kubernetes_api(name: str) -> None:
    values = chart.merged(
        CASES[name],
        {"networkPolicy": {"kubernetesApi": {"networks": ["192.0.2.7/32"], "ports": [8443]}}},
    )
    reaching = {
        policy["metadata"]["name"]
        for policy in chart.manifests(values)
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("egress", [])
        if {"protocol": "TCP", "port": 8443} in rule.get("ports", [])
    }
    assert reaching == ({"wis2-metrics"} if _shows_rollouts(name) else set())


def test_every_workload_bears_the_label_that_rollouts_are_looked_up_by() -> None:
    for item, _ in chart.pod_specs(chart.manifests(CASES["prod"])):
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == chart.RELEASE


def test_no_service_account_carries_the_annotation_that_would_win_over_pod_identity() -> None:
    for item in chart.manifests(CASES["prod"]):
        if item["kind"] == "ServiceAccount":
            assert "eks.amazonaws.com" not in json.dumps(item["metadata"].get("annotations", {}))
            assert item["automountServiceAccountToken"] is False


def _reaches(rule: dict[str, Any], text: str) -> bool:
    address = ipaddress.ip_address(text)

    def within(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr)
        return network.version == address.version and address in network

    blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
    return any(
        within(block["cidr"]) and not any(map(within, block.get("except", []))) for block in blocks
    )


def test_who_shares_the_stores_volume_has_one_group() -> None:
    objects = chart.objects(CASES["on-premises"])
    parts = ("manager", "store")
    pods = [objects[("Deployment", f"wis2-{p}")]["spec"]["template"]["spec"] for p in parts]
    assert len({pod["securityContext"]["fsGroup"] for pod in pods}) == 1
    # A kubelet sets no group for a read-only claim, nor for who mounts it on that node afterwards.
    claims = [
        v["persistentVolumeClaim"] for p in pods for v in p["volumes"] if v["name"] == "store"
    ]
    assert claims == [{"claimName": "wis2-store"}] * 2


def test_a_slow_start_is_not_a_reason_to_begin_again() -> None:
    objects = chart.objects(CASES["on-premises"])
    for part in ("listener-meteo-fr", "manager", "metrics"):
        pod = objects[("Deployment", f"wis2-{part}")]["spec"]["template"]["spec"]
        probe = pod["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 300, part


def test_no_deployment_gives_up_before_the_release_that_waits_for_it() -> None:
    for item in chart.manifests(CASES["on-premises"]):
        if item["kind"] == "Deployment":
            assert item["spec"]["progressDeadlineSeconds"] == 1800, item["metadata"]["name"]
