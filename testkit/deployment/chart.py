"""The Helm chart, rendered by Helm's own engine; what the tests of `tests/deployment` share.

`make chart-files` writes the golden files; a test fails when that was forgotten.
"""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helm_python
import yaml

from deploy.environment import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "wis2-global-cache"
#: One file for each template: a diff shows which one changed.
GOLDEN = ROOT / "tests" / "deployment" / "golden"
#: Templates without one: notes for the operator, and files of the chart as they are.
AS_THEY_ARE = ("NOTES.txt", "monitoring/dashboards.yaml", "monitoring/rules.yaml")
SCHEMA = CHART / "values.schema.json"
RELEASE = "wis2"
NAMESPACE = "wis2"

Values = dict[str, Any]
Manifest = dict[str, Any]

_TARGET_GROUPS = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup"

#: What Terraform's output `helm_values` looks like, with invented names.
HELM_VALUES: Values = {
    "centreId": "int-example-global-cache",
    "domain": {
        "data": "data.wis2.example.int",
        "broker": "broker.wis2.example.int",
        "metrics": "metrics.wis2.example.int",
    },
    "image": {"registry": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/wis2-gc-prod"},
    "aws": {"region": "eu-central-1"},
    "queue": {
        "url": "https://sqs.eu-central-1.amazonaws.com/111122223333/wis2-gc-notifications",
        "deadLetterUrl": "https://sqs.eu-central-1.amazonaws.com/111122223333/wis2-gc-dead-letters",
    },
    "registry": {
        "url": "rediss://cache@master.wis2-gc.abcdef.euc1.cache.amazonaws.com:6379",
        "secretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:wis2-gc/registry",
    },
    "deploymentSecret": {
        "secretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:wis2-gc/deployment",
    },
    "store": {
        "url": "s3://wis2-gc-example",
        "dataBaseUrl": "https://data.wis2.example.int",
        "expirationDays": 1,
    },
    "broker": {
        "targetGroupBinding": {
            "apiVersion": "eks.amazonaws.com/v1",
            "arns": {port: f"{_TARGET_GROUPS}/wis2-gc-prod-{port}/0a" for port in ("mqtts", "wss")},
        },
        "zones": ["eu-central-1a", "eu-central-1b", "eu-central-1c"],
        "secretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:wis2-gc/broker",
    },
    "networkPolicy": {
        "dns": {"addresses": ["172.20.0.10/32"]},
        "registry": {"networks": ["10.64.208.0/24", "10.64.209.0/24", "10.64.210.0/24"]},
        "store": {"networks": []},
        "kubernetesApi": {
            "networks": ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19", "172.20.0.1/32"],
            "ports": [443],
        },
    },
    "serviceAccounts": {
        service: {
            "name": f"wis2-global-cache-{service}",
            "roleArn": f"arn:aws:iam::111122223333:role/wis2-gc-{service}",
        }
        for service in SERVICES
    },
}

#: The Global Brokers of an installation on AWS: in none of the values files, for they are its own.
BROKERS: Values = {
    "brokers": [
        {
            "name": name,
            "secretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:"
            f"wis2-gc/global-brokers/{name}",
        }
        for name in ("meteo-fr", "inmet-br")
    ],
    "broker": {
        "accounts": [
            {
                "name": name,
                "secretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:"
                f"wis2-gc/accounts/{name}",
            }
            for name in ("gb-fr", "gb-br")
        ],
        "targetGroupBinding": {"arns": {"accounts": f"{_TARGET_GROUPS}/wis2-gc-prod-accounts/0a"}},
    },
}


def pod_extras(part: str) -> Values:
    """Return one of everything that `pods` can give a part."""
    preferred = {
        "weight": 1,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"example.int/part": "noisy"}},
        },
    }
    return {
        "podAnnotations": {"example.int/logs": "json"},
        "podLabels": {"example.int/part": part},
        "affinity": {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}
        },
        "priorityClassName": f"wis2-{part}",
        "imagePullSecrets": [f"registry-{part}"],
        "extraEnv": [{"name": "EXAMPLE", "value": part}],
        "extraVolumes": [{"name": "example", "emptyDir": {"sizeLimit": "1Mi"}}],
        "extraVolumeMounts": [{"name": "example", "mountPath": "/srv/example"}],
    }


