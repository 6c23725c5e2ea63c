"""The cache of compose.yaml, beside Global Brokers and a data server of this machine."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import paho.mqtt.client as mqtt
import trustme
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client.parser import text_string_to_metric_families

from deploy.environment import SERVICES
from local.parts.certificates import CertificateAuthority
from local.parts.mosquitto import SimulatedGlobalBroker
from local.parts.mqtt_client import end
from local.parts.ports import free_ports
from testkit.deployment.building import build
from testkit.deployment.docker import DockerError, docker, has_image
from testkit.messages.wnm import encoded
from testkit.repository import ROOT
from testkit.servers.nodes import Node
from testkit.worlds.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage
    from pathlib import Path

CENTRE_ID = "xx-compose-global-cache"
ACCOUNT = "gb-test"
#: Of `docker compose`: version 1 is another program.
_MAJOR = 2
_OWN = "wis2-gc-compose-parts:bookworm"
_DOCKERFILE = """\
FROM {base}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends \\
    redis-server mosquitto nginx-light wget netcat-openbsd \\
 && ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli \\
 && ln -s "$(find /usr/lib -name mosquitto_dynamic_security.so)" /usr/lib/
"""


def others() -> dict[str, str]:
    """Return {setting: image}: those of compose.yaml, or Debian's packages in their place."""
    text = (ROOT / "compose.yaml").read_text("utf-8")
    official = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text))
    if has_image(_OWN):
        return dict.fromkeys(official, _OWN)
    try:
        for image in set(official.values()):
            if not has_image(image):
                docker("pull", "--quiet", image)
    except DockerError as error:
        sys.stderr.write(f"compose: {error}: making {_OWN} instead\n")
        network = ["--network", os.environ["NETWORK"]] if os.environ.get("NETWORK") else []
        made = _DOCKERFILE.format(base=os.environ["BASE"])
        docker("build", *network, "--tag", _OWN, "-", data=made.encode())
        return dict.fromkeys(official, _OWN)
    return official


def missing() -> str:
    """Return why compose.yaml cannot be tried here, "" where it can."""
    try:
        version = docker("compose", "version", "--short")
    except DockerError:
        return "docker has no command `compose` (the package docker-compose-plugin)"
    return "" if int(version.lstrip("v").split(".")[0]) >= _MAJOR else f"it is compose {version}"


def main() -> None:
    """Have all images in the engine: `python -m testkit.deployment.compose`."""
    if why := missing():
        bar = "!" * 78
        sys.stderr.write(f"\n{bar}\ncompose.yaml is NOT TRIED: {why}\n{bar}\n")
        sys.exit("REQUIRED" in os.environ)
    others()
    for service in SERVICES:
        build([service], {**os.environ, "TAG": "compose", "REGISTRY": ""})


def another(image: str) -> str:
    """Return the image under another id and name: what an upgrade brings."""
    name = f"{image.rpartition(':')[0]}:upgraded"
    docker("build", "--tag", name, "-", data=f"FROM {image}\nLABEL upgraded=yes\n".encode())
    return name


