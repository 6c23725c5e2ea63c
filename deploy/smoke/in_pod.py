"""What is tried in a pod: `send TOPIC < PAYLOAD`, `reach HOST PORT` or `fetch URL…`.

Given as text to the pod's Python: it is no part of the image.
"""

import socket
import sys
import time
import urllib.request

from wis2_gc_common import settings
from wis2_gc_common.queue import open_sender
from wis2_gc_common.queue.base import Envelope, Sent


def send(topic: str) -> None:
    """Put one notification on the queue, with the settings of a listener: only it may send."""
    read = settings.Reader()
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
        sys.exit(f"the queue answered {answers[0].value}")


def reach(host: str, port: int) -> None:
    """Print what comes of a connection: `reached`, `shut out`, or what else is wrong."""
    try:
        # Policies drop in silence. Inside a cluster an answer takes milliseconds.
        socket.create_connection((host, port), timeout=5).close()
        print("reached")
    except socket.gaierror:
        print("no such name")
    except TimeoutError:
        print("shut out")
    except ConnectionRefusedError:
        # Nobody listens there yet: that says nothing about policies.
        print("refused")
    except OSError as error:
        print(error)


def fetch(urls: list[str]) -> None:
    """Fetch the beginning of each URL, over http, https or FTP."""
    for url in urls:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the operator's own
            answer.read(1)


match sys.argv[1:]:
    case ["send", topic]:
        send(topic)
    case ["reach", host, port]:
        reach(host, int(port))
    case ["fetch", *urls]:
        fetch(urls)
