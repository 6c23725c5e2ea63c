"""What other values than the golden ones change, part by part.

The golden files show one installation: KEDA on Redis streams, a file store and Redis in the
cluster, secrets from an external store, an Ingress. These are the other choices.
"""

from __future__ import annotations

from typing import Any

import pytest

from deploy.environment import SERVICES
from testkit.deployment import chart

CASES = chart.cases()
DIGEST = "sha256:" + "0" * 64


def objects_of(case: str, *changes: chart.Values) -> dict[tuple[str, str], chart.Manifest]:
    return chart.objects(CASES[case], *changes)


def names_of(objects: dict[tuple[str, str], chart.Manifest], *kinds: str) -> set[str]:
    return {name for kind, name in objects if kind in kinds}


def pod(objects: dict[tuple[str, str], chart.Manifest], kind: str, part: str) -> Any:
    """Return the pod specification of a workload of ours."""
    return objects[kind, f"wis2-{part}"]["spec"]["template"]["spec"]


def container(objects: dict[tuple[str, str], chart.Manifest], kind: str, part: str) -> Any:
    (found,) = pod(objects, kind, part)["containers"]
    return found


def secrets_in(specification: Any) -> set[str]:
    """Return the names of the secrets that a pod mounts."""
    return {v["secret"]["secretName"] for v in specification["volumes"] if "secret" in v}


# Parts


def test_what_is_elsewhere_leaves_nothing_here() -> None:
    """A broker and a Redis of the operator's own, objects in S3."""
    objects = objects_of("gateway")
    parts = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]
        for (_, name), item in objects.items()
        if name != "wis2-notes"
    }
    assert parts == {"all", "listener", "manager", "metrics", "test"}


@pytest.mark.parametrize(
    ("case", "replicas"), [("dev", 1), ("prod", None), ("on-premises", None), ("stand-in", None)]
)
def test_managers_have_a_fixed_number_unless_something_scales_them(
    case: str, replicas: int | None
) -> None:
    objects = objects_of(case)
    assert objects["Deployment", "wis2-manager"]["spec"].get("replicas") == replicas
    scalers = names_of(objects, "ScaledObject", "HorizontalPodAutoscaler")
    assert scalers == (set() if replicas else {"wis2-manager"})
    assert names_of(objects, "TriggerAuthentication") == (
        {"wis2-manager"} if case == "prod" else set()
    )


def test_metrics_and_broker_have_the_number_that_is_given() -> None:
    change = {"metrics": {"replicas": 4}, "broker": {"replicas": 5}}
    objects = objects_of("prod", change)
    assert objects["Deployment", "wis2-metrics"]["spec"]["replicas"] == 4
    assert objects["StatefulSet", "wis2-broker"]["spec"]["replicas"] == 5


def test_a_plain_autoscaler_follows_the_managers_cpu() -> None:
    spec = objects_of("on-premises")["HorizontalPodAutoscaler", "wis2-manager"]["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "wis2-manager",
    }  # fmt: skip
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
    }  # fmt: skip


