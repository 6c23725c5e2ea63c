"""Would a Kubernetes API server take it? Strictly: unknown fields are errors."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
import yaml

from testkit.deployment import chart, kubernetes_schemas

CASES = chart.cases()


@pytest.mark.parametrize("version", kubernetes_schemas.VERSIONS)
@pytest.mark.parametrize("name", sorted(CASES))
def test_every_object_is_valid(name: str, version: str) -> None:
    found = [
        problem
        for manifest in chart.manifests(CASES[name])
        for problem in kubernetes_schemas.problems(manifest, version)
    ]
    assert found == []


def test_the_validation_would_find_a_mistake() -> None:
    deployment = next(m for m in chart.manifests(CASES["prod"]) if m["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["automountToken"] = False
    assert kubernetes_schemas.problems(deployment, "1.34")


def test_no_version_is_missing_that_the_chart_allows() -> None:
    metadata = yaml.safe_load((chart.CHART / "Chart.yaml").read_text("utf-8"))
    assert metadata["kubeVersion"] == f">={kubernetes_schemas.VERSIONS[0]}.0-0"


@pytest.mark.parametrize("name", sorted(CASES))
def test_names_are_unique_and_short_enough(name: str) -> None:
    objects = chart.manifests({**CASES[name], "brokers": [{"name": "b" * 24, "secretName": "s"}]})
    longest = chart.by_id(chart.manifests(CASES[name], release="r" * 30))
    for kind, object_name in [*chart.by_id(objects), *longest]:
        limit = 63 if kind in ("Service", "StatefulSet", "Deployment") else 253
        assert len(object_name) <= limit, object_name


def test_a_release_name_too_long_for_its_pods_is_refused() -> None:
    with pytest.raises(Exception, match="release's name may have 30"):
        chart.render(CASES["prod"], release="r" * 31)


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_referred_to_by_name_is_there(name: str) -> None:
    objects = chart.manifests(CASES[name])
    names = chart.by_id(objects)
    made = {n for kind, n in names if kind == "ExternalSecret"}
    given = _secrets_of(CASES[name])
    for item, template in chart.pod_specs(objects):
        spec = template["spec"]
        where = item["metadata"]["name"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in names, where
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            # The operator's own, which the values name.
            own = ("authorities", "centres")
            if "configMap" in volume and volume["configMap"]["name"] not in own:
                assert ("ConfigMap", volume["configMap"]["name"]) in names, where
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made | given, where
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim == "nfs-wis2" or ("PersistentVolumeClaim", claim) in names, where
        claims = {c["metadata"]["name"] for c in item["spec"].get("volumeClaimTemplates", [])}
        for container in spec["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == set(volumes) | claims, where
            ports = {port["name"] for port in container["ports"]}
            for probe in ("livenessProbe", "readinessProbe"):
                asked = container[probe].get("httpGet") or container[probe].get("tcpSocket")
                assert asked is None or asked["port"] in ports, where
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in names, where


def _secrets_of(values: Any) -> set[str]:
    """Return all existing secrets the values name, and those that cert-manager makes."""
    if isinstance(values, dict):
        own = {v for k, v in values.items() if k == "secretName" and isinstance(v, str)}
        return own.union({"wis2-broker-tls"}, *(_secrets_of(v) for v in values.values()))
    if isinstance(values, list):
        return set[str]().union(*(_secrets_of(v) for v in values))
    return set()


@pytest.mark.parametrize("name", sorted(CASES))
def test_services_lead_to_ports_of_their_pods(name: str) -> None:
    objects = chart.manifests(CASES[name])
    templates = [template for _, template in chart.pod_specs(objects)]
    for service in (item for item in objects if item["kind"] == "Service"):
        selected = [t for t in templates if chart.selects(service["spec"]["selector"], t)]
        assert selected, service["metadata"]["name"]
        for template in selected:
            ports = {p["name"] for c in template["spec"]["containers"] for p in c["ports"]}
            wanted = {port["targetPort"] for port in service["spec"].get("ports", [])}
            assert wanted <= ports, service["metadata"]["name"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_address_blocks_are_as_the_api_server_requires_them(name: str) -> None:
    # It parses them as Go does, and an exception must lie inside its block.
    for policy in (m for m in chart.manifests(CASES[name]) if m["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                block = peer.get("ipBlock")
                if block is None:
                    continue
                network = ipaddress.ip_network(block["cidr"])
                for text in block.get("except", []):
                    inner = ipaddress.ip_network(text)
                    assert inner.version == network.version
                    assert inner.subnet_of(network)  # type: ignore[arg-type]
                    assert not (inner.version == 6 and inner[0].ipv4_mapped)
