"""The servers of `make run`, as a subscriber, a downloader and an intruder meet them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import paho.mqtt.client as mqtt
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.parts.certificates import CertificateAuthority
from local.parts.local_server import StartFailed
from local.parts.mosquitto import MANAGER_USERNAME, CacheBroker, PublicBroker, SimulatedGlobalBroker
from local.parts.mqtt_client import end
from local.parts.nginx import Nginx
from local.parts.redis_server import RedisServer
from testkit.worlds.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paho.mqtt.enums import MQTTProtocolVersion

TOPIC = "cache/a/wis2/xa-simland-met/data/core/weather/surface-based-observations/synop"
MONITOR = "monitor/a/wis2/xa-simland-met"
DEADLINE_S = 60
#: Of Global Brokers, on our broker.
ACCOUNTS = {"gb-fr": "password of fr", "gb-br": "password of br"}


class Client:
    """An MQTT client whose every answer can be waited for."""

    def __init__(
        self,
        port: int,
        username: str | None = None,
        password: str | None = None,
        *,
        version: MQTTProtocolVersion = mqtt.MQTTv5,
        transport: Any = "tcp",
        ca_file: Path | None = None,
        client_id: str = "",
        clean: bool = True,
    ) -> None:
        self.answers: dict[tuple[str, int], list[int]] = {}
        self.messages: list[tuple[str, bytes]] = []
        self.connections = 0
        self.had_a_session = False
        self._changed = threading.Condition()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            transport=transport,
            **({} if version == mqtt.MQTTv5 else {"clean_session": clean}),
        )
        if username is not None:
            self._client.username_pw_set(username, password)
        if ca_file is not None:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self._client.on_connect = lambda *a: self._connected(a[2], a[3].value)
        self._client.on_subscribe = lambda *a: self._note(
            "subscribe", a[2], [c.value for c in a[3]]
        )
        self._client.on_publish = lambda *a: self._note("publish", a[2], [a[3].value])
        self._client.on_message = lambda *a: self._message(a[2])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _connected(self, flags: mqtt.ConnectFlags, code: int) -> None:
        self.connections += 1
        self.had_a_session = flags.session_present
        self._note("connect", 0, [code])

    def _note(self, kind: str, number: int, codes: list[int]) -> None:
        with self._changed:
            self.answers[kind, number] = codes
            self._changed.notify_all()

    def _message(self, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()

    def _answer(self, kind: str, number: int) -> list[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: (kind, number) in self.answers, DEADLINE_S)
            return self.answers[kind, number]

    def connected(self) -> int:
        return self._answer("connect", 0)[0]

    def subscribe(self, topic: str) -> int:
        _, number = self._client.subscribe(topic, qos=1)
        assert number is not None
        return self._answer("subscribe", number)[0]

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        return self._answer("publish", self._client.publish(topic, payload, qos=1).mid)[0]

    def wait_for_messages(self, count: int) -> list[tuple[str, bytes]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, DEADLINE_S)
            return list(self.messages)

    def close(self) -> None:
        end(self._client)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, authority: CertificateAuthority
) -> Iterator[CacheBroker]:
    """Our broker, as managers and Global Brokers see it."""
    with CacheBroker(
        tmp_path_factory.mktemp("source"), accounts=ACCOUNTS, authority=authority
    ) as broker:
        yield broker


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, source: CacheBroker, authority: CertificateAuthority
) -> Iterator[PublicBroker]:
    """Our broker, as everyone sees it."""
    with public_broker(tmp_path_factory.mktemp("broker"), source, authority=authority) as broker:
        yield broker


@contextlib.contextmanager
def public_broker(directory: Path, source: CacheBroker, **options: Any) -> Iterator[PublicBroker]:
    with PublicBroker(directory, source=source, **options) as broker:
        wait_until(lambda: bridge_subscriptions(source) == 2, "the bridge has subscribed")
        yield broker


def bridge_subscriptions(source: CacheBroker) -> int:
    return len(re.findall(r"public-broker-\w+ 1 ", source.log_file.read_text()))


@pytest.fixture
def connect(broker: PublicBroker) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(*arguments: Any, port: int | None = None, **options: Any) -> Client:
        clients.append(Client(port or broker.port, *arguments, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def as_manager(connect: Callable[..., Client], source: CacheBroker) -> Callable[..., Client]:
    def as_manager(**options: Any) -> Client:
        return connect(MANAGER_USERNAME, "manager", port=source.port, **options)

    return as_manager


VERSIONS = pytest.mark.parametrize("version", [mqtt.MQTTv5, mqtt.MQTTv311], ids=["5", "3.1.1"])


@VERSIONS
def test_everyone_receives_what_the_manager_publishes(
    connect: Callable[..., Client], as_manager: Callable[..., Client], version: MQTTProtocolVersion
) -> None:
    everyone = connect("everyone", "everyone", version=version)
    manager = as_manager(version=version)
    assert everyone.connected() == manager.connected() == 0
    assert everyone.subscribe("cache/a/wis2/#") == 1
    assert everyone.subscribe("monitor/a/wis2/#") == 1
    manager.publish(TOPIC, b"cached")
    manager.publish(MONITOR, b"event")
    assert everyone.wait_for_messages(2) == [(TOPIC, b"cached"), (MONITOR, b"event")]


@VERSIONS
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_the_same_holds_over_tls_and_secure_websocket(
    connect: Callable[..., Client],
    as_manager: Callable[..., Client],
    broker: PublicBroker,
    authority: CertificateAuthority,
    version: MQTTProtocolVersion,
    transport: str,
) -> None:
    port = broker.tls_port if transport == "tcp" else broker.websocket_port
    everyone = connect(
        "everyone",
        "everyone",
        port=port,
        version=version,
        transport=transport,
        ca_file=authority.ca_file,
    )
    assert everyone.subscribe("cache/a/wis2/+/data/core/#") == 1
    manager = as_manager()
    manager.publish(TOPIC, b"cached")
    assert everyone.wait_for_messages(1) == [(TOPIC, b"cached")]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3"])
def test_no_port_of_the_broker_is_open_on_another_address(
    tmp_path: Path, authority: CertificateAuthority, host: str
) -> None:
    with (
        CacheBroker(tmp_path / "source", authority=authority, host=host) as source,
        public_broker(tmp_path / "broker", source, authority=authority, host=host) as broker,
    ):
        open_on = {
            source.port: "127.0.0.1", source.accounts_port: host,
            broker.port: "127.0.0.1", broker.tls_port: host, broker.websocket_port: host,
        }  # fmt: skip
        for port, address in open_on.items():
            socket.create_connection((address, port), timeout=5).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_client_that_does_not_know_the_authority_refuses_the_broker(broker: PublicBroker) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", broker.tls_port)) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(connection, server_hostname="localhost")


@VERSIONS
@pytest.mark.parametrize(
    "topic",
    [
        "#",
        "+/a/wis2/#",
        "cache/#",
        "origin/a/wis2/#",
        "$SYS/#",
        "$CONTROL/#",
        "$share/group/#",
        "foo",
    ],
)
def test_everyone_may_subscribe_to_nothing_else(
    connect: Callable[..., Client], version: MQTTProtocolVersion, topic: str
) -> None:
    assert connect("everyone", "everyone", version=version).subscribe(topic) >= 0x80


@VERSIONS
@pytest.mark.parametrize("topic", [TOPIC, MONITOR, "foo", "$CONTROL/dynamic-security/v1"])
def test_everyone_may_publish_nothing(
    connect: Callable[..., Client],
    as_manager: Callable[..., Client],
    version: MQTTProtocolVersion,
    topic: str,
) -> None:
    reader = connect("everyone", "everyone")
    reader.subscribe("cache/a/wis2/#")
    reader.subscribe("monitor/a/wis2/#")
    code = connect("everyone", "everyone", version=version).publish(topic, b"forged")
    # MQTT 3.1.1 has no way to say no to a publication.
    assert code == (0x87 if version == mqtt.MQTTv5 else 0)
    as_manager().publish(TOPIC, b"genuine")
    assert reader.wait_for_messages(1) == [(TOPIC, b"genuine")]


@VERSIONS
@pytest.mark.parametrize("topic", ["cache/a/wis2/#", "monitor/a/wis2/#", "#", TOPIC])
def test_the_manager_may_subscribe_to_nothing(
    as_manager: Callable[..., Client], version: MQTTProtocolVersion, topic: str
) -> None:
    manager = as_manager(version=version)
    assert manager.subscribe(topic) >= 0x80


@pytest.mark.parametrize(
    "topic", ["origin/a/wis2/x", "foo", "$SYS/x", "$CONTROL/dynamic-security/v1"]
)
def test_the_manager_may_publish_nowhere_else(
    as_manager: Callable[..., Client], topic: str
) -> None:
    manager = as_manager()
    assert manager.publish(topic) == 0x87


@VERSIONS
@pytest.mark.parametrize(
    "account", [(), ("everyone", "wrong"), ("nobody", "everyone"), ("wis2-gc-manager", "everyone")]
)
def test_strangers_are_refused(
    connect: Callable[..., Client], version: MQTTProtocolVersion, account: tuple[str, ...]
) -> None:
    refused = connect(*account, version=version).connected()
    assert refused in (0x87, 4, 5)


def test_nobody_leaves_a_retained_message_behind(
    connect: Callable[..., Client], as_manager: Callable[..., Client]
) -> None:
    manager = as_manager()
    assert manager.connected() == 0
    manager._client.publish(TOPIC, b"stays", qos=1, retain=True)
    late = connect("everyone", "everyone")
    late.subscribe("cache/a/wis2/#")
    as_manager().publish(TOPIC, b"news")
    assert late.wait_for_messages(1) == [(TOPIC, b"news")]


def test_what_an_absent_subscriber_missed_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    with CacheBroker(tmp_path, accounts=ACCOUNTS) as broker:
        leave_a_session_behind(broker)
        manager = Client(broker.port, MANAGER_USERNAME, "manager")
        # More than mosquitto keeps by default.
        for number in range(1500):
            manager._client.publish(TOPIC, b"%d" % number, qos=1)
        manager.publish(TOPIC, b"1500")
        manager.close()
        broker.stop()
        broker.start()
        subscriber = come_back(broker)
        messages = subscriber.wait_for_messages(1501)
        subscriber.close()
    assert [payload for _, payload in messages] == [b"%d" % number for number in range(1501)]


def limited(broker: Any, **limits: Any) -> Any:
    """Return the broker with other limits."""
    broker.limits = replace(broker.limits, **limits)
    return broker


def come_back(broker: CacheBroker | PublicBroker, name: str = "gb-fr") -> Client:
    session: dict[str, Any] = {"version": mqtt.MQTTv311, "client_id": name, "clean": False}
    return Client(broker.port, name, ACCOUNTS.get(name, name), **session)


def leave_a_session_behind(broker: CacheBroker | PublicBroker, name: str = "gb-fr") -> None:
    subscriber = come_back(broker, name)
    subscriber.subscribe("cache/a/wis2/#")
    subscriber.close()


def test_what_waits_for_an_absent_subscriber_is_bounded_and_the_oldest_is_kept(
    tmp_path: Path,
) -> None:
    small = {"max_inflight_messages": 10, "max_queued_bytes": 400_000}
    with limited(CacheBroker(tmp_path, accounts=ACCOUNTS), **small) as broker:
        leave_a_session_behind(broker)
        manager = Client(broker.port, MANAGER_USERNAME, "manager")
        for number in range(200):
            assert manager.publish(TOPIC, b"%04d" % number + bytes(3996)) == 0
        manager.close()
        subscriber = come_back(broker)
        subscriber.wait_for_messages(100)
        late = Client(broker.port, MANAGER_USERNAME, "manager")
        late.publish(TOPIC, b"last")
        late.close()
        kept = [payload[:4] for _, payload in subscriber.wait_for_messages(101)]
        subscriber.close()
    assert kept == [b"%04d" % number for number in range(100)] + [b"last"]


def test_with_its_memory_full_our_broker_acknowledges_nothing_that_it_does_not_keep(
    tmp_path: Path,
) -> None:
    small = {"max_inflight_messages": 10, "memory_bytes": 3_000_000}
    with limited(CacheBroker(tmp_path, accounts=ACCOUNTS), **small) as broker:
        leave_a_session_behind(broker)
        manager = Client(broker.port, MANAGER_USERNAME, "manager")
        numbers = [
            manager._client.publish(TOPIC, b"%04d" % n + bytes(3996), qos=1).mid
            for n in range(1000)
        ]
        deadline = time.monotonic() + DEADLINE_S
        while "out of memory" not in broker.log_file.read_text():
            assert time.monotonic() < deadline
        acknowledged = [n for n, mid in enumerate(numbers) if ("publish", mid) in manager.answers]
        manager.close()
        assert 0 < len(acknowledged) < 1000
        assert broker.is_running
        subscriber = come_back(broker)
        deadline = time.monotonic() + DEADLINE_S
        while not set(acknowledged) <= {int(payload[:4]) for _, payload in subscriber.messages}:
            assert time.monotonic() < deadline
        subscriber.close()


def test_a_port_of_our_broker_takes_so_many_connections(tmp_path: Path) -> None:
    with limited(CacheBroker(tmp_path, accounts=ACCOUNTS), max_connections=2) as broker:
        # The refused login of the probe at start made room for one more (mosquitto 2.0.11).
        clients = [Client(broker.port, "gb-fr", ACCOUNTS["gb-fr"]) for _ in range(3)]
        assert [client.connected() for client in clients] == [0, 0, 0]
        with socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S) as one_more:
            assert one_more.recv(1) == b""
        for client in clients:
            client.close()


@VERSIONS
@pytest.mark.parametrize("topic", ["#", "cache/#", "origin/a/wis2/#", "$SYS/#", "foo"])
def test_the_account_of_a_global_broker_may_subscribe_to_nothing_else(
    connect: Callable[..., Client], source: CacheBroker, version: MQTTProtocolVersion, topic: str
) -> None:
    account = connect("gb-fr", ACCOUNTS["gb-fr"], port=source.port, version=version)
    assert account.subscribe("cache/a/wis2/#") == account.subscribe("monitor/a/wis2/#") == 1
    assert account.subscribe(topic) >= 0x80


@pytest.mark.parametrize("topic", [TOPIC, MONITOR, "foo"])
def test_the_account_of_a_global_broker_may_publish_nothing(
    connect: Callable[..., Client], source: CacheBroker, topic: str
) -> None:
    account = connect("gb-fr", ACCOUNTS["gb-fr"], port=source.port)
    assert account.publish(topic) == 0x87


@VERSIONS
def test_everyone_has_no_account_where_the_managers_are(
    connect: Callable[..., Client],
    source: CacheBroker,
    authority: CertificateAuthority,
    version: MQTTProtocolVersion,
) -> None:
    plain = connect("everyone", "everyone", port=source.port, version=version)
    tls = connect(
        "everyone", "everyone", port=source.accounts_port, ca_file=authority.ca_file,
        version=version,
    )  # fmt: skip
    for answer in (plain.connected(), tls.connected()):
        assert answer in (0x87, 5)


@VERSIONS
def test_no_account_takes_over_the_session_of_another(
    connect: Callable[..., Client],
    as_manager: Callable[..., Client],
    source: CacheBroker,
    authority: CertificateAuthority,
    version: MQTTProtocolVersion,
) -> None:
    def account(name: str, client_id: str) -> Client:
        return connect(
            name, ACCOUNTS[name], port=source.accounts_port, ca_file=authority.ca_file,
            client_id=client_id, version=version,
        )  # fmt: skip

    first = account("gb-fr", "gb-fr")
    assert first.subscribe("cache/a/wis2/#") == 1
    for client_id in ("gb-fr", "gb-br", ""):
        intruder = account("gb-br", client_id)
        assert intruder.connected() == 0
        assert intruder.subscribe("monitor/a/wis2/#") == 1
        intruder.close()
    as_manager().publish(TOPIC, b"news")
    assert first.wait_for_messages(1) == [(TOPIC, b"news")]
    assert first.connections == 1


def test_what_the_bridge_misses_waits_for_it(tmp_path: Path) -> None:
    with (
        CacheBroker(tmp_path / "source") as source,
        public_broker(tmp_path / "broker", source) as broker,
    ):
        everyone = Client(broker.port, "everyone", "everyone")
        everyone.subscribe("cache/a/wis2/#")
        source.stop()
        source.start()
        # The bridge comes back after a second.
        manager = Client(source.port, MANAGER_USERNAME, "manager")
        for number in range(100):
            assert manager.publish(TOPIC, b"%d" % number) == 0
        manager.close()
        received = everyone.wait_for_messages(100)
        everyone.close()
    assert [payload for _, payload in received] == [b"%d" % number for number in range(100)]


def test_the_session_of_the_bridge_cannot_be_taken_by_who_knows_how_it_is_named(
    tmp_path: Path,
) -> None:
    with (
        CacheBroker(tmp_path / "source") as source,
        public_broker(tmp_path / "broker", source) as broker,
    ):
        everyone = Client(broker.port, "everyone", "everyone")
        everyone.subscribe("cache/a/wis2/#")
        for name in ("cache", "local.cache", "local.public-broker", "public-broker", "local-"):
            Client(broker.port, "everyone", "everyone", client_id=name).close()
        manager = Client(source.port, MANAGER_USERNAME, "manager")
        manager.publish(TOPIC, b"news")
        assert everyone.wait_for_messages(1) == [(TOPIC, b"news")]
        assert bridge_subscriptions(source) == 2
        manager.close()
        everyone.close()


def test_sessions_that_everyone_leaves_behind_hold_little_and_end_with_the_process(
    tmp_path: Path,
) -> None:
    with (
        CacheBroker(tmp_path / "source") as source,
        public_broker(tmp_path / "broker", source) as broker,
    ):
        leave_a_session_behind(broker, "everyone")
        last = Client(broker.port, "everyone", "everyone")
        last.subscribe("cache/a/wis2/#")
        manager = Client(source.port, MANAGER_USERNAME, "manager")
        for number in range(400):
            assert manager.publish(TOPIC, b"%d" % number) == 0
        last.wait_for_messages(400)
        again = come_back(broker, "everyone")
        again.wait_for_messages(300)
        manager.publish(TOPIC, b"last")
        kept = [payload for _, payload in again.wait_for_messages(301)]
        assert kept == [b"%d" % number for number in range(300)] + [b"last"]
        for client in (again, last):
            client.close()
        broker.stop()
        broker.start()
        again = come_back(broker, "everyone")
        assert again.connected() == 0
        assert not again.had_a_session
        for client in (again, manager):
            client.close()


def test_a_public_broker_that_strangers_have_filled_is_ended(tmp_path: Path) -> None:
    broker = PublicBroker(tmp_path / "broker", source=CacheBroker(tmp_path / "source"))
    with broker:
        assert broker.exit_code() is None
        broker.full_bytes = 1_000_000
        assert broker.exit_code() == -signal.SIGKILL
        assert not broker.is_running


def test_a_global_broker_takes_what_is_published_and_lets_everyone_read(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    with SimulatedGlobalBroker(tmp_path, authority=authority) as broker:
        ca_file = authority.ca_file
        reader = Client(broker.port, "everyone", "everyone", ca_file=ca_file)
        assert reader.subscribe("origin/a/wis2/#") == 1
        writer = Client(
            broker.port, broker.publisher_username, broker.publisher_password, ca_file=ca_file
        )
        assert writer.publish("origin/a/wis2/x", b"y" * 20_000) == 0
        assert reader.wait_for_messages(1) == [("origin/a/wis2/x", b"y" * 20_000)]
        assert reader.publish("origin/a/wis2/x") == 0x87
        reader.close()
        writer.close()


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, authority: CertificateAuthority
) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("objects")
    files = {
        "a/obs.bufr": b"BUFR" + bytes(range(200)),
        "a/page.html": b"<script>alert(1)</script>",
        "a/page.svg": b"<svg onload='alert(1)'/>",
        "a/warning.xml": b"<?xml version='1.0'?><alert/>",
        "a/field.~grib": b"GRIB",
        "a/page.html.~bufr": b"BUFR",
        "a/large": os.urandom(2_000_000),
        ".incoming/part": b"unfinished",
        "a/.trash/b": b"expired",
        "a/.hidden": b"hidden",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (tmp_path_factory.getbasetemp() / "outside").write_bytes(b"secret")
    with Nginx(tmp_path_factory.mktemp("nginx"), root=root, authority=authority) as nginx:
        yield nginx


@pytest.fixture
def http(web: Nginx) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web.base_url, trust_env=False, timeout=60) as client:
        yield client


def test_an_object_is_served_with_its_type_and_an_etag(http: httpx.Client) -> None:
    answer = http.get("/a/obs.bufr")
    assert answer.status_code == 200
    assert answer.http_version == "HTTP/1.1"
    assert answer.content == b"BUFR" + bytes(range(200))
    assert answer.headers["content-type"] == "application/bufr"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["cache-control"] == "public, max-age=86400, immutable"
    assert answer.headers["accept-ranges"] == "bytes"
    assert (
        http.get("/a/obs.bufr", headers={"If-None-Match": answer.headers["etag"]}).status_code
        == 304
    )


def test_a_part_can_be_asked_for(http: httpx.Client) -> None:
    answer = http.get("/a/obs.bufr", headers={"Range": "bytes=4-7"})
    assert (answer.status_code, answer.content) == (206, bytes(range(4)))
    assert answer.headers["content-range"] == "bytes 4-7/204"
    assert http.get("/a/obs.bufr", headers={"Range": "bytes=999-"}).status_code == 416


@pytest.mark.parametrize("name", ["a/warning.xml", "a/page.svg", "a/large"])
def test_what_a_browser_might_run_is_only_bytes(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_marked_file_is_served_under_its_name(http: httpx.Client) -> None:
    assert http.get("/a/field").headers["content-type"] == "application/grib"


def test_html_is_never_served_as_html(http: httpx.Client) -> None:
    for path in ("/a/page.html", "/a/missing.html", "/a/", "/", "/%00", "/../etc/passwd.html"):
        answer = http.get(path)
        assert "html" not in answer.headers.get("content-type", "") or answer.status_code == 400
        assert answer.status_code >= 400 or answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/.incoming/part",
        "/%2eincoming/part",
        "/a/.trash/b",
        "/a/.hidden",
        "/a/",
        "/a",
        "/",
        "/missing",
        "/a/..%2f..%2foutside",
        "/%2e%2e/outside",
    ],
)
def test_what_is_not_an_object_is_not_there(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code in (400, 403, 404)
    assert b"secret" not in answer.content
    assert b"unfinished" not in answer.content


def test_an_error_is_not_to_be_kept_by_caches(http: httpx.Client) -> None:
    answer = http.get("/a/missing.bufr")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MKCOL"])
def test_objects_can_only_be_read(http: httpx.Client, method: str) -> None:
    answer = http.request(method, "/a/obs.bufr")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_head_tells_the_size(http: httpx.Client) -> None:
    answer = http.head("/a/large")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "2000000")


def test_a_replaced_object_is_served_at_once(http: httpx.Client, web: Nginx) -> None:
    assert web.root is not None
    path = web.root / "a" / "replaced.bufr"
    for content in (b"first", b"second"):
        new = path.with_name(".new")
        new.write_bytes(content)
        new.replace(path)
        assert http.get("/a/replaced.bufr").content == content


def test_objects_are_served_over_tls_too(web: Nginx, authority: CertificateAuthority) -> None:
    context = ssl.create_default_context(cafile=authority.ca_file)
    with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
        answer = client.get(f"https://localhost:{web.tls_port}/data/a/obs.bufr")
    assert answer.status_code == 200


def test_many_download_at_once(web: Nginx) -> None:
    def download(_number: int) -> int:
        with httpx.Client(trust_env=False, timeout=60) as client:
            return len(client.get(f"{web.base_url}/a/large").content)

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(download, range(40))) == {2_000_000}


def test_redis_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="secret") as server:
        client = redis.Redis.from_url(server.url)
        for number in range(1000):
            client.incrby("sum", number)
        client.close()
        server.kill()
        assert not server.is_running
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("sum") == b"499500"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_requires_its_password(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, password="secret") as server,
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_one_client_address_holds_no_more_downloads_than_it_may(tmp_path: Path) -> None:
    with (
        Nginx(tmp_path / "nginx", root=tmp_path / "files", connections_per_address=2) as nginx,
        contextlib.ExitStack() as stack,
    ):
        assert nginx.root is not None
        with (nginx.root / "large").open("wb") as large:
            large.truncate(100_000_000)
        request = b"GET /data/large HTTP/1.1\r\nHost: x\r\n\r\n"
        held = []
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port), 10))
            client.sendall(request)
            held.append(client.recv(15))
        assert held == [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 429 To"]


def test_a_killed_nginx_starts_again_although_its_workers_hold_the_port(tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", root=tmp_path / "files") as nginx:
        assert nginx.root is not None
        assert nginx._process is not None
        (nginx.root / "a").write_bytes(b"x")
        os.kill(nginx.pid, 9)
        nginx._process.wait()
        nginx.start()
        assert httpx.get(f"{nginx.base_url}/a", trust_env=False, timeout=60).status_code == 200


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "a") as first,
        pytest.raises(StartFailed, match=f"redis: port {first.port} is taken"),
    ):
        RedisServer(tmp_path / "b", port=first.port).start()
    with pytest.raises(StartFailed, match=r"redis ended with exit code 1: .*Bad directive"):
        RedisServer(tmp_path / "c", max_memory="1gb\nno-such-directive").start()
