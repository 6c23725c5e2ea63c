"""The command `wis2-gc-metrics`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from wis2_gc_common.open_queue import open_queue
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.runtime.process_exit import leave, wrong_settings_end
from wis2_gc_common.settings.catalogue import HTTP_PORT
from wis2_gc_common.settings.reader import Reader, blamed_on, start_logs
from wis2_gc_metrics.app import create_app
from wis2_gc_metrics.connections import BoundedProtocol
from wis2_gc_metrics.readings import Readings
from wis2_gc_metrics.rollouts import Rollouts
from wis2_gc_metrics.settings import read_settings

if TYPE_CHECKING:
    from wis2_gc_metrics.settings import KubernetesSettings, MetricsSettings

_log = get_logger(__name__)

#: Answers in progress may take this long after SIGTERM, in seconds.
_STOP_TIMEOUT_S = 3
_BACKLOG = 512


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT. Exit code 2: a setting is wrong."""
    with wrong_settings_end("wis2-gc-metrics"):
        settings = read_settings(Reader())
        start_logs(settings.common, "metrics")
        readings = _open(settings)
        listening = _listen(settings.common.http_host, settings.common.http_port)
    # uvicorn's own lines about start and stop are not useful.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # It warns of each request that is not HTTP: anybody could fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _server(settings, readings)
    _log.info(
        "metrics_started",
        http_host=settings.common.http_host,
        http_port=listening.getsockname()[1],
    )
    # Not closed: a close waits for name look-ups, however long they take.
    runner = asyncio.Runner()
    with listening:
        runner.run(server.serve(sockets=[listening]))
    _log.info("metrics_stopped")
    leave(0)


def _open(settings: MetricsSettings) -> Readings:
    """Return the reader of registry and queue. Raises SettingsError: no adapter for the queue."""
    common = settings.common
    queue = open_queue(
        common.queue_url,
        settings.dead_letter_queue_url,
        redis_url=common.redis_url,
    )
    return Readings(RedisReader(common.redis_url), queue)


def _rollouts(settings: KubernetesSettings | None) -> Rollouts | None:
    if settings is None:
        return None
    # Imported only in a cluster: elsewhere nobody needs its HTTP client.
    from wis2_gc_metrics.kubernetes_api import KubernetesApi  # noqa: PLC0415

    return Rollouts(
        KubernetesApi(settings.api_url, credentials=settings.credentials, release=settings.release)
    )


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError: the address is not available."""
    with blamed_on(HTTP_PORT.name, f"cannot listen on {host}:{port}"):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    return listening


def _server(settings: MetricsSettings, readings: Readings) -> uvicorn.Server:
    """Return the server, which ends at SIGTERM and SIGINT."""
    app = create_app(
        readings,
        centre_id=settings.common.centre_id,
        expected_brokers=settings.expected_brokers,
        rollouts=_rollouts(settings.kubernetes),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
    )

    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    # uvicorn replaces these handlers while it serves, and raises the signal again afterwards: with
    # Python's handlers the process would then die and not return.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)
    return server
