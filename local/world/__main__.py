"""The simulated world as a process: data servers, publishers, the bridge for our announcements."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from local.world.centres import CENTRES, OTHER_CACHES
from local.world.items import (
    ORIGIN,
    Author,
    cache_topic,
    can_change,
    notification,
    publications,
)
from local.world.ledger import Ledger
from local.world.settings import from_environment
from local.world.web import DataServer
from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from local.world.items import WorldItem
    from local.world.settings import WorldSettings

_LEDGER_EVERY_S = 1.0
_REPORT_EVERY_S = 60.0
_READY_EVERY_S = 0.3
_BRIDGED_IDS = 10_000
#: Most earlier items that updates and deletions choose from.
_MAX_ANNOUNCED = 500
#: Seconds that the other Global Caches need for a copy: least, most.
_COPY_DELAY_S = (0.02, 1.5)
_MAX_WAITING = 65_535


def say(text: str) -> None:
    """Write one line for the supervisor."""
    print(text, flush=True)


class WorldPublisher:
    """One MQTT session that publishes; paho itself reconnects and resends."""

    def __init__(self, name: str, url: str, ca_file: str) -> None:
        self.name = name
        broker = parse_broker_url(url)
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"world-{name}",
            protocol=mqtt.MQTTv5,
            transport="websockets" if broker.is_websocket else "tcp",
        )
        self.client.username_pw_set(broker.username, broker.password)
        if broker.is_tls:
            self.client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self.client.max_queued_messages_set(_MAX_WAITING)
        self.client.reconnect_delay_set(1, 5)
        self._address = broker.host, broker.port

    def start(self) -> None:
        """Connect in the background."""
        self.client.connect_async(*self._address, keepalive=30)
        self.client.loop_start()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, now or after the next connection."""
        self.client.publish(topic, payload, qos=1)

    def stop(self) -> None:
        """Disconnect."""
        end(self.client)