#: An S3-compatible store, Redis and broker elsewhere, a Gateway, no rollouts shown: what no values
#: file shows.
GATEWAY: Values = {
    "centreId": "int-example-global-cache",
    "image": {"registry": "registry.example.int/wis2"},
    "domain": {"metrics": "metrics.wis2.example.int"},
    "registry": {"secretName": "wis2-registry", "url": "redis://keydb.example.int:6380/2"},
    "deploymentSecret": {"secretName": "wis2-deployment"},
    "store": {
        "url": "s3://wis2/cache",
        "dataBaseUrl": "https://objects.example.int/wis2/cache",
        "endpointUrl": "https://objects.example.int",
        "secretName": "wis2-store",
    },
    "brokers": [
        {"name": "meteo-fr", "secretName": "meteo-fr", "settings": {"GC_LOG_LEVEL": "debug"}}
    ],
    "broker": {"enabled": False, "secretName": "wis2-broker"},
    "certificateAuthorities": {"configMapName": "authorities"},
    "knownCentres": {"configMapName": "centres"},
    "web": {"mode": "gateway", "gateway": {"name": "public", "namespace": "gateways"}},
    "metrics": {"rollouts": False},
    "manager": {
        "autoscaling": {"mode": "keda"},
        "settings": {
            "GC_ALLOWED_NETWORKS": "10.1.0.0/16, 10.2.0.0/16, 10.3.0.7",
            "GC_DENIED_NETWORKS": "141.38.0.0/16, 193.0.6.139, 2001:67c:2e8::/48",
            "GC_ALLOWED_PORTS": "81,990",
            "GC_DRAIN_TIMEOUT": 45.5,
        },
    },
    "networkPolicy": {
        "store": {"networks": ["10.3.0.0/16"], "port": 9000},
        "publicUrl": {"networks": ["10.5.0.0/16"], "port": 4443},
        "broker": {"networks": ["10.4.0.0/16"]},
    },
    "scheduling": {
        "nodeSelector": {"pool": "wis2"},
        "tolerations": [{"key": "wis2", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "commonLabels": {"example.int/owner": "meteo"},
    "pods": {part: pod_extras(part) for part in SERVICES},
    "extraManifests": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-notes"},
            "data": {"centre": "{{ .Values.centreId }}"},
        }
    ],
}

#: KEDA on a Redis in the cluster, an existing volume, an own certificate, no way in for the web.
IN_CLUSTER: Values = {
    "centreId": "int-example-global-cache",
    "image": {
        "registry": "registry.example.int/wis2",
        "digests": {"manager": "sha256:" + "a" * 64},
    },
    "registry": {"secretName": "wis2-registry", "url": "redis://wis2-redis:6379"},
    "deploymentSecret": {"secretName": "wis2-deployment"},
    "redis": {"enabled": True},
    "store": {
        "url": "file:///srv/wis2",
        "dataBaseUrl": "https://data.wis2.example.int",
        "volume": {"existingClaim": "nfs-wis2"},
    },
    "brokers": [{"name": "meteo-fr", "secretName": "brokers", "secretKey": "meteo-fr"}],
    "broker": {
        "replicas": 1,
        "secretName": "wis2-broker",
        "accounts": [{"name": "gb-fr"}],
        "image": {"digest": "sha256:" + "b" * 64, "licenseSecretName": "emqx-license"},
        "tls": {"mode": "secret", "secretName": "wis2-broker-certificate"},
        "service": {"loadBalancerClass": "example.int/addresses"},
    },
    "web": {"mode": "none"},
    "manager": {"autoscaling": {"mode": "keda"}},
    "networkPolicy": {"dns": {"addresses": ["169.254.20.10/32"]}},
    "pods": {part: pod_extras(part) for part in ("broker", "redis", "store")},
}

#: mosquitto in place of EMQX: where no image of that can be had.
STAND_IN: Values = {
    "broker": {"software": "mosquitto", "replicas": 1, "accounts": [{"name": "gb-fr"}]},
}


def merged(*layers: Values) -> Values:
    """Return the layers as Helm puts `-f` files over each other: later ones win, lists whole."""
    result: Values = {}
    for layer in layers:
        for key, value in layer.items():
            held = result.get(key)
            both = isinstance(value, dict) and isinstance(held, dict)
            result[key] = merged(held or {}, value) if both else value
    return result


def values_file(name: str) -> Values:
    """Return `values/{name}.yaml`."""
    content: Values = yaml.safe_load((CHART / "values" / f"{name}.yaml").read_text("utf-8"))
    return content


def cases() -> dict[str, Values]:
    """Return the values of each kind of installation, by its name."""
    return {
        "dev": merged(HELM_VALUES, BROKERS, values_file("dev")),
        "prod": merged(HELM_VALUES, BROKERS, values_file("prod")),
        "on-premises": values_file("on-premises"),
        "gateway": GATEWAY,
        "in-cluster": IN_CLUSTER,
        "stand-in": merged(values_file("on-premises"), STAND_IN),
    }


def golden_values() -> Values:
    """Return values with which every template makes something, mosquitto's apart."""
    return merged(
        cases()["prod"],
        {
            "registry": {"url": f"redis://{RELEASE}-redis:6379"},
            "redis": {"enabled": True},
            "queue": {
                "url": "redis-stream:notifications",
                "deadLetterUrl": "redis-stream:dead-letters",
            },
            "store": {"url": "file:///srv/wis2/data"},
            "brokers": BROKERS["brokers"][:1],
            "broker": {"tls": {"mode": "certManager", "issuer": {"name": "letsencrypt"}}},
            "certificateAuthorities": {"configMapName": "authorities"},
            "knownCentres": {"configMapName": "centres"},
            "extraManifests": GATEWAY["extraManifests"],
        },
    )


@functools.cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def render(values: Values, *, release: str = RELEASE) -> dict[str, str]:
    """Return the rendered text by template, as `helm template` does: schema, then templates.

    Raises helm_python.HelmError: the schema or a check of the chart refuses the values.
    """
    chart = _chart()
    chart.validate_schema(values)
    texts = chart.render(values, name=release, namespace=NAMESPACE)
    return {path.split("/templates/")[1]: text for path, text in sorted(texts.items())}


def manifests(values: Values, *, release: str = RELEASE) -> list[Manifest]:
    """Return all objects; they are the caller's own. Raises as `render` does."""
    return copy.deepcopy(_manifests(json.dumps(values), release))


@functools.lru_cache(maxsize=64)
def _manifests(values: str, release: str) -> list[Manifest]:
    return [
        document
        for path, text in render(json.loads(values), release=release).items()
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document is not None
    ]


def by_id(objects: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Return the objects by (kind, name). Raises ValueError: two have the same."""
    result = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    if len(result) != len(objects):
        raise ValueError("two objects have the same kind and name")
    return result


def objects(*layers: Values) -> dict[tuple[str, str], Manifest]:
    """Return all objects of these values over each other, by (kind, name). Raises as `render`."""
    return by_id(manifests(merged(*layers)))


def selects(labels: dict[str, str], template: Manifest) -> bool:
    """Whether a pod template has all these labels."""
    own: dict[str, str] = template["metadata"]["labels"]
    return labels.items() <= own.items()


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield (object, pod template) of everything that makes pods."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield item, item["spec"]["template"]


def golden_files() -> dict[Path, str]:
    """Return the text of each golden file: of a template that makes something of these values."""
    files = {}
    for template, text in render(golden_values()).items():
        if text.strip() and template not in AS_THEY_ARE:
            lines = [line.rstrip() for line in text.strip().splitlines()]
            files[GOLDEN / template] = "\n".join(lines) + "\n"
    return files


def main() -> None:
    """Write the golden files, and remove those of templates that are gone."""
    files = golden_files()
    for path in GOLDEN.rglob("*.yaml"):
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
