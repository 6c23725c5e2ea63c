"""The listener's parts in this process, against a real mosquitto; queue and registry are fakes."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import paho.mqtt.client as paho
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from local.parts.mqtt_client import end
from testkit.fakes.listener import FakeListenerRegistry, FakeSender, wait_until
from testkit.messages.wnm import encoded, unique_data_id, wnm
from testkit.servers.mosquitto import Account, Mosquitto
from testkit.servers.scripted_broker import (
    CONNACK_V5,
    CONNECT,
    DISCONNECT_TAKEN_OVER,
    HANG_UP,
    PINGREQ,
    PINGRESP,
    SUBACK_V5,
    SUBACK_V5_REFUSED,
    SUBSCRIBE,
    publish_v5,
    scripted_broker,
)
from wis2_gc_common.metrics import (
    DROPPED,
    SESSIONS_TAKEN_OVER,
    SILENCE_RECONNECTS,
    field,
)
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.parsers import parse_broker_url
from wis2_gc_common.settings.reader import CommonSettings
from wis2_gc_common.settings.values import QueueUrl, Secret
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS
from wis2_gc_listener import broker as global_broker
from wis2_gc_listener import service
from wis2_gc_listener.arrivals import Inbox
from wis2_gc_listener.broker import BrokerState, GlobalBroker, ReconnectDelays
from wis2_gc_listener.forwarder import MAX_BATCH, Timing
from wis2_gc_listener.service import Listener
from wis2_gc_listener.settings import ListenerSettings
from wis2_gc_listener.silence import Silence

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from types import FrameType

OUR_CENTRE = "fr-meteo-global-cache"
TOPIC = "origin/a/wis2/ca-eccc-msc/data/core/weather/surface-based-observations/synop"
VERSIONS = ("5", "3.1.1")
IMPATIENT = ReconnectDelays(
    reconnect_first_s=0.05,
    reconnect_longest_s=0.2,
    resubscribe_first_s=0.05,
    resubscribe_longest_s=0.2,
    taken_over_first_s=0.05,
    taken_over_longest_s=0.2,
)


def settings(url: str, *, version: str = "5", **changes: Any) -> ListenerSettings:
    return ListenerSettings(
        common=CommonSettings(
            centre_id=OUR_CENTRE,
            redis_url=Secret("redis://unused"),
            queue_url=QueueUrl("redis-stream", "unused"),
            http_host="127.0.0.1",
            http_port=0,
            log_level="info",
            log_format="json",
        ),
        broker_url=parse_broker_url(url),
        broker_name="fr",
        deployment_secret=Secret("0123456789abcdef"),
        mqtt_version=version,  # type: ignore[arg-type]
        topics=changes.pop("topics", DEFAULT_FILTERS),
        ca_file=None,
        silence_timeout_s=300,
        centre_rate_per_s=1000,
        centre_burst=1000,
        max_queue_length=1000,
        retention_hours=24,
        repeat_window_hours=12,
    )


class Rig:
    def __init__(
        self,
        url: str,
        *,
        version: str = "5",
        tls: ssl.SSLContext | None = None,
        delays: ReconnectDelays = IMPATIENT,
        silence: Silence | None = None,
        **changes: Any,
    ) -> None:
        self.sender = FakeSender(max_batch=10)
        self.registry = FakeListenerRegistry()
        self.listener = Listener(
            settings(url, version=version, **changes),
            sender=self.sender,
            registry=self.registry,
            tls=tls,
            silence=silence,
            delays=delays,
            timing=Timing(report_every_s=0.02, heartbeat_every_s=0.02),
        )

    def probe(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.listener.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, json.load(answer)["problem"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["problem"]

    def wait_for_fact(self, name: str, check: Callable[[Any], object]) -> None:
        """Wait until a heartbeat says so."""
        wait_until(
            lambda: self.registry.statuses and check(self.registry.statuses[-1].facts[name]),
            what=name,
        )

    @property
    def problem(self) -> str:
        """What the last heartbeat says."""
        statuses = self.registry.statuses
        return str(statuses[-1].facts["last_problem"]) if statuses else ""

    @property
    def is_ready(self) -> bool:
        return bool(self.registry.statuses) and self.registry.statuses[-1].is_ready

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.is_ready, what="ready")

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.sender.accepted) >= count)


@contextmanager
def running(url: str, **options: Any) -> Iterator[Rig]:
    rig = Rig(url, **options)
    rig.listener.start()
    try:
        yield rig
    finally:
        rig.listener.stop()


@contextmanager
def publisher(broker: Mosquitto, **login: str) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="publisher")
    client.max_inflight_messages_set(500)
    if login:
        client.username_pw_set(**login)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        yield client
    finally:
        end(client)


def notification() -> bytes:
    return encoded(wnm(data_id=unique_data_id()))


def publish(client: paho.Client, *bodies: bytes, topic: str = TOPIC, qos: int = 1) -> None:
    for info in [client.publish(topic, body, qos=qos) for body in bodies]:
        info.wait_for_publish(30)


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@pytest.mark.parametrize("version", VERSIONS)
def test_notifications_reach_the_queue_untouched(broker: Mosquitto, version: str) -> None:
    with running(broker.url, version=version) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        bodies = [notification() for _ in range(20)]
        publish(client, *bodies)
        publish(client, notification(), topic="cache/a/wis2/ca-eccc-msc/metadata")
        rig.wait_for(21)
        assert rig.sender.payloads[:20] == bodies
        assert {e.broker for e in rig.sender.accepted} == {"fr"}
        assert rig.sender.accepted[20].topic == "cache/a/wis2/ca-eccc-msc/metadata"
        assert rig.probe("/healthz") == (200, "")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_burst_of_2000_arrives_complete_and_is_acknowledged(
    broker: Mosquitto, version: str
) -> None:
    with running(broker.url, version=version) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        bodies = [notification() for _ in range(2000)]
        publish(client, *bodies)
        rig.wait_for(2000)
        # Exactly once, as nothing broke; in order, as MQTT promises.
        assert rig.sender.payloads == bodies
    with running(broker.url, version=version) as successor, publisher(broker) as client:
        successor.wait_until_ready()
        last = notification()
        publish(client, last)
        successor.wait_for(1)
        # Were anything of the burst unacknowledged, it would come before the last.
        assert successor.sender.payloads == [last]


def test_a_window_of_twenty_does_not_stall() -> None:
    """mosquitto's and EMQX's defaults; what we offer changes nothing of them."""
    with (
        Mosquitto(options=("max_inflight_messages 20",)) as broker,
        running(broker.url) as rig,
        publisher(broker) as client,
    ):
        rig.wait_until_ready()
        publish(client, *(notification() for _ in range(1000)))
        rig.wait_for(1000)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_queue_did_not_take_is_delivered_again_to_the_successor(
    broker: Mosquitto, version: str
) -> None:
    bodies = [notification() for _ in range(300)]
    with running(broker.url, version=version) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        publish(client, *bodies[:100])
        rig.wait_for(100)
        rig.sender.is_away = True
        publish(client, *bodies[100:200])
        rig.wait_for_fact("last_problem", lambda problem: "queue" in problem)
    # While nobody listens, the session keeps what is published.
    with publisher(broker) as client:
        publish(client, *bodies[200:])
    with running(broker.url, version=version) as successor:
        successor.wait_for(200)
        assert rig.sender.payloads == bodies[:100]
        assert successor.sender.payloads == bodies[100:]


def is_in_second_life(state: BrokerState) -> bool:
    return state.generation > 1 and state.is_ready


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broken_connection_neither_loses_nor_wrongly_acknowledges(version: str) -> None:
    """What waits during an outage of queue and broker is delivered again, and queued once."""
    with Mosquitto(persistence=True) as broker, running(broker.url, version=version) as rig:
        rig.wait_until_ready()
        rig.sender.is_away = True
        bodies = [notification() for _ in range(400)]
        with publisher(broker) as client:
            publish(client, *bodies)
        rig.wait_for_fact("unacknowledged", lambda number: number == 400)
        broker.restart()
        # Not what a heartbeat says: the last one may still speak of the first life.
        wait_until(lambda: is_in_second_life(rig.listener.broker.state))
        rig.registry.statuses.clear()
        rig.wait_for_fact("unacknowledged", lambda number: number >= 400)
        rig.sender.is_away = False
        with publisher(broker) as client:
            last = notification()
            publish(client, last)
        wait_until(lambda: last in rig.sender.payloads)
        # Only the batch that was in hand when the connection broke comes twice.
        first_life = len(rig.sender.payloads) - 401
        assert 0 <= first_life <= MAX_BATCH
        assert rig.sender.payloads == [*bodies[:first_life], *bodies, last]


def test_the_listener_comes_back_by_itself_when_the_broker_does(broker: Mosquitto) -> None:
    with running(broker.url) as rig:
        rig.wait_until_ready()
        broker.kill()
        wait_until(lambda: not rig.is_ready)
        assert rig.probe("/healthz")[0] == 200
        wait_until(lambda: "no connection" in rig.problem)
        # It is not ours that is away: a release goes on.
        assert rig.probe("/readyz") == (200, "")
        broker.start()
        rig.wait_until_ready()
        with publisher(broker) as client:
            publish(client, notification())
        rig.wait_for(1)


def test_tls_with_a_certificate_of_a_known_authority_connects() -> None:
    with (
        Mosquitto(tls=True) as broker,
        running(broker.tls_url, tls=client_context(broker.ca_file)) as rig,
        publisher(broker) as client,
    ):
        rig.wait_until_ready()
        publish(client, *(notification() for _ in range(300)))
        rig.wait_for(300)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("case", ["unknown authority", "wrong name"])
def test_tls_without_a_trusted_certificate_is_refused_and_said(case: str) -> None:
    authority = trustme.CA()
    names = ("elsewhere.example",) if case == "wrong name" else ("localhost",)
    with Mosquitto(tls=True, authority=authority, certificate_names=names) as broker:
        context = client_context(broker.ca_file if case == "wrong name" else None)
        with running(broker.tls_url, tls=context) as rig:
            wait_until(lambda: "TLS" in rig.problem)
            assert not rig.is_ready
            assert "certificate" in rig.problem or "Hostname mismatch" in rig.problem
            assert rig.probe("/healthz")[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_notifications_arrive_over_a_web_socket(version: str) -> None:
    with (
        Mosquitto(websocket=True) as broker,
        running(broker.websocket_url, version=version) as rig,
        publisher(broker) as client,
    ):
        rig.wait_until_ready()
        publish(client, *(notification() for _ in range(300)))
        rig.wait_for(300)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_password_is_said_and_tried_again(version: str) -> None:
    accounts = {"everyone": Account("right")}
    with (
        Mosquitto(accounts=accounts) as broker,
        running(broker.url.replace("//", "//everyone:wrong@"), version=version) as rig,
    ):
        wait_until(lambda: "refused by the broker" in rig.problem)
        assert "ot authori" in rig.problem
        first = rig.listener.broker.state.generation
        wait_until(lambda: rig.listener.broker.state.generation > first + 2)
        assert "wrong" not in json.dumps([s.facts for s in rig.registry.statuses])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_right_password_is_accepted(version: str) -> None:
    accounts = {"everyone": Account("p@ss:/word", ("read origin/#", "read cache/#"))}
    with (
        Mosquitto(accounts=accounts) as broker,
        running(broker.url.replace("//", "//everyone:p%40ss%3A%2Fword@"), version=version) as rig,
    ):
        rig.wait_until_ready()


def test_a_refused_subscription_is_not_ready_said_and_tried_again() -> None:
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5_REFUSED}
    with scripted_broker(answers) as server, running(server.url) as rig:
        wait_until(lambda: "subscription refused" in rig.problem)
        problem = rig.problem
        assert "cache/a/wis2/#" in problem
        assert "origin/a/wis2/#" not in problem
        wait_until(lambda: server.subscribes > 2)
        assert not rig.registry.statuses[-1].is_ready
        server.answers[SUBSCRIBE] = SUBACK_V5
        rig.wait_until_ready()


def test_a_session_taken_over_is_counted_said_and_taken_back() -> None:
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: DISCONNECT_TAKEN_OVER}
    with scripted_broker(answers) as server, running(server.url) as rig:
        wait_until(lambda: "taken our session over" in rig.problem)
        wait_until(lambda: server.connections > 2)
        server.answers[SUBSCRIBE] = SUBACK_V5
        rig.wait_until_ready()
        counted = field(SESSIONS_TAKEN_OVER, "fr")
        wait_until(lambda: rig.registry.counters.get(counted) == server.connections - 1)


def test_a_fight_for_the_session_slows_down() -> None:
    delays = replace(IMPATIENT, taken_over_first_s=0.02, taken_over_longest_s=60)
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: DISCONNECT_TAKEN_OVER}
    with scripted_broker(answers) as server, running(server.url, delays=delays) as rig:
        began_s = time.monotonic()
        # 0.02 + 0.04 + … + 1.28 s, halved at most by jitter.
        wait_until(lambda: server.connections >= 8)
        assert time.monotonic() - began_s > 1.2
        assert not rig.listener.why_not_live()


#: The session present flag is set.
RESUMED_V5 = b"\x20\x03\x01\x00\x00"


def quickly_impatient() -> Silence:
    """What a busy past has taught, so that a second is a long silence."""
    silence = Silence(timeout_s=1.0)
    for look in range(1000):
        silence.look(look / 10, is_heard=True, is_listening=True)
    return silence


class Recorded(Silence):
    """Says no, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(timeout_s=0)
        self.looks: list[tuple[bool, bool]] = []

    def look(self, now_s: float, *, is_heard: bool, is_listening: bool) -> bool:
        self.looks.append((is_heard, is_listening))
        return super().look(now_s, is_heard=is_heard, is_listening=is_listening)


