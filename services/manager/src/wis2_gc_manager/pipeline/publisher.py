"""Publishes on our own broker: one MQTT 5 session, QoS 1, a future per PUBACK.

Source: architecture.md#publishing.

paho handles the protocol. Our event loop watches its socket, so that no thread is between an item
and its PUBACK. Only connecting (DNS, TCP, TLS) runs in a thread, because paho blocks there. Every
connection has a client of its own. After a session that worked, the next one begins at once, and
everything that was not acknowledged is published again, with the same message id. Only if that
fails, it is an outage, and the items are told.

A broker may end the session because of one message, and would do so every time (too many levels in
the topic). The message that had waited longest is then suspect, and so is one that was there
twice. A suspect is published again on a second connection, one message at a time: so a message is
blamed only for what it does alone, and the first connection stays. When the broker ends the second
one, all messages of that centre use it, too. If a broker has lately taken no message, or hangs, no
message is to blame: that is an outage.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from paho.mqtt.client import Client, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.runtime.backoff import Backoff
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.settings.catalogue import CA_FILE, LOCAL_BROKER_URL
from wis2_gc_common.wis2.topic import centre_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from wis2_gc_common.settings.values import BrokerUrl

#: Ours; a broker may allow less (MQTT 5 Receive Maximum; mosquitto: 20).
MAX_IN_FLIGHT = 500
#: MQTT's own; a broker may allow less (MQTT 5 Maximum Packet Size).
MAX_PACKET_BYTES = 2**28
#: Around topic and payload, at most: fixed header, lengths, packet id, no properties.
_OVERHEAD_BYTES = 10
KEEPALIVE_S = 15
#: For DNS, TCP and TLS, each; and for the broker's CONNACK.
CONNECT_TIMEOUT_S = 10.0
#: A broker that acknowledges nothing for so long counts as away.
PUBACK_TIMEOUT_S = 30.0
#: If the broker has taken another message on the same channel within this time, it refuses the
#: message and not us.
WELL_WITHIN_S = 60.0
#: A message at which the broker ends the connection this often when it is alone is refused.
MAX_STRIKES = 3
#: For how long the messages of a centre use the second connection: after the broker ended that at
#: one of them, and after one was refused.
SUSPECTED_S = 10.0
BLAMED_S = 600.0
#: A session works if it accepted a message, or lived this long with nothing to accept.
WORKS_S = 1.0
#: After a session that worked, up to so many may fail, each begun at once and waited for as long as
#: this; then it is an outage.
MAX_RESUMES = 3
RESUME_S = 1.0
#: Shortest time between the beginnings of two sessions, for a broker that ends each at once.
MIN_SESSION_S = 0.05
#: Most suspects, and most blamed centres, that are remembered: the newest.
MAX_REMEMBERED = 2 * MAX_IN_FLIGHT
FIRST_RECONNECT_S = 0.25
MAX_RECONNECT_S = 10.0
_TICK_S = 1.0
#: From here on, a reason code of MQTT 5 says no.
_FAILURE = 0x80
#: Also what paho says when the broker answers no PINGREQ.
_KEEP_ALIVE_TIMEOUT = 0x8D
#: Reason codes of DISCONNECT that say nothing of a message: server busy, server shutting down,
#: keep-alive timeout, session taken over, administrative action, use another server, server moved,
#: connection rate, maximum connect time.
_OF_THE_SESSION = frozenset({0x89, 0x8B, _KEEP_ALIVE_TIMEOUT, 0x8E, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})

K = TypeVar("K")
V = TypeVar("V")

log = get_logger(__name__)


#: Topic and payload.
_Message = tuple[str, bytes]


class _Cut(Unavailable):
    """The connection ended before the PUBACK."""


class _Connection:
    """One paho client, from its CONNECT to its end, watched by the running loop."""

    def __init__(self, client: Client, on_free: Callable[[], None]) -> None:
        """Take over a client whose socket is connected and whose CONNECT is sent."""
        self.client = client
        self.limit = 1
        self.max_packet_bytes = MAX_PACKET_BYTES
        self.has_accepted = False
        self.pending: dict[int, tuple[asyncio.Future[None], float, _Message]] = {}
        """By packet id, oldest first: who waits for the PUBACK, since when, and of what."""
        self._loop = asyncio.get_running_loop()
        self.connack: asyncio.Future[None] = self._loop.create_future()
        self._began_s = time.monotonic()
        self.is_hung = False
        self.is_blameless = False
        """It ended for a reason that no message can cause."""
        self.ended: asyncio.Future[str] = self._loop.create_future()
        """Done, with the reason, when the connection cannot be used any more."""
        self._on_free = on_free
        self._is_watching_writes = False
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        sock = client.socket()
        if sock is None:
            self._note_end("closed while connecting")
            self._fd = -1
            return
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._read)
        self.watch_writes()

    @property
    def has_worked(self) -> bool:
        """Whether the broker has taken what it was given."""
        is_old = time.monotonic() - self._began_s > WORKS_S
        return self.has_accepted or (is_old and not self.pending)

    def watch_writes(self) -> None:
        """Have the event loop write what the socket did not take at once."""
        if self.client.want_write() and not self._is_watching_writes and not self.ended.done():
            self._is_watching_writes = True
            self._loop.add_writer(self._fd, self._write)

    def tick(self) -> None:
        """Send and check keep-alives; give up on a broker that acknowledges nothing."""
        self.client.loop_misc()
        self.watch_writes()
        oldest = next(iter(self.pending.values()), None)
        if oldest is not None and time.monotonic() - oldest[1] > PUBACK_TIMEOUT_S:
            self.is_hung = self.is_blameless = True
            self.end(f"no PUBACK within {PUBACK_TIMEOUT_S:g} s")

    def end(self, reason: str) -> None:
        """Disconnect, if that has not happened yet."""
        self._note_end(reason)
        self.client.disconnect()
        sock = self.client.socket()
        if sock is not None:
            # Its buffer is full: DISCONNECT will not get through, and nothing waits for it.
            self._on_socket_close()
            sock.close()

    def fail_pending(self, detail: str) -> None:
        """Tell all that wait for a PUBACK that it will not come."""
        for waiter, *_ in self.pending.values():
            if not waiter.done():
                waiter.set_exception(_Cut("broker", detail))
        self.pending.clear()

    def _read(self) -> None:
        while True:
            rc = self.client.loop_read()
            sock = self.client.socket()
            # TLS may hold decrypted bytes that the socket does not report any more.
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or sock is None:
                return
            if not (hasattr(sock, "pending") and sock.pending()):
                return

    def _write(self) -> None:
        self.client.loop_write()
        if self._is_watching_writes and not self.client.want_write():
            self._is_watching_writes = False
            self._loop.remove_writer(self._fd)

    def _on_connect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._note_end(f"refused: {reason}")
            return
        self.limit = min(MAX_IN_FLIGHT, getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT))
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES)
        if not self.connack.done():
            self.connack.set_result(None)

    def _on_publish(
        self,
        _client: Client,
        _userdata: Any,
        packet_id: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        waiter = self.pending.pop(packet_id, (None,))[0]
        if waiter is not None and not waiter.done():
            if reason.value >= _FAILURE:
                waiter.set_exception(PartError("broker", f"it refuses the message: {reason}"))
            else:
                waiter.set_result(None)
        self._on_free()

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self.ended.done():
            self.is_hung = reason.value == _KEEP_ALIVE_TIMEOUT
            self.is_blameless = reason.value in _OF_THE_SESSION
        self._note_end(str(reason))

    def _on_socket_close(self, *_args: object) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    def _note_end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        if not self.connack.done():
            self.connack.set_exception(Unavailable("broker", reason))


class _Lane:
    """A second connection, for one message at a time; open while a message requires it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0
        self.connection: _Connection | None = None
        self.failed_s = 0.0
        """When a message met an outage here: those that waited with it fail without a try."""
        self.problem = ""


