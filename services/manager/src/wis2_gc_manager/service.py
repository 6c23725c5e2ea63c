"""One manager: its parts put together, started, watched and stopped (architecture.md#manager)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import Misconfigured, PartError, SettingsError, Unavailable
from wis2_gc_common.ports.registry import ProcessStatus
from wis2_gc_common.runtime.health import HealthServer
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.notification import Announcer
from wis2_gc_manager.pipeline.acquisition import Downloads
from wis2_gc_manager.pipeline.announce import Announcing
from wis2_gc_manager.pipeline.cache import Caching
from wis2_gc_manager.pipeline.claim import Claiming
from wis2_gc_manager.pipeline.counts import Counts
from wis2_gc_manager.pipeline.delayed_items import DelayedItems
from wis2_gc_manager.pipeline.events import Events
from wis2_gc_manager.pipeline.fairness import Fairness
from wis2_gc_manager.pipeline.finished_messages import FinishedMessages
from wis2_gc_manager.pipeline.in_flight import InFlight
from wis2_gc_manager.pipeline.outage_gate import Gate
from wis2_gc_manager.pipeline.public_check import PUBLIC_URL, PublicCheck
from wis2_gc_manager.pipeline.publisher import Publisher
from wis2_gc_manager.pipeline.retry import Retries, RetryPolicy
from wis2_gc_manager.pipeline.settle import Settling
from wis2_gc_manager.pipeline.work import Pipeline
from wis2_gc_manager.receiver import LAST_WORDS_S, Receiver
from wis2_gc_manager.sources.address_guard import AddressGuard
from wis2_gc_manager.upkeep.housekeeping import Housekeeping, Pulse
from wis2_gc_manager.upkeep.known_centres import read_known_centres
from wis2_gc_manager.upkeep.lease_keeper import LeaseKeeper

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from wis2_gc_common.errors import Part
    from wis2_gc_common.ports.queue import Queue
    from wis2_gc_common.ports.registry import Registry
    from wis2_gc_manager.settings import ManagerSettings
    from wis2_gc_manager.sources.port import Downloader
    from wis2_gc_manager.store.port import ObjectStore
    from wis2_gc_manager.upkeep.public_fetch import PublicFetch

#: Renewals per lease: two may fail before it is lost.
_RENEWALS_PER_LEASE = 3
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the manager works with; closed with it."""

    registry: Registry
    queue: Queue
    store: ObjectStore
    downloader: Downloader
    public_fetch: PublicFetch