def test_a_broker_that_is_connected_and_silent_is_connected_again_with_its_session() -> None:
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5, PINGREQ: PINGRESP}
    with (
        scripted_broker(answers) as server,
        running(server.url, silence=quickly_impatient()) as rig,
    ):
        rig.wait_until_ready()
        # What was held back comes with the resumed session.
        kept = notification()
        server.answers[CONNECT] = RESUMED_V5
        server.answers[SUBSCRIBE] = SUBACK_V5 + publish_v5(TOPIC, kept, packet_id=1)
        rig.wait_for(1)
        # A second of silence later it connects once more, and gets it again.
        assert set(rig.sender.payloads) == {kept}
        assert server.connections >= 2
        # Byte 9 of CONNECT holds the flags; bit 1 is Clean Start.
        assert {packet[9] & 2 for packet in server.connect_packets} == {0}
        rig.wait_for_fact("silence_reconnects", lambda number: number >= 1)
        name = field(SILENCE_RECONNECTS, "fr")
        wait_until(lambda: rig.registry.counters.get(name, 0) >= 1)
        rig.wait_until_ready()


def test_what_holds_the_broker_back_is_not_silence_of_the_broker(broker: Mosquitto) -> None:
    silence = Recorded()
    with running(broker.url, silence=silence) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        wait_until(lambda: (False, True) in silence.looks)
        rig.sender.is_away = True
        publish(client, notification())
        wait_until(lambda: (True, False) in silence.looks)
        wait_until(lambda: silence.looks[-1] == (False, False))
        rig.sender.is_away = False
        rig.wait_for(1)
        wait_until(lambda: silence.looks[-1] == (False, True))