def test_keda_on_sqs_asks_as_its_own_operator_and_counts_what_is_in_work() -> None:
    objects = objects_of("prod", {"manager": {"autoscaling": {"messagesPerReplica": 1000000}}})
    spec = objects["ScaledObject", "wis2-manager"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (3, 20)
    assert spec["triggers"] == [
        {
            "type": "aws-sqs-queue",
            "metadata": {
                "queueURL": CASES["prod"]["queue"]["url"],
                "queueLength": "1000000",
                "awsRegion": "eu-central-1",
                "scaleOnInFlight": "true",
            },
            "authenticationRef": {"name": "wis2-manager"},
        }
    ]
    authentication = objects["TriggerAuthentication", "wis2-manager"]["spec"]
    assert authentication == {"podIdentity": {"provider": "aws"}}


@pytest.mark.parametrize(
    ("url", "address", "tls", "database"),
    [
        ("redis://keydb.example.int:6380/2", "keydb.example.int:6380", "false", "2"),
        ("rediss://keydb.example.int", "keydb.example.int:6379", "true", "0"),
    ],
)
def test_keda_on_a_redis_elsewhere_finds_it(
    url: str, address: str, tls: str, database: str
) -> None:
    objects = objects_of("gateway", {"registry": {"url": url}})
    triggers = objects["ScaledObject", "wis2-manager"]["spec"]["triggers"]
    found = {(m["address"], m["enableTLS"], m["databaseIndex"])
             for m in (trigger["metadata"] for trigger in triggers)}  # fmt: skip
    assert found == {(address, tls, database)}


# Queue and store


@pytest.mark.parametrize("case", ["prod", "gateway"])
def test_objects_in_s3_are_kept_and_served_elsewhere(case: str) -> None:
    objects = objects_of(case)
    store = CASES[case]["store"]
    data = objects["ConfigMap", "wis2-manager"]["data"]
    assert data["GC_STORE_URL"] == store["url"]
    assert data["GC_STORE_EXPIRATION_DAYS"] == "1"
    assert data.get("AWS_ENDPOINT_URL") == store.get("endpointUrl")
    keys = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container(objects, "Deployment", "manager")["env"]
        if entry["name"].startswith("AWS_")
    }
    named = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given = store.get("secretName")
    assert keys == ({key: {"name": given, "key": key} for key in named} if given else {})
    volumes = {volume["name"] for volume in pod(objects, "Deployment", "manager")["volumes"]}
    assert "store" not in volumes
    assert not [name for _, name in objects if name == "wis2-store"]


def test_files_are_not_a_bucket() -> None:
    data = objects_of("on-premises")["ConfigMap", "wis2-manager"]["data"]
    assert not {"GC_STORE_EXPIRATION_DAYS", "AWS_ENDPOINT_URL", "AWS_REGION"} & data.keys()


@pytest.mark.parametrize(("case", "region"), [("prod", "eu-central-1"), ("on-premises", None)])
def test_services_know_the_region_where_there_is_one(case: str, region: str | None) -> None:
    objects = objects_of(case)
    for part in SERVICES:
        assert objects["ConfigMap", f"wis2-{part}"]["data"].get("AWS_REGION") == region


def test_a_volume_that_is_there_is_used_and_none_is_made() -> None:
    objects = objects_of("in-cluster")
    assert not names_of(objects, "PersistentVolumeClaim")
    for part in ("manager", "store"):
        (claim,) = (
            volume["persistentVolumeClaim"]
            for volume in pod(objects, "Deployment", part)["volumes"]
            if volume["name"] == "store"
        )
        assert claim == {"claimName": "nfs-wis2"}


# Secrets, authorities


def test_secrets_of_the_operators_own_are_used_and_none_is_fetched() -> None:
    objects = objects_of("on-premises")
    assert not names_of(objects, "ExternalSecret")
    assert secrets_in(pod(objects, "Deployment", "manager")) == {
        "wis2-registry", "wis2-broker", "wis2-deployment",
    }  # fmt: skip
    assert secrets_in(pod(objects, "Deployment", "metrics")) == {"wis2-registry"}
    assert secrets_in(pod(objects, "StatefulSet", "broker")) == {"wis2-broker", "wis2-broker-tls"}
    for broker in ("meteo-fr", "inmet-br"):
        assert secrets_in(pod(objects, "Deployment", f"listener-{broker}")) == {
            "wis2-registry", "wis2-deployment", f"wis2-global-broker-{broker}",
        }  # fmt: skip


def test_a_global_brokers_url_may_have_another_key_of_its_secret() -> None:
    (volume,) = (
        volume["secret"]
        for volume in pod(objects_of("in-cluster"), "Deployment", "listener-meteo-fr")["volumes"]
        if volume["name"] == "global-broker"
    )
    assert volume["secretName"] == "brokers"
    assert volume["items"] == [{"key": "meteo-fr", "path": "url"}]


