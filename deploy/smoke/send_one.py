"""Puts one notification on the queue, as a listener does: `send_one.py TOPIC < PAYLOAD`.

Given as text to Python in a listener's pod, whose role alone may send (terraform/modules/queue),
with the settings that are there: it is no part of the image.
"""

import sys
import time

from wis2_gc_common import settings
from wis2_gc_common.queue import open_sender
from wis2_gc_common.queue.base import Envelope, Sent

read = settings.Reader()
sender = open_sender(
    read(settings.QUEUE_URL),
    redis_url=read(settings.REDIS_URL),
    max_length=read(settings.MAX_QUEUE_LENGTH),
)
payload, arrived_ms = sys.stdin.buffer.read(), time.time_ns() // 1_000_000
try:
    answers = sender.send([Envelope(sys.argv[1], payload, "smoke-test", arrived_ms)])
finally:
    sender.close()
if answers != [Sent.ACCEPTED]:
    sys.exit(f"the queue answered {answers[0].value}")
