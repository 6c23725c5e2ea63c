"""The cache by its chart, and a small WIS2 world beside it, in two namespaces of their own.

What an installation on another cluster may have to change comes from the environment:
  REGISTRY, TAG        the three images are REGISTRY/wis2-gc-SERVICE:TAG
  NEXT_TAG             the tag that the upgrade goes to; default: TAG
  PULL_POLICY          default IfNotPresent, so that images loaded into the nodes are used
  BROKER               mosquitto (default), or emqx, with three replicas
  EMQX_IMAGE, MOSQUITTO_IMAGE, REDIS_IMAGE, NGINX_IMAGE   instead of the chart's own
  STORAGE_CLASS, ACCESS_MODE   of the volumes; defaults: the cluster's own class, ReadWriteMany
  RATE                 items a second; default 8
  LOSE_NODE, BRING_NODE_BACK   shell commands that end and start the kubelet of node `$1`, and leave
                       its pods running; default: no node is lost
  NETWORKS             where pods and Services are; default 10.0.0.0/8
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
import yaml

from testkit.deployment.chart import CHART, Values, merged
from testkit.messages import wnm
from tests.cluster.kube import TIMEOUT_S, Manifest, Namespace, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

RELEASE = "wis2"
CENTRE_ID = "int-example-global-cache"
ACCOUNT = "gb-test"
_BROKER_PORTS = ("mqtts", "wss", "accounts")
_HERE = Path(__file__).parent
_GLOBAL_BROKER_CONF = """\
listener 1883
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 1000
retain_available false
"""
#: As the chart's own pods, as far as Pod Security requires it.
_POD_SECURITY = {
    "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}  # fmt: skip


def setting(name: str, default: str = "") -> str:
    """Return a variable of the environment; empty counts as not set."""
    return os.environ.get(name) or default


def required(name: str) -> str:
    """Return a variable that says which images to run. Raises AssertionError: not set."""
    assert setting(name), "REGISTRY and TAG name the images: docs/cluster-tests.md"
    return setting(name)


def image(service: str) -> str:
    """Return the image of a service. Raises AssertionError: REGISTRY or TAG is not set."""
    return f"{required('REGISTRY')}/wis2-gc-{service}:{required('TAG')}"


class Installation:
    """The cache and its world; `install` makes both."""

    def __init__(self, cache: Namespace, world: Namespace, node: str) -> None:
        """`node`: where the world stands, which no test empties."""
        self.cache, self.world, self.node = cache, world, node
        self.is_emqx = setting("BROKER", "mosquitto") == "emqx"
        self._changes: Values = {}
        self._changes_before: Values = {}
        self._publisher_password = secrets.token_hex(16)
        self._account_password = secrets.token_hex(16)
        self._authority = trustme.CA()

    @property
    def values(self) -> Values:
        """Return what `values/on-premises.yaml` is completed by to run here."""
        networks = [setting("NETWORKS", "10.0.0.0/8")]
        volume = {"storageClassName": setting("STORAGE_CLASS"), "size": "1Gi"}
        own: dict[str, Any] = {
            "centreId": CENTRE_ID,
            "image": {
                "registry": required("REGISTRY"),
                "tag": required("TAG"),
                "pullPolicy": setting("PULL_POLICY", "IfNotPresent"),
            },
            "store": {
                "dataBaseUrl": f"http://{RELEASE}-store.{self.cache.name}.svc.cluster.local/data",
                "volume": {**volume, "accessMode": setting("ACCESS_MODE", "ReadWriteMany")},
                "server": {"resources": _small()},
            },
            "brokers": [self.global_broker("a"), self.global_broker("b")],
            "listener": {"resources": _small()},
            "manager": {
                "resources": _small(512),
                # Where the world's data server and our own store are.
                "settings": {"GC_ALLOWED_NETWORKS": ",".join(networks)},
            },
            "metrics": {"resources": _small()},
            "redis": {"volume": volume, "resources": _small(512)},
            "broker": {
                "replicas": 3 if self.is_emqx else 1,
                "accounts": [{"name": ACCOUNT}],
                # No certificate manager and no load balancer is asked for here.
                "tls": {"mode": "secret", "secretName": "wis2-broker-certificate"},
                # Kubernetes chooses ports that nobody has, also while an earlier test still ends.
                "service": {"type": "NodePort", "nodePorts": dict.fromkeys(_BROKER_PORTS, 0)},
                "resources": _small(1024),
            },
            "networkPolicy": {
                "globalBrokers": {"networks": networks, "ports": [1883]},
                "publicUrl": {"networks": networks, "port": 8080},
            },
        }
        if not self.is_emqx:
            own["broker"]["software"] = "mosquitto"
        for name, path in (
            ("MOSQUITTO_IMAGE", ("broker", "mosquitto", "image")),
            ("REDIS_IMAGE", ("redis", "image")),
            ("NGINX_IMAGE", ("store", "server", "image")),
        ):
            if given := setting(name):
                own = merged(own, _at(path, given))
        if given := setting("EMQX_IMAGE"):
            repository, _, tag = given.rpartition(":")
            own = merged(own, _at(("broker", "image"), {"repository": repository, "tag": tag}))
        return own

    def global_broker(self, name: str) -> Values:
        """Return an entry of `brokers`: each Global Broker has a secret of its own."""
        return {"name": name, "secretName": f"global-broker-{name}"}

    def write_global_broker_secret(self, name: str, password: str) -> None:
        url = f"mqtt://everyone:{password}@broker-{name}.{self.world.name}.svc.cluster.local:1883"
        self.cache.secret(f"global-broker-{name}", url=url)

    def sessions_taken(self) -> int:
        """Return how often a client took a session from one that was connected."""
        return sum(
            self.world.kubectl("logs", f"deployment/broker-{name}").count("already connected")
            for name in ("a", "b", "c")
        )

    def upgrade(self, change: Values | None = None, *, timeout_s: int = TIMEOUT_S) -> None:
        """Install, or upgrade with one more change to the values. Raises CommandFailed."""
        self._changes_before = self._changes
        self._changes = merged(self._changes, change or {})
        self.cache.helm(
            "upgrade", "--install", RELEASE, str(CHART), "--wait", "--timeout", f"{timeout_s}s",
            "--values", str(CHART / "values" / "on-premises.yaml"),
            values=merged(ten_lines(), self.values, self._changes),
        )  # fmt: skip

    def roll_back(self) -> None:
        """Go back to the release before. Raises CommandFailed."""
        self.cache.helm("rollback", RELEASE, "--wait", "--timeout", f"{TIMEOUT_S}s")
        self._changes = self._changes_before

    def uninstall(self) -> None:
        """Take the release away; what it leaves stays. Raises CommandFailed."""
        self.cache.helm("uninstall", RELEASE, "--wait", "--timeout", f"{TIMEOUT_S}s")

    def install(self) -> None:
        """Make the world and the cache; return when all pods are ready."""
        self._make_world()
        self._make_secrets()
        self.upgrade()
        self.cache.wait_for_rollouts()
        wait_until(self._is_connected, "the world's clients are connected")

    def _is_connected(self) -> bool:
        report = self.report()
        readers = 3 if self.is_emqx else 1
        return report["readers"] == readers and all(report["brokers"].values())

    def _make_secrets(self) -> None:
        redis_password = secrets.token_hex(16)
        self.cache.secret(
            "wis2-registry",
            password=redis_password,
            url=f"redis://:{redis_password}@{RELEASE}-redis:6379/0",
        )
        self.cache.secret("wis2-deployment", secret=secrets.token_hex(32))
        accounts = {
            "publisher": self._publisher_password,
            "everyone": "everyone",
            ACCOUNT: self._account_password,
        }
        self.cache.secret(
            "wis2-broker",
            **{
                "url": f"mqtt://publisher:{self._publisher_password}@{RELEASE}-broker:1883",
                "users.csv": _users(accounts),
                "accounts": "".join(f"{name}:{word}\n" for name, word in accounts.items()),
                "dashboard-password": secrets.token_hex(12),
                "node-cookie": secrets.token_hex(24),
            },
        )
        certificate = self._authority.issue_cert(*self._cache_broker_hosts())
        self.cache.secret(
            "wis2-broker-certificate",
            **{
                "tls.crt": "".join(b.bytes().decode() for b in certificate.cert_chain_pems),
                "tls.key": certificate.private_key_pem.bytes().decode(),
            },
        )
        for name in ("a", "b", "c"):
            self.write_global_broker_secret(name, "everyone")

    def _cache_broker_hosts(self) -> list[str]:
        """Return the pods of our broker, by names that lead to them before they are ready."""
        domain = f"{RELEASE}-broker-nodes.{self.cache.name}.svc.cluster.local"
        return [f"{RELEASE}-broker-{n}.{domain}" for n in range(3 if self.is_emqx else 1)]

    def _make_world(self) -> None:
        names = ("a", "b", "c")
        login = f"{ACCOUNT}:{self._account_password}"
        domain = f"{self.world.name}.svc.cluster.local"
        self.world.apply(
            _config_map("broker", {"mosquitto.conf": _GLOBAL_BROKER_CONF}),
            _config_map(
                "world",
                {
                    "world.py": (_HERE / "world.py").read_text("utf-8"),
                    "wnm.py": Path(wnm.__file__).read_text("utf-8"),
                    "ca.pem": self._authority.cert_pem.bytes().decode(),
                },
            ),
            *(
                item
                for name in names
                for item in self._part(
                    f"broker-{name}", 1883, "broker",
                    setting("MOSQUITTO_IMAGE", _chart_default("broker", "mosquitto", "image")),
                    ["mosquitto", "-c", "/etc/test/mosquitto.conf"],
                )
            ),
            *self._part(
                "world", 8080, "world", image("listener"), ["python3", "/etc/test/world.py"],
                # The images keep Python from importing what lies beside a script.
                PYTHONSAFEPATH="",
                CENTRE_ID=CENTRE_ID,
                CA_FILE="/etc/test/ca.pem",
                HREF=f"http://world.{domain}:8080",
                BROKERS=json.dumps(
                    {n: f"mqtt://world:world@broker-{n}.{domain}:1883" for n in names}
                ),
                CACHE_BROKERS=json.dumps(
                    [f"mqtts://{login}@{host}:8884" for host in self._cache_broker_hosts()]
                ),
            ),
        )  # fmt: skip
        self.world.wait_for_rollouts()

    def _part(
        self, name: str, port: int, config: str, image: str, command: Sequence[str],
        **environment: str,
    ) -> list[Manifest]:  # fmt: skip
        """Return a Deployment of one pod, and its Service."""
        labels = {"app": name}
        container = {
            "name": name,
            "image": image,
            "imagePullPolicy": setting("PULL_POLICY", "IfNotPresent"),
            "command": list(command),
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "ports": [{"containerPort": port}],
            "securityContext": _CONTAINER_SECURITY,
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 2},
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/test"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        pod = {
            "nodeSelector": {"kubernetes.io/hostname": self.node},
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _POD_SECURITY,
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": config}},
                {"name": "tmp", "emptyDir": {}},
            ],
        }
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {
                    "selector": labels,
                    "ports": [{"port": port}],
                    # On a machine without time to spare a probe fails, and nothing else does.
                    "publishNotReadyAddresses": True,
                },
            },
        ]

    def publish(self, per_second: float) -> None:
        """Let the world publish at this rate from now on."""
        self.world.ask("world:8080", f"rate/{per_second}", order=True)

    def report(self) -> Manifest:
        """Return what the world has seen so far."""
        return self.world.ask("world:8080", "report")

    def verify(self) -> Manifest:
        """Return whether what is announced can be fetched, byte for byte."""
        return self.world.ask("world:8080", "verify")


def ten_lines() -> Values:
    """Return what the chart's README has a centre with its own Kubernetes set."""
    text = (CHART / "README.md").read_text("utf-8")
    section = text.partition("\n## A centre with its own Kubernetes\n")[2]
    values: Values = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    return values


def _small(megabytes: int = 128) -> Manifest:
    return {"requests": {"cpu": "50m", "memory": f"{megabytes // 4}Mi"}}


def _at(path: Sequence[str], value: Any) -> Values:
    key, *rest = path
    return {key: _at(rest, value) if rest else value}


def _chart_default(*path: str) -> str:
    value = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    for key in path:
        value = value[key]
    return str(value)


def _config_map(name: str, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _users(accounts: dict[str, str]) -> str:
    """Return EMQX' users.csv, as the chart's README has it made."""
    lines = ["user_id,password_hash,salt,is_superuser"]
    for name, password in accounts.items():
        salt = secrets.token_hex(8)
        lines.append(
            f"{name},{hashlib.sha256((password + salt).encode()).hexdigest()},{salt},false"
        )
    return "\n".join(lines) + "\n"