def test_retained_notifications_say_nothing_of_a_broker_that_is_silent(broker: Mosquitto) -> None:
    silence = Recorded()
    with publisher(broker) as client:
        client.publish(TOPIC, notification(), qos=1, retain=True).wait_for_publish(30)
        with running(broker.url, silence=silence) as rig:
            rig.wait_for(1)
            seen = len(silence.looks)
            wait_until(lambda: len(silence.looks) >= seen + 2)
            assert not any(is_heard for is_heard, _ in silence.looks)
            publish(client, notification())
            wait_until(lambda: any(is_heard for is_heard, _ in silence.looks))


def test_a_broker_that_answers_no_ping_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(global_broker, "KEEPALIVE_S", 1)
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5}
    with scripted_broker(answers) as server, running(server.url) as rig:
        wait_until(lambda: server.connections >= 2)
        wait_until(lambda: "does not answer pings" in rig.listener.broker.state.problem)


#: Of MQTT 5; paho refuses all of them.
ODD_PROPERTIES = {
    "U+FEFF, which MQTT allows": b"\x26\x00\x04a\xef\xbb\xbf\x00\x01b",
    "no UTF-8": b"\x26\x00\x01a\x00\x02\xff\xfe",
    "twice what may be there once": b"\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01",
    "unknown": b"\x7f\x01",
}


