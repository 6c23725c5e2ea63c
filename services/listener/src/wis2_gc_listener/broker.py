"""The connection to one Global Broker: a thin adapter over paho-mqtt.

One thread of ours calls paho's network functions, and only this thread uses paho's client: `ack`
from another thread could write to the socket at the same time as paho's loop. Each connection has
its own client object and a generation number; an acknowledgement of an earlier generation finds no
client, so a stale packet id is never acknowledged.

It reconnects for ever, with growing delays. It raises nothing to its users: `state` says what is
wrong.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from wis2_gc_common.runtime.backoff import Backoff
from wis2_gc_common.runtime.causes import BUG, os_words, tls_words
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.notification import MAX_NOTIFICATION_BYTES
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS
from wis2_gc_listener.arrivals import Arrival
from wis2_gc_listener.lenient_client import MAX_PACKET_BYTES, LenientClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from wis2_gc_common.settings.values import BrokerUrl
    from wis2_gc_listener.arrivals import Inbox
    from wis2_gc_listener.lenient_client import Delivery
    from wis2_gc_listener.settings import MqttVersion
    from wis2_gc_listener.silence import Silence

_log = get_logger(__name__)

#: How long the broker keeps our session while we are away: twice the required hour.
SESSION_EXPIRY_S = 2 * 3600
#: How many unacknowledged messages the broker may send: 1000 a second at a round trip of 0.5 s.
RECEIVE_MAXIMUM = 500
KEEPALIVE_S = 60
CONNECT_TIMEOUT_S = 10.0
#: How long CONNACK and SUBACK may take.
ANSWER_TIMEOUT_S = 30.0
#: After a connection that lasted this long, the next failure starts with a short delay. So two
#: listeners that disconnect each other (MQTT 3.1.1 does not report it) slow down.
_STABLE_S = 30.0
#: The same after a session was taken over: longer than the longest delay of two clients that take
#: it from each other, or they would never slow down.
_PEACE_S = 3600.0
#: Packets to read before handing them over and sending acknowledgements.
_READ_BURST = 100
#: In busy times we wait a little for more messages: a batch costs little more than one. This many
#: are enough: half of mosquitto's default window of 20, so that we never wait for messages of a
#: broker that waits for acknowledgements.
_ENOUGH = 10
_LINGER_S = 0.01
#: Times are busy if the previous read was less than this ago. After a pause, no message waits.
_QUIET_S = 0.02
#: How often we check whether the session has become ours.
_STAND_BY_S = 0.1
_ANOTHER_LISTENER = "another listener of ours has the session"
_FAILED = 0x80
_SESSION_TAKEN_OVER = 0x8E
#: What paho's reasons mean when paho gives them, not the broker.
_LOST = {
    0x82: "the broker sent something that is not MQTT",
    0x8D: "the broker does not answer pings",
}


@dataclass(frozen=True, slots=True)
class ReconnectDelays:
    """Bounds of the growing delays, in seconds."""

    reconnect_first_s: float = 1.0
    reconnect_longest_s: float = 60.0
    resubscribe_first_s: float = 10.0
    resubscribe_longest_s: float = 300.0
    taken_over_first_s: float = 10.0
    taken_over_longest_s: float = 300.0


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The connection as an operator sees it; `problem` is "" if all is well."""

    is_connected: bool = False
    is_subscribed: bool = False
    problem: str = "not connected yet"
    generation: int = 0
    silence_reconnects: int = 0
    """How many times we reconnected because it was silent."""
    taken_over: int = 0
    """How many times another client took our session."""

    @property
    def is_ready(self) -> bool:
        """Whether notifications arrive."""
        return self.is_connected and self.is_subscribed