class World:
    """Everything around the cache under test."""

    def __init__(self, settings: WorldSettings) -> None:
        self._settings = settings
        self._chance = random.Random(settings.seed)
        self._author = Author(settings.parsed_mix(), random.Random(settings.seed))
        self._ledger = Ledger()
        self._publishers = {
            name: WorldPublisher(name, url, str(settings.ca_file))
            for name, url in settings.global_brokers.items()
        }
        self._servers: dict[str, DataServer] = {}
        self._bridged: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run the world until `stop` is set."""
        await self._open_servers()
        for publisher in self._publishers.values():
            publisher.start()
        bridge = self._open_bridge()
        try:
            playing = asyncio.create_task(self._play())
            writing = asyncio.create_task(self._keep_ledger())
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait(
                {playing, writing, stopping}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in (playing, writing, stopping, *self._tasks):
                task.cancel()
            for task in done - {stopping}:
                task.result()
        finally:
            if bridge is not None:
                bridge.stop()
            for publisher in self._publishers.values():
                publisher.stop()
            for server in self._servers.values():
                await server.close()
            self._write_ledger()

    async def _open_servers(self) -> None:
        """Open the data servers on the ports of the last run, if possible: links stay valid."""
        path = self._settings.directory / "ports.json"
        ports: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            ports = json.loads(path.read_text(encoding="utf-8"))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._settings.tls_chain_file, self._settings.tls_key_file)
        places = [(centre.centre_id, centre.address, centre.is_https) for centre in CENTRES]
        places += [(name, address, False) for name, address in OTHER_CACHES.items()]
        for name, address, is_https in places:
            server = DataServer(address, ports.get(name, 0), tls=tls if is_https else None)
            try:
                await server.start()
            except OSError:
                server = DataServer(address, 0, tls=tls if is_https else None)
                await server.start()
            self._servers[name] = server
            ports[name] = server.port
        path.write_text(json.dumps(ports, indent=1), encoding="utf-8")

    def _open_bridge(self) -> WorldPublisher | None:
        """Bring the cache's announcements to the Global Brokers; real ones fetch them."""
        if not self._settings.cache_broker_url:
            return None
        bridge = WorldPublisher(
            "bridge", self._settings.cache_broker_url, str(self._settings.ca_file)
        )
        loop = asyncio.get_running_loop()
        client = bridge.client

        def subscribe(*_details: Any) -> None:
            client.subscribe([("cache/a/wis2/#", 1), ("monitor/a/wis2/#", 1)])

        def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping
                loop.call_soon_threadsafe(self._bridge, message.topic, bytes(message.payload))

        client.on_connect = subscribe
        client.on_message = on_message
        bridge.start()
        return bridge

    def _bridge(self, topic: str, payload: bytes) -> None:
        try:
            message_id = json.loads(payload)["id"]
        except (ValueError, KeyError, TypeError):
            say(f"the cache announced something that is not a notification on {topic}")
            return
        # A Global Broker passes on every id once.
        if message_id not in self._bridged:
            self._bridged[message_id] = None
            if len(self._bridged) > _BRIDGED_IDS:
                del self._bridged[next(iter(self._bridged))]
            for publisher in self._publishers.values():
                publisher.publish(topic, payload)
        if not topic.startswith("cache/"):
            return
        item = self._ledger.announce(
            topic,
            payload,
            centre_id=self._settings.centre_id,
            data_base_url=self._settings.data_base_url,
        )
        if item is not None and can_change(item):
            self._author.announced.append(item)
            del self._author.announced[:-_MAX_ANNOUNCED]

    async def _play(self) -> None:
        await self._wait_until_ready()
        say(f"publishing {self._settings.rate:g} items per second")
        next_at = time.monotonic()
        while True:
            if self._settings.items and self._ledger.published >= self._settings.items:
                say(f"published {self._ledger.published} items; silent from now on")
                await asyncio.Event().wait()
            factor = self._author.rate_factor(datetime.now(tz=UTC))
            next_at += self._chance.expovariate(self._settings.rate * factor)
            delay_s = next_at - time.monotonic()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            elif delay_s < -1:
                next_at = time.monotonic()  # the machine slept, or cannot keep the pace
            self._publish(self._author.next_item(datetime.now(tz=UTC)))

    async def _wait_until_ready(self) -> None:
        while self._settings.ready_url:
            if await asyncio.to_thread(_is_ready, self._settings.ready_url):
                return
            await asyncio.sleep(_READY_EVERY_S)

    def _publish(self, item: WorldItem) -> None:
        self._ledger.publish(item)
        brokers: defaultdict[str, list[str]] = defaultdict(list)
        for source, broker in publications(item, list(self._publishers), self._chance):
            brokers[source].append(broker)
        if ORIGIN in brokers:
            self._announce(item, ORIGIN, brokers.pop(ORIGIN))
        for source, names in brokers.items():
            task = asyncio.create_task(self._announce_later(item, source, names))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _announce_later(self, item: WorldItem, source: str, brokers: list[str]) -> None:
        await asyncio.sleep(self._chance.uniform(*_COPY_DELAY_S))
        self._announce(item, source, brokers)

    def _announce(self, item: WorldItem, source: str, brokers: list[str]) -> None:
        server = self._servers[item.centre.centre_id if source == ORIGIN else source]
        topic = item.topic if source == ORIGIN else cache_topic(item.topic)
        payload = notification(item, server.base_url, source=source)
        for broker in brokers:
            self._publishers[broker].publish(topic, payload)

    async def _keep_ledger(self) -> None:
        next_report = time.monotonic() + _REPORT_EVERY_S
        while True:
            self._write_ledger()
            if time.monotonic() > next_report:
                next_report += _REPORT_EVERY_S
                self._say_how_it_goes()
            await asyncio.sleep(_LEDGER_EVERY_S)

    def _say_how_it_goes(self) -> None:
        report = self._ledger.report()
        if self._settings.cache_broker_url:
            say(
                f"of {report['published']} items {report['expected']} must come out: "
                f"{report['announced']} did, {report['missing']} not yet, "
                f"{report['repeated']} repeated, {report['unexpected']} should not have"
            )

    def _write_ledger(self) -> None:
        path = self._settings.directory / "ledger.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self._ledger.report(), indent=1), encoding="utf-8")
        new.replace(path)


def _is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (OSError, ValueError):  # HTTPError is an OSError
        return False


async def _run(settings: WorldSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await World(settings).run(stop)


def main() -> int:
    """Run the world until SIGTERM; return the exit code."""
    try:
        settings = from_environment(os.environ)
    except (KeyError, ValueError, TypeError) as error:
        sys.stderr.write(f"local.world is started by local.run: {error!r}\n")
        return 2
    settings.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
