"""The world of the long run: a proxy between each process and each part, and a clock of ours."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testkit.servers.parts import choice
from testkit.worlds.day import LIBRARIES, Clock
from testkit.worlds.world import World
from tests.faults.origins import Origins
from tests.faults.proxy import Proxies

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Mapping

    import paho.mqtt.client as mqtt

    from local.parts.redis_server import RedisServer
    from tests.faults.proxy import Proxy

MAX_OBJECT_BYTES = 20_000_000
SETTINGS = {
    # A machine that is busy with other things takes seconds to let a process have its turn.
    "GC_VISIBILITY_TIMEOUT": "6",
    "GC_MAX_OBJECT_BYTES": str(MAX_OBJECT_BYTES),
    "GC_ALLOWED_NETWORKS": "127.0.0.0/8",
    "GC_RETRY_DELAYS": "0.5,1,2,4,8,16",
    # Not from a disk that is another for a moment, or a Redis that is short of memory.
    "GC_CENTRE_MAX_ITEMS": "1000000",
    "GC_CENTRE_MAX_BYTES": str(10**12),
    # Our own origin is a Python program beside many others.
    "GC_CONNECT_TIMEOUT": "10",
    "GC_IDLE_TIMEOUT": "10",
    # A name that does not exist is looked up once.
    "RES_OPTIONS": "timeout:1 attempts:1",
}


@dataclass
class CameOut:
    """What was announced of one data item."""

    ids: set[str] = field(default_factory=set)
    times: int = 0
    href: str = ""


class LongWorld(World):
    """A `World` that faults are injected into."""

    def __init__(self, directory: Path, *, seed: int) -> None:
        self._proxies = Proxies()
        self._proxies.start()
        self._origins = Origins()
        self._origins.start()
        self._seed = seed
        self._sent = 0
        self.proxies: dict[str, dict[str, Proxy]] = defaultdict(dict)
        """By process and part."""
        self.came_out: dict[str, CameOut] = defaultdict(CameOut)
        self.clocks = {
            name: Clock(directory.with_name(f"{directory.name}-clock-of-{name}"))
            for name in ("services", "redis")
        }
        variables: dict[str, Any] = self._variables("services") if LIBRARIES else {}
        super().__init__(directory, **{**SETTINGS, **variables})
        self.origin_url = str(self._origins.Origin("127.0.0.1").url())
        self._hosts = count(2)

    def _variables(self, clock: str, *before: str) -> dict[str, str]:
        variables = self.clocks[clock].environment(*before)
        # Each look at the file costs more than all else that asks for the time.
        del variables["FAKETIME_NO_CACHE"]
        return {**variables, "FAKETIME_CACHE_DURATION": "1"}

    def new_origin(self) -> Any:
        """Return a data server with a host of its own."""
        return self._origins.Origin(f"127.0.1.{next(self._hosts)}")

    def new_proxy(self, port: int, host: str = "127.0.0.1") -> Proxy:
        return self._proxies.Proxy(port, host, self._seed)

    def _redis_server(self) -> RedisServer:
        server = super()._redis_server()
        if LIBRARIES and not choice().in_containers:
            server.variables = self._variables("redis", "libc.so.6")
        return server

    def _parts(self) -> dict[str, int]:
        ports = {"redis": self.redis.port, "broker": self.cache_broker.port}
        ports |= {f"broker-{name}": broker.port for name, broker in self.brokers.items()}
        for name in ("sqs", "s3"):
            if hasattr(self, name):
                ports[name] = getattr(self, name).port
        return ports

    def _start(self, stack: contextlib.ExitStack, name: str, command: str, **own: str) -> None:
        def behind_proxies(text: str) -> str:
            for part, port in self._parts().items():
                if re.search(rf":{port}\b", text):
                    if part not in self.proxies[name]:
                        self.proxies[name][part] = self.new_proxy(port)
                    text = re.sub(rf":{port}\b", f":{self.proxies[name][part].port()}", text)
            return text

        own = {key: behind_proxies(text) for key, text in {**self.environment, **own}.items()}
        super()._start(stack, name, command, **own)

    def _start_clients(self, stack: contextlib.ExitStack) -> None:
        super()._start_clients(stack)
        for client in self.publishers.values():
            client.raw.reconnect_delay_set(1, 1)
            client.raw.on_publish = self._accepted

    def close(self) -> None:
        super().close()
        self._proxies.shutdown()
        self._origins.shutdown()

    # What the world does

    def _keep(self, message: mqtt.MQTTMessage) -> None:
        """What Global Broker A passes on may be lost with it: our own broker is listened to."""

    def _relay(self, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        announced = json.loads(payload)
        name = announced["id"]
        with self._lock:
            is_new = name not in self._relayed
            self._relayed.add(name)
            if not message.topic.startswith("monitor/"):
                came_out = self.came_out[announced["properties"]["data_id"]]
                came_out.ids.add(name)
                came_out.times += 1
                came_out.href = announced["links"][0]["href"]
        if is_new:
            self.send(message.topic, payload)

    def send(self, topic: str, payload: bytes) -> None:
        """Give a message to both Global Brokers, now or when they are there again."""
        for publisher in self.publishers.values():
            with self._lock:
                self._sent += 1
            publisher.raw.publish(topic, payload, qos=1)

    def _accepted(self, *_args: object) -> None:
        with self._lock:
            self._sent -= 1

    def is_all_sent(self) -> bool:
        return self._sent == 0

    # What the world sees

    def number_out(self) -> int:
        with self._lock:
            return len(self.came_out)

    def are_out(self, data_ids: Iterable[str]) -> bool:
        with self._lock:
            return all(data_id in self.came_out for data_id in data_ids)

    def waiting(self) -> Mapping[str, float]:
        """Return the queue's messages by state."""
        found = {}
        for (name, labels), value in self.metrics().items():
            if name == "wis2_gc_queue_messages":
                found[dict(labels)["state"]] = value
        return found


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def log_since(world: World, name: str, begin: int) -> str:
    with (world.directory / f"{name}.log").open("rb") as log:
        log.seek(begin)
        return log.read().decode(errors="replace")


def log_end(world: World, name: str) -> int:
    return (world.directory / f"{name}.log").stat().st_size
