from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from local.parts.mqtt_client import end
from local.parts.ports import free_port
from testkit.fakes.listener import wait_until

if TYPE_CHECKING:
    import pytest


def test_a_thread_that_ends_while_it_is_waited_for_is_not_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = threading.enumerate()
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect_async("127.0.0.1", free_port())
    client.loop_start()
    [thread] = [each for each in threading.enumerate() if each not in before]
    asked, this = threading.current_thread, threading.current_thread()

    def at_its_end() -> threading.Thread:
        # loop_stop() has seen a thread, and asks which this is.
        if asked() is this:
            wait_until(lambda: not thread.is_alive(), what="it has ended")
        return asked()

    monkeypatch.setattr(threading, "current_thread", at_its_end)
    end(client)
    assert not thread.is_alive()
