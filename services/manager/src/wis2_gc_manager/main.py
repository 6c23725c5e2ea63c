"""`wis2-gc-manager`: downloads, checks, stores and announces data items (architecture.md#manager).

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 a bug; 2 a setting is wrong.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from typing import NoReturn

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.open_queue import open_queue
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.runtime.collector import let_collector_rest
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.runtime.process_exit import leave, wrong_settings_end
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.catalogue import CA_FILE, HTTP_PORT
from wis2_gc_common.settings.reader import Reader, blamed_on, start_logs
from wis2_gc_manager.event_loop import EventLoop
from wis2_gc_manager.service import Manager, Parts
from wis2_gc_manager.settings import ManagerSettings, read_settings
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.store import open_store
from wis2_gc_manager.upkeep.public_fetch import PublicFetch

log = get_logger(__name__)


def main() -> NoReturn:
    """Run until a signal."""
    with wrong_settings_end("wis2-gc-manager"):
        settings = read_settings(Reader())
        start_logs(settings.common, "manager")
        runner = asyncio.Runner(loop_factory=EventLoop)
        exit_code = runner.run(_run(settings))
    # The runner is not closed: that waits for name look-ups and disks, however long they take.
    leave(exit_code)


def _allow_open_files() -> None:
    """Raise the soft limit to the hard one: every connection to a data server is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(settings: ManagerSettings) -> int:
    _allow_open_files()
    manager = await _put_together(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, manager.request_stop)
    let_collector_rest()
    log.info(
        "manager_started",
        instance=settings.instance,
        concurrency=settings.concurrency,
        broker=str(settings.local_broker_url),
        http_port=manager.http_port,
    )
    try:
        await manager.run()
    except SettingsError:
        raise
    except Exception:
        log.exception("manager_failed")
        return 1
    log.info("manager_stopped")
    return 0


async def _put_together(settings: ManagerSettings) -> Manager:
    """Raise SettingsError for what only shows when it is used."""
    registry = RedisRegistry(
        settings.common.redis_url,
        retention_hours=settings.retention_hours,
        lease_s=settings.visibility_s,
        repeat_window_hours=settings.repeat_window_hours,
        claims_when_full=settings.common.queue_url.kind == "redis-stream",
    )
    queue = open_queue(
        settings.common.queue_url,
        settings.dead_letter_url,
        redis_url=settings.common.redis_url,
        consumer=settings.instance,
        visibility_s=settings.visibility_s,
    )
    store = open_store(
        settings.store_url,
        retention_hours=settings.retention_hours,
        expiration_days=settings.store_expiration_days,
        ca_file=settings.ca_file,
    )
    with blamed_on(CA_FILE.name, "holds no certificates"):
        tls = client_context(settings.ca_file)
        downloader = LinkDownloader(
            allowed_networks=settings.allowed_networks,
            denied_networks=settings.denied_networks,
            allowed_ports=settings.allowed_ports,
            max_object_bytes=settings.max_object_bytes,
            concurrency_per_host=settings.concurrency_per_host,
            connect_timeout_s=settings.connect_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            total_timeout_s=settings.download_timeout_s,
            ca_file=settings.ca_file,
        )
    parts = Parts(registry, queue, store, downloader, PublicFetch(tls))
    try:
        with blamed_on(HTTP_PORT.name, "cannot be listened on"):
            return Manager(settings, parts, tls=tls if settings.local_broker_url.is_tls else None)
    except SettingsError:
        await downloader.close()
        raise
