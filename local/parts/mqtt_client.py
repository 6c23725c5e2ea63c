"""The end of a paho client that runs in a thread of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import Client


def end(client: Client) -> None:
    """Disconnect, and return when its thread has ended."""
    client.disconnect()
    # The thread, at its end, makes the client forget it: perhaps between paho's look whether there
    # is one and its join (2.1.0).
    with suppress(AttributeError):
        client.loop_stop()