def test_without_authorities_and_centres_of_its_own_nothing_is_mounted_for_them() -> None:
    objects = objects_of("prod")
    for part in ("manager", "metrics", "listener-meteo-fr"):
        volumes = {volume["name"] for volume in pod(objects, "Deployment", part)["volumes"]}
        assert not volumes & {"ca", "centres"}
    for part in SERVICES:
        data = objects["ConfigMap", f"wis2-{part}"]["data"]
        assert not {"GC_CA_FILE", "GC_KNOWN_CENTRES_FILE"} & data.keys()


# Images, nodes


def test_images_are_named_by_digest_or_by_tag() -> None:
    change = {"image": {"tag": "9.8", "digests": {"manager": DIGEST}}}
    objects = objects_of("on-premises", change)
    registry = "registry.example.int/wis2/wis2-gc"
    assert container(objects, "Deployment", "manager")["image"] == f"{registry}-manager@{DIGEST}"
    assert container(objects, "Deployment", "metrics")["image"] == f"{registry}-metrics:9.8"
    broker = {"broker": {"image": {"repository": "r.example.int/emqx", "digest": DIGEST}}}
    objects = objects_of("on-premises", broker)
    assert container(objects, "StatefulSet", "broker")["image"] == f"r.example.int/emqx@{DIGEST}"


def test_pods_go_to_the_nodes_that_are_given_and_pull_with_the_secret_that_is_given() -> None:
    scheduling = {
        "nodeSelector": {"pool": "wis2"},
        "tolerations": [{"key": "wis2", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClass": {"name": "high"},
        "spreadZones": "DoNotSchedule",
    }
    change = {"scheduling": scheduling, "image": {"pullSecrets": ["registry"]}}
    objects = objects_of("on-premises", change)
    assert not names_of(objects, "PriorityClass")
    for _, template in chart.pod_specs(list(objects.values())):
        spec = template["spec"]
        assert spec["nodeSelector"] == scheduling["nodeSelector"]
        assert spec["tolerations"] == scheduling["tolerations"]
        assert spec["priorityClassName"] == "high"
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        spread = [each["whenUnsatisfiable"] for each in spec["topologySpreadConstraints"]]
        assert spread == ["DoNotSchedule", "ScheduleAnyway"]


# The way in


def test_a_gateway_leads_to_the_services() -> None:
    gateway = {"name": "public", "namespace": "gateways", "sectionName": "https"}
    objects = objects_of("on-premises", {"web": {"mode": "gateway", "gateway": gateway}})
    assert not names_of(objects, "Ingress")
    for part, host, path in (
        ("metrics", "metrics.wis2.example.int", "/"),
        ("store", "data.wis2.example.int", "/data"),
    ):
        route = objects["HTTPRoute", f"wis2-{part}"]
        assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
        assert route["spec"] == {
            "parentRefs": [gateway],
            "hostnames": [host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                    "backendRefs": [{"name": f"wis2-{part}", "port": 80}],
                }
            ],
        }
        (port,) = objects["Service", f"wis2-{part}"]["spec"]["ports"]
        assert port["port"] == 80


def test_an_ingress_ends_tls_unless_something_before_it_does() -> None:
    objects = objects_of("on-premises")
    for part, host in (("metrics", "metrics.wis2.example.int"), ("store", "data.wis2.example.int")):
        ingress = objects["Ingress", f"wis2-{part}"]
        assert ingress["metadata"]["annotations"] == {
            "cert-manager.io/cluster-issuer": "letsencrypt"
        }
        assert ingress["spec"]["ingressClassName"] == "nginx"
        assert ingress["spec"]["tls"] == [{"hosts": [host], "secretName": f"wis2-{part}-tls"}]
    for case in ("dev", "prod"):
        ingress = objects_of(case)["Ingress", "wis2-metrics"]
        assert "tls" not in ingress["spec"]
        assert "cert-manager.io/cluster-issuer" not in ingress["metadata"]["annotations"]


def test_without_a_way_in_there_is_none() -> None:
    assert not names_of(objects_of("in-cluster"), "Ingress", "HTTPRoute")


# The broker


def test_a_load_balancer_is_made_as_it_is_asked_for() -> None:
    service = {"annotations": {"example.int/address": "192.0.2.1"}}
    spec = objects_of("in-cluster", {"broker": {"service": service}})[
        "Service", "wis2-broker-public"
    ]
    assert spec["metadata"]["annotations"] == service["annotations"]
    assert spec["spec"]["type"] == "LoadBalancer"
    assert spec["spec"]["loadBalancerClass"] == "example.int/addresses"
    assert spec["spec"]["externalTrafficPolicy"] == "Local"
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in spec["spec"]["ports"]}
    assert ports == {"mqtts": (8883, "mqtts"), "wss": (443, "wss"), "accounts": (8884, "accounts")}


