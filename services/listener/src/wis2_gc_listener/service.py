"""Connects the parts of one listener, starts and stops them."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from wis2_gc_common.runtime.health import HealthServer
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_listener.arrivals import Inbox
from wis2_gc_listener.broker import RECEIVE_MAXIMUM, GlobalBroker, ReconnectDelays
from wis2_gc_listener.forwarder import Forwarder, Identity, Timing
from wis2_gc_listener.rates import CentreRates
from wis2_gc_listener.silence import Silence
from wis2_gc_listener.triage import Triage

if TYPE_CHECKING:
    import ssl

    from wis2_gc_common.ports.queue import Sender
    from wis2_gc_common.ports.registry import ListenerRegistry
    from wis2_gc_listener.settings import ListenerSettings

_log = get_logger(__name__)

#: Reading stops at this many waiting messages if a broker has no window (MQTT 3.1.1): 16 MB at
#: most.
INBOX_CAPACITY = 4 * RECEIVE_MAXIMUM
#: A forwarder that has not completed its loop for this long hangs.
FORWARDER_STALLED_S = 60.0
#: The same for the network thread, which may spend time in name look-ups and connection attempts.
NETWORK_STALLED_S = 120.0
#: How long the forwarder may take to finish after SIGTERM, and the broker to disconnect.
DRAIN_S = 6.0
LEAVE_S = 3.0
#: How soon `wait` notices a stop.
LOOK_EVERY_S = 0.2


class Listener:
    """Runs from `start` until `wait` returns; then `stop`."""

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        sender: Sender,
        registry: ListenerRegistry,
        tls: ssl.SSLContext | None,
        queue_problem: str = "",
        silence: Silence | None = None,
        delays: ReconnectDelays | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._sender = sender
        self._registry = registry
        # Not an event: a signal handler that sets it while its own thread waits for it would wait
        # for that thread, for ever.
        self._is_asked_to_stop = False
        self._has_failed = threading.Event()
        self._failure = ""
        inbox = Inbox(capacity=INBOX_CAPACITY)
        self.broker = GlobalBroker(
            url=settings.broker_url,
            client_id=settings.client_id,
            topics=settings.topics,
            mqtt_version=settings.mqtt_version,
            tls=tls,
            inbox=inbox,
            silence=silence or Silence(timeout_s=settings.silence_timeout_s),
            delays=delays or ReconnectDelays(),
        )
        self._forwarder = Forwarder(
            identity=Identity(
                broker_name=settings.broker_name,
                broker_address=str(settings.broker_url),
                topics=settings.topics,
                # The same after a restart in a pod: it does not have to wait for itself.
                process=f"{socket.gethostname()}/{os.getpid()}",
            ),
            inbox=inbox,
            triage=Triage(centre_id=settings.common.centre_id, filters=settings.topics),
            sender=sender,
            registry=registry,
            broker=self.broker,
            rates=CentreRates(
                rate_per_s=settings.centre_rate_per_s,
                burst=settings.centre_burst,
                clock=time.monotonic,
            ),
            on_crash=lambda: self._fail("the forwarder crashed"),
            repeat_window_hours=settings.repeat_window_hours,
            queue_problem=queue_problem,
            timing=timing or Timing(),
        )
        self._health = HealthServer(
            settings.common.http_host,
            settings.common.http_port,
            live=self.why_not_live,
            ready=self.why_not_ready,
        )

    @property
    def http_port(self) -> int:
        """Where `/healthz` and `/readyz` are served."""
        return self._health.port

    def start(self) -> None:
        """Begin to receive."""
        self._forwarder.start()
        self.broker.start()

    def request_stop(self) -> None:
        """Make `wait` return; safe in a signal handler."""
        self._is_asked_to_stop = True

    def wait(self) -> None:
        """Return when the listener is asked to stop, or cannot continue."""
        while not self._is_asked_to_stop and not self._has_failed.wait(LOOK_EVERY_S):
            pass

    def stop(self) -> str:
        """Queue what has arrived, acknowledge it, leave the broker without ending the session.

        Returns why the listener could not continue; "" if it was asked to stop.
        """
        self.broker.stop_reading()
        if not self._forwarder.stop(timeout_s=DRAIN_S):
            _log.warning("forwarder_did_not_finish")
        self.broker.stop(timeout_s=LEAVE_S)
        self._health.close()
        # A forwarder that hangs still uses these; the process ends anyway.
        if not self._forwarder.is_alive:
            self._forwarder.leave_session()
            self._sender.close()
            self._registry.close()
        return self._failure

    def why_not_live(self) -> str:
        """Return which thread makes no progress; "" if both do."""
        if self._failure:
            return self._failure
        if not self._forwarder.is_alive:
            return "the forwarder thread has ended"
        if not self.broker.is_alive:
            return "the network thread has ended"
        if self._forwarder.stalled_s > FORWARDER_STALLED_S:
            return f"the forwarder hangs for {self._forwarder.stalled_s:.0f} s"
        if self.broker.stalled_s > NETWORK_STALLED_S:
            return f"the network thread hangs for {self.broker.stalled_s:.0f} s"
        return ""

    def why_not_ready(self) -> str:
        """Return which of our own parts is not there: threads, registry, queue; "" if all are.

        A Global Broker that refuses us must not block a release; the heartbeat, and so the metrics
        service, reports the refusal.
        """
        return self.why_not_live() or self._forwarder.problem

    def _fail(self, why: str) -> None:
        self._failure = why
        self._has_failed.set()