@pytest.mark.parametrize("name", ODD_PROPERTIES)
def test_a_strangers_message_properties_do_not_end_the_connection(name: str) -> None:
    body = notification()
    odd = publish_v5(TOPIC, body, packet_id=1, properties=ODD_PROPERTIES[name])
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: SUBACK_V5 + odd}
    with scripted_broker(answers) as server, running(server.url) as rig:
        rig.wait_for(1)
        assert rig.sender.payloads == [body]
        wait_until(lambda: server.pubacks == [(1, 1)])


def test_an_acknowledgement_for_an_earlier_connection_is_never_sent() -> None:
    """A packet id means another message on the next connection."""
    inbox = Inbox(capacity=100)
    first = SUBACK_V5 + publish_v5(TOPIC, b"first", packet_id=7)
    with scripted_broker({CONNECT: CONNACK_V5, SUBSCRIBE: first}) as server:
        broker = GlobalBroker(
            url=parse_broker_url(server.url),
            client_id="us",
            topics=DEFAULT_FILTERS,
            mqtt_version="5",
            tls=None,
            inbox=inbox,
            silence=Silence(timeout_s=0),
            delays=IMPATIENT,
        )
        broker.let(is_ours=True, lease_s=60)
        broker.start()
        (stale,) = inbox.take(10, timeout_s=30)
        server.answers[SUBSCRIBE] = SUBACK_V5 + publish_v5(TOPIC, b"second", packet_id=7)
        server.hang_up()
        (fresh,) = inbox.take(10, timeout_s=30)
        assert (stale.payload, stale.packet_id, stale.generation) == (b"first", 7, 1)
        assert (fresh.payload, fresh.packet_id, fresh.generation) == (b"second", 7, 2)
        broker.acknowledge([stale])
        wait_until(lambda: not broker.acknowledgements)
        broker.acknowledge([fresh])
        wait_until(lambda: server.pubacks)
        broker.stop(timeout_s=5)
        assert server.pubacks == [(2, 7)]


