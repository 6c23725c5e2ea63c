"""The WIS2 world of one cache, in a pod: publishes items, serves their data, counts announcements.

Runs in an image of the project (it needs Python and paho-mqtt), beside `wnm.py` of the test kit.
Each item goes to the Global Brokers at one rate; every fourth one to a single broker each, so that
one listener alone must bring it. What the cache announces is passed on to the Global Brokers, each
message id once, as they do. Orders and reports by HTTP:

  POST /rate/8      publish 8 items a second from now on; 0: none
  GET  /report      what was published, announced, doubled (JSON)
  GET  /verify      fetch what the announcements link to, and compare every byte
  GET  /data/7      what item 7 links to

Environment: BROKERS (JSON, name to URL of a Global Broker), CACHE_BROKERS (JSON, a list of URLs,
one for each pod of our broker: what one of them passes on is announced), CA_FILE, HREF (this
server's address in links), CENTRE_ID (the cache's).
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import ssl
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import wnm  # type: ignore[import-not-found]  # beside this file in its pod alone
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CENTRES = ("zz-one", "zz-two", "zz-three", "zz-four")
TOPICS = ("cache/a/wis2/#", "monitor/a/wis2/#")
_SESSION_S = 3600


def data_of(number: int) -> bytes:
    """Return the data of an item: 1 to 4 kB, never the same."""
    return hashlib.sha256(str(number).encode()).digest() * (32 + number % 96)


class Reader(mqtt.Client):
    """Reads all that its broker has sent before it sends: a write that fails drops the rest."""

    def loop_write(self) -> MQTTErrorCode:
        while isinstance(connection := self.socket(), ssl.SSLSocket) and (
            connection.pending() or select.select([connection], [], [], 0)[0]
        ):
            if code := self.loop_read():
                return code
        return super().loop_write()


class World:
    """The world; see the module's docstring."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._href = environment["HREF"]
        self._centre_id = environment["CENTRE_ID"]
        self._lock = threading.Lock()
        self._rate = 0.0
        self._published = 0
        self._ids: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._links: dict[int, str] = {}
        self._passed_on: set[str] = set()
        self._unknown: list[str] = []
        self._without_session: list[str] = []
        self._brokers = {
            name: _client(url, f"world-{name}", None)
            for name, url in json.loads(environment["BROKERS"]).items()
        }
        context = ssl.create_default_context(cafile=environment["CA_FILE"])
        self._readers = [
            self._reader(url, index, context)
            for index, url in enumerate(json.loads(environment["CACHE_BROKERS"]))
        ]

    def _reader(self, url: str, index: int, context: ssl.SSLContext) -> mqtt.Client:
        client = _client(url, f"world-reader-{index}", context, Reader)
        had_session = False

        def on_connect(client: mqtt.Client, _data: Any, flags: Any, *_more: Any) -> None:
            nonlocal had_session
            if had_session and not flags.session_present:
                # What was announced since the connection broke, this reader never gets.
                self._without_session.append(_now())
            client.subscribe([(topic, 1) for topic in TOPICS])

        def on_subscribe(*_details: Any) -> None:
            nonlocal had_session
            had_session = True

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = lambda _client, _data, message: self._see(message)
        return client

    def start(self) -> None:
        """Connect, and go on connecting; publish at the rate that is asked for."""
        for client in (*self._brokers.values(), *self._readers):
            client.loop_start()
        threading.Thread(target=self._publish, daemon=True).start()

    def set_rate(self, per_second: float) -> None:
        self._rate = per_second

    def _publish(self) -> None:
        while True:
            if not self._rate:
                time.sleep(0.1)
                continue
            self._publish_one(self._published)
            self._published += 1
            time.sleep(1 / self._rate)

    def _publish_one(self, number: int) -> None:
        data = data_of(number)
        centre = CENTRES[number % len(CENTRES)]
        message = wnm.wnm(
            data_id=f"{centre}/{number}",
            href=f"{self._href}/data/{number}",
            length=len(data),
            integrity=wnm.integrity_of(data),
        )
        names = sorted(self._brokers)[:2]  # what comes and goes during the test only adds copies
        only = names[number // 4 % 2] if number % 4 == 0 else None
        for name, client in self._brokers.items():
            if only in (None, name):
                topic = f"origin/a/wis2/{centre}/data/core/weather/synop"
                client.publish(topic, wnm.encoded(message), qos=1)

    def _see(self, message: mqtt.MQTTMessage) -> None:
        announced = json.loads(message.payload)
        message_id = announced["id"]
        with self._lock:
            if message_id not in self._passed_on:
                self._passed_on.add(message_id)
                for client in self._brokers.values():
                    client.publish(message.topic, message.payload, qos=1)
            if not message.topic.startswith("cache/"):
                return
            properties = announced["properties"]
            centre, _, number = properties["data_id"].partition("/")
            if properties.get("global-cache") != self._centre_id or centre not in CENTRES:
                self._unknown.append(properties["data_id"])
                return
            self._ids[int(number)][message_id] += 1
            self._links[int(number)] = announced["links"][0]["href"]

    def report(self) -> dict[str, Any]:
        with self._lock:
            return {
                "published": self._published,
                "announced": len(self._ids),
                "missing": [n for n in range(self._published) if n not in self._ids],
                # An item has one announcement: a second id is a second one.
                "doubled": [number for number, ids in self._ids.items() if len(ids) > 1],
                # The same id again is the same announcement (wis2-rules.md 24).
                "repeated": sum(
                    max(times - len(self._readers), 0)
                    for ids in self._ids.values()
                    for times in ids.values()
                ),
                "unknown": self._unknown,
                "without_session": self._without_session,
                "readers": sum(client.is_connected() for client in self._readers),
                "brokers": {name: c.is_connected() for name, c in self._brokers.items()},
            }

    def verify(self) -> dict[str, Any]:
        with self._lock:
            links = dict(self._links)

        def problem(item: tuple[int, str]) -> str | None:
            number, link = item
            try:
                with urllib.request.urlopen(link, timeout=20) as response:
                    return None if response.read() == data_of(number) else f"{link}: other bytes"
            except OSError as error:
                return f"{link}: {error}"

        with ThreadPoolExecutor(8) as pool:
            problems = [found for found in pool.map(problem, links.items()) if found]
        return {"fetched": len(links), "problems": problems}


def _client(
    url: str, client_id: str, context: ssl.SSLContext | None, kind: type[mqtt.Client] = mqtt.Client
) -> mqtt.Client:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    client = kind(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
    client.username_pw_set(parts.username, parts.password)
    if context is not None:
        client.tls_set_context(context)
    client.max_inflight_messages_set(500)
    client.max_queued_messages_set(0)
    # At once, and often: what our own broker passes on before we are back, nobody sees.
    client.reconnect_delay_set(1, 1)
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = _SESSION_S
    client.connect_async(
        parts.hostname, parts.port, keepalive=20, clean_start=False, properties=session
    )
    return client


def _now() -> str:
    return time.strftime("%FT%TZ", time.gmtime())


def handler(world: World) -> type[BaseHTTPRequestHandler]:
    """Return what answers HTTP for this world."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            kind, _, rest = self.path.lstrip("/").partition("/")
            if kind == "data":
                self._answer(data_of(int(rest)), "application/octet-stream")
            elif kind in ("report", "verify"):
                self._answer(json.dumps(getattr(world, kind)()).encode())
            else:
                self._answer(b"{}", status=200 if kind == "healthz" else 404)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            world.set_rate(float(self.path.rpartition("/")[2]))
            self._answer(b"{}")

        def log_message(self, *_arguments: Any) -> None:
            pass

    return Handler


def main() -> None:
    world = World(dict(os.environ))
    world.start()
    ThreadingHTTPServer(("", 8080), handler(world)).serve_forever()


if __name__ == "__main__":
    main()