@dataclass(kw_only=True, eq=False)
class GlobalBroker:
    """Receives into an inbox, acknowledges on request.

    It connects only while `let` says that the session is ours: the listeners of one Global Broker
    take turns, and the next one waits until the previous one has left. If a client takes the
    session while it is ours, that client is a thief: we take it back, after delays that grow much
    longer than after any other failure. If we exited instead, we would be restarted at once and
    know nothing of earlier thefts.
    """

    url: BrokerUrl
    client_id: str
    topics: tuple[str, ...]
    mqtt_version: MqttVersion
    tls: ssl.SSLContext | None
    inbox: Inbox
    silence: Silence
    delays: ReconnectDelays

    def __post_init__(self) -> None:
        self.acknowledgements: deque[Arrival] = deque()
        self.is_reading = True
        self.is_stopping = threading.Event()
        self.state = BrokerState()
        self.is_another_listeners = False
        """Whether we know that another listener has the session."""
        self._beat_at = time.monotonic()
        self._ours_until = 0.0
        self._is_in_doubt = False
        self._is_woken = False
        self.wake_reader, self._wake_writer = socket.socketpair()
        self.wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="global-broker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the network thread runs."""
        return self._thread.is_alive()

    @property
    def stalled_s(self) -> float:
        """Seconds since the network thread last completed its loop."""
        return time.monotonic() - self._beat_at

    def let(self, is_ours: bool | None, *, lease_s: float) -> None:
        """Set whether the session is ours, for at least `lease_s`.

        None: the registry cannot say. Then nothing changes, unless a client has taken the session:
        it may be another listener of ours, with newer information.
        """
        if is_ours is None and self._is_in_doubt:
            return
        self.is_another_listeners = is_ours is False
        self._ours_until = 0.0 if is_ours is False else time.monotonic() + lease_s

    def start(self) -> None:
        """Connect, in its own thread."""
        self._thread.start()

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Acknowledge these, in this order; those of earlier connections are ignored."""
        if not arrivals:
            return
        self.acknowledgements.extend(arrivals)
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def stop_reading(self) -> None:
        """Take no more messages; those that have arrived can still be acknowledged."""
        self.is_reading = False
        self._wake()

    def stop(self, *, timeout_s: float) -> None:
        """Send the acknowledgements, and disconnect; the broker keeps the session."""
        self.is_stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self.wake_reader.close()
            self._wake_writer.close()

    # Only the network thread calls the following.

    def linger(self, duration_s: float) -> None:
        """Wait; a stop ends the wait, acknowledgements do not."""
        self._is_woken = True
        select.select([self.wake_reader], [], [], duration_s)
        self.clear_wake()

    def clear_wake(self) -> None:
        """Clear the wake-up; call it before reading what changed."""
        with contextlib.suppress(BlockingIOError):
            self.wake_reader.recv(4096)
        # Only now. If cleared before the read, a wake-up in between would be lost and leave the
        # flag set, and acknowledgements would wait for the next message.
        self._is_woken = False

    def beat(self) -> None:
        """Record that the network thread makes progress."""
        self._beat_at = time.monotonic()

    def change_state(self, **changes: object) -> None:
        """Replace fields of `state`."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def _wake(self) -> None:
        # Full: it wakes up anyway. Closed: nobody is left to wake.
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"w")

    def _run(self) -> None:
        backoff = Backoff(
            first_s=self.delays.reconnect_first_s, longest_s=self.delays.reconnect_longest_s
        )
        backoff_taken_over = Backoff(
            first_s=self.delays.taken_over_first_s, longest_s=self.delays.taken_over_longest_s
        )
        while not self.is_stopping.is_set():
            if not self._is_our_turn(backoff_taken_over):
                continue
            self.change_state(generation=self.state.generation + 1)
            connection = _Connection(self, self.state.generation)
            started_at = time.monotonic()
            problem = self._serve(connection)
            if self.is_stopping.is_set():
                break
            self.change_state(problem=problem)
            lasted_s = time.monotonic() - started_at
            if connection.is_taken_over:
                # The registry knows whether a listener of ours or a stranger took it.
                self._is_in_doubt, self._ours_until = True, 0.0
                if lasted_s >= _PEACE_S:
                    backoff_taken_over.reset()
                continue
            if self.is_another_listeners:
                _log.info("session_left", broker=str(self.url))
                continue
            if lasted_s >= _STABLE_S:
                backoff.reset()
            delay_s = backoff.next_s()
            _log.warning(
                "broker_connection_failed",
                broker=str(self.url),
                problem=problem,
                retry_in_s=round(delay_s, 1),
            )
            self._wait(delay_s)

    def _is_our_turn(self, backoff_taken_over: Backoff) -> bool:
        """Return whether to connect now; if not, wait a little."""
        if self.is_another_listeners:
            self._is_in_doubt = False
            self.change_state(problem=_ANOTHER_LISTENER)
        if time.monotonic() >= self._ours_until:
            self._wait(_STAND_BY_S)
            return False
        if not self._is_in_doubt:
            return True
        # The session is ours, so a stranger took it.
        self._is_in_doubt = False
        delay_s = backoff_taken_over.next_s()
        self.change_state(taken_over=self.state.taken_over + 1)
        _log.error("session_taken_over", broker=str(self.url), retry_in_s=round(delay_s, 1))
        self._wait(delay_s)
        return False

    def _serve(self, connection: _Connection) -> str:
        """Connect and serve; return why it ended. Never raises."""
        try:
            connection.run()
        except ssl.SSLError as error:
            return f"TLS: {tls_words(error)}"
        except OSError as error:
            return f"no connection: {_words(error)}"
        except Exception:  # noqa: BLE001 - the thread must not die silently
            # A bug of ours or of paho must not end this thread: the next connection brings
            # unacknowledged messages again.
            _log.exception("broker_connection_failed_unexpectedly")
            return BUG
        finally:
            connection.close()
            self.change_state(is_connected=False, is_subscribed=False)
        return connection.problem or "the connection was lost"

    def _wait(self, delay_s: float) -> None:
        deadline = time.monotonic() + delay_s
        while (left_s := deadline - time.monotonic()) > 0 and not self.is_stopping.is_set():
            self.beat()
            self.is_stopping.wait(min(left_s, 1.0))