class Manager:
    """Runs until told to stop. Requires a running event loop."""

    def __init__(
        self, settings: ManagerSettings, parts: Parts, *, tls: ssl.SSLContext | None
    ) -> None:
        """`tls`: for our own broker, where it requires that.

        Raises OSError: the HTTP port cannot be listened on.
        """
        self._settings = settings
        self._parts = parts
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._pulse = Pulse()
        self._publisher = Publisher(
            settings.local_broker_url,
            name=settings.instance,
            tls=tls,
            on_lost=self._on_broker_lost,
        )
        self._counts = counts = Counts()
        self._public_check = public_check = PublicCheck(
            fetch=parts.public_fetch, store=parts.store, counts=counts
        )
        probes: dict[Part, Callable[[], Awaitable[object]]] = {
            "registry": parts.registry.ping,
            "queue": parts.queue.depth,
            "store": parts.store.check,
            PUBLIC_URL: public_check.probe,
            "broker": self._publisher.check,
        }
        self._gate = gate = Gate(probes)
        self._finished_messages = finished_messages = FinishedMessages(parts.queue, gate)
        self._events = Events(
            publisher=self._publisher,
            registry=parts.registry,
            gate=gate,
            counts=counts,
            centre_id=settings.common.centre_id,
            event_format=settings.event_format,
        )
        self._downloads = Downloads(
            registry=parts.registry,
            store=parts.store,
            downloader=parts.downloader,
            gate=gate,
            events=self._events,
            hedge_delay_s=settings.hedge_delay_s,
            max_object_bytes=settings.max_object_bytes,
        )
        self._in_flight = InFlight(settings.concurrency)
        fairness = Fairness(self._in_flight, monotonic_s=time.monotonic)
        guard = AddressGuard(
            settings.allowed_networks, settings.denied_networks, settings.allowed_ports
        )
        retries = Retries(
            policy=RetryPolicy(
                settings.retry_delays_s,
                settings.retention_hours * 3600.0,
                quick_delay_s=settings.quick_retry_delay_s,
            ),
            delayed=DelayedItems(monotonic_s=time.monotonic),
        )
        self._announcing = announcing = Announcing(
            announcer=Announcer(
                settings.common.centre_id,
                settings.deployment_secret.encode(),
                adds_length=settings.add_length,
                adds_integrity=settings.add_integrity,
            ),
            publisher=self._publisher,
            store=parts.store,
            gate=gate,
            guard=guard,
            events=self._events,
        )
        self._settling = Settling(
            registry=parts.registry,
            queue=parts.queue,
            gate=gate,
            finished_messages=finished_messages,
            counts=counts,
            events=self._events,
        )
        pipeline = Pipeline(
            claiming=Claiming(
                registry=parts.registry,
                gate=gate,
                guard=guard,
                fairness=fairness,
                retries=retries,
                centre_id=settings.common.centre_id,
                worker=settings.instance,
            ),
            caching=Caching(
                downloads=self._downloads,
                store=parts.store,
                gate=gate,
                announcing=announcing,
                public_check=public_check,
                retries=retries,
                data_base_url=settings.data_base_url,
            ),
            announcing=announcing,
            settling=self._settling,
            retries=retries,
            counts=counts,
        )
        self._receiver = Receiver(parts.queue, pipeline, gate, self._in_flight)
        self._keeper = LeaseKeeper(
            in_flight=self._in_flight,
            registry=parts.registry,
            queue=parts.queue,
            finished_messages=finished_messages,
            gate=gate,
            interval_s=settings.visibility_s / _RENEWALS_PER_LEASE,
        )
        self._housekeeping = Housekeeping(
            registry=parts.registry,
            store=parts.store,
            gate=gate,
            counts=counts,
            pulse=self._pulse,
            fairness=fairness,
            events=self._events,
            public_check=public_check,
            public_check_interval_s=settings.public_check_interval_s,
            known_centres=lambda: read_known_centres(settings.known_centres_file),
            centre_max_items=settings.centre_max_items,
            centre_max_bytes=settings.centre_max_bytes,
            status=self._status,
        )
        self._probes = probes
        self._health = HealthServer(
            settings.common.http_host,
            settings.common.http_port,
            live=lambda: self._pulse.problem,
            ready=self._why_not_ready,
        )

    @property
    def http_port(self) -> int:
        """The port of the probes, also where the system picked it."""
        return self._health.port

    def request_stop(self) -> None:
        """Finish what is in work and stop; asked a second time, hand it back at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> None:
        """Work until `request_stop`, then drain and close.

        Raises SettingsError: one of the parts refuses us as we are configured.
        """
        self._publisher.start()
        background = [
            asyncio.create_task(self._housekeeping.run(), name="housekeeping"),
            asyncio.create_task(self._keeper.run(), name="lease keeper"),
        ]
        refusal = await self._look_at_parts()
        if refusal is not None:
            self._stopping.set()
        receiving = asyncio.create_task(self._receiver.run(), name="receiver")
        stopping = asyncio.create_task(self._stopping.wait())
        # None of these ends by itself: if one does, it is a bug, and the supervisor restarts us.
        await asyncio.wait({stopping, receiving, *background}, return_when=asyncio.FIRST_COMPLETED)
        await self._stop(receiving, background)
        stopping.cancel()
        if refusal is not None:
            raise SettingsError(refusal.variable, refusal.detail)
        for task in (receiving, *background):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _look_at_parts(self) -> Misconfigured | None:
        """Find out which parts are away, before the first item meets that.

        Returns why one of them will not be back by itself.
        """
        refusals: list[Misconfigured] = []

        async def look(part: Part, probe: Callable[[], Awaitable[object]]) -> None:
            try:
                await probe()
            except Unavailable as error:
                self._gate.report(error)
                if isinstance(error, Misconfigured):
                    refusals.append(error)
            except Exception:
                # A bug in one probe: the first item that requires the part will report it.
                log.exception("probe_failed", part=part)

        async def look_at_all() -> None:
            # A group, and no gather(): one that is cancelled keeps the cancellation as an
            # exception, and complains when it is thrown away.
            async with asyncio.TaskGroup() as group:
                for part, probe in self._probes.items():
                    group.create_task(look(part, probe))

        looking = asyncio.create_task(look_at_all())
        stopping = asyncio.ensure_future(self._stopping.wait())
        both: set[asyncio.Future[Any]] = {looking, stopping}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not looking.done():
            looking.cancel()
            await asyncio.wait({looking})
        return refusals[0] if refusals else None

    async def _stop(
        self, receiving: asyncio.Task[None], background: list[asyncio.Task[None]]
    ) -> None:
        log.info("draining", in_flight=len(self._in_flight))
        receiving.cancel()
        await asyncio.wait({receiving})
        handed_back = await self._receiver.drain(self._settings.drain_s, hurry=self._hurry)
        await self._in_time(self._finished_messages.flush(), self._downloads.close())
        await self._finished_messages.close()
        await self._events.close()
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await self._in_time(self._counts.flush(self._parts.registry))
        await self._gate.close()
        await self._publisher.close()
        await self._parts.downloader.close()
        await self._parts.public_fetch.close()
        # While the store hangs, no upload ends; the queue is closed separately.
        await asyncio.gather(self._in_time(self._parts.store.close()), self._parts.queue.close())
        await self._parts.registry.close()
        self._health.close()
        log.info("drained", handed_back=handed_back)

    async def _in_time(self, *last_words: Awaitable[object]) -> None:
        with suppress(TimeoutError, Unavailable, PartError):
            await asyncio.wait_for(asyncio.gather(*last_words), LAST_WORDS_S)

    def _on_broker_lost(self, error: Unavailable) -> None:
        if not self._stopping.is_set():
            self._gate.report(error)

    def _why_not_ready(self) -> str:
        problems = self._gate.problems
        if problems:
            return "; ".join(f"{part} away: {detail}" for part, detail in problems.items())
        if self._stopping.is_set():
            return "stopping"
        return "" if self._receiver.is_receiving else "not receiving"

    def _status(self) -> ProcessStatus:
        return ProcessStatus(
            kind="manager",
            name=self._settings.instance,
            is_ready=not self._why_not_ready(),
            facts={
                "in_flight": len(self._in_flight),
                "slots": self._settings.concurrency,
                "hosts": self._downloads.hosts,
                "problems": dict(self._gate.problems),
                "public_url_problem": self._public_check.last_problem,
                "cached": self._settling.cached,
                "announced": self._announcing.announced,
                "notifications_given_up": self._settling.given_up,
            },
        )
