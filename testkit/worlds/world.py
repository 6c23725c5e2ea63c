"""The world around the cache: two Global Brokers, a relay between them and us, subscribers.

The cache is the three commands, started by environment only; all that is looked at is what a
subscriber on a Global Broker sees, what an HTTP client gets, and `/metrics`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client.parser import text_string_to_metric_families

from local import s3_lifecycle
from local.parts.mqtt_client import end
from local.parts.nginx import Nginx
from local.parts.ports import free_port
from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.servers import parts
from testkit.servers.sqs_server import start_or_skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.parts.local_server import LocalServer
    from local.parts.mosquitto import PublicBroker
    from local.parts.redis_server import RedisServer

CENTRE_ID = "xx-test-global-cache"
MAX_OBJECT_BYTES = 3_000_000
GLOBAL_BROKER_ACCOUNT = "gb-test"
DEPLOYMENT_SECRET = "0123456789abcdef0123456789abcdef"
BIN = Path(sys.executable).parent
Labels = frozenset[tuple[str, str]]


def freeze(part: LocalServer) -> None:
    """Let a server hang: its connections stay open, nothing answers."""
    os.kill(part.pid, signal.SIGSTOP)


def thaw(part: LocalServer) -> None:
    """Let it go on."""
    os.kill(part.pid, signal.SIGCONT)


def wait_until(condition: Callable[[], Any], what: str, *, timeout: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Announcement:
    """One message as a subscriber gets it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    at: float

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.payload)
        return message

    @property
    def properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = self.message["properties"]
        return properties

    def link(self, rel: str = "canonical") -> dict[str, Any]:
        return next(link for link in self.message["links"] if link["rel"] == rel)


class Client:
    """A paho client in its own thread that keeps what it receives."""

    def __init__(
        self, port: int, username: str, password: str, *filters: str,
        on_message: Callable[[mqtt.MQTTMessage], None] | None = None,
    ) -> None:  # fmt: skip
        self._ready = threading.Event()
        # A session that outlives the broker's restart: what was published meanwhile is not missed.
        self.raw = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, client_id=f"test-{uuid.uuid4()}"
        )
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600
        self.raw.username_pw_set(username, password)
        self.raw.max_inflight_messages_set(1000)

        def subscribe(client: mqtt.Client, *_args: Any) -> None:
            for topic_filter in filters:
                client.subscribe(topic_filter, qos=1)
            if not filters:
                self._ready.set()

        self.raw.on_connect = subscribe
        self.raw.on_subscribe = lambda *_args: self._ready.set()
        if on_message is not None:
            self.raw.on_message = lambda _c, _u, message: on_message(message)
        self.raw.connect("127.0.0.1", port, clean_start=False, properties=session)
        self.raw.loop_start()
        assert self._ready.wait(60), "the test's own MQTT client is not connected"

    def publish(self, topic: str, payload: bytes) -> mqtt.MQTTMessageInfo:
        # After its broker's restart it may not be back yet.
        wait_until(self.raw.is_connected, "the test's own MQTT client is connected")
        return self.raw.publish(topic, payload, qos=1)

    def has_read_all(self) -> bool:
        """Whether nothing that its broker has sent is still unread."""
        connection = self.raw.socket()
        return connection is not None and not select.select([connection], [], [], 0)[0]

    def close(self) -> None:
        end(self.raw)


