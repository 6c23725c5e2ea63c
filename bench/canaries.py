"""An innocent centre, in its own process: what it publishes, and when it comes out."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.parts.process import stop_with_parent
from testkit.messages.wnm import encoded, inline, unique_data_id, wnm
from testkit.worlds.world import GLOBAL_BROKER_ACCOUNT, Client, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

CENTRE = "ca-eccc-msc"
TOPIC = f"origin/a/wis2/{CENTRE}/data/core/weather/surface-based-observations/synop"
LINKED_BYTES = 10_000
INLINE_BYTES = 2_000
#: One of this many is inline.
INLINE_EVERY = 4
#: This many are not counted: they make connections and load code.
WARM_UP = 20


@dataclass(frozen=True)
class Places:
    """Where the parts are, for other processes; numbers are ports on 127.0.0.1."""

    global_brokers: Mapping[str, int]
    publisher: tuple[str, str]
    """Account on the Global Brokers."""
    cache_broker: int
    """Our broker for Global Brokers, with an account."""
    public_broker: int
    """Our broker for everyone."""
    metrics: int
    data: int
    """Our nginx."""
    origin: tuple[Path, str]
    """Folder and URL of the innocent centre's data server."""
    strangers: tuple[Path, str]
    """The same for a malicious data server; everything else there is 404."""


@dataclass
class Canary:
    """One item; times are in seconds of the monotonic clock."""

    phase: str
    digest: bytes
    published: float
    announced: float | None = None
    fetched: float | None = None
    is_right: bool = False
    """Whether we serve its bytes."""

    @property
    def delay_ms(self) -> float | None:
        """From its publication at a Global Broker to our announcement."""
        return None if self.announced is None else (self.announced - self.published) * 1000

    @property
    def fetch_ms(self) -> float | None:
        """From our announcement to its last byte."""
        if self.announced is None or self.fetched is None:
            return None
        return (self.fetched - self.announced) * 1000


class Flock:
    """Publishes canaries at a steady rate, waits for their announcements, and fetches each."""

    def __init__(self, places: Places, per_s: float) -> None:
        self._places, self._per_s = places, per_s
        self.phase = "warm-up"
        self.canaries: dict[str, Canary] = {}
        self._publishers = [
            Client(port, *places.publisher) for port in places.global_brokers.values()
        ]
        self._announced: queue.SimpleQueue[tuple[Canary, str]] = queue.SimpleQueue()
        self._subscriber = Client(
            places.cache_broker, GLOBAL_BROKER_ACCOUNT, GLOBAL_BROKER_ACCOUNT,
            f"cache/a/wis2/{CENTRE}/#",
            on_message=self._hear,
        )  # fmt: skip
        self._stopping = threading.Event()
        threading.Thread(target=self._fetch, daemon=True).start()
        self._sending = threading.Thread(target=self._send)
        self._sending.start()

    def finish(self, deadline_s: float) -> list[Canary]:
        """Stop sending, wait for late canaries, return all."""
        self._stopping.set()
        self._sending.join()
        canaries = list(self.canaries.values())
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(c.fetched for c in canaries), "all", timeout=deadline_s)
        for client in (*self._publishers, self._subscriber):
            client.close()
        return canaries

    def _send(self) -> None:
        due, number = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due += 1 / self._per_s
            number += 1
            self._publish(is_inline=number % INLINE_EVERY == 0)

    def _publish(self, *, is_inline: bool) -> None:
        data_id = unique_data_id("canary")
        data = os.urandom(INLINE_BYTES if is_inline else LINKED_BYTES)
        if is_inline:
            message = wnm(data_id=data_id, content=inline(data), length=len(data))
        else:
            folder, url = self._places.origin
            name = f"{data_id.rpartition('/')[2]}.bufr"
            (folder / name).write_bytes(data)
            message = wnm(data_id=data_id, href=f"{url}/{name}", length=len(data))
        payload = encoded(message)
        digest = hashlib.sha256(data).digest()
        self.canaries[data_id] = Canary(self.phase, digest, time.monotonic())
        for publisher in self._publishers:
            publisher.publish(TOPIC, payload)

    def _hear(self, message: object) -> None:
        now = time.monotonic()
        notification = json.loads(message.payload)  # type: ignore[attr-defined]
        canary = self.canaries.get(notification["properties"]["data_id"])
        if canary is not None and canary.announced is None:
            canary.announced = now
            self._announced.put((canary, notification["links"][0]["href"]))

    def _fetch(self) -> None:
        while True:
            canary, href = self._announced.get()
            canary.is_right = self._digest_of(href) == canary.digest
            canary.fetched = time.monotonic()

    def _digest_of(self, href: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._places.data, timeout=20)
        try:
            connection.request("GET", urlsplit(href).path)
            answer = connection.getresponse()
            return hashlib.sha256(answer.read()).digest() if answer.status == 200 else b""
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()


def keep(places: Places, per_s: float, orders: Connection) -> None:
    """Run a flock: each received text begins a phase; a number ends it within that many seconds.

    It sends back an empty text once the first canaries are out, and then a list of `Canary`.
    """
    stop_with_parent(signal.SIGTERM)
    flock = Flock(places, per_s)
    wait_until(
        lambda: sum(c.fetched is not None for c in list(flock.canaries.values())) >= WARM_UP,
        "the first canaries are out", timeout=60,
    )  # fmt: skip
    orders.send("")
    while isinstance(order := orders.recv(), str):
        flock.phase = order
    orders.send(flock.finish(order))
