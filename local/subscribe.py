"""Prints what a broker announces: for machines without mosquitto's own clients.

python -m local.subscribe [--ca FILE] [--topic FILTER] [--json] [URL]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import ssl
import sys
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wis2_gc_common.settings.values import BrokerUrl

DEFAULT_URL = "mqtt://everyone:everyone@127.0.0.1:1883"
DEFAULT_TOPIC = "cache/a/wis2/#"
_MAX_FILTER_BYTES = 65_535
#: A stranger's text must not control the terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def describe(topic: str, payload: bytes) -> str:
    """Return one line about a message: the topic, and the link or another description.

    For a monitoring event these are the title and the description.
    """
    try:
        message = json.loads(payload)
        if "links" in message:
            shown = next(
                f"{link['rel']} {link['href']}"
                for link in message["links"]
                if link.get("rel") in ("canonical", "update", "deletion")
            )
        else:
            content = message["data"]["content"]
            shown = f"{content['title']}: {content['description']}"
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        shown = f"{len(payload)} bytes"
    return _CONTROL.sub("", f"{topic}  {shown}")


def whole(topic: str, payload: bytes) -> str:
    """Return one line of JSON with the whole message; as text if it is not JSON."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        message = payload.decode(errors="replace")
    # JSON escapes control characters, also those above ASCII.
    return json.dumps({"topic": topic, "message": message})


def is_topic_filter(text: str) -> bool:
    """Whether it is a valid topic filter (MQTT 5.0, 4.7.1)."""
    levels = text.split("/")
    return (
        text.isprintable()
        and 0 < len(text.encode()) <= _MAX_FILTER_BYTES
        and "#" not in levels[:-1]
        and all(level in ("+", "#") or not {"+", "#"} & set(level) for level in levels)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print until Ctrl-C; return 1 if the broker refuses."""
    parser = argparse.ArgumentParser(prog="python -m local.subscribe", description=__doc__)
    parser.add_argument("url", nargs="?", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    parser.add_argument("--topic", default=DEFAULT_TOPIC, help=f"default: {DEFAULT_TOPIC}")
    parser.add_argument("--ca", help="PEM file of the authority of the broker's certificate")
    parser.add_argument("--json", action="store_true", help="print whole messages, one a line")
    options = parser.parse_args(arguments)
    try:
        broker = parse_broker_url(options.url)
    except ValueError as error:
        parser.error(f"the URL {error}")
    if not is_topic_filter(options.topic):
        parser.error(f"--topic {options.topic!r} is not a topic filter: '+' and '#' stand for "
                     "whole levels, '#' for the last ones")  # fmt: skip
    try:
        tls = ssl.create_default_context(cafile=options.ca) if broker.is_tls else None
    except OSError as error:
        parser.error(f"--ca {options.ca}: {error.strerror or error}")
    problems: list[str] = []
    show = whole if options.json else describe
    client = _client(broker, tls, options.topic, show, problems)
    try:
        client.connect(broker.host, broker.port, keepalive=30)
        client.loop_forever()
    except KeyboardInterrupt:
        client.disconnect()
    except OSError as error:
        problems.append(f"{broker} cannot be reached: {error}")
    if problems:
        sys.stderr.write(f"{problems[0]}\n")
    return 1 if problems else 0


def _client(
    broker: BrokerUrl,
    tls: ssl.SSLContext | None,
    topic: str,
    show: Callable[[str, bytes], str],
    problems: list[str],
) -> mqtt.Client:
    """Return a client that subscribes and prints; `problems` gets the reason if it gives up."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        protocol=mqtt.MQTTv5,
        transport="websockets" if broker.is_websocket else "tcp",
    )
    client.username_pw_set(broker.username, broker.password)
    if tls is not None:
        client.tls_set_context(tls)

    def give_up(problem: str) -> None:
        problems.append(problem)
        client.disconnect()

    def on_connect(_client: mqtt.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            give_up(f"{broker} refuses the connection: {code}")
        else:
            client.subscribe(topic, qos=1)

    def on_subscribe(
        _client: mqtt.Client, _data: Any, _mid: int, codes: list[Any], _more: Any
    ) -> None:
        if codes[0].is_failure:
            give_up(f"{broker} refuses the subscription to {topic}: {codes[0]}")

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            print(show(message.topic, bytes(message.payload)), flush=True)
        except BrokenPipeError:  # as in `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            client.disconnect()

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    return client


if __name__ == "__main__":
    sys.exit(main())
