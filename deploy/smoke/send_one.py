"""Puts one notification on the queue, as a listener does: `send_one.py TOPIC < PAYLOAD`.

Runs inside a listener's pod, whose role alone may send (terraform/modules/queue), with the
settings that are there. Given to Python as text: it is no part of the image.
"""

from __future__ import annotations

import sys
import time

from wis2_gc_common import settings
from wis2_gc_common.queue import open_sender
from wis2_gc_common.queue.base import Envelope, Sent


def main() -> None:
    """Exit with a line on stderr unless the queue has accepted it."""
    read = settings.Reader()
    sender = open_sender(
        read(settings.QUEUE_URL),
        redis_url=read(settings.REDIS_URL),
        max_length=read(settings.MAX_QUEUE_LENGTH),
    )
    envelope = Envelope(
        topic=sys.argv[1],
        payload=sys.stdin.buffer.read(),
        broker="smoke-test",
        arrived_ms=time.time_ns() // 1_000_000,
    )
    try:
        answers = sender.send([envelope])
    finally:
        sender.close()
    if answers != [Sent.ACCEPTED]:
        sys.exit(f"the queue answered {answers[0].value}")


if __name__ == "__main__":
    main()
