"""The attacks of `make bench-attacks`, each a function that runs until it is told to stop.

They run in their own process, so that an attack's own work delays no canary. The bench prints the
docstring of an attack's function.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from bench.canaries import TOPIC as INNOCENT_TOPIC
from local.parts.ports import free_port
from local.parts.process import stop_with_parent
from testkit.messages import nasty_inputs
from testkit.messages.wnm import ABSENT, encoded, inline, unique_data_id, wnm
from testkit.servers.web_server import Received, Script, WebServer, trickle
from testkit.worlds.world import CENTRE_ID, Client

if TYPE_CHECKING:
    import multiprocessing.synchronize
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection

    from bench.canaries import Places

EVIL = "xx-evil"
#: Centres for attacks that need several.
CENTRES = tuple(f"{EVIL}-{number}" for number in range(4))
HOSTS = 64
#: In each of two managers, more than one centre's slots, and more than there are MiB of memory.
SLOW_SOURCES = 3 * HOSTS
LARGE_BYTES, LARGE_BYTES_PER_S = 20_000_000, 500_000
FLOOD = 10_000
FAILING_PER_S = 500
BOMBS = 1500
FILLING = 6400
NAMES = 190
SESSIONS = 3000
HALF_SENT = 1100
MADE_UP = 5000
HONEST_PER_S = 250
HONEST_CENTRES = 50
#: Levels of a topic, more than our broker accepts.
DEEP = 20
FAST_BYTES = 50_000_000
COUNTING = "from local.parts.process import stop_with_parent; stop_with_parent(9)\nwhile True: pass"
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def topic(centre_id: str = EVIL) -> str:
    return f"origin/a/wis2/{centre_id}/data/core/weather"


class Stranger:
    """The attacker, with the account of a member centre and the public one."""

    def __init__(self, places: Places, stop: multiprocessing.synchronize.Event) -> None:
        self.places, self.stop = places, stop

    @cached_property
    def _clients(self) -> list[Client]:
        ports = self.places.global_brokers.values()
        return [Client(port, *self.places.publisher) for port in ports]

    def publish(
        self, to: str, message: dict[str, Any] | bytes, *, everywhere: bool = False
    ) -> None:
        """Publish on one Global Broker, or on all, without waiting."""
        payload = message if isinstance(message, bytes) else encoded(message)
        for client in self._clients if everywhere else self._clients[:1]:
            client.publish(to, payload)

    def pace(self, per_s: float, count: int | None = None) -> Iterator[int]:
        """Yield `per_s` numbers a second until the stop, at most `count`."""
        due = time.monotonic()
        for number in itertools.count() if count is None else range(count):
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            yield number
            due += 1 / per_s


# Data servers


async def _served(stranger: Stranger, script: Script, count: int, length: object = ABSENT) -> int:
    """Announce `count` items at `HOSTS` hosts; return how many downloads are open at the end."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(WebServer(host=f"127.7.0.{number + 1}"))
            for number in range(HOSTS)
        ]
        for number in range(count):
            href = servers[number % HOSTS].serve(f"/{number}", script=script)
            stranger.publish(
                topic(CENTRES[number % len(CENTRES)]),
                wnm(data_id=unique_data_id("evil"), href=href, length=length),
            )
        most = 0
        while not stranger.stop.is_set():
            await asyncio.sleep(0.2)
            most = max(most, sum(server.open_connections for server in servers))
        return most


def slow_sources(stranger: Stranger) -> str:
    """64 servers that send 600 bytes a second."""
    script = trickle(HEAD, piece=b"s" * 600, interval_s=1.0)
    most = asyncio.run(_served(stranger, script, SLOW_SOURCES))
    return f"{most} downloads at once"


