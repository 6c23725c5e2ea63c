"""What the world gets: metrics and data over HTTPS, announcements over MQTT.

A check that fails, perhaps only for now, raises DeployError with one line that says what is wrong.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.session import DeployError
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paho.mqtt.reasoncodes import ReasonCode

Messages = queue.Queue[mqtt.MQTTMessage]

_TOPICS = "cache/a/wis2/#"
_TIMEOUT_S = 20
_MAX_BYTES = 64 * 1024 * 1024
OK = http.client.OK
_REPORT_BY = re.compile(r'^wmo_wis2_gc_[a-z_]+\{[^}\n]*report_by="([^"\n]*)"', re.MULTILINE)
#: The metrics service shows these from its start, also when it has counted nothing.
_OURS = re.compile(r"^# TYPE wis2_gc_\w+ ", re.MULTILINE)
#: The lines of /readyz about a problem that a Global Broker must solve.
_THEIRS = re.compile(r"listener \S+ is not subscribed")


class HttpAnswer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(url: str) -> HttpAnswer:
    """Return the answer, with any status; certificates are verified."""
    try:
        try:
            response = urllib.request.urlopen(  # noqa: S310 - http(s), of our own names
                url, timeout=_TIMEOUT_S, context=client_context()
            )
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return HttpAnswer(response.status, response.headers, response.read(_MAX_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise DeployError(f"{url}: {getattr(error, 'reason', error)}") from None


def check_metrics(url: str, centre_id: str) -> str:
    """Return a line: `/metrics` has the metrics of this Global Cache, and of no other."""
    answer = get(url)
    if answer.status != OK:
        raise DeployError(f"{url} answers {answer.status}")
    text = answer.body.decode("utf-8", "replace")
    ours, reporters = len(_OURS.findall(text)), _REPORT_BY.findall(text)
    if not ours:
        raise DeployError(f"{url} has no metrics of a Global Cache")
    if others := sorted({*reporters} - {centre_id}):
        raise DeployError(f"{url} reports for {', '.join(others)}, not for {centre_id}")
    return f"{ours} metrics of the service, {len(reporters)} samples of the WMO's"


def check_ready(url: str, *, is_last_look: bool = False) -> str:
    """Return a line: every listener is subscribed and a manager receives.

    `is_last_look`: report a Global Broker that refuses our listener, but do not fail.
    """
    answer = get(url)
    if answer.status == OK:
        return "every listener is subscribed, a manager receives"
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        missing = [str(line) for line in json.loads(text)["missing"]]
    except (ValueError, KeyError, TypeError):
        missing = [text[:300]]
    if is_last_look and all(map(_THEIRS.fullmatch, missing)):
        return f"a manager receives; NOT SUBSCRIBED, ask the Global Brokers: {'; '.join(missing)}"
    raise DeployError(f"{url} answers {answer.status}: {'; '.join(missing)}")


def check_data(base_url: str) -> str:
    """Return a line: the data server answers for its root, and lists nothing."""
    status = get(f"{base_url}/").status
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise DeployError(f"{base_url}/ answers {status}")
    if status == OK:
        raise DeployError(f"{base_url}/ lists what is there")
    return f"answers, lists nothing ({status})"


@contextmanager
def subscription(url: str) -> Iterator[Messages]:
    """Subscribe to our announcements, with the account in the URL; yield the messages."""
    broker = parse_broker_url(url)
    codes: queue.Queue[ReasonCode] = queue.Queue()
    messages: Messages = queue.Queue()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False,
        transport="websockets" if broker.is_websocket else "tcp",
    )  # fmt: skip
    client.connect_timeout = _TIMEOUT_S
    client.username, client.password = broker.username, broker.password
    client.ws_set_options(path=broker.path)
    if broker.is_tls:
        client.tls_set_context(client_context())
    client.on_connect = lambda _c, _d, _f, code, _p: codes.put(code)
    client.on_subscribe = lambda _c, _d, _m, answers, _p: codes.put(answers[0])
    client.on_message = lambda _c, _d, message: messages.put(message)

    def expect(problem: str) -> None:
        try:
            code = codes.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise DeployError(f"{broker} does not answer") from None
        if code.is_failure:
            raise DeployError(f"{broker} {problem}: {code}")

    try:
        try:
            client.connect(broker.host, broker.port, keepalive=30)
        except (OSError, ValueError) as error:
            raise DeployError(f"{broker}: {error}") from None
        client.loop_start()
        expect("refuses the connection")
        client.subscribe(_TOPICS, qos=1)
        expect(f"refuses the subscription to {_TOPICS}")
        yield messages
    finally:
        client.disconnect()
        # The thread removes itself from the client when it ends: perhaps between paho's check that
        # there is a thread and the join (2.1.0).
        with suppress(AttributeError):
            client.loop_stop()


def check_broker(url: str) -> str:
    """Return a line: the public account may subscribe, and nobody can without an account."""
    with subscription(url):
        pass
    broker = parse_broker_url(url)
    scheme, _, rest = url.partition("://")
    try:
        with subscription(f"{scheme}://{rest.rpartition('@')[2]}"):
            pass
    except DeployError as refusal:
        if "refuses the connection" not in str(refusal):
            raise
        return f"{broker.username} may subscribe; without an account the connection is refused"
    raise DeployError(f"{broker} accepts connections without an account")