@pytest.mark.parametrize(
    ("case", "ports"),
    [
        ("prod", {"mqtts": 11883, "wss": 8083, "accounts": 18884}),
        ("on-premises", {"mqtts": 8883, "wss": 8084}),
        ("in-cluster", {"mqtts": 8883, "wss": 8084, "accounts": 8884}),
        ("stand-in", {"mqtts": 8883, "wss": 8084, "accounts": 8884}),
    ],
)
def test_the_broker_ends_tls_unless_the_load_balancer_does(
    case: str, ports: dict[str, int]
) -> None:
    objects = objects_of(case)
    broker = container(objects, "StatefulSet", "broker")
    inside = {"mqtt", "dashboard", "cluster", "rpc"}
    found = {port["name"]: port["containerPort"] for port in broker["ports"]}
    assert {name: port for name, port in found.items() if name not in inside} == ports
    tls = {
        "prod": None, "on-premises": "wis2-broker-tls", "in-cluster": "wis2-broker-certificate",
        "stand-in": "wis2-broker-tls",
    }[case]  # fmt: skip
    mounted = {
        volume["name"]: volume for volume in pod(objects, "StatefulSet", "broker")["volumes"]
    }
    assert (mounted["tls"]["secret"]["secretName"] if tls else mounted.get("tls")) == tls
    made = {"on-premises", "stand-in"}
    assert names_of(objects, "Certificate") == ({"wis2-broker"} if case in made else set())


def test_emqx_gets_a_licence_where_one_is_given() -> None:
    for case, name in (("in-cluster", "emqx-license"), ("prod", None)):
        keys = [
            entry["valueFrom"]["secretKeyRef"]
            for entry in container(objects_of(case), "StatefulSet", "broker")["env"]
            if entry["name"] == "EMQX_LICENSE__KEY"
        ]
        assert keys == ([{"name": name, "key": "license"}] if name else [])


def test_mosquitto_has_files_and_probes_of_its_own() -> None:
    objects = objects_of("stand-in")
    broker = container(objects, "StatefulSet", "broker")
    assert (broker["name"], broker["image"]) == (
        "mosquitto", "docker.io/library/eclipse-mosquitto:2.0.22",
    )  # fmt: skip
    assert broker["command"] == ["sh", "/etc/wis2-mosquitto/start.sh"]
    mounts = {mount["mountPath"] for mount in broker["volumeMounts"]}
    assert mounts == {
        "/tmp", "/run/secrets/broker", "/run/secrets/tls", "/run/mosquitto", "/etc/wis2-mosquitto",
    }  # fmt: skip
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert broker[probe]["tcpSocket"] == {"port": "mqtt"}
    specification = pod(objects, "StatefulSet", "broker")
    assert specification["securityContext"]["runAsUser"] == 1883
    (users,) = (v["secret"] for v in specification["volumes"] if v["name"] == "users")
    assert users["items"] == [{"key": "accounts", "path": "accounts"}]
    # There is no dashboard for Prometheus to ask, and no cluster.
    monitored = objects_of("stand-in", {"monitoring": {"podMonitor": True}})
    assert not names_of(monitored, "PodMonitor")
    assert "ports" not in objects["Service", "wis2-broker-nodes"]["spec"]


