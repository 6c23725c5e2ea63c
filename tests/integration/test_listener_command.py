"""`wis2-gc-listener` as it is installed: started by environment, stopped and killed by signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from testkit.fakes.listener import wait_until
from testkit.messages.wnm import encoded, unique_data_id, wnm
from testkit.servers.mosquitto import Account, Mosquitto
from testkit.servers.scripted_broker import (
    CONNACK_V5,
    CONNECT,
    DISCONNECT_TAKEN_OVER,
    PINGREQ,
    PINGRESP,
    SUBACK_V5,
    SUBSCRIBE,
    publish_v5,
    scripted_broker,
)
from wis2_gc_common.open_queue import open_queue
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.servers.redis import RedisServer
    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import Snapshot

pytest_plugins = ("testkit.servers.redis",)

TOPIC = "origin/a/wis2/ca-eccc-msc/data/core/weather/surface-based-observations/synop"
SECRET = "0123456789abcdef"
TAKEN_OVER = "wis2_gc_listener_sessions_taken_over_total|fr"
COMMAND = Path(sys.executable).with_name("wis2-gc-listener")


class Command:
    """One running listener; its log is read from a file."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.redis_url = environment["GC_REDIS_URL"]
        self.log_file = directory / f"listener-{len(list(directory.glob('*.log')))}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [COMMAND],
                env={"PATH": os.environ["PATH"], **environment},
                stderr=log,
                stdout=subprocess.DEVNULL,
            )

    @property
    def events(self) -> list[dict[str, object]]:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def event(self, name: str) -> dict[str, object] | None:
        return next((event for event in self.events if event["event"] == name), None)

    def probe(self, path: str) -> int:
        started = self.event("listener_started")
        if started is None:
            assert self.process.poll() is None, self.log_file.read_text()
            return 0
        try:
            url = f"http://127.0.0.1:{started['http_port']}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    @property
    def connections(self) -> int:
        """How often it has connected to the Global Broker."""
        return sum(event["event"] == "broker_connected" for event in self.events)

    def wait_until_ready(self) -> None:
        """Wait until it is subscribed."""
        wait_until(lambda: any(each.is_ready for each in snapshot(self.redis_url).processes),
                   what="ready")  # fmt: skip

    def end(self, number: signal.Signals, *, timeout_s: float = 30) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@contextmanager
def listener(directory: Path, redis_url: str, broker_url: str, **more: str) -> Iterator[Command]:
    command = Command(
        directory,
        {
            "GC_CENTRE_ID": "fr-meteo-global-cache",
            "GC_REDIS_URL": redis_url,
            "GC_GLOBAL_BROKER_URL": broker_url,
            "GC_GLOBAL_BROKER_NAME": "fr",
            "GC_DEPLOYMENT_SECRET": SECRET,
            "GC_HTTP_HOST": "127.0.0.1",
            "GC_HTTP_PORT": "0",
            "GC_LOG_FORMAT": "json",
            **more,
        },
    )
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.end(signal.SIGKILL)


def publish(broker: Mosquitto, bodies: list[bytes]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="publisher")
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for info in [client.publish(TOPIC, body, qos=1) for body in bodies]:
        info.wait_for_publish(30)
    end(client)


def notifications(count: int) -> list[bytes]:
    return [encoded(wnm(data_id=unique_data_id())) for _ in range(count)]


def queued(redis_url: str, count: int) -> list[Envelope]:
    """Take `count` envelopes from the queue, and all else that is there."""

    async def receive() -> list[Envelope]:
        queue = open_queue(
            QueueUrl("redis-stream", "notifications"),
            QueueUrl("redis-stream", "dead-letters"),
            redis_url=redis_url,
            consumer="test",
            visibility_s=60,
        )
        envelopes: list[Envelope] = []
        async with asyncio.timeout(60):
            while True:
                wait_s = 0.2 if len(envelopes) >= count else 1.0
                received = await queue.receive(100, wait_s=wait_s)
                envelopes += [message.envelope for message in received]
                await queue.delete([message.receipt for message in received])
                if not received and len(envelopes) >= count:
                    break
        await queue.close()
        return envelopes

    return asyncio.run(receive())


def snapshot(redis_url: str) -> Snapshot:
    async def read() -> Snapshot:
        reader = RedisReader(redis_url)
        try:
            return await reader.snapshot()
        finally:
            await reader.close()

    return asyncio.run(read())


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_it_receives_queues_counts_and_stops_in_order(
    tmp_path: Path, redis_url: str, broker: Mosquitto, version: str
) -> None:
    bodies = notifications(500)
    # None is bulk, which would come after the others.
    options = {"GC_MQTT_VERSION": version, "GC_CENTRE_BURST": "500"}
    with listener(tmp_path, redis_url, broker.url, **options) as command:
        command.wait_until_ready()
        assert command.probe("/healthz") == 200
        publish(broker, [*bodies, b"{"])
        assert [e.payload for e in queued(redis_url, 500)] == bodies
        wait_until(lambda: snapshot(redis_url).counters.get(
            "wis2_gc_notifications_dropped_total|fr|invalid_json") == 1)  # fmt: skip
        process = snapshot(redis_url).processes[0]
        assert (process.kind, process.name, process.is_ready) == ("listener", "fr", True)
        assert command.end(signal.SIGTERM) == 0
    counters = snapshot(redis_url).counters
    assert counters["wis2_gc_notifications_received_total|fr"] == 501
    assert counters["wis2_gc_notifications_queued_total|fr"] == 500
    assert command.event("listener_stopped") is not None