class Process:
    """One of the three commands."""

    def __init__(self, command: str, environment: dict[str, str], log: Path) -> None:
        self.command, self._environment, self._log = command, environment, log
        self.before: tuple[str, ...] = ()
        """What starts the command: a program and its arguments."""
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        # By environment only; nothing of the test's own GC_* settings leaks in.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GC_")}
        with self._log.open("ab") as log:
            self.log_begin = log.tell()
            self._process = subprocess.Popen(
                [*self.before, str(BIN / self.command)],
                env={**inherited, "PYTHONFAULTHANDLER": "1", **self._environment},
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        self.ask_to_stop()
        return self.wait(30)

    def ask_to_stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()

    def wait(self, timeout: float) -> int:
        """Return the exit code; fail after `timeout` seconds."""
        assert self._process is not None
        try:
            return self._process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            # Its log then says where each of its threads is.
            self._process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self.kill()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


class World:
    """Everything, started; see the module's docstring."""

    def __init__(
        self,
        directory: Path,
        *,
        cache_redis_port: Callable[[int], int] = lambda port: port,
        cache_sqs_port: Callable[[int], int] = lambda port: port,
        cache_broker_port: Callable[[int], int] = lambda port: port,
        redis_password: str | None = None,
        broker_password: str = "manager",
        **settings: str,
    ) -> None:
        """`cache_…_port`: what the cache takes for the port of Redis, SQS, its broker."""
        self._cache_redis_port = cache_redis_port
        self._cache_sqs_port = cache_sqs_port
        self._cache_broker_port = cache_broker_port
        self._redis_password = redis_password
        self._broker_password = broker_password
        self._stack = contextlib.ExitStack()
        self.directory = directory
        self.store = directory / "objects"
        self._lock = threading.Lock()
        self._announced: dict[str, list[Announcement]] = defaultdict(list)
        self.events: list[Announcement] = []
        self._relayed: set[str] = set()
        with contextlib.ExitStack() as starting:
            self._start_parts(starting)
            self._start_clients(starting)
            self._start_cache(starting, settings)
            self._stack = starting.pop_all()

    def _start_parts(self, stack: contextlib.ExitStack) -> None:
        self.store.mkdir(parents=True)
        self.redis = self._redis_server()
        self.redis.start()
        stack.callback(self.redis.stop)
        self.brokers = {
            name: parts.global_broker(self.directory / f"broker-{name}") for name in ("a", "b")
        }
        for broker in self.brokers.values():
            broker.start()
            stack.callback(broker.stop)
        self.cache_broker = parts.cache_broker(
            self.directory / "cache-broker",
            manager_password=self._broker_password,
            accounts={GLOBAL_BROKER_ACCOUNT: GLOBAL_BROKER_ACCOUNT},
        )
        self.cache_broker.start()
        stack.callback(self.cache_broker.stop)
        self.store_settings = self._start_store(stack)
        self.nginx.start()
        stack.callback(self.nginx.stop)
        self.queue_settings = self._start_queue(stack)
        self.data_base_url = f"http://127.0.0.1:{self.nginx.port}/data"

    def _redis_server(self) -> RedisServer:
        return parts.redis_server(self.directory / "redis", password=self._redis_password)

    def _start_queue(self, stack: contextlib.ExitStack) -> dict[str, str]:
        """Return the settings of the queue that the environment's QUEUE names."""
        kind = os.environ.get("QUEUE") or "redis-stream"
        if kind == "sqs":
            self.sqs = start_or_skip(parts.sqs_server(self.directory / "sqs"))
            stack.callback(self.sqs.stop)
            port = self._cache_sqs_port(self.sqs.port)
            return {
                name: text.replace(f":{self.sqs.port}/", f":{port}/")
                for name, text in self.sqs.environment.items()
            }
        assert kind == "redis-stream", f"QUEUE is {kind}, and neither sqs nor redis-stream"
        return {
            "GC_QUEUE_URL": "redis-stream:notifications",
            "GC_DEAD_LETTER_QUEUE_URL": "redis-stream:dead-letters",
        }

    def _start_store(self, stack: contextlib.ExitStack) -> dict[str, str]:
        """Return the settings of the store that the environment's STORE names; make nginx."""
        kind = os.environ.get("STORE") or "file"
        if kind == "s3":
            self.s3 = parts.s3_server(self.directory / "s3", root=self.store.parent / "buckets")
            self.s3.start()
            stack.callback(self.s3.stop)
            self.store = self.s3.objects
            stack.enter_context(s3_lifecycle.running(self.store, days=1, every_s=5))
            self.nginx = Nginx(self.directory / "nginx", bucket_url=self.s3.bucket_url)
            return {"GC_STORE_URL": self.s3.store_url, **self.s3.environment}
        assert kind == "file", f"STORE is {kind}, and neither s3 nor file"
        self.nginx = Nginx(self.directory / "nginx", root=self.store)
        return {"GC_STORE_URL": self.store.as_uri()}

    def _start_clients(self, stack: contextlib.ExitStack) -> None:
        self.publishers = {
            name: Client(broker.port, broker.publisher_username, broker.publisher_password)
            for name, broker in self.brokers.items()
        }
        for client in self.publishers.values():
            stack.callback(client.close)
        subscriber = Client(
            self.brokers["a"].port, "everyone", "everyone", "cache/a/wis2/#", "monitor/a/wis2/#",
            on_message=self._keep,
        )  # fmt: skip
        stack.callback(subscriber.close)
        account = GLOBAL_BROKER_ACCOUNT
        relay = self.relay = Client(
            self.cache_broker.port, account, account, "cache/a/wis2/#", "monitor/a/wis2/#",
            on_message=self._relay,
        )  # fmt: skip
        stack.callback(relay.close)

    def _start_cache(self, stack: contextlib.ExitStack, settings: dict[str, str]) -> None:
        broker = self.cache_broker
        port = self._cache_redis_port(self.redis.port)
        self.environment = {
            "GC_CENTRE_ID": CENTRE_ID,
            "GC_REDIS_URL": self.redis.url.replace(f":{self.redis.port}/", f":{port}/"),
            **self.queue_settings,
            **self.store_settings,
            "GC_DATA_BASE_URL": self.data_base_url,
            "GC_PUBLIC_CHECK_INTERVAL": "0.5",
            "GC_LOCAL_BROKER_URL": broker.manager_url.replace(
                f":{broker.port}", f":{self._cache_broker_port(broker.port)}"
            ),
            "GC_DEPLOYMENT_SECRET": DEPLOYMENT_SECRET,
            "GC_ALLOWED_NETWORKS": "127.0.0.1/32",
            "GC_MAX_OBJECT_BYTES": str(MAX_OBJECT_BYTES),
            "GC_QUICK_RETRY_DELAY": "0.2",
            "GC_RETRY_DELAYS": "0.2,0.4",
            "GC_HEDGE_DELAY": "0.3",
            "GC_IDLE_TIMEOUT": "3",
            "GC_CONNECT_TIMEOUT": "2",
            "GC_VISIBILITY_TIMEOUT": "3",
            "GC_EXPECTED_BROKERS": "a,b",
            "GC_HTTP_HOST": "127.0.0.1",
            "GC_HTTP_PORT": "0",
            "GC_LOG_FORMAT": "json",
            **settings,
        }
        self.metrics_port = free_port()
        self.processes: dict[str, Process] = {}
        for name, global_broker in self.brokers.items():
            self._start(
                stack, f"listener-{name}", "wis2-gc-listener",
                GC_GLOBAL_BROKER_URL=f"mqtt://everyone:everyone@127.0.0.1:{global_broker.port}",
                GC_GLOBAL_BROKER_NAME=name,
                # One listener of each kind: MQTT 5 and 3.1.1 (wis2-rules.md 4).
                GC_MQTT_VERSION="5" if name == "a" else "3.1.1",
            )  # fmt: skip
        for name in ("manager-1", "manager-2"):
            self._start(stack, name, "wis2-gc-manager", GC_INSTANCE=name)
        self._start(
            stack,
            "metrics",
            "wis2-gc-metrics",
            GC_HTTP_PORT=str(self.metrics_port),
            GC_REDIS_URL=self.redis.url,
        )
        try:
            wait_until(self._is_ready_or_dead, "the cache is ready", timeout=180)
        except AssertionError:
            for name, process in self.processes.items():
                sys.stderr.write(f"--- the end of the log of {name}\n{process.log[-2000:]}\n")
            raise

    def _start(self, stack: contextlib.ExitStack, name: str, command: str, **own: str) -> None:
        log = self.directory / f"{name}.log"
        process = Process(command, {**self.environment, **own}, log)
        stack.callback(process.stop)
        self.processes[name] = process

    @cached_property
    def public_broker(self) -> PublicBroker:
        """Our broker as everyone sees it, started when it is first asked for."""
        broker = parts.public_broker(self.directory / "public-broker", self.cache_broker)
        broker.start()
        self._stack.callback(broker.stop)
        # What is published from now on comes over.
        wait_until(
            lambda: self.cache_broker.log_file.read_text().count("public-broker-") > 2,
            "the bridge has subscribed",
        )
        return broker

    def close(self) -> None:
        self._stack.close()

    # What the world does

    def publish(self, topic: str, message: dict[str, Any] | bytes, *, brokers: str = "a") -> None:
        """Publish on the named Global Brokers; returns when they have it."""
        payload = message if isinstance(message, bytes) else encoded(message)
        for name in brokers:
            self.publishers[name].publish(topic, payload).wait_for_publish(60)

    def _keep(self, message: mqtt.MQTTMessage) -> None:
        kept = Announcement(
            message.topic, bytes(message.payload), message.qos, message.retain, time.monotonic()
        )
        with self._lock:
            if message.topic.startswith("monitor/"):
                self.events.append(kept)
                return
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if kept.properties.get("global-cache") == CENTRE_ID:
                    self._announced[kept.properties["data_id"]].append(kept)

    def _relay(self, message: mqtt.MQTTMessage) -> None:
        """Do what Global Brokers do: pass on what we publish, each message id once."""
        name = json.loads(message.payload)["id"]
        with self._lock:
            is_new = name not in self._relayed
            self._relayed.add(name)
        if is_new:
            for publisher in self.publishers.values():
                publisher.publish(message.topic, bytes(message.payload))

    # What the world sees

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get(f"http://127.0.0.1:{self.metrics_port}/readyz")[0] == 200
        return False

    def _is_ready_or_dead(self) -> bool:
        dead = [name for name, process in self.processes.items() if not process.is_alive]
        assert not dead, f"ended by themselves: {dead}"
        return self.is_ready()

    def announcements(self, data_id: str) -> list[Announcement]:
        with self._lock:
            return list(self._announced[data_id])

    def announced(self, data_id: str, *, count: int = 1, timeout: float = 60) -> Announcement:
        """Wait for the announcement number `count` of an item and return it."""
        wait_until(
            lambda: len(self.announcements(data_id)) >= count,
            f"announcement {count} of {data_id}", timeout=timeout,
        )  # fmt: skip
        return self.announcements(data_id)[count - 1]

    def settle(self, *, including_delayed: bool = False) -> set[str]:
        """Wait until all that was published is decided; what waits for a retry only on demand.

        Return the ids of what was announced to find that out.
        """
        ids = set()
        for name in self.brokers:
            data_id = unique_data_id("sentinel")
            topic = "origin/a/wis2/zz-sentinel/data/core/weather/synop"
            self.publish(topic, wnm(data_id=data_id, content=inline(b"sentinel")), brokers=name)
            ids.add(self.announced(data_id).message["id"])
        states = ("ready", "in_flight", *(("delayed",) if including_delayed else ()))

        def is_idle() -> bool:
            metrics = self.metrics()
            return all(
                metrics.get(("wis2_gc_queue_messages", frozenset({("state", state)})), -1) == 0
                for state in states
            )

        wait_until(is_idle, "the queue is empty", timeout=60)
        return ids

    def metrics(self) -> dict[tuple[str, Labels], float]:
        """Return all samples of `/metrics`, without `report_by`, which is checked here."""
        status, _, body = self.get(f"http://127.0.0.1:{self.metrics_port}/metrics")
        assert status == 200, f"/metrics says {status}"
        samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                labels = dict(sample.labels)
                if sample.name.startswith("wmo_"):
                    assert labels.pop("report_by") == CENTRE_ID
                samples[sample.name, frozenset(labels.items())] = sample.value
        return samples

    def wmo(self, centre_id: str) -> dict[str, float]:
        """Return the WMO's samples of one centre by short name, gauges of data servers included.

        The volume in bytes is left out: it follows `downloaded_total`; see `cached_volume`.
        """
        result: dict[str, float] = {}
        for (name, labels), value in self.metrics().items():
            as_dict = dict(labels)
            if name.startswith("wmo_wis2_gc_") and as_dict.get("centre_id") == centre_id:
                short = name.removeprefix("wmo_wis2_gc_")
                host = as_dict.get("dataserver")
                result[f"{short}@{host}" if host is not None else short] = value
        result.pop("cached_volume_bytes_total", None)
        return result

    def cached_volume(self, centre_id: str) -> float:
        """Return how many bytes of the items of one centre were cached."""
        labels = frozenset({("centre_id", centre_id)})
        return self.metrics().get(("wmo_wis2_gc_cached_volume_bytes_total", labels), 0.0)

    def counters(self, centre_id: str) -> dict[str, float]:
        """Return the counters of one centre alone."""
        return {k: v for k, v in self.wmo(centre_id).items() if k.endswith("_total")}

    @staticmethod
    def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return (status, headers in lower case, body) of a GET."""
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                found = {k.lower(): v for k, v in response.headers.items()}
                return response.status, found, response.read()
        except urllib.error.HTTPError as error:
            found = {k.lower(): v for k, v in error.headers.items()}
            with error:
                try:
                    return error.code, found, error.read()
                except http.client.IncompleteRead as cut:
                    # rclone, which plays S3, says 500 and the object's length, and sends nothing,
                    # when the object is deleted while it is opened.
                    return error.code, found, cut.partial


@contextlib.contextmanager
def open_world(directory: Path, **options: Any) -> Iterator[World]:
    """Start a world; `options` are those of `World`."""
    world = World(directory, **options)
    try:
        yield world
    finally:
        world.close()