def test_mosquittos_accounts_come_from_the_external_store_too() -> None:
    change = {"broker": {"software": "mosquitto", "replicas": 1}}
    secret = objects_of("prod", change)["ExternalSecret", "wis2-broker"]["spec"]
    accounts = secret["target"]["template"]["data"]["accounts"].splitlines()
    assert [line.partition(":")[0] for line in accounts[1:]] == ["everyone", "gb-fr", "gb-br"]
    assert accounts[0].startswith("publisher-{{")
    assert accounts[2] == 'gb-fr:{{ index . "account-gb-fr" }}'


# Network policies


def _to(policy: chart.Manifest, port: int) -> set[str]:
    """Return the networks that a policy lets its pods reach at a port."""
    return {
        peer["ipBlock"]["cidr"]
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if {"protocol": "TCP", "port": port} in rule.get("ports", []) and "ipBlock" in peer
    }


PRIVATE = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}


def test_pods_reach_what_is_elsewhere_at_its_port_and_no_other_does() -> None:
    objects = objects_of("gateway", {"networkPolicy": {"registry": {"port": 6380}}})
    policies = {part: objects["NetworkPolicy", f"wis2-{part}"] for part in SERVICES}
    assert {part: _to(policy, 6380) for part, policy in policies.items()} == {
        "listener": PRIVATE, "manager": PRIVATE, "metrics": PRIVATE,
    }  # fmt: skip
    # Broker, store and the address at which it is served.
    broker = CASES["gateway"]["networkPolicy"]["broker"]["networks"]
    assert _to(policies["manager"], 8883) == set(broker)
    assert _to(policies["manager"], 9000) == {"10.3.0.0/16"}
    assert _to(policies["manager"], 4443) == {"10.5.0.0/16"}
    for part in ("listener", "metrics"):
        assert not _to(policies[part], 4443)


def test_the_registry_on_aws_is_reached_in_its_subnets_and_with_the_pods_role() -> None:
    objects = objects_of("prod")
    subnets = set(CASES["prod"]["networkPolicy"]["registry"]["networks"])
    for part in SERVICES:
        policy = objects["NetworkPolicy", f"wis2-{part}"]
        assert _to(policy, 6379) == subnets
        # Where Pod Identity's agent gives out the role.
        assert _to(policy, 80) == {"169.254.170.23/32", "fd00:ec2::23/128"}
    without = objects_of("on-premises")
    assert not _to(without["NetworkPolicy", "wis2-manager"], 80)


def test_names_are_asked_for_at_the_addresses_that_are_given() -> None:
    for case, address in (("in-cluster", "169.254.20.10/32"), ("prod", "172.20.0.10/32")):
        policies = [item for (kind, _), item in objects_of(case).items() if kind == "NetworkPolicy"]
        assert any(address in _to(policy, 53) for policy in policies if "egress" in policy["spec"])


def test_policies_can_be_left_to_others() -> None:
    objects = objects_of("prod", {"networkPolicy": {"enabled": False}})
    assert not names_of(objects, "NetworkPolicy")


# Monitoring


def test_monitoring_is_made_where_it_is_asked_for() -> None:
    kinds = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
    assert not names_of(objects_of("on-premises"), *kinds)
    assert ("ConfigMap", "wis2-dashboards") not in objects_of("on-premises")
    labels = {"release": "prometheus"}
    objects = objects_of("prod", {"monitoring": {"labels": labels}})
    made = [item for (kind, _), item in objects.items() if kind in kinds]
    assert len(made) == len(kinds)
    assert all(labels.items() <= item["metadata"]["labels"].items() for item in made)