def test_the_session_survives_a_stop(tmp_path: Path, redis_url: str, broker: Mosquitto) -> None:
    with listener(tmp_path, redis_url, broker.url) as command:
        command.wait_until_ready()
        assert command.end(signal.SIGTERM) == 0
    missed = notifications(50)
    publish(broker, missed)
    with listener(tmp_path, redis_url, broker.url):
        assert [e.payload for e in queued(redis_url, 50)] == missed


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_kill_with_the_queue_down_loses_nothing(
    tmp_path: Path, own_redis: RedisServer, broker: Mosquitto, version: str
) -> None:
    bodies = notifications(300)
    options = {"GC_MQTT_VERSION": version}
    with listener(tmp_path, own_redis.url, broker.url, **options) as command:
        command.wait_until_ready()
        own_redis.kill()
        publish(broker, bodies)
        wait_until(lambda: command.event("queue_away"))
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
    with listener(tmp_path, own_redis.url, broker.url, **options) as command:
        wait_until(lambda: command.event("queue_away"))
        wait_until(lambda: command.probe("/readyz") == 503)
        # Nobody can say whose session it is: it is assumed to be nobody's, after a while.
        wait_until(lambda: command.event("broker_subscribed"))
        own_redis.start()
        received = queued(own_redis.url, 300)
        wait_until(lambda: command.event("queue_back"))
        assert [e.payload for e in received] == bodies


def test_kills_at_any_moment_lose_nothing(
    tmp_path: Path, redis_url: str, broker: Mosquitto
) -> None:
    bodies = notifications(2000)
    with listener(tmp_path, redis_url, broker.url) as command:
        command.wait_until_ready()
        publish(broker, bodies[:1000])
        command.end(signal.SIGKILL)
    publish(broker, bodies[1000:1500])
    with listener(tmp_path, redis_url, broker.url) as command:
        wait_until(lambda: command.event("broker_subscribed"))
        command.end(signal.SIGKILL)
    with listener(tmp_path, redis_url, broker.url):
        publish(broker, bodies[1500:])
        # At least once: what was queued but not yet acknowledged comes again.
        received = [e.payload for e in queued(redis_url, 2000)]
        assert set(received) == set(bodies)


def test_a_broker_silent_for_longer_than_is_set_is_connected_again(
    tmp_path: Path, redis_url: str
) -> None:
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5, PINGREQ: PINGRESP}
    with (
        scripted_broker(answers) as server,
        listener(tmp_path, redis_url, server.url, GC_SILENCE_TIMEOUT="1") as command,
    ):
        command.wait_until_ready()
        for _ in range(3):  # a slow machine makes pauses of its own, and learns from them
            for packet_id in range(1, 31):
                server.say(publish_v5(TOPIC, b"{}", packet_id=packet_id))
                time.sleep(0.2)  # five messages a second are what is usual
            with contextlib.suppress(AssertionError):
                wait_until(lambda: server.connections >= 2, timeout_s=10)
                break
        assert command.event("broker_silent")
        command.wait_until_ready()


def test_its_client_id_is_secret_and_the_same_after_a_restart(
    tmp_path: Path, redis_url: str
) -> None:
    client_ids, logs = [], ""
    for _ in range(2):
        with (
            scripted_broker({CONNECT: CONNACK_V5, SUBSCRIBE: DISCONNECT_TAKEN_OVER}) as server,
            listener(tmp_path, redis_url, server.url, GC_LOG_LEVEL="debug") as command,
        ):
            wait_until(lambda: command.event("session_taken_over"))
            client_ids += re.findall(rb"fr-meteo[-a-z0-9]*", server.connect_packets[0])
            assert command.end(signal.SIGTERM) == 0
            logs += command.log_file.read_text()
    assert client_ids[0] == client_ids[1]
    name, _, suffix = client_ids[0].decode().rpartition("-")
    assert name == "fr-meteo-global-cache-fr"
    assert re.fullmatch("[0-9a-f]{16}", suffix)
    # What the metrics service knows, so /api, the status page and /metrics, too.
    shown = logs + repr(snapshot(redis_url))
    assert "session_taken_over" in shown
    assert suffix not in shown
    assert SECRET not in shown


