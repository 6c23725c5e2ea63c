"""`wis2-gc-listener`: from one Global Broker to the queue (architecture.md#listener).

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 it could not continue (a part of it crashed); 2 a
setting is wrong.
"""

from __future__ import annotations

import signal
from typing import NoReturn

from wis2_gc_common.errors import Misconfigured, SettingsError, Unavailable
from wis2_gc_common.open_queue import open_sender
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.runtime.collector import let_collector_rest
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.runtime.process_exit import leave, wrong_settings_end
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.catalogue import CA_FILE, HTTP_PORT
from wis2_gc_common.settings.reader import Reader, blamed_on, start_logs
from wis2_gc_listener.service import Listener
from wis2_gc_listener.settings import ListenerSettings, read_settings

_log = get_logger(__name__)


def main() -> NoReturn:
    """Run until a signal, or until it cannot continue."""
    with wrong_settings_end("wis2-gc-listener"):
        exit_code = _run()
    leave(exit_code)


def _run() -> int:
    """Return the exit code. Raises SettingsError."""
    settings = read_settings(Reader())
    start_logs(settings.common, "listener")
    listener = _put_together(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: listener.request_stop())
    let_collector_rest()
    listener.start()
    _log.info(
        "listener_started",
        broker=str(settings.broker_url),
        name=settings.broker_name,
        topics=settings.topics,
        http_port=listener.http_port,
    )
    listener.wait()
    failure = listener.stop()
    if failure:
        _log.error("listener_failed", problem=failure)
        return 1
    _log.info("listener_stopped")
    return 0


def _put_together(settings: ListenerSettings) -> Listener:
    """Return the listener. Raises SettingsError for settings that only fail when used."""
    with blamed_on(CA_FILE.name, "holds no certificates"):
        tls = client_context(settings.ca_file) if settings.broker_url.is_tls else None
    sender = open_sender(
        settings.common.queue_url,
        redis_url=settings.common.redis_url,
        max_length=settings.max_queue_length,
    )
    queue_problem = ""
    try:
        sender.check()
    except Misconfigured as error:
        raise SettingsError(error.variable, error.detail) from None
    except Unavailable as error:
        # It may come back: meanwhile the broker keeps what we do not acknowledge.
        queue_problem = str(error)
        _log.warning("queue_not_reached_yet", problem=queue_problem)
    registry = RedisListenerRegistry(
        settings.common.redis_url, retention_hours=settings.retention_hours
    )
    with blamed_on(HTTP_PORT.name, "cannot be listened on"):
        return Listener(
            settings, sender=sender, registry=registry, tls=tls, queue_problem=queue_problem
        )