def test_a_broker_that_throws_us_out_again_and_again_is_asked_ever_less_often() -> None:
    """Brokers that do not name the reason (MQTT 3.1.1, mosquitto 2.0.11) end a fight this way."""
    delays = ReconnectDelays(reconnect_first_s=0.02, reconnect_longest_s=60)
    answers = {CONNECT: CONNACK_V5, SUBSCRIBE: HANG_UP}
    with scripted_broker(answers) as server, running(server.url, delays=delays) as rig:
        began_s = time.monotonic()
        wait_until(lambda: server.connections >= 1)
        wait_until(lambda: server.connections >= 8)
        # Seven delays, each at least half of 0.02 s doubled once more; without growth it would be
        # 0.14 s. A slow machine makes it longer, never shorter.
        assert time.monotonic() - began_s >= 0.5 * 0.02 * (2**7 - 1)
        wait_until(lambda: rig.problem == "the connection was lost")


def test_a_narrower_setting_ends_the_wide_subscription_of_the_old_session(
    broker: Mosquitto,
) -> None:
    with running(broker.url) as rig:
        rig.wait_until_ready()
    narrow = ("origin/a/wis2/ca-eccc-msc/#",)
    with running(broker.url, topics=narrow) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        publish(client, notification(), topic=TOPIC.replace("ca-eccc-msc", "de-dwd"))
        publish(client, notification())
        rig.wait_for(1)
        rig.wait_for_fact("queued", lambda number: number == 1)
        assert rig.registry.statuses[-1].facts["received"] == 1


