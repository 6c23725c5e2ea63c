"""What the world gets over MQTT: the public account of our broker."""

from __future__ import annotations

import queue
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.smoke.waiting import NotYet
from deploy.smoke.web import demand_tls
from wis2_gc_common.settings import parse_broker_url
from wis2_gc_common.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Iterator

Messages = queue.Queue[mqtt.MQTTMessage]

_TOPICS = "cache/a/wis2/#"
_TIMEOUT_S = 20


@contextmanager
def subscription(url: str, *, ca_file: str | None = None) -> Iterator[Messages]:
    """Subscribe to what we announce, with the account in the URL; yields the messages.

    Raises NotYet: not reachable, refused, or not over TLS.
    """
    broker = parse_broker_url(url)
    demand_tls(url, "wss" if broker.is_websocket else "mqtts")
    events: queue.Queue[tuple[str, Any]] = queue.Queue()
    messages: Messages = queue.Queue()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False,
        transport="websockets" if broker.is_websocket else "tcp",
    )  # fmt: skip
    client.connect_timeout = _TIMEOUT_S
    client.username = broker.username
    client.password = broker.password
    client.ws_set_options(path=broker.path)
    if broker.is_tls:
        client.tls_set_context(client_context(ca_file))
    client.on_connect = lambda _c, _d, _f, code, _p: events.put(("connect", code))
    client.on_connect_fail = lambda _c, _d: events.put(("fail", None))
    client.on_subscribe = lambda _c, _d, _m, codes, _p: events.put(("subscribe", codes[0]))
    client.on_message = lambda _c, _d, message: messages.put(message)

    def expect(wanted: str, problem: str) -> None:
        try:
            what, code = events.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise NotYet(f"{broker} does not answer") from None
        if what != wanted:
            raise NotYet(f"{broker} closes the connection")
        if code.is_failure:
            raise NotYet(f"{broker} {problem}: {code}")

    try:
        try:
            client.connect(broker.host, broker.port, keepalive=30)
        except (OSError, ValueError) as error:
            raise NotYet(f"{broker}: {error}") from None
        client.loop_start()
        expect("connect", "refuses the connection")
        client.subscribe(_TOPICS, qos=1)
        expect("subscribe", f"refuses the subscription to {_TOPICS}")
        yield messages
    finally:
        client.disconnect()
        client.loop_stop()


def check_broker(url: str, *, ca_file: str | None = None) -> str:
    """Return that the public account may subscribe, and nobody comes in without. Raises NotYet."""
    with subscription(url, ca_file=ca_file):
        pass
    broker = parse_broker_url(url)
    scheme, _, rest = url.partition("://")
    try:
        with subscription(f"{scheme}://{rest.rpartition('@')[2]}", ca_file=ca_file):
            pass
    except NotYet as refusal:
        if "refuses the connection" not in str(refusal):
            raise
        return f"{broker.username} may subscribe, nobody gets in without an account"
    raise NotYet(f"{broker} lets in who has no account")
