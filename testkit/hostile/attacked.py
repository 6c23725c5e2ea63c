"""A world under attack: canaries beside each kind of input, and what must hold after it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from testkit.hostile.catalogue import URL_KEY, Message, Place
from testkit.hostile.inner_network import InnerNetwork
from testkit.hostile.servers import HostileServers
from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.servers.nodes import Node
from testkit.servers.scripted_broker import (
    CONNACK_V5,
    CONNECT,
    PINGREQ,
    PINGRESP,
    SUBACK_V5,
    SUBSCRIBE,
    ScriptedBroker,
    scripted_broker,
)
from testkit.worlds.world import (
    CENTRE_ID,
    DEPLOYMENT_SECRET,
    GLOBAL_BROKER_ACCOUNT,
    Announcement,
    Client,
    Process,
    World,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import paho.mqtt.client as mqtt

    from testkit.hostile.catalogue import Delivery

CANARY_CENTRE = "ca-eccc-msc"
CANARY_TOPIC = f"origin/a/wis2/{CANARY_CENTRE}/data/core/weather/synop"
BROKER_PASSWORD = "managers-own-6b1f"
REDIS_PASSWORD = "redis-own-c04e"
#: Measured: a manager has about 100 MB after its start, 64 MiB of bodies and 32 MiB of parts may be
#: in flight; the others keep next to nothing.
MAX_RSS_MB = {"manager": 320, "listener": 160, "metrics": 200}
#: Never in a log: errors nobody foresaw.
_UNFORESEEN = re.compile(
    "Traceback|_unexpectedly|triage_failed|forwarder_crashed|report_refused|look_failed"
    "|message_buried|item_refused_by_part|item_left_to_its_visibility"
)
_SECRETS = (URL_KEY, DEPLOYMENT_SECRET, BROKER_PASSWORD, REDIS_PASSWORD)
#: What our own announcements are counted as when they come back.
_NOT_THEIRS = frozenset({"", "own"})

SETTINGS = {
    # So that the canaries do not meet them on a busy machine.
    "GC_CONNECT_TIMEOUT": "3",
    "GC_IDLE_TIMEOUT": "3",
    "GC_DOWNLOAD_TIMEOUT": "10",
    "GC_VISIBILITY_TIMEOUT": "10",
    "GC_QUICK_RETRY_DELAY": "0",
    "GC_RETRY_DELAYS": "0.2",
    # Each hostile server has a port of its own; the canaries share one.
    "GC_CONCURRENCY_PER_HOST": "64",
}
OPTIONS: dict[str, Any] = {
    "broker_password": BROKER_PASSWORD, "redis_password": REDIS_PASSWORD, **SETTINGS,
}  # fmt: skip


@dataclass
class Seen:
    """The counters as they were."""

    dropped: Counter[str] = field(default_factory=Counter)
    """By the listener of one broker, by reason."""
    items_dropped: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    dead: float = 0

    def __sub__(self, earlier: Seen) -> Seen:
        return Seen(
            self.dropped - earlier.dropped,
            self.items_dropped - earlier.items_dropped,
            self.failures - earlier.failures,
            self.dead - earlier.dead,
        )


class Attacked:
    """The world, the good node, the hostile servers and the inner network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.servers = HostileServers()
        self.inner = InnerNetwork()
        self.good = Node()
        self.bad_broker: ScriptedBroker | None = None
        self.canaries = 0
        self._published: list[Announcement] = []
        self._ids: set[str] = set()
        """Of all that our broker has ever passed on to us."""
        self._innocent: set[str] = set()
        """Ids of what was announced of canaries and sentinels."""
        self._subscribers: list[Client] = []
        self.watch(world.cache_broker.port, GLOBAL_BROKER_ACCOUNT)
        self._packet_ids = itertools.count(1)
        self._pids = self._processes()
        self._read_to = dict.fromkeys(self._logs(), 0)

    def close(self) -> None:
        for subscriber in self._subscribers:
            subscriber.close()
        self.servers.close()
        self.inner.close()
        self.good.close()

    def watch(self, port: int, account: str) -> None:
        """Keep what a subscriber of this broker of ours gets, too."""
        filters = ("cache/a/wis2/#", "monitor/a/wis2/#")
        self._subscribers.append(Client(port, account, account, *filters, on_message=self._keep))

    def _keep(self, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        self._published.append(
            Announcement(message.topic, payload, message.qos, message.retain, 0.0)
        )
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._ids.add(json.loads(payload)["id"])

    def place(self, kind: str, number: int) -> Place:
        return Place(kind, number, self.servers, self.inner.port)

    @property
    def attacks_from(self) -> str:
        """The Global Broker."""
        return "a" if self.bad_broker is None else "bad"

    @contextlib.contextmanager
    def a_bad_broker(self) -> Iterator[None]:
        """Have one more Global Broker, which writes what it likes, and a listener there."""
        answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5, PINGREQ: PINGRESP}
        with scripted_broker(answers) as broker:
            environment = {
                **self.world.environment,
                "GC_GLOBAL_BROKER_URL": broker.url,
                "GC_GLOBAL_BROKER_NAME": "bad",
            }
            log = self.world.directory / "listener-bad.log"
            listener = Process("wis2-gc-listener", environment, log)
            try:
                wait_until(lambda: broker.subscribes, "its listener subscribes")
                self.bad_broker = broker
                yield
                assert broker.connections == 1
                assert not _UNFORESEEN.search(listener.log), _lines_with(listener.log, _UNFORESEEN)
            finally:
                self.bad_broker = None
                listener.stop()

    # Canaries

    def canary(self) -> Callable[[], None]:
        """Publish another centre's items; return what checks that they are announced."""
        self.canaries += 2
        data_id, other = unique_data_id("canary"), unique_data_id("canary")
        data = data_id.encode() * 4000
        href = self.good.serve(f"/{data_id}", data)
        self.world.publish(
            CANARY_TOPIC, wnm(data_id=data_id, href=href, integrity=integrity_of(data))
        )
        self.world.publish(CANARY_TOPIC, wnm(data_id=other, content=inline(other.encode())))

        def check() -> None:
            for name, right in ((data_id, data), (other, other.encode())):
                announced = self.world.announced(name)
                assert self.world.get(announced.link()["href"])[2] == right
                assert len({each.message["id"] for each in self.world.announcements(name)}) == 1
                self._innocent.add(announced.message["id"])

        return check

    def object_path(self, data: bytes) -> str:
        """Have an object stored; return its path below the public URL of all."""
        self.canaries += 1
        data_id = unique_data_id("canary")
        self.world.publish(CANARY_TOPIC, wnm(data_id=data_id, content=inline(data)))
        announced = self.world.announced(data_id)
        self._innocent.add(announced.message["id"])
        href = str(announced.link()["href"])
        return href.removeprefix(f"{self.world.data_base_url}/")

    # What is seen

    @property
    def published(self) -> int:
        """How many notifications, each counted once, our broker has passed on."""
        return len({
            json.loads(each.payload)["id"]
            for each in list(self._published) if each.topic.startswith("cache/")
        })  # fmt: skip

    def settle(self, *, including_delayed: bool = False) -> None:
        """Wait until all is decided, and what is known to be announced has been read here, too."""
        self._innocent |= self.world.settle(including_delayed=including_delayed)
        wait_until(lambda: self._innocent <= self._ids, "we have heard all of it")

    def seen(self, broker: str = "a") -> Seen:
        seen = Seen()
        for (name, labels), value in self.world.metrics().items():
            found = dict(labels)
            reason = found.get("reason", "")
            number = int(value)
            if name == "wis2_gc_notifications_dropped_total" and found["broker"] == broker:
                if reason not in _NOT_THEIRS:
                    seen.dropped[reason] = number
            elif name == "wis2_gc_items_dropped_total" and reason != "duplicate":
                # A queue may deliver a message twice.
                seen.items_dropped[reason] = number
            elif name == "wis2_gc_source_failures_total":
                seen.failures[reason] = number
            elif name == "wis2_gc_dead_letters_total":
                seen.dead += value
        return seen

    def attack(self, inputs: Iterable[Message | Delivery], centre: str) -> None:
        """Send all of one kind, with canaries before, between and after; check all that holds."""
        inputs = list(inputs)
        before = self.seen(self.attacks_from)
        self._published.clear()
        checks = [self.canary()]
        for number, one in enumerate(inputs):
            if one.after and not inputs[number - 1].after:
                self.settle()
            self._send(one)
            if number == len(inputs) // 2:
                checks.append(self.canary())
        checks.append(self.canary())
        for check in checks:
            check()
        self.settle(including_delayed=True)
        self._check_counters(inputs, before, centre)
        self._check_announcements(inputs)
        self.check_health()

    def _theirs(self) -> int:
        """Return how many notifications besides those of canaries our broker has passed on."""
        return len({
            json.loads(each.payload)["id"]
            for each in list(self._published)
            if each.topic.startswith("cache/") and not _is_innocent(each.topic)
        })  # fmt: skip

    def _send(self, one: Message | Delivery) -> None:
        if isinstance(one, Message):
            self.world.publish(one.topic, one.payload)
        else:
            assert self.bad_broker is not None
            self.bad_broker.say(one.packet(next(self._packet_ids)))

    def _check_counters(self, inputs: list[Message | Delivery], before: Seen, centre: str) -> None:
        dropped = Counter(
            one.outcome.listener for one in inputs if one.outcome.listener not in _NOT_THEIRS
        )
        items_dropped = Counter(one.outcome.manager for one in inputs if one.outcome.manager)
        expected: dict[str, Counter[str]] = {}
        for one in inputs:
            levels = one.topic.split("/")
            if one.outcome.counters and len(levels) > 3:
                expected.setdefault(levels[3], Counter()).update(one.outcome.counters)
        expected.setdefault(centre, Counter())
        failing = [one for one in inputs if one.outcome.failures]

        def agree() -> bool:
            seen = self.seen(self.attacks_from) - before
            return (
                seen.dropped == dropped
                and seen.items_dropped == items_dropped
                and all(self.world.counters(name) == dict(wmo) for name, wmo in expected.items())
            )

        try:
            wait_until(agree, "the counters are exact")
        except AssertionError:
            seen = self.seen(self.attacks_from) - before
            raise AssertionError(
                f"dropped: {seen.dropped} for {dropped}\n"
                f"by managers: {seen.items_dropped} for {items_dropped}\n"
                f"failures: {seen.failures}\n"
                + "\n".join(
                    f"{name}: {self.world.counters(name)} for {dict(wmo)}"
                    for name, wmo in expected.items()
                )
                + self._unannounced(inputs)
            ) from None
        seen = self.seen(self.attacks_from) - before
        allowed = frozenset().union(*(one.outcome.failures for one in failing))
        assert set(seen.failures) <= allowed, seen.failures
        assert seen.failures.total() >= len(failing), seen.failures
        assert seen.dead == 0

    def _unannounced(self, inputs: list[Message | Delivery]) -> str:
        wrong = [
            f"\n{one.name[:60]!r}: announced {len(self.world.announcements(one.data_id))} times"
            for one in inputs
            if one.data_id
            and bool(self.world.announcements(one.data_id))
            is (one.outcome.data is None and not one.outcome.untouched)
        ]
        return "".join(wrong)

    def _check_announcements(self, inputs: list[Message | Delivery]) -> None:
        """Exactly what is expected is announced, as valid notifications, with the right bytes."""
        expected: Counter[tuple[str, str]] = Counter()
        outcomes: dict[tuple[str, str], list[Message | Delivery]] = {}
        for one in inputs:
            if one.outcome.data is not None or one.outcome.untouched:
                key = ("cache/" + one.topic.split("/", 1)[1], one.data_id)
                expected[key] += 1
                outcomes.setdefault(key, []).append(one)
        with contextlib.suppress(AssertionError):  # what is missing is told below
            wait_until(lambda: self._theirs() >= expected.total(), "all expected is announced")
        theirs = Counter[tuple[str, str]]()
        ids = set()
        for announcement in list(self._published):
            assert len(announcement.payload) <= 8192
            message = _strictly(announcement.payload)
            if announcement.topic.startswith("monitor/"):
                continue
            assert announcement.topic.startswith("cache/a/wis2/")
            assert not announcement.retain
            properties = message["properties"]
            assert properties["global-cache"] == CENTRE_ID
            uuid.UUID(message["id"])
            if _is_innocent(announcement.topic):
                continue
            if message["id"] in ids:
                continue  # Global Brokers pass each id on once (wis2-rules.md 24)
            ids.add(message["id"])
            key = (announcement.topic, properties["data_id"])
            theirs[key] += 1
            assert outcomes.get(key), f"announced, and not expected: {key}"
            one = outcomes[key].pop(0)
            if one.outcome.data is not None:
                self._check_copy(one, message)
        assert theirs == expected

    def _check_copy(self, one: Message | Delivery, message: dict[str, Any]) -> None:
        links = [
            link for link in message["links"]
            if link["rel"] in ("canonical", "update") or link["rel"].endswith("/update")
        ]  # fmt: skip
        for link in links[:1]:
            assert link["href"].startswith(f"{self.world.data_base_url}/"), one.name
            assert not {".", ".."}.intersection(link["href"].split("/")), one.name
            status, headers, body = self.world.get(link["href"])
            assert status == 200, one.name
            assert body == one.outcome.data, one.name
            assert "html" not in headers.get("content-type", "")
            assert headers["x-content-type-options"] == "nosniff"
        assert len({link["href"] for link in links}) == 1

    # What must hold always

    def _logs(self) -> dict[str, str]:
        return {name: process.log for name, process in self.world.processes.items()}

    def _processes(self) -> dict[str, int]:
        world = self.world
        servers = [world.redis, world.nginx, world.cache_broker, *world.brokers.values()]
        servers += [vars(world)[name] for name in ("sqs", "s3") if name in vars(world)]
        return {name: process.pid for name, process in world.processes.items()} | {
            f"{part.name} {number}": part.pid for number, part in enumerate(servers)
        }

    def check_health(self) -> None:
        """Nothing has died or grown, no secret is told, nobody was inside."""
        assert self.inner.visitors == []
        assert self._processes() == self._pids
        for name, process in self.world.processes.items():
            assert process.is_alive, name
            kind = name.partition("-")[0]
            rss_mb = psutil.Process(process.pid).memory_info().rss / 2**20
            assert rss_mb <= MAX_RSS_MB[kind], f"{name} has {rss_mb:.0f} MB"
        for name, log in self._logs().items():
            new = log[self._read_to[name] :]
            self._read_to[name] = len(log)
            assert not _UNFORESEEN.search(new), _lines_with(new, _UNFORESEEN)
            for secret in _SECRETS:
                assert secret not in new, f"{name} tells a secret"
        for name in ("a", "b"):
            assert self.world.processes[f"listener-{name}"].log.count("broker_connected") == 1
        for event in list(self.world.events):
            assert all(secret.encode() not in event.payload for secret in _SECRETS)

    def check_what_is_shown(self) -> None:
        """What everybody may read at the end holds no secret, and all canaries are counted."""
        base = f"http://127.0.0.1:{self.world.metrics_port}"
        for path in ("/metrics", "/api/failures", "/api/centres", "/api/managers", "/api/brokers"):
            status, _, body = self.world.get(base + path)
            assert status == 200
            for secret in _SECRETS:
                assert secret.encode() not in body, f"{path} tells a secret"
        # On a busy machine a first try may take too long: the item comes all the same.
        wait_until(
            lambda: self.world.counters(CANARY_CENTRE)["downloaded_total"] == self.canaries,
            "all canaries are counted",
        )


def _is_innocent(topic: str) -> bool:
    return "/zz-sentinel/" in topic or f"/{CANARY_CENTRE}/" in topic


def _lines_with(log: str, pattern: re.Pattern[str]) -> str:
    return "\n".join(line[:2000] for line in log.splitlines() if pattern.search(line))[:6000]


def _strictly(payload: bytes) -> dict[str, Any]:
    """Return a JSON object; no name of what we read is there twice in it."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        ours = {"id", "type", "properties", "links", "data_id", "pubtime", "rel", "href"}
        names = [name for name, _ in pairs]
        assert not [name for name in ours if names.count(name) > 1]
        return found

    message: dict[str, Any] = json.loads(payload, object_pairs_hook=once)
    return message