def test_a_release_waits_for_what_is_ours_and_not_for_a_global_broker(
    tmp_path: Path, redis_url: str
) -> None:
    with listener(tmp_path, redis_url, "mqtt://127.0.0.1:1") as command:
        wait_until(lambda: command.event("broker_connection_failed"))
        wait_until(lambda: command.probe("/readyz") == 200)
        wait_until(
            lambda: "no connection" in snapshot(redis_url).processes[0].facts["last_problem"]
        )
        assert not snapshot(redis_url).processes[0].is_ready


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_successor_waits_until_the_one_before_it_has_left(
    tmp_path: Path, redis_url: str, broker: Mosquitto, version: str
) -> None:
    bodies = notifications(300)
    options = {"GC_MQTT_VERSION": version}
    with listener(tmp_path, redis_url, broker.url, **options) as old:
        old.wait_until_ready()
        with listener(tmp_path, redis_url, broker.url, **options) as new:
            # Ready, so that Kubernetes ends the old one; and not connected.
            wait_until(lambda: new.event("session_held_by_another_listener"))
            wait_until(lambda: new.probe("/readyz") == 200)
            publish(broker, bodies[:150])
            assert new.connections == 0
            assert old.end(signal.SIGTERM) == 0
            publish(broker, bodies[150:])
            wait_until(lambda: new.event("broker_subscribed"))
            new.wait_until_ready()
            received = [e.payload for e in queued(redis_url, 300)]
            assert sorted(received) == sorted(bodies)
            assert (old.connections, new.connections) == (1, 1)
    assert snapshot(redis_url).counters.get(TAKEN_OVER, 0) == 0


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_listener_that_was_thought_dead_does_not_fight_its_successor(
    tmp_path: Path, redis_url: str, broker: Mosquitto, version: str
) -> None:
    """A lost node: its pod goes on running, or does again, when another has taken its place."""
    bodies = notifications(300)
    options = {"GC_MQTT_VERSION": version}
    with listener(tmp_path, redis_url, broker.url, **options) as old:
        old.wait_until_ready()
        old.process.send_signal(signal.SIGSTOP)
        try:
            with listener(tmp_path, redis_url, broker.url, **options) as new:
                wait_until(lambda: new.event("broker_subscribed"))
                publish(broker, bodies[:150])
                old.process.send_signal(signal.SIGCONT)
                wait_until(lambda: old.event("session_held_by_another_listener"))
                publish(broker, bodies[150:])
                received = [e.payload for e in queued(redis_url, 300)]
                assert set(received) == set(bodies)
                # Long enough for a fight: the one thrown out would come back within a second.
                before = snapshot(redis_url).processes[0].at_s
                wait_until(lambda: snapshot(redis_url).processes[0].at_s > before + 2.5)
                assert (old.connections, new.connections) == (1, 1)
                assert new.end(signal.SIGTERM) == 0
            # It is there for the next time.
            wait_until(lambda: old.connections == 2)
        finally:
            old.process.send_signal(signal.SIGCONT)
    assert snapshot(redis_url).counters.get(TAKEN_OVER, 0) == 0


def test_a_stop_comes_soon_with_broker_and_queue_away(tmp_path: Path) -> None:
    with listener(tmp_path, "redis://127.0.0.1:1/0", "mqtt://127.0.0.1:1") as command:
        wait_until(lambda: command.event("broker_connection_failed"))
        assert command.probe("/readyz") == 503
        assert command.probe("/healthz") == 200
        assert command.end(signal.SIGTERM) == 0


def test_no_password_is_ever_logged(tmp_path: Path, redis_url: str) -> None:
    with Mosquitto(accounts={"everyone": Account("right")}) as broker:
        url = broker.url.replace("//", "//everyone:topsecret@")
        with listener(tmp_path, redis_url, url, GC_LOG_LEVEL="debug") as command:
            wait_until(lambda: command.event("broker_connection_failed"))
            command.end(signal.SIGTERM)
        assert "topsecret" not in command.log_file.read_text()


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"GC_CENTRE_ID": "not-a-cache"}, "GC_CENTRE_ID"),
        ({"GC_GLOBAL_BROKER_URL": "http://broker"}, "GC_GLOBAL_BROKER_URL"),
        ({"GC_GLOBAL_BROKER_NAME": ""}, "GC_GLOBAL_BROKER_NAME"),
        ({"GC_MQTT_VERSION": "3.1"}, "GC_MQTT_VERSION"),
        ({"GC_QUEUE_URL": "https://sqs.example/1/q"}, "GC_QUEUE_URL"),
        ({"GC_CA_FILE": __file__, "GC_GLOBAL_BROKER_URL": "mqtts://b"}, "GC_CA_FILE"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, changes: dict[str, str], variable: str
) -> None:
    with listener(tmp_path, "redis://127.0.0.1:1/0", "mqtt://127.0.0.1:1", **changes) as command:
        assert command.process.wait(60) == 2
        lines = command.log_file.read_text().splitlines()
        assert len(lines) == 1
        assert variable in lines[0]