class Reader:
    """A subscriber over TLS that keeps what it gets, by data_id."""

    def __init__(
        self, host: str, port: int, ca_file: Path, username: str, password: str,
        *, is_websocket: bool = False,
    ) -> None:  # fmt: skip
        self.announced: dict[str, list[dict[str, Any]]] = {}
        #: How often it has subscribed: once more after each connection that broke.
        self.subscriptions = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self.raw = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, client_id=f"test-{uuid.uuid4()}",
            transport="websockets" if is_websocket else "tcp",
        )  # fmt: skip
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600
        self.raw.tls_set(str(ca_file))
        self.raw.username_pw_set(username, password)
        if is_websocket:
            self.raw.ws_set_options("/mqtt")

        def subscribe(client: mqtt.Client, *_args: Any) -> None:
            client.subscribe("cache/a/wis2/#", qos=1)

        self.raw.on_connect = subscribe
        self.raw.on_subscribe = self._count
        self.raw.on_message = self._keep
        self.raw.connect(host, port, clean_start=False, properties=session)
        self.raw.loop_start()
        if not self._ready.wait(60):
            raise AssertionError(f"not subscribed at port {port}")

    def _count(self, *_args: Any) -> None:
        self.subscriptions += 1
        self._ready.set()

    def _keep(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        parsed = json.loads(message.payload)
        with self._lock:
            self.announced.setdefault(parsed["properties"]["data_id"], []).append(parsed)

    def link(self, data_id: str, timeout: float = 180) -> str:
        """Return the address that was announced."""
        wait_until(lambda: data_id in self.announced, f"{data_id} is announced", timeout=timeout)
        href: str = self.announced[data_id][0]["links"][0]["href"]
        return href

    def leave(self) -> None:
        """Be away, as a Global Broker in its maintenance."""
        end(self.raw)

    def come_back(self) -> None:
        """Take the session up again."""
        self.raw.reconnect()
        self.raw.loop_start()


class ComposedCache:
    """compose.yaml in a folder of its own, as an operator has it, with the test's settings."""

    def __init__(self, directory: Path, images: Mapping[str, str]) -> None:
        """`images`: settings that name other images than the official ones."""
        self.directory = directory
        self.project = f"wis2-gc-{uuid.uuid4().hex[:8]}"
        # Where containers find this machine, and this machine the published ports.
        subnet = docker(
            "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"
        )
        self.host = str(next(ipaddress.ip_network(subnet).hosts()))
        ports = free_ports(4, "0.0.0.0")
        self.http_port, self.https_port, self.tls_port, self.accounts_port = ports
        self.authority = CertificateAuthority(directory / "authority")
        self.ca_file = self.authority.ca_file
        self._readers: list[Reader] = []
        self._start_world()
        for name in ("compose", "local"):
            shutil.copytree(ROOT / name, directory / name, dirs_exist_ok=True)
        shutil.copy(ROOT / "compose.yaml", directory)
        self.renew_certificate()
        shutil.copy(self.ca_file, directory / "compose" / "tls" / "ca.pem")
        self.settings = {
            "GC_CENTRE_ID": CENTRE_ID,
            "GC_DATA_BASE_URL": f"https://{self.host}:{self.https_port}/data",
            "TAG": "compose",
            "IMAGES": "wis2-gc-",
            "BROKER_ACCOUNTS": ACCOUNT,
            "HTTP_PORT": str(self.http_port),
            "HTTPS_PORT": str(self.https_port),
            "BROKER_PORT": str(self.tls_port),
            "ACCOUNTS_PORT": str(self.accounts_port),
            **images,
        }
        # The world is on this machine.
        (directory / "settings.env").write_text(
            f"GC_ALLOWED_NETWORKS={self.host}/32\n"
            "GC_CA_FILE=/run/secrets/ca.pem\nGC_VISIBILITY_TIMEOUT=5\n",
            encoding="utf-8",
        )
        for number, broker in enumerate(self.brokers[:2], 1):
            self.settings[f"GLOBAL_BROKER_{number}_NAME"] = broker.name
            self.settings[f"GLOBAL_BROKER_{number}_URL"] = self.url(broker)

    def _start_world(self) -> None:
        self.authority.certificate("global-broker", (self.host,))
        self.node = Node("0.0.0.0")
        self.brokers = [
            SimulatedGlobalBroker(
                self.directory / name, name=name, host="0.0.0.0", authority=self.authority
            )
            for name in ("a", "b", "c")
        ]
        self.publishers = []
        for broker in self.brokers:
            broker.start()
            client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            client.tls_set(str(self.ca_file))
            client.username_pw_set(broker.publisher_username, broker.publisher_password)
            client.connect(self.host, broker.port)
            client.loop_start()
            wait_until(client.is_connected, f"the publisher is connected to {broker.name}")
            self.publishers.append(client)

    def url(self, broker: SimulatedGlobalBroker) -> str:
        """Return where a listener finds this Global Broker."""
        return broker.url.replace("0.0.0.0", self.host)

    def renew_certificate(self) -> None:
        """Put another certificate where the operator puts it."""
        leaf = trustme.CA.from_pem(
            self.ca_file.read_bytes(), (self.authority.directory / "ca.key").read_bytes()
        ).issue_cert(self.host, "127.0.0.1")
        tls = self.directory / "compose" / "tls"
        tls.mkdir(parents=True, exist_ok=True)
        (tls / "privkey.pem").write_bytes(leaf.private_key_pem.bytes())
        (tls / "fullchain.pem").write_bytes(b"".join(p.bytes() for p in leaf.cert_chain_pems))

    def compose(self, *arguments: str) -> str:
        """Run `docker compose ARGUMENTS` in the folder. Raises DockerError."""
        (self.directory / ".env").write_text(
            "".join(f"{name}={text}\n" for name, text in self.settings.items()), encoding="utf-8"
        )
        return docker(
            "compose", "--project-directory", str(self.directory), "--project-name", self.project,
            *arguments,
        )  # fmt: skip

    def up(self, listeners: int = 2) -> None:
        """`docker compose up`, and wait until items can come out."""
        self.compose("up", "--detach", "--quiet-pull")
        self.wait_until_ready(listeners)

    def wait_until_ready(self, listeners: int = 2) -> None:
        """Wait until that many listeners are subscribed and a manager receives."""

        def is_ready() -> bool:
            try:
                self.get("/readyz")
                listed = json.loads(self.get("/api/brokers"))
            except OSError:
                return False
            return sum(bool(b["is_ready"]) for b in listed["brokers"]) >= listeners

        wait_until(is_ready, "the cache is ready", timeout=180)

    def ask(self, url: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
        """Return status, headers and body that an address or a path of ours answers."""
        parts = urlsplit(urljoin(f"https://{self.host}:{self.https_port}/", url))
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca_file))
            connection = http.client.HTTPSConnection(parts.netloc, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request(method, parts.path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, url: str) -> bytes:
        """Return what an address or a path of ours serves. Raises OSError, also when refused."""
        status, _, body = self.ask(url)
        if status != http.HTTPStatus.OK:
            raise OSError(f"{url} answers {status}: {body[:200]!r}")
        return body

    def counters(self, centre_id: str) -> dict[str, float]:
        """Return the WMO counters of a centre."""
        text = self.get("/metrics").decode()
        return {
            sample.name.removeprefix("wmo_wis2_gc_"): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("centre_id") == centre_id and sample.name.endswith("_total")
        }

    def publish(self, topic: str, message: dict[str, Any], *brokers: int) -> None:
        """Publish on the Global Brokers of these numbers; returns when they have it."""
        for number in brokers or (0, 1):
            self.publishers[number].publish(topic, encoded(message), qos=1).wait_for_publish(20)

    def reader(self, *, is_websocket: bool = False) -> Reader:
        """Return a reader with the public account."""
        port = self.https_port if is_websocket else self.tls_port
        return self._reader(port, "everyone", "everyone", is_websocket=is_websocket)

    def _reader(self, port: int, *account: str, is_websocket: bool = False) -> Reader:
        self._readers.append(
            Reader(self.host, port, self.ca_file, *account, is_websocket=is_websocket)
        )
        return self._readers[-1]

    def account(self) -> Reader:
        """Return a reader with a Global Broker's account, its password read as an operator does."""
        return self._reader(self.accounts_port, ACCOUNT, self.kept(f"accounts/{ACCOUNT}"))

    def kept(self, name: str) -> str:
        """Return a secret that was made up at the first start. Only root may read it."""
        path = self.directory / "compose/secrets/kept" / name
        return docker(
            "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{path}:/kept:ro",
            "--entrypoint", "cat", f"wis2-gc-manager:{self.settings['TAG']}", "/kept",
        ).strip()  # fmt: skip

    def reaches(self, container: str, host: str, port: int) -> bool:
        """Whether a connection can be made from where a container is."""
        try:
            docker(
                "run", "--rm", "--network", f"container:{container}",
                "--entrypoint", "python", f"wis2-gc-manager:{self.settings['TAG']}", "-c",
                f"import socket; socket.create_connection(({host!r}, {port}), 3)",
            )  # fmt: skip
        except DockerError as error:
            if "OSError" in str(error) or "TimeoutError" in str(error):
                return False
            raise
        return True

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine knows of each running container, by name (service-number)."""
        label = f"label=com.docker.compose.project={self.project}"
        running = self.inspect(*docker("ps", "--quiet", "--filter", label).split())
        return {one["Name"].removeprefix(f"/{self.project}-"): one for one in running}

    @staticmethod
    def inspect(*containers: str) -> list[dict[str, Any]]:
        """Return what the engine knows of containers."""
        known: list[dict[str, Any]] = json.loads(docker("container", "inspect", *containers))
        return known

    def kill(self, name: str) -> None:
        """`kill -9` of a container's process: for the engine a crash, unlike `docker kill`."""
        pid = str(self.containers()[name]["State"]["Pid"])
        subprocess.run([*([] if os.geteuid() == 0 else ["sudo"]), "kill", "-9", pid], check=True)

    def close(self) -> None:
        """End everything, and remove the volumes."""
        self.compose("down", "--volumes", "--timeout", "5")
        for client in (*self.publishers, *(reader.raw for reader in self._readers)):
            end(client)
        for broker in self.brokers:
            broker.stop()
        self.node.close()


if __name__ == "__main__":
    main()
