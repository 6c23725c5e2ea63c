"""What the world gets over MQTT: the public account of our broker."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.smoke.waiting import NotYet
from deploy.smoke.web import demand_tls
from wis2_gc_common.settings import parse_broker_url
from wis2_gc_common.tls import client_context

if TYPE_CHECKING:
    from types import TracebackType

_TOPICS = "cache/a/wis2/#"
_TIMEOUT_S = 20


class Subscriber:
    """A subscription to what we announce, with the account in the URL.

    Raises NotYet from `__enter__`: not reachable, refused, or not over TLS.
    """

    def __init__(self, url: str, *, ca_file: str | None = None) -> None:
        self._url = url
        self._broker = broker = parse_broker_url(url)
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False,
            transport="websockets" if broker.is_websocket else "tcp",
        )  # fmt: skip
        client.connect_timeout = _TIMEOUT_S
        client.username = broker.username
        client.password = broker.password
        if broker.is_websocket:
            client.ws_set_options(path=broker.path)
        if broker.is_tls:
            client.tls_set_context(client_context(ca_file))
        client.on_connect = lambda _c, _d, _f, code, _p: self._events.put(("connect", code))
        client.on_connect_fail = lambda _c, _d: self._events.put(("fail", None))
        client.on_subscribe = lambda _c, _d, _m, code, _p: self._events.put(("subscribe", code[0]))
        client.on_message = lambda _c, _d, message: self.messages.put(message)

    def __enter__(self) -> Self:
        demand_tls(self._url, "wss" if self._broker.is_websocket else "mqtts")
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=30)
            self._client.loop_start()
            self._await("connect", "refuses the connection")
            self._client.subscribe(_TOPICS, qos=1)
            self._await("subscribe", f"refuses the subscription to {_TOPICS}")
        except BaseException as error:
            self.__exit__(None, None, None)
            if isinstance(error, OSError | ValueError):
                raise NotYet(f"{self._broker}: {error}") from None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _await(self, wanted: str, problem: str) -> None:
        try:
            what, code = self._events.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise NotYet(f"{self._broker} does not answer") from None
        if what != wanted:
            raise NotYet(f"{self._broker} closes the connection")
        if code.is_failure:
            raise NotYet(f"{self._broker} {problem}: {code}")


def check_broker(url: str, *, ca_file: str | None = None) -> str:
    """Return that the public account may subscribe, and nobody comes in without. Raises NotYet."""
    with Subscriber(url, ca_file=ca_file):
        pass
    broker = parse_broker_url(url)
    scheme, _, rest = url.partition("://")
    try:
        with Subscriber(f"{scheme}://{rest.rpartition('@')[2]}", ca_file=ca_file):
            pass
    except NotYet as refusal:
        if "refuses the connection" not in str(refusal):
            raise
        return f"{broker.username} may subscribe, nobody gets in without an account"
    raise NotYet(f"{broker} lets in who has no account")
