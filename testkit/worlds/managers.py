"""Managers as processes, between a real Redis and a real mosquitto with a subscriber on it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from local.parts.ports import free_port
from testkit.fakes.manager import BASE_URL, CENTRE_ID
from testkit.servers.mosquitto import Mosquitto
from testkit.waiting import until
from wis2_gc_common.open_queue import open_queue, open_sender
from wis2_gc_common.ports.queue import Sent
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paho.mqtt.client import Client, MQTTMessage

    from testkit.servers.redis import RedisServer
    from testkit.servers.sqs_server import Queues
    from wis2_gc_common.ports.queue import Envelope

COMMAND = Path(sys.executable).with_name("wis2-gc-manager")
QUEUE = QueueUrl("redis-stream", "notifications")
DEAD = QueueUrl("redis-stream", "dead-letters")
DATA = b"BUFR" * 5000
VISIBILITY_S = 2.0


class ManagersWorld:
    """Redis, our broker with a subscriber on it, a store, and managers by name."""

    def __init__(
        self, directory: Path, redis: RedisServer, broker: Mosquitto, sqs: Queues | None = None
    ) -> None:
        """`sqs`: the queue is there, and not in Redis."""
        self.queue_url = QueueUrl("sqs", sqs.queue_url) if sqs else QUEUE
        self.dead_url = QueueUrl("sqs", sqs.dead_letter_queue_url) if sqs else DEAD
        self.queue_settings = dict(sqs.settings) if sqs else {}
        self.redis = redis
        self.broker = broker
        self.store = directory / "store"
        self.store.mkdir()
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.received_at: list[float] = []
        """When each of `messages` came, by the monotonic clock."""
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sender = open_sender(self.queue_url, redis_url=redis.url, max_length=10_000)
        self._subscriber = paho.Client(CallbackAPIVersion.VERSION2)
        self._subscriber.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._subscriber.on_message = self._on_message
        self._subscriber.reconnect_delay_set(min_delay=1, max_delay=1)
        self._subscriber.connect("127.0.0.1", broker.port)
        self._subscriber.loop_start()

    def _on_message(self, _client: Client, _data: None, message: MQTTMessage) -> None:
        self.messages.append((message.topic, json.loads(message.payload)))
        self.received_at.append(time.monotonic())

    @property
    def announced(self) -> list[dict[str, Any]]:
        return [message for topic, message in self.messages if topic.startswith("cache/")]

    def send(self, *envelopes: Envelope) -> None:
        assert set(self._sender.send(envelopes)) == {Sent.ACCEPTED}

    def start(self, name: str = "one", **settings: str) -> Manager:
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "GC_CENTRE_ID": CENTRE_ID,
            "GC_REDIS_URL": self.redis.url,
            "GC_STORE_URL": self.store.as_uri(),
            "GC_DATA_BASE_URL": BASE_URL,
            # Nobody is there.
            "GC_PUBLIC_CHECK_INTERVAL": "0",
            "GC_LOCAL_BROKER_URL": self.broker.url,
            "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
            "GC_ALLOWED_NETWORKS": "127.0.0.0/8",
            "GC_VISIBILITY_TIMEOUT": str(VISIBILITY_S),
            "GC_QUICK_RETRY_DELAY": "0.2",
            "GC_RETRY_DELAYS": "0.2,0.2",
            "GC_HEDGE_DELAY": "0.2",
            "GC_INSTANCE": name,
            "GC_HTTP_HOST": "127.0.0.1",
            "GC_HTTP_PORT": str(port),
            "GC_LOG_FORMAT": "json",
            **self.queue_settings,
            **settings,
        }
        log = (self._directory / f"{name}-{len(self._processes)}.log").open("wb")
        with log:
            process = subprocess.Popen([COMMAND], env=environment, stderr=log)
        self._processes.append(process)
        return Manager(process, port, Path(log.name))

    async def counters(self) -> dict[str, int]:
        reader = RedisReader(self.redis.url)
        try:
            return dict((await reader.snapshot()).counters)
        finally:
            await reader.close()

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        end(self._subscriber)
        self._sender.close()


class Manager:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)["problem"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["problem"]
        except OSError:
            return 0, "no answer"

    async def ready(self) -> Manager:
        await self.until_probe(200)
        return self

    async def until_probe(self, status: int, problem: str = "") -> None:
        end = time.monotonic() + 60
        while True:
            answer = await asyncio.to_thread(self.probe, "/readyz")
            if answer[0] == status and problem in answer[1]:
                return
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, (answer, self.log.read_text()[-3000:])
            await asyncio.sleep(0.05)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        await until(lambda: self.process.poll() is not None, deadline_s=60)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def new_world(
    directory: Path, redis: RedisServer, sqs: Queues | None = None
) -> Iterator[ManagersWorld]:
    with Mosquitto() as broker:
        world = ManagersWorld(directory, redis, broker, sqs)
        try:
            yield world
        finally:
            world.close()


def counter(counters: dict[str, int], name: str, *labels: str) -> int:
    return counters.get("|".join((name, *labels)), 0)


async def until_idle(world: ManagersWorld) -> None:
    queue = open_queue(
        world.queue_url, world.dead_url, redis_url=world.redis.url, consumer="watcher",
        visibility_s=VISIBILITY_S,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            depth = await queue.depth()
            if not depth.ready and not depth.in_flight and not depth.delayed:
                return
            assert time.monotonic() < end, depth
            await asyncio.sleep(0.05)
    finally:
        await queue.close()