class Publisher:
    """Publishes until closed; connects and reconnects by itself. For one event loop."""

    def __init__(
        self,
        url: BrokerUrl,
        *,
        name: str,
        tls: ssl.SSLContext | None,
        on_lost: Callable[[Unavailable], None],
    ) -> None:
        """Prepare; `on_lost` is called when a session ended and the next does not begin at once.

        `name` goes into the client id, for the broker's log. `tls` is used for `mqtts` and `wss`.
        """
        self._url = url
        # Two processes with one client id would end each other's sessions again and again, and so
        # would a stranger who guesses it.
        self._client_id = f"wis2-gc-manager-{name}-{uuid.uuid4().hex}"
        self._tls = tls if url.is_tls else None
        self._on_lost = on_lost
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()
        self._problem = Unavailable("broker", "not connected yet")
        self._accepted_s: dict[str, float] = {}
        """By channel, the first level of the topic: when a message was last accepted on it."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resuming: asyncio.TimerHandle | None = None
        """Runs while the next session after one that worked may still begin at once."""
        self._resumes = 0
        """Sessions since one that worked."""
        self._witnesses: dict[_Message, None] = {}
        """What was not acknowledged at the end of a session, and is not suspect."""
        self._suspected: dict[_Message, None] = {}
        """What is published on the second connection until the broker has taken or refused it."""
        self._blamed_until_s: dict[str, float] = {}
        """By centre-id: until when its messages use the second connection."""
        # Suspects do not wait for the messages of a centre that was blamed.
        self._suspects, self._blamed = _Lane(), _Lane()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_connected(self) -> bool:
        """Whether messages can be published now."""
        return self._connection is not None

    async def check(self) -> None:
        """Return once connected.

        Raises Unavailable("broker") after 3 seconds; Misconfigured if its certificate is not valid
        for us.
        """
        try:
            async with asyncio.timeout(3.0):
                await self._connected.wait()
        except TimeoutError:
            raise self._problem.again() from None

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return when the broker has acknowledged the message (QoS 1, not retained).

        Raises Unavailable("broker"): not connected, the connection broke before the PUBACK (the
        message may have got through), or the broker refuses all messages on this channel.
        PartError("broker"): it has lately taken others, and refuses this message or ended the
        connection each time it was given it alone; or the message is too large for it.
        """
        message = (topic, payload)
        while True:
            # Mostly there are none, and this is quick.
            lane = None
            if self._blamed_until_s and self._is_blamed(topic):
                lane = self._blamed
            elif self._suspected and message in self._suspected:
                lane = self._suspects
            if lane is not None:
                self._wake_one()  # the turn may be ours, and we do not use it
                await self._publish_alone(lane, topic, payload)
                return
            connection = self._free_connection()
            if connection is None:
                await self._turn()
                continue
            try:
                await self._send(connection, topic, payload)
            except _Cut as error:
                if self._resuming is None and self._connection is None:
                    raise Unavailable("broker", error.detail) from None
                continue
            if self._witnesses:
                self._witnesses.pop(message, None)
            return

    async def _send(self, connection: _Connection, topic: str, payload: bytes) -> None:
        size = len(topic.encode()) + len(payload) + _OVERHEAD_BYTES
        if size > connection.max_packet_bytes:
            # The broker would end the connection, for all messages.
            self._wake_one()  # it takes no place
            raise PartError("broker", f"it takes {connection.max_packet_bytes} bytes, not {size}")
        info = connection.client.publish(topic, payload, qos=1)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            kind = _Cut if connection.ended.done() else Unavailable
            raise kind("broker", error_string(info.rc))
        acknowledged = asyncio.get_running_loop().create_future()
        # A waiter that is cancelled leaves its packet id here: it is taken until the PUBACK.
        connection.pending[info.mid] = (acknowledged, time.monotonic(), (topic, payload))
        connection.watch_writes()
        try:
            await acknowledged
        except PartError as error:
            if not self._takes_others(topic):
                # Perhaps our account may not publish at all; then no message is to blame.
                raise Unavailable("broker", error.detail) from None
            raise
        connection.has_accepted = True
        self._accepted_s[topic.partition("/")[0]] = time.monotonic()

    def _takes_others(self, topic: str) -> bool:
        accepted_s = self._accepted_s.get(topic.partition("/")[0])
        return accepted_s is not None and time.monotonic() - accepted_s <= WELL_WITHIN_S

    async def close(self) -> None:
        """Disconnect. Never raises; what was not acknowledged fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._stop_resuming()
        for lane in (self._suspects, self._blamed):
            if lane.connection is not None:
                lane.connection.end("closed")

    async def _publish_alone(self, lane: _Lane, topic: str, payload: bytes) -> None:
        """Do what `publish` does, when it is this message's turn in `lane`."""
        message, began_s, strikes = (topic, payload), time.monotonic(), 0
        lane.users += 1
        try:
            while True:
                # A suspect has one try; then the next one has its turn.
                async with lane.turn:
                    if lane.failed_s >= began_s:
                        raise Unavailable("broker", lane.problem)
                    try:
                        detail = await self._try_alone(lane, topic, payload, strikes)
                    except Unavailable as error:
                        lane.failed_s, lane.problem = time.monotonic(), error.detail
                        raise
                if not detail:
                    break
                strikes += 1
                log.warning(
                    "broker_ended_session_at_message",
                    topic=topic[:200],
                    strikes=strikes,
                    detail=detail,
                )
                is_refused = strikes >= MAX_STRIKES
                if self._takes_others(topic):
                    self._blame(topic, BLAMED_S if is_refused else SUSPECTED_S)
                if is_refused:
                    self._suspected.pop(message, None)
                    raise PartError("broker", f"it ends the session at this message: {detail}")
            self._suspected.pop(message, None)
            self._witnesses.pop(message, None)
        finally:
            lane.users -= 1
            if lane.users == 0 and lane.connection is not None:
                lane.connection.end("no suspects are left")
                lane.connection = None

    async def _try_alone(self, lane: _Lane, topic: str, payload: bytes, strikes: int) -> str:
        """Publish on the lane's connection; return why the broker ended it at this, or "".

        Raises Unavailable: there is no connection, it ended for a reason that no message can
        cause, or `_send` raised it.
        """
        while True:
            connection, is_new = lane.connection, False
            if connection is None or connection.ended.done():
                connection = await self._connect(f"{self._client_id}-{uuid.uuid4().hex[:8]}")
                lane.connection, is_new = connection, True
            if await self._is_taken(connection, topic, payload):
                return ""
            detail = connection.ended.result()
            # At the second strike, those who waited with it have had their turn.
            if connection.is_blameless or (strikes and not self._takes_others(topic)):
                raise Unavailable("broker", detail)
            # A connection that carried others may have ended because of them, or of its age.
            if is_new:
                return detail

    async def _is_taken(self, connection: _Connection, topic: str, payload: bytes) -> bool:
        """Publish alone on `connection`; whether the connection still lives at the PUBACK."""
        sending = asyncio.get_running_loop().create_task(self._send(connection, topic, payload))
        try:
            either: set[asyncio.Future[Any]] = {sending, connection.ended}
            while not sending.done() and not connection.ended.done():
                await asyncio.wait(either, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
                connection.tick()
            if not sending.done():
                connection.fail_pending(connection.ended.result())
            await sending
        except Unavailable:
            if connection.ended.done():
                return False
            raise
        finally:
            if not sending.done():
                # Otherwise it would share the connection with the next message.
                sending.cancel()
                connection.end("its message is not waited for")
        return True

    def _blame(self, topic: str, for_s: float) -> None:
        centre_id, until_s = centre_in(topic), time.monotonic() + for_s
        until_s = max(until_s, self._blamed_until_s.get(centre_id, until_s))
        _remember(self._blamed_until_s, centre_id, until_s)

    def _is_blamed(self, topic: str) -> bool:
        centre_id = centre_in(topic)
        until_s = self._blamed_until_s.get(centre_id)
        if until_s is None:
            return False
        if time.monotonic() > until_s:
            del self._blamed_until_s[centre_id]
            return False
        return True

    def _free_connection(self) -> _Connection | None:
        """Return the connection if the broker takes one more message on it now.

        Raises Unavailable: there is none, and none will begin at once.
        """
        connection = self._connection
        if connection is None:
            if self._resuming is None:
                raise Unavailable("broker", self._problem.detail)
            return None
        is_free = len(connection.pending) < connection.limit and not connection.ended.done()
        return connection if is_free else None

    async def _turn(self) -> None:
        """Return when there may be a free connection, or when there is none to wait for."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self._wake_one()  # we may have been given the turn already
            raise

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self._wake_one()

    def _stop_resuming(self) -> bool:
        """End the waiting for the next session; whether it was possible until now."""
        resuming, self._resuming = self._resuming, None
        if resuming is not None:
            resuming.cancel()
        self._wake_all()
        return resuming is not None

    def _give_up_resuming(self) -> None:
        if self._stop_resuming():
            self._on_lost(self._problem.again())

    async def _run(self) -> None:
        backoff = Backoff(first_s=FIRST_RECONNECT_S, longest_s=MAX_RECONNECT_S, shares=(0.5, 1.5))
        while True:
            began_s = time.monotonic()
            try:
                connection = await self._connect(self._client_id)
            except Unavailable as error:
                self._problem = error
                log.warning("broker_connect_failed", broker=str(self._url), detail=error.detail)
                self._give_up_resuming()
            else:
                await self._serve(connection)
                if self._resumes == 0:
                    backoff.reset()
            if self._resuming is not None:
                await asyncio.sleep(began_s + MIN_SESSION_S - time.monotonic())
                continue
            await asyncio.sleep(backoff.next_s())

    async def _connect(self, client_id: str) -> _Connection:
        """Return a connection the broker has accepted. Raises Unavailable("broker")."""
        loop = asyncio.get_running_loop()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            transport="websockets" if self._url.is_websocket else "tcp",
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # ours is the limit; paho's would scan all of them
        if self._url.username is not None:
            client.username_pw_set(self._url.username, self._url.password)
        if self._url.is_websocket:
            client.ws_set_options(path=self._url.path)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        connecting = loop.run_in_executor(
            None, lambda: client.connect(self._url.host, self._url.port, KEEPALIVE_S)
        )
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # The thread goes on; its result is not used.
            connecting.add_done_callback(lambda done: done.exception() or client.disconnect())
            raise
        except (OSError, ValueError) as error:
            raise _not_connected(error) from error
        connection = _Connection(client, self._wake_one)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connack
        except TimeoutError:
            connection.end("no CONNACK")
            raise Unavailable("broker", "no CONNACK") from None
        except BaseException:
            connection.end("not wanted")
            raise
        return connection

    async def _serve(self, connection: _Connection) -> None:
        """Keep a connection alive until it ends; then tell all that wait."""
        self._connection = connection
        self._connected.set()
        self._stop_resuming()
        log.info("broker_connected", broker=str(self._url), in_flight_limit=connection.limit)
        try:
            while not connection.ended.done():
                await asyncio.wait({connection.ended}, timeout=_TICK_S)
                connection.tick()
        finally:
            is_closed = not connection.ended.done()
            connection.end("closed")
            self._problem = Unavailable("broker", connection.ended.result())
            self._connection = None
            self._connected.clear()
            self._suspect(connection)
            self._resumes = 0 if connection.has_worked else self._resumes + 1
            is_resuming = self._resumes < MAX_RESUMES and not connection.is_hung and not is_closed
            if is_resuming:
                loop = asyncio.get_running_loop()
                self._resuming = loop.call_later(RESUME_S, self._give_up_resuming)
            connection.fail_pending(self._problem.detail)
            self._wake_all()
        log.warning("broker_lost", broker=str(self._url), detail=self._problem.detail)
        if not is_resuming:
            self._on_lost(self._problem.again())

    def _suspect(self, connection: _Connection) -> None:
        """Suspect the message that waited longest for its PUBACK, and any that was there before."""
        if connection.is_hung:
            return
        for number, (*_, message) in enumerate(connection.pending.values()):
            if number == 0 or message in self._witnesses:
                self._witnesses.pop(message, None)
                _remember(self._suspected, message, None)
            else:
                _remember(self._witnesses, message, None)


def _remember(known: dict[K, V], key: K, value: V) -> None:
    """Put it last; if there are too many, the first one goes."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_REMEMBERED:
        del known[next(iter(known))]


def _not_connected(error: OSError | ValueError) -> Unavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Misconfigured(
            "broker",
            LOCAL_BROKER_URL.name,
            f"the broker's TLS certificate is not valid for us ({error.verify_message[:100]}); "
            f"check the host in the URL, and {CA_FILE.name}",
        )
    problem = os_words(error) if isinstance(error, OSError) else str(error)
    return Unavailable("broker", f"no connection: {problem or 'timed out'}"[:200])