def test_quality_of_service_0_and_retained_notifications_are_like_others(
    broker: Mosquitto,
) -> None:
    with publisher(broker) as client:
        retained = notification()
        client.publish(TOPIC, retained, qos=1, retain=True).wait_for_publish(30)
        with running(broker.url) as rig:
            rig.wait_for(1)
            plain = notification()
            publish(client, plain, qos=0)
            rig.wait_for(2)
            assert rig.sender.payloads == [retained, plain]
            # Cleared: subscribers get an empty message, which is not a notification.
            client.publish(TOPIC, b"", qos=1, retain=True).wait_for_publish(30)
            wait_until(lambda: rig.registry.counters.get(field(DROPPED, "fr", "empty")) == 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_odd_packets_are_dropped_and_do_not_hold_up_the_others(
    broker: Mosquitto, version: str
) -> None:
    with running(broker.url, version=version) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        # Far beyond a notification's limit, and beyond what we let the broker send, which only
        # MQTT 5 can tell it.
        publish(client, b"x" * 100_000, b"x" * 1_000_000, b"", b"\x00\xff")
        publish(client, notification())
        rig.wait_for(1)
        rig.wait_for_fact("dropped", lambda number: number == (3 if version == "5" else 4))


def test_memory_holds_no_more_than_the_window_while_the_queue_is_away(broker: Mosquitto) -> None:
    with running(broker.url) as rig, publisher(broker) as client:
        rig.wait_until_ready()
        rig.sender.is_away = True
        publish(client, *(notification() for _ in range(1500)))
        rig.wait_for_fact("unacknowledged", lambda number: number >= 500)
        assert rig.registry.statuses[-1].facts["unacknowledged"] == 500
        rig.sender.is_away = False
        rig.wait_for(1500)


def test_user_properties_of_mqtt_5_do_no_harm(broker: Mosquitto) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="v5", protocol=paho.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    with running(broker.url) as rig:
        rig.wait_until_ready()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = [("a", "b"), ("ü", "ß")]
        properties.ContentType = "application/geo+json"
        properties.MessageExpiryInterval = 3600
        client.publish(TOPIC, notification(), qos=1, properties=properties).wait_for_publish(30)
        rig.wait_for(1)
    end(client)


def test_a_signal_in_any_moment_of_its_wait_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Dozens of listeners: none has to wait.
    monkeypatch.setattr(service, "HealthServer", Mock())
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.001)
    rig = Rig("mqtt://nobody:nobody@127.0.0.1:1")
    tried: set[tuple[object, int]] = set()
    before = signal.signal(signal.SIGTERM, lambda *_: rig.listener.request_stop())
    try:
        while _wait_with_signal_at_a_line_not_in(tried, rig.listener):
            rig.listener.stop()
            rig = Rig("mqtt://nobody:nobody@127.0.0.1:1")
    finally:
        signal.signal(signal.SIGTERM, before)
        rig.listener.stop()
    assert tried


def _wait_with_signal_at_a_line_not_in(tried: set[tuple[object, int]], listener: Listener) -> bool:
    """Send SIGTERM as the wait comes to the first such line, or to one for the second time.

    Returns whether there was such a line.
    """
    met: set[tuple[object, int]] = set()
    is_sent = is_first = False

    def at_each_line(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal is_sent, is_first
        line = (frame.f_code, frame.f_lineno)
        if event == "line" and not is_sent and (line not in tried or line in met):
            is_sent, is_first = True, line not in tried
            tried.add(line)
            signal.raise_signal(signal.SIGTERM)
        met.add(line)
        return at_each_line

    sys.settrace(at_each_line)
    try:
        listener.wait()
    finally:
        sys.settrace(None)
    return is_first
