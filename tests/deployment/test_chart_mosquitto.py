"""mosquitto as the chart's stand-in for EMQX, run with the very text that is in the ConfigMap."""

from __future__ import annotations

import os
import queue
import subprocess
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from local.parts.ports import free_port
from testkit.deployment import chart
from testkit.servers.server_process import wait_for_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUES = chart.cases()["stand-in"]
TOPIC = "cache/a/wis2/int-example/data/core/weather"
DEADLINE_S = 60.0
ACCOUNTS = "publisher-0123abcd:an,odd#password\neveryone:everyone\ngb-fr:another\n"


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Our broker: its ports by those of the chart (8883 without TLS)."""
    directory: Path = tmp_path_factory.mktemp("broker")
    # Behind a load balancer that ends TLS: the same text without certificates.
    binding = {"arns": dict.fromkeys(("mqtts", "wss", "accounts"), "a")}
    values = chart.merged(
        VALUES, {"broker": {"targetGroupBinding": binding, "tls": {"mode": "acm"}}}
    )
    objects = chart.objects(values)
    (directory / "accounts").write_text(ACCOUNTS)
    (directory / "accounts").chmod(0o440)
    found = {port: free_port() for port in ("1883", "11883", "8083", "18884")}
    for name, text in objects[("ConfigMap", "wis2-broker")]["data"].items():
        text = text.replace("/run/secrets/broker", str(directory))  # noqa: PLW2901
        text = text.replace("/run/mosquitto", str(directory))  # noqa: PLW2901
        text = text.replace("/etc/wis2-mosquitto", str(directory))  # noqa: PLW2901
        for old, new in found.items():
            text = text.replace(f"listener {old}\n", f"listener {new} 127.0.0.1\n")  # noqa: PLW2901
        if name == "mosquitto.conf" and os.geteuid() == 0:
            text += "user root\n"  # noqa: PLW2901
        (directory / name).write_text(text)
    process = subprocess.Popen(
        ["sh", str(directory / "start.sh")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        for port in found.values():
            wait_for_port(port, process, timeout_s=DEADLINE_S)
        yield found
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        assert process.stderr
        process.stderr.close()
    written = (directory / "passwords").read_text()
    assert "odd#password" not in written
    assert (directory / "passwords").stat().st_mode & 0o077 == 0


class _Client:
    """A client that has been answered: `code` of the connection, and what it has heard."""

    def __init__(self, port: int, name: str, password: str, transport: Any = "tcp") -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.paho = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, transport=transport
        )
        self.paho.username_pw_set(name, password)
        self.paho.on_connect = lambda _c, _u, _f, code, _p: self._events.put(("connect", code))
        self.paho.on_subscribe = lambda _c, _u, _m, codes, _p: self._events.put(("sub", codes))
        self.paho.on_message = lambda _c, _u, message: self.heard.put(message.topic)
        self.paho.on_publish = lambda _c, _u, _m, code, _p: self._events.put(("pub", code))
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        self.code = self._wait("connect")

    def _wait(self, kind: str) -> Any:
        while True:
            found, value = self._events.get(timeout=DEADLINE_S)
            if found == kind:
                return value

    def subscribe(self, topic: str) -> None:
        self.paho.subscribe(topic, 1)
        self._wait("sub")

    def publish(self, topic: str) -> str:
        """Return what the broker thinks of it."""
        self.paho.publish(topic, b"{}", 1)
        return str(self._wait("pub"))

    def close(self) -> None:
        end(self.paho)


PUBLISHER = ("publisher-0123abcd", "an,odd#password")


@pytest.mark.parametrize("port", ["1883", "11883", "8083", "18884"])
@pytest.mark.parametrize(
    ("name", "password", "outcome"),
    [
        ("everyone", "everyone", "Success"),
        (*PUBLISHER, "Success"),
        ("gb-fr", "another", "Success"),
        ("gb-fr", "everyone", "Not authorized"),
        ("someone", "everyone", "Not authorized"),
    ],
)
def test_the_accounts_of_the_secret_log_in_and_nobody_else(
    ports: dict[str, int], port: str, name: str, password: str, outcome: str
) -> None:
    transport = "websockets" if port == "8083" else "tcp"
    client = _Client(ports[port], name, password, transport)
    try:
        assert str(client.code) == outcome
    finally:
        client.close()


def test_only_the_cache_publishes_and_everybody_reads_that_alone(ports: dict[str, int]) -> None:
    publisher = _Client(ports["1883"], *PUBLISHER)
    reader = _Client(ports["11883"], "everyone", "everyone")
    try:
        reader.subscribe("#")
        assert publisher.publish("origin/a/wis2/x") == "Not authorized"
        assert reader.publish(TOPIC) == "Not authorized"
        assert publisher.publish(TOPIC) == "Success"
        assert publisher.publish("monitor/a/wis2/int-example") == "Success"
        assert reader.heard.get(timeout=DEADLINE_S) == TOPIC
        assert reader.heard.get(timeout=DEADLINE_S) == "monitor/a/wis2/int-example"
        assert reader.heard.empty()
    finally:
        publisher.close()
        reader.close()


def test_it_has_one_replica_and_no_volume() -> None:
    broker = chart.objects(VALUES)[("StatefulSet", "wis2-broker")]
    assert broker["spec"]["replicas"] == 1
    assert "volumeClaimTemplates" not in broker["spec"]


def test_it_keeps_nothing_on_disk_and_holds_as_much_as_is_given() -> None:
    limits = {"maxQueuedMessages": 1000000, "maxInflight": 17, "maxConnections": 18}
    objects = chart.objects(VALUES, {"broker": {"limits": limits}})
    text = objects["ConfigMap", "wis2-broker"]["data"]["mosquitto.conf"]
    general, _managers, *public = (set(part.splitlines()) for part in text.split("listener "))
    assert general >= {
        "allow_anonymous false", "retain_available false", "persistence false",
        "max_queued_messages 1000000", "max_inflight_messages 17",
        "persistent_client_expiration 1d", "max_packet_size 16384",
    }  # fmt: skip
    # A session at the accounts' port belongs to its account.
    *open_to_all, accounts = public
    assert accounts >= {"8884", "max_connections 1000", "use_username_as_clientid true"}
    assert all("max_connections 18" in part for part in open_to_all)


@pytest.mark.parametrize("mode", ["certManager", "secret"])
def test_what_the_world_reaches_has_a_certificate(mode: str) -> None:
    values = chart.merged(VALUES, {"broker": {"tls": {"mode": mode, "secretName": "tls"}}})
    objects = chart.objects(values)
    text = objects[("ConfigMap", "wis2-broker")]["data"]["mosquitto.conf"]
    listeners = text.split("listener ")[2:]
    assert sorted(part.split()[0] for part in listeners) == ["8084", "8883", "8884"]
    for part in listeners:
        assert "certfile /run/secrets/tls/tls.crt\n" in part
        assert "keyfile /run/secrets/tls/tls.key\n" in part
    container = objects[("StatefulSet", "wis2-broker")]["spec"]["template"]["spec"]["containers"][0]
    assert {p["containerPort"] for p in container["ports"]} == {1883, 8883, 8084, 8884}