class _Connection:
    """One MQTT connection, from CONNECT to its end."""

    def __init__(self, broker: GlobalBroker, generation: int) -> None:
        self._broker = broker
        self._generation = generation
        self._arrived: list[Arrival] = []
        self._unacknowledged = 0
        self._is_heard = False
        self._read_at = 0.0
        self._answer_due_at: float | None = None
        self._resubscribe_at: float | None = None
        self._resubscribe = Backoff(
            first_s=broker.delays.resubscribe_first_s, longest_s=broker.delays.resubscribe_longest_s
        )
        self._subscribe_id: int | None = None
        self.problem = ""
        self.is_taken_over = False
        self._client = self._make_client()

    def run(self) -> None:
        """Connect and serve until the connection ends or the broker object is stopped.

        Raises OSError: no connection. `problem` says why an established connection ended.
        """
        broker, client = self._broker, self._client
        self._connect()
        misc_due_at = 0.0
        while (sock := client.socket()) is not None:
            broker.beat()
            if broker.is_stopping.is_set() or broker.is_another_listeners:
                self._leave()
                return
            may_read = broker.is_reading and not broker.inbox.is_full
            # TLS may hold decrypted bytes that `select` does not see.
            is_pending = may_read and _pending_bytes(sock) > 0
            readers = [broker.wake_reader, sock] if may_read else [broker.wake_reader]
            readable, _, _ = select.select(
                readers, [sock] if client.want_write() else [], [], 0.0 if is_pending else 0.5
            )
            if is_pending or sock in readable:
                count = self._read()
                if self._is_worth_lingering(count):
                    broker.linger(_LINGER_S)
            if broker.wake_reader in readable:
                broker.clear_wake()
            self._acknowledge()
            if client.want_write():
                client.loop_write()
            now = time.monotonic()
            if now >= misc_due_at:
                misc_due_at = now + 1.0
                client.loop_misc()
                self._check_deadlines(now)
                if self._is_silent_too_long(now, may_read=may_read):
                    self._leave()
                    return

    def close(self) -> None:
        """Close the socket; the broker keeps the session. Does nothing if it is closed."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _make_client(self) -> LenientClient:
        broker = self._broker
        is_v5 = broker.mqtt_version == "5"
        client = LenientClient(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=None if is_v5 else False,
            protocol=MQTTv5 if is_v5 else MQTTv311,
            transport="websockets" if broker.url.is_websocket else "tcp",
            # We reconnect ourselves; paho would also fall back to MQTT 3.1.
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if broker.url.username is not None:
            client.username_pw_set(
                broker.url.username,
                None if broker.url.password is None else str(broker.url.password),
            )
        if broker.url.is_websocket:
            client.ws_set_options(path=broker.url.path)
        if broker.url.is_tls:
            client.tls_set_context(broker.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_delivery = self._on_delivery
        client.on_disconnect = self._on_disconnect
        # With this callback, paho leaves writing to us and does not write at each acknowledgement.
        client.on_socket_register_write = _leave_it_to_the_loop
        return client

    def _connect(self) -> None:
        broker, client = self._broker, self._client
        self._answer_due_at = time.monotonic() + CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S
        if broker.mqtt_version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = MAX_PACKET_BYTES
            client.connect(
                broker.url.host,
                broker.url.port,
                KEEPALIVE_S,
                clean_start=False,
                properties=properties,
            )
        else:
            client.connect(broker.url.host, broker.url.port, KEEPALIVE_S)
        sock = client.socket()
        if sock is not None:
            with _alias(sock) as alias:
                # Acknowledgements are small packets: a delay would block a small window.
                alias.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _read(self) -> int:
        """Hand over what is there; return how many messages. paho reads one packet at a time."""
        client, arrived = self._client, self._arrived
        before = -1
        try:
            while before < len(arrived) < _READ_BURST:
                before = len(arrived)
                if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    break
        finally:
            count = len(arrived)
            if count:
                self._unacknowledged += count
                self._broker.inbox.put(arrived)
                arrived.clear()
        return count

    def _is_worth_lingering(self, count: int) -> bool:
        """Whether more messages are likely soon, so that a short wait pays."""
        if count == 0:
            return False
        now = time.monotonic()
        is_busy = now - self._read_at < _QUIET_S
        self._read_at = now
        return is_busy and count < _ENOUGH

    def _acknowledge(self) -> None:
        waiting, client = self._broker.acknowledgements, self._client
        while waiting:
            arrival = waiting.popleft()
            if arrival.generation == self._generation:
                self._unacknowledged -= 1
                client.ack(arrival.packet_id, arrival.qos)

    def _leave(self) -> None:
        """Send the last acknowledgements and DISCONNECT, which does not end the session."""
        client = self._client
        self._acknowledge()
        deadline = time.monotonic() + 2.0
        sock = client.socket()
        if sock is None:
            return
        with _alias(sock) as alias:
            client.disconnect()
            while client.want_write() and client.socket() is not None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return
                select.select([], [alias], [], left_s)
                client.loop_write()
            # A close with unread messages would reset the connection, and the broker might never
            # see our last acknowledgements. So read to the end.
            _read_to_the_end(alias, deadline)

    def _check_deadlines(self, now: float) -> None:
        if self._answer_due_at is not None and now >= self._answer_due_at:
            self.problem = "the broker does not answer"
            self.close()
            raise OSError(self.problem)
        if self._resubscribe_at is not None and now >= self._resubscribe_at:
            self._resubscribe_at = None
            self._subscribe()

    def _is_silent_too_long(self, now: float, *, may_read: bool) -> bool:
        """Whether to reconnect: the session keeps what the broker has not delivered."""
        broker = self._broker
        is_heard, self._is_heard = self._is_heard, False
        # With unacknowledged messages the broker's window may be full: then we are the cause.
        is_listening = may_read and broker.state.is_ready and self._unacknowledged == 0
        if not broker.silence.look(now, is_heard=is_heard, is_listening=is_listening):
            return False
        silent_s = broker.silence.silent_s
        _log.warning("broker_silent", broker=str(broker.url), silent_s=round(silent_s))
        broker.change_state(silence_reconnects=broker.state.silence_reconnects + 1)
        self.problem = f"connected, but silent for {silent_s:.0f} s"
        return True

    def _subscribe(self) -> None:
        self._answer_due_at = time.monotonic() + ANSWER_TIMEOUT_S
        if self._broker.mqtt_version == "5":
            # Retained messages only with a new subscription, not after each reconnection.
            options = SubscribeOptions(
                qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            _, self._subscribe_id = self._client.subscribe(
                [(topic, options) for topic in self._broker.topics]
            )
        else:
            _, self._subscribe_id = self._client.subscribe(
                [(topic, 1) for topic in self._broker.topics]
            )

    # paho calls these inside its network functions. An exception ends this connection, and
    # GlobalBroker._serve logs it.

    def _on_connect(
        self,
        client: Client,
        _userdata: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._answer_due_at = None
        if reason.is_failure:
            self.problem = f"refused by the broker: {reason}"
            return
        self._broker.change_state(is_connected=True, problem="not subscribed yet")
        self._broker.silence.connected()
        discarded = 0
        if flags.session_present:
            # No message of this connection has arrived yet: the session's messages follow the
            # CONNACK.
            discarded = self._broker.inbox.discard_redelivered(self._generation)
            unwanted = [topic for topic in DEFAULT_FILTERS if topic not in self._broker.topics]
            if unwanted:
                # A session older than a narrower GC_TOPICS would keep the wide subscription.
                client.unsubscribe(unwanted)
        _log.info(
            "broker_connected",
            broker=str(self._broker.url),
            is_session_resumed=flags.session_present,
            discarded_for_redelivery=discarded,
        )
        self._subscribe()

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if packet_id != self._subscribe_id:
            return
        self._answer_due_at = None
        granted = dict(zip(self._broker.topics, reasons, strict=False))
        refused = {
            topic: str(granted[topic]) if topic in granted else "no answer"
            for topic in self._broker.topics
            if topic not in granted or granted[topic].value >= _FAILED
        }
        if not refused:
            if any(reason.value == 0 for reason in reasons):
                _log.warning("subscribed_at_qos_0", topics=self._broker.topics)
            _log.info("broker_subscribed", topics=self._broker.topics)
            self._resubscribe.reset()
            self._broker.change_state(is_subscribed=True, problem="")
            return
        delay_s = self._resubscribe.next_s()
        self._resubscribe_at = time.monotonic() + delay_s
        problem = "subscription refused: " + ", ".join(
            f"{topic} ({reason})" for topic, reason in refused.items()
        )
        _log.error("subscription_refused", refused=refused, retry_in_s=round(delay_s, 1))
        self._broker.change_state(is_subscribed=False, problem=problem)

    def _on_delivery(self, delivery: Delivery) -> None:
        if not delivery.is_retained:
            self._is_heard = True
        try:
            topic = delivery.topic.decode()
        except UnicodeDecodeError:
            topic = ""  # an invalid topic, as it was
        self._arrived.append(
            Arrival(
                topic,
                # It is refused for its size; one byte too many is enough for that.
                delivery.payload[: MAX_NOTIFICATION_BYTES + 1],
                time.time_ns() // 1_000_000,
                self._generation,
                delivery.packet_id,
                delivery.qos,
            )
        )

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self.is_taken_over = reason.value == _SESSION_TAKEN_OVER
            self.problem = (
                "another client has taken our session over"
                if self.is_taken_over
                else f"disconnected by the broker: {reason}"
            )
        elif not self.problem:
            self.problem = _LOST.get(reason.value, "the connection was lost")


def _words(error: OSError) -> str:
    """Return why there is no connection; errors of paho and our own have no number."""
    return os_words(error) if error.errno or not error.args else str(error)


def _leave_it_to_the_loop(*_: object) -> None:
    """Do nothing: the network loop asks `want_write` in each round."""


def _pending_bytes(sock: object) -> int:
    pending = getattr(sock, "pending", None)
    return 0 if pending is None else int(pending())


def _alias(sock: object) -> socket.socket:
    """Return a second handle of the TCP connection under TLS and WebSocket; close it."""
    return socket.socket(fileno=os.dup(sock.fileno()))  # type: ignore[attr-defined]


def _read_to_the_end(alias: socket.socket, deadline: float) -> None:
    try:
        alias.shutdown(socket.SHUT_WR)
        while (left_s := deadline - time.monotonic()) > 0:
            alias.settimeout(left_s)
            if not alias.recv(65_536):
                return
    except OSError:
        # The broker closed first.
        return
