"""Ends a paho client that runs in its own thread."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import Client


def end(client: Client) -> None:
    """Disconnect, and return when its thread has ended."""
    client.disconnect()
    # The thread removes itself from the client when it ends: perhaps between paho's check that
    # there is a thread and the join (2.1.0).
    with suppress(AttributeError):
        client.loop_stop()
