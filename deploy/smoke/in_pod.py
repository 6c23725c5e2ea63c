"""A check that runs in a pod: `send TOPIC < PAYLOAD`, `reach HOST PORT` or `fetch URL`.

The pod's Python gets it as text: it is not in the image. It prints what went wrong, or nothing.
"""

import socket
import sys
import time
import urllib.request

from wis2_gc_common.open_queue import open_sender
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import Reader


def send(topic: str) -> None:
    """Put one notification on the queue, with a listener's settings: only a listener may send."""
    read = Reader()
    sender = open_sender(
        read(settings.QUEUE_URL),
        redis_url=read(settings.REDIS_URL),
        max_length=read(settings.MAX_QUEUE_LENGTH),
    )
    payload, arrived_ms = sys.stdin.buffer.read(), time.time_ns() // 1_000_000
    try:
        answers = sender.send([Envelope(topic, payload, "smoke-test", arrived_ms)])
    finally:
        sender.close()
    if answers != [Sent.ACCEPTED]:
        print(f"the queue answered {answers[0].value}")


try:
    match sys.argv[1:]:
        case ["send", topic]:
            send(topic)
        case ["reach", host, port]:
            # Inside a cluster an answer takes milliseconds.
            socket.create_connection((host, int(port)), timeout=5).close()
        case ["fetch", url]:
            # Over http, https or FTP.
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the operator's
                answer.read(1)
except Exception as error:  # noqa: BLE001 - printed
    print(f"{type(error).__name__}: {error}")