def large_files(stranger: Stranger) -> str:
    """64 honest files of 20 MB at once, 500 kB a second each."""
    piece = b"l" * (LARGE_BYTES_PER_S // 10)

    async def script(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES))
        for _ in range(LARGE_BYTES // len(piece)):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.1)

    most = asyncio.run(_served(stranger, script, HOSTS, LARGE_BYTES))
    return f"{most} downloads at once"


def slow_parts(stranger: Stranger) -> str:
    """16 slow downloads of parts for S3, beside an object of 50 MB from a fast server."""
    folder, url = stranger.places.strangers
    with (folder / "fast.grib2").open("wb") as fast:
        fast.truncate(FAST_BYTES)
    data_id = unique_data_id("fast")
    announced: list[float] = []
    heard = partial(_note, announced, data_id.encode())
    subscriber = Client(
        stranger.places.public_broker, "everyone", "everyone", "cache/a/wis2/#", on_message=heard
    )
    script = trickle(HEAD + b"p" * 2_500_000, piece=b"s" * 20_000, interval_s=1.0)
    slow = threading.Thread(target=lambda: asyncio.run(_served(stranger, script, 16)))
    slow.start()
    stranger.stop.wait(5)
    began = time.monotonic()
    message = wnm(data_id=data_id, href=f"{url}/fast.grib2", length=FAST_BYTES)
    stranger.publish(INNOCENT_TOPIC, message)
    while not stranger.stop.wait(0.2) and not announced:
        pass
    slow.join()
    subscriber.close()
    return f"50 MB announced after {announced[0] - began:.1f} s" if announced else "50 MB: not yet"


def _note(times: list[float], text: bytes, message: Any) -> None:
    if text in message.payload:
        times.append(time.monotonic())


# Links


def costly_links(stranger: Stranger) -> str:
    """10 links a second that are costly to read, such as U+FDFA 2400 times as host."""
    payloads = []
    for href in nasty_inputs.links().values():
        message = wnm(data_id=unique_data_id("evil"), href=href)
        payloads.append(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    payloads = [payload for payload in payloads if len(payload) <= 8192]
    sent = 0
    for number in stranger.pace(10):
        stranger.publish(topic(), payloads[number % len(payloads)])
        sent += 1
    return f"{sent} links"


def silent_names(stranger: Stranger) -> str:
    """190 names in flight whose name servers say nothing."""
    number = 0
    while True:
        for _ in range(NAMES):
            host = f"www.{uuid.uuid4().hex[:12]}.test"
            message = wnm(data_id=unique_data_id("evil"), href=f"http://{host}/{number}")
            stranger.publish(topic(CENTRES[number % len(CENTRES)]), message)
            number += 1
        # The time for which the system's resolver tries.
        if stranger.stop.wait(10):
            return f"{number} names"


def _failing(stranger: Stranger, href_of: Callable[[int], str]) -> str:
    sent = 0
    for number in stranger.pace(FAILING_PER_S):
        stranger.publish(topic(), wnm(data_id=unique_data_id("evil"), href=href_of(number)))
        sent += 1
    return f"{sent} notifications"


def dead_host(stranger: Stranger) -> str:
    """500 a second of a host where nobody listens."""
    port = free_port("127.8.0.1")
    return _failing(stranger, lambda number: f"http://127.8.0.1:{port}/{number}")


def not_found(stranger: Stranger) -> str:
    """500 a second of a host that answers 404."""
    return _failing(stranger, lambda number: f"{stranger.places.strangers[1]}/{number}.bufr")


def dead_hosts(stranger: Stranger) -> str:
    """500 a second, each of another host where nobody listens."""
    port = free_port("127.8.0.1")
    return _failing(
        stranger,
        lambda number: f"http://127.9.{number // 250 % 250}.{number % 250 + 1}:{port}/{number}",
    )


# Floods


def flood(stranger: Stranger) -> str:
    """10,000 notifications of one centre at once, over both Global Brokers."""
    return _at_once(stranger, lambda _: topic())


def _at_once(stranger: Stranger, topic_of: Callable[[int], str]) -> str:
    payloads = [
        encoded(wnm(data_id=unique_data_id("evil"), content=inline(random.randbytes(500))))
        for _ in range(FLOOD)
    ]
    began = time.monotonic()
    for number, payload in enumerate(payloads):
        stranger.publish(topic_of(number), payload, everywhere=True)
    took_s = time.monotonic() - began
    stranger.stop.wait()
    return f"sent within {took_s:.1f} s"


def bombs(stranger: Stranger) -> str:
    """1500 gzip bombs of 4 kB: half become 3 MB, half 256 KiB."""
    contents = [inline(bytes(size), encoding="gzip") for size in (2_900_000, 256 * 1024)]
    assert max(len(content["value"]) for content in contents) <= 4096
    for number in stranger.pace(100, BOMBS):
        stranger.publish(topic(), wnm(data_id=unique_data_id("evil"), content=contents[number % 2]))
    stranger.stop.wait()
    return ""


def pubtimes(stranger: Stranger) -> str:
    """One data_id, 100 updates a second of it."""
    data_id, began, sent = unique_data_id("evil"), datetime.now(UTC) - timedelta(hours=1), 0
    for number in stranger.pace(100):
        pubtime = (began + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
        content = inline(b"%d" % number)
        message = wnm(data_id=data_id, rel="update", pubtime=pubtime, content=content)
        stranger.publish(topic(), message)
        sent += 1
    return f"{sent} pubtimes"


def full_redis(stranger: Stranger) -> str:
    """Redis of 64 MB, 6400 messages of 8 kB of one centre, whose host is dead."""
    port = free_port("127.8.0.1")
    for number in range(FILLING):
        href = f"http://127.8.0.1:{port}/{number}"
        message = wnm(data_id=unique_data_id("evil"), href=href, padding="x" * 7300)
        stranger.publish(topic(), message)
    stranger.stop.wait()
    return ""


def made_up_centres(stranger: Stranger) -> str:
    """5000 centre-ids that nobody has, one item each."""
    for number in stranger.pace(250, MADE_UP):
        message = wnm(data_id=unique_data_id("evil"), content=inline(b"made up"))
        stranger.publish(topic(f"zz-made-up-{number}"), message)
    stranger.stop.wait()
    return ""


def refused_by_our_broker(stranger: Stranger) -> str:
    """10 a second on topics at which our broker ends the session."""
    sent = 0
    deep = topic() + "/x" * (DEEP - topic().count("/") - 1)
    for _ in stranger.pace(10):
        message = wnm(data_id=unique_data_id("evil"), content=inline(b"deep"))
        stranger.publish(deep, message)
        sent += 1
    return f"{sent} refused"


# Connections


def _text(text: str) -> bytes:
    return len(text).to_bytes(2) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128 * 128
    length = bytes([len(body) % 128 | 128, len(body) // 128])
    return bytes([kind]) + length + body


def _connect(port: int, client_id: str, *, is_clean: bool) -> socket.socket:
    """Connect with the public account, by MQTT 5, with a session that never expires."""
    flags = 0xC0 | (0x02 if is_clean else 0)
    expiry = b"\x05\x11\xff\xff\xff\xff"
    client = socket.create_connection(("127.0.0.1", port), 10)
    account = _text("everyone") * 2
    body = _text("MQTT") + bytes([5, flags]) + b"\0\x3c" + expiry + _text(client_id) + account
    client.sendall(_packet(0x10, body))
    client.recv(64)
    return client


def stolen_sessions(stranger: Stranger) -> str:
    """20 connections a second of everyone under the names of our sessions."""
    suffixes = ("", "-a", "-b", "-manager-1", "-manager-2", "-" + "0" * 16)
    names = [f"{stem}{end}" for stem in (CENTRE_ID, "wis2-gc-manager") for end in suffixes]
    places = stranger.places
    ports = (*places.global_brokers.values(), places.cache_broker, places.public_broker)
    held: list[socket.socket] = []
    tried = 0
    for number in stranger.pace(20):
        with contextlib.suppress(OSError):
            held.append(
                _connect(ports[number % len(ports)], names[number % len(names)], is_clean=True)
            )
        tried += 1
        if len(held) > 100:
            held.pop(0).close()
    return f"{tried} connections"


def abandoned_sessions(stranger: Stranger) -> str:
    """3000 sessions of everyone on our broker, left behind within 6 s."""
    left, refused = 0, 0
    for _ in stranger.pace(SESSIONS / 6, SESSIONS):
        try:
            name = f"left-{uuid.uuid4()}"
            with _connect(stranger.places.public_broker, name, is_clean=False) as client:
                client.sendall(_packet(0x82, b"\0\1\0" + _text("cache/a/wis2/#") + b"\1"))
                left += len(client.recv(64)) > 4
        except OSError:
            refused += 1
    stranger.stop.wait()
    return f"{left} sessions left, {refused} refused"


def half_sent_requests(stranger: Stranger) -> str:
    """1100 half-sent requests each at the metrics service and at nginx, all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * HALF_SENT), hard), hard))
    ports = (stranger.places.metrics, stranger.places.data)
    held: dict[int, list[socket.socket]] = {port: [] for port in ports}
    opened = 0
    while True:
        for port, clients in held.items():
            for client in [client for client in clients if _is_closed(client)]:
                client.close()
                clients.remove(client)
            for _ in range(min(100, HALF_SENT - len(clients))):
                with contextlib.suppress(OSError):
                    client = socket.create_connection(("127.0.0.1", port), 1)
                    client.setblocking(False)
                    clients.append(client)
                    client.send(b"GET /data/x HTTP/1.1\r\nHost: ")
                    opened += 1
        if stranger.stop.wait(0.1):
            return f"{opened} connections opened"


def _is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1024, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# Controls: no attack; they show how the machine alone changes the delays.


def busy_cores(stranger: Stranger) -> str:
    """No attack, two processes for each core that only count."""
    command = (sys.executable, "-c", COUNTING)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * (os.cpu_count() or 1)):
            counter = stack.enter_context(subprocess.Popen(command))
            stack.callback(counter.kill)
        stranger.stop.wait()
    return ""


def honest_items(stranger: Stranger) -> str:
    """No attack, 250 honest items a second of 50 centres."""
    sent = 0
    for number in stranger.pace(HONEST_PER_S):
        message = wnm(data_id=unique_data_id("honest"), content=inline(b"%d" % number))
        stranger.publish(_honest(number), message)
        sent += 1
    return f"{sent} items"


def honest_flood(stranger: Stranger) -> str:
    """No attack, as many notifications at once as the flood has, of 50 centres."""
    return _at_once(stranger, _honest)


def honest_links(stranger: Stranger) -> str:
    """No attack, as many links a second as those that fail, to a file that is there."""
    folder, url = stranger.places.strangers
    (folder / "honest.bufr").write_bytes(b"honest")
    sent = 0
    for number in stranger.pace(FAILING_PER_S):
        message = wnm(data_id=unique_data_id("honest"), href=f"{url}/honest.bufr?{number}")
        stranger.publish(_honest(number), message)
        sent += 1
    return f"{sent} links"


def _honest(number: int) -> str:
    return topic(f"xx-honest-{number % HONEST_CENTRES}")


@dataclass(frozen=True)
class Attack:
    """One attack, and the world that it requires."""

    run: Callable[[Stranger], str]
    settings: Mapping[str, str] = field(default_factory=dict)
    redis_memory: str = "1gb"
    broker_levels: int | None = None
    """How many topic levels our broker accepts, if fewer than mosquitto's limit."""
    by_name: bool = False
    """Canaries' links use a host name, and our own server answers look-ups."""
    store: str = ""
    """The only store that it applies to."""
    at_least_s: float = 0.0
    """Seconds until its effect can be seen."""

    @property
    def meaning(self) -> str:
        return (self.run.__doc__ or "").rstrip(".")


ATTACKS: Mapping[str, Attack] = {
    "slow sources": Attack(slow_sources),
    "large files": Attack(large_files),
    "costly links": Attack(costly_links),
    # An answer of the canaries' name server expires after 60 s.
    "dns": Attack(silent_names, by_name=True, at_least_s=90),
    "refused by our broker": Attack(refused_by_our_broker, broker_levels=DEEP - 4),
    "flood": Attack(flood),
    "failing: dead host": Attack(dead_host),
    "failing: 404": Attack(not_found),
    "failing: many hosts": Attack(dead_hosts),
    "gzip bombs": Attack(bombs),
    "pubtimes": Attack(pubtimes),
    "redis full": Attack(full_redis, redis_memory="64mb"),
    "session theft": Attack(stolen_sessions),
    "abandoned sessions": Attack(abandoned_sessions),
    "half-sent requests": Attack(half_sent_requests),
    "made-up centres": Attack(made_up_centres),
    "s3 parts": Attack(slow_parts, store="s3"),
    "control: busy cores": Attack(busy_cores),
    "control: honest items": Attack(honest_items),
    "control: honest flood": Attack(honest_flood),
    "control: honest links": Attack(honest_links),
}


def attack(
    name: str, places: Places, stop: multiprocessing.synchronize.Event, orders: Connection
) -> None:
    """Run one attack, from the first order until `stop`.

    It sends back an empty text once it can begin, and then (whether it could run, its report).
    """
    stop_with_parent(signal.SIGTERM)
    orders.send("")
    orders.recv()
    try:
        orders.send((True, ATTACKS[name].run(Stranger(places, stop))))
    except Exception:  # noqa: BLE001 - the report says it
        orders.send((False, traceback.format_exc()))
