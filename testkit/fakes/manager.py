"""In-memory parts of a manager, scripted by tests, and a workbench that puts them together.

Any step can be made to fail before or after it took effect (`Traps`): with `Unavailable` for an
outage or a lost reply, with `Killed` for a process that dies there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testkit.fakes.registry import FakeRegistry
from testkit.messages.wnm import encoded, wnm
from wis2_gc_common.errors import IntegrityFailed, Reason, SourceError
from wis2_gc_common.metrics import field as metric_field
from wis2_gc_common.ports.queue import Depth, Envelope, Received
from wis2_gc_common.wis2.event_format import EventFormat
from wis2_gc_common.wis2.integrity import DEFAULT_METHOD, new_hash
from wis2_gc_common.wis2.monitoring_event import EventLimiter
from wis2_gc_common.wis2.notification import Announcer
from wis2_gc_common.wis2.object_key import HOUR_FOLDER_CHARS, announce_by_ns, hour_folder
from wis2_gc_manager.pipeline.acquisition import Downloads
from wis2_gc_manager.pipeline.announce import Announcing
from wis2_gc_manager.pipeline.cache import Caching
from wis2_gc_manager.pipeline.claim import Claiming
from wis2_gc_manager.pipeline.counts import Counts
from wis2_gc_manager.pipeline.delayed_items import DelayedItems
from wis2_gc_manager.pipeline.events import Events
from wis2_gc_manager.pipeline.fairness import Fairness
from wis2_gc_manager.pipeline.finished_messages import FinishedMessages
from wis2_gc_manager.pipeline.in_flight import InFlight, Item
from wis2_gc_manager.pipeline.outage_gate import Gate
from wis2_gc_manager.pipeline.public_check import PUBLIC_URL, PublicCheck
from wis2_gc_manager.pipeline.retry import Retries, RetryPolicy
from wis2_gc_manager.pipeline.settle import Settling
from wis2_gc_manager.pipeline.work import Pipeline
from wis2_gc_manager.receiver import Receiver
from wis2_gc_manager.sources.address_guard import AddressGuard
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Payload
from wis2_gc_manager.store.keys import checked_key
from wis2_gc_manager.store.port import Capacity
from wis2_gc_manager.store.s3.expiry import removed_at_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.registry import Lease
    from wis2_gc_manager.pipeline.public_check import Sample
    from wis2_gc_manager.sources.port import OpenUpload, Request
    from wis2_gc_manager.store.port import Checksum

CENTRE_ID = "xx-test-global-cache"
SECRET = b"a secret of this deployment"
BASE_URL = "https://cache.test/data"
HOUR = hour_folder(datetime.now(UTC))
NEVER_S = 3600.0


class Killed(BaseException):
    """The process died here."""


class Traps:
    """Errors that wait for steps: `before` nothing has happened yet, `after` everything has."""

    def __init__(self) -> None:
        self._before: defaultdict[str, list[BaseException]] = defaultdict(list)
        self._after: defaultdict[str, list[BaseException]] = defaultdict(list)

    def before(self, step: str, *errors: BaseException) -> None:
        self._before[step] += errors

    def after(self, step: str, *errors: BaseException) -> None:
        self._after[step] += errors

    def enter(self, step: str) -> None:
        if self._before[step]:
            raise self._before[step].pop(0)

    def leave(self, step: str) -> None:
        if self._after[step]:
            raise self._after[step].pop(0)


class FakeQueue:
    """Messages by uid; nothing is redelivered unless a test says so."""

    def __init__(self, traps: Traps) -> None:
        self._traps = traps
        self._ready: list[tuple[Envelope, int]] = []
        self._arrived = asyncio.Event()
        self.held: dict[str, tuple[Envelope, int]] = {}
        self.delayed: list[tuple[float, Envelope]] = []
        self.dead: list[tuple[Envelope, str, str]] = []
        self.deleted: list[str] = []
        self.extended: list[str] = []
        self.asked: list[int] = []
        self.is_closed = False
        self._deliveries = 0

    def add(self, *envelopes: Envelope, deliveries: int = 1) -> None:
        self._ready += [(envelope, deliveries) for envelope in envelopes]
        self._arrived.set()

    def deliver(self, envelope: Envelope, deliveries: int = 1) -> Received:
        self._deliveries += 1
        receipt = f"receipt-{self._deliveries}"
        self.held[receipt] = (envelope, deliveries)
        return Received(envelope, receipt, deliveries)

    def redeliver(self) -> list[Received]:
        """All visibilities have ended."""
        held, self.held = self.held, {}
        return [self.deliver(envelope, deliveries + 1) for envelope, deliveries in held.values()]

    def return_delayed(self) -> None:
        """All delays are over."""
        delayed, self.delayed = self.delayed, []
        self.add(*(envelope for _, envelope in delayed))

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        self._traps.enter("receive")
        self.asked.append(max_messages)
        while True:
            bulk = [one for one in self._ready if one[0].is_bulk][:max_bulk]
            ready = [one for one in self._ready if not one[0].is_bulk]
            if taken := (ready + bulk)[:max_messages]:
                break
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        self._ready = [one for one in self._ready if one not in taken]
        return [self.deliver(envelope, deliveries) for envelope, deliveries in taken]

    async def extend(self, receipts: Sequence[str]) -> None:
        self._traps.enter("extend")
        self.extended += receipts

    async def delete(self, receipts: Sequence[str]) -> None:
        self._traps.enter("delete")
        for receipt in receipts:
            if self.held.pop(receipt, None) is not None:
                self.deleted.append(receipt)
        self._traps.leave("delete")

    async def put_back(
        self, received: Received, *, delay_s: float, attempts: int, is_bulk: bool | None = None
    ) -> None:
        self._traps.enter("put_back")
        if self.held.pop(received.receipt, None) is not None:
            envelope = received.envelope.again(attempts=attempts, is_bulk=is_bulk)
            self.delayed.append((delay_s, envelope))
        self._traps.leave("put_back")

    async def dead_letter(self, received: Received, *, reason: str, last_error: str) -> None:
        self._traps.enter("dead_letter")
        if self.held.pop(received.receipt, None) is not None:
            self.dead.append((received.envelope, reason, last_error))

    async def depth(self) -> Depth:
        self._traps.enter("depth")
        return Depth(len(self._ready), len(self.held), len(self.delayed), len(self.dead), 0.0)

    async def close(self) -> None:
        self.is_closed = True


class FakeUpload:
    def __init__(self, store: FakeStore, key: str, media_type: str) -> None:
        self._store = store
        self._key = key
        self._media_type = media_type
        self._data = b""
        self.is_aborted = False
        self.is_completed = False

    async def write(self, chunk: bytes) -> None:
        self._data += chunk

    async def complete(self, checksum: Checksum | None = None) -> None:
        self._store.traps.enter("complete")
        self._store.keep(self._key, self._data, self._media_type, checksum)
        self.is_completed = True
        self._store.traps.leave("complete")

    async def abort(self) -> None:
        self.is_aborted = True


class FakeStore:
    """Objects in memory; passes `tests/integration/test_store.py`, as the real ones do."""

    def __init__(self, traps: Traps) -> None:
        self.traps = traps
        self.objects: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}
        self.checksums: list[Checksum | None] = []
        self.uploads: list[FakeUpload] = []
        self.deletions: list[str] = []
        self.sizes: list[int | None] = []
        """What `size` says instead of the truth, one after the other."""
        self.expirations: list[datetime] = []
        self.expiration_days = 0
        """Of a bucket; 0: folders expire, as those of files."""
        self.is_closed = False

    def keep(self, key: str, data: bytes, media_type: str, checksum: Checksum | None) -> None:
        self.objects[key] = data
        self.media_types[key] = media_type
        self.checksums.append(checksum)

    async def put(
        self, key: str, data: bytes, *, media_type: str, checksum: Checksum | None = None
    ) -> None:
        checked_key(key)
        self.traps.enter("put")
        self.keep(key, data, media_type, checksum)
        self.traps.leave("put")

    async def open_upload(self, key: str, *, media_type: str) -> FakeUpload:
        checked_key(key)
        self.traps.enter("open_upload")
        upload = FakeUpload(self, key, media_type)
        self.uploads.append(upload)
        return upload

    async def size(self, key: str) -> int | None:
        checked_key(key)
        self.traps.enter("size")
        if self.sizes:
            return self.sizes.pop(0)
        data = self.objects.get(key)
        self.traps.leave("size")
        return None if data is None else len(data)

    async def capacity(self) -> Capacity:
        return Capacity(size_bytes=10_000_000, files=1000)

    def announce_by_ns(self, key: str, *, stored_ns: int) -> int:
        if self.expiration_days:
            return removed_at_ns(stored_ns, days=self.expiration_days) - 24 * 3600 * 10**9
        return announce_by_ns(key[:HOUR_FOLDER_CHARS])

    async def delete(self, key: str) -> None:
        checked_key(key)
        self.traps.enter("delete_object")
        self.deletions.append(key)
        self.objects.pop(key, None)
        self.traps.leave("delete_object")

    async def expire(self, now: datetime) -> int:
        self.traps.enter("expire")
        self.expirations.append(now)
        return 0

    async def check(self) -> None:
        self.traps.enter("check")

    async def close(self) -> None:
        self.is_closed = True


class FakePublicUrl:
    """Gives what the store has, unless it is told what is wrong: with all, or by key."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.problem = ""
        self.problems: dict[str, str | Exception] = {}
        self.samples: list[Sample] = []

    @property
    def fetched(self) -> list[str]:
        return [sample.key for sample in self.samples]

    async def __call__(self, sample: Sample) -> str:
        self.samples.append(sample)
        await asyncio.sleep(0)
        problem = self.problems.get(sample.key, self.problem)
        if isinstance(problem, Exception):
            raise problem
        return problem or ("" if sample.key in self._store.objects else "status 404")


@dataclass
class Hold:
    """A download that goes on until the test says how it ends."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Future[bytes] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class FakeDownloader:
    """Serves what it was told; anything else is 404. Passes `test_downloader_contract.py`."""

    def __init__(self, traps: Traps) -> None:
        self._traps = traps
        self._answers: dict[str, list[bytes | Exception | Hold]] = {}
        self.fetched: list[str] = []
        self.again: list[str] = []
        """Those that were a quick second try."""
        self.running = 0
        self.most_running = 0
        self.is_closed = False

    def serves(self, href: str, *answers: bytes | Exception) -> None:
        """Answer so, one after the other; the last one for ever."""
        self._answers[href] = list(answers)

    def holds(self, href: str) -> Hold:
        hold = Hold()
        self._answers[href] = [hold]
        return hold

    async def fetch(self, request: Request, open_upload: OpenUpload) -> Payload:
        self._traps.enter("fetch")
        self.fetched.append(request.href)
        if request.is_again:
            self.again.append(request.href)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            data = await self._data(request.href)
        finally:
            self.running -= 1
        if isinstance(data, Exception):
            raise data
        method = DEFAULT_METHOD if request.integrity is None else request.integrity.method
        hasher = new_hash(method)
        hasher.update(data)
        digest = hasher.digest()
        if request.length not in {None, len(data)}:
            raise SourceError(Reason.LENGTH, "not as announced")
        if request.integrity is not None and not request.integrity.matches(digest):
            raise IntegrityFailed(Reason.INTEGRITY, method)
        if len(data) <= MAX_IN_MEMORY_BYTES:
            self._traps.leave("fetch")
            return Payload(len(data), method, digest, data=data)
        upload = await open_upload()
        try:
            await upload.write(data)
        except BaseException:
            await upload.abort()
            raise
        self._traps.leave("fetch")
        return Payload(len(data), method, digest, upload=upload)

    async def _data(self, href: str) -> bytes | Exception:
        answers = self._answers.get(href)
        if not answers:
            return SourceError(Reason.NOT_FOUND, "404")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if not isinstance(answer, Hold):
            return answer
        answer.started.set()
        try:
            return await answer.end
        except asyncio.CancelledError:
            answer.cancelled.set()
            raise

    async def close(self) -> None:
        self.is_closed = True


class FakePublisher:
    def __init__(self, traps: Traps) -> None:
        self._traps = traps
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def publish(self, topic: str, payload: bytes) -> None:
        step = "publish_event" if topic.startswith("monitor/") else "publish"
        self._traps.enter(step)
        self.sent.append((topic, json.loads(payload)))
        self._traps.leave(step)

    @property
    def announced(self) -> list[dict[str, Any]]:
        return [message for topic, message in self.sent if not topic.startswith("monitor/")]

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(topic, message) for topic, message in self.sent if topic.startswith("monitor/")]

    async def check(self) -> None:
        self._traps.enter("broker")


async def next_turn(_delay_s: float = 0.0) -> None:
    """A sleep that takes no time."""
    await asyncio.sleep(0)


class Workbench:
    """A manager's inside on fakes. `new_process` is a restart: all that was in memory is gone."""

    def __init__(
        self,
        *,
        hedge_delay_s: float = NEVER_S,
        retry_delays_s: tuple[float, ...] = (10.0, 30.0),
        quick_delay_s: float = 1.0,
        max_object_bytes: int = 100_000_000,
        slots: int = 16,
        event_interval_s: float = 60.0,
        event_format: EventFormat | None = None,
    ) -> None:
        self.traps = Traps()
        self.registry = FakeRegistry(self.traps, hour=lambda: HOUR)
        self.queue = FakeQueue(self.traps)
        self.store = FakeStore(self.traps)
        self.downloader = FakeDownloader(self.traps)
        self.publisher = FakePublisher(self.traps)
        self.now_ns = time.time_ns()
        self.monotonic_s = time.monotonic()
        self._hedge_delay_s = hedge_delay_s
        self._retry_delays_s = retry_delays_s
        self._quick_delay_s = quick_delay_s
        self._max_object_bytes = max_object_bytes
        self._slots = slots
        self._event_interval_s = event_interval_s
        self._event_format = event_format or EventFormat()
        self.new_process()

    def new_process(self) -> None:
        self.counts = Counts()
        self.public_url = FakePublicUrl(self.store)
        self.public_check = PublicCheck(fetch=self.public_url, store=self.store, counts=self.counts)
        self.gate = Gate(
            {
                "registry": self.registry.ping,
                "queue": self.queue.depth,
                "store": self.store.check,
                PUBLIC_URL: self.public_check.probe,
                "broker": self.publisher.check,
            },
            sleep=next_turn,
            draw=lambda: 0.5,
        )
        self.finished_messages = FinishedMessages(self.queue, self.gate)
        self.events = Events(
            publisher=self.publisher,
            registry=self.registry,
            gate=self.gate,
            counts=self.counts,
            centre_id=CENTRE_ID,
            event_format=self._event_format,
            limiter=EventLimiter(interval_s=self._event_interval_s),
        )
        self.downloads = Downloads(
            registry=self.registry,
            store=self.store,
            downloader=self.downloader,
            gate=self.gate,
            events=self.events,
            hedge_delay_s=self._hedge_delay_s,
            max_object_bytes=self._max_object_bytes,
        )
        self.in_flight = InFlight(self._slots)
        self.fairness = Fairness(self.in_flight, monotonic_s=lambda: self.monotonic_s)
        self.delayed = DelayedItems(monotonic_s=lambda: self.monotonic_s)
        guard = AddressGuard([])
        retries = Retries(
            policy=RetryPolicy(
                self._retry_delays_s, 24 * 3600.0, quick_delay_s=self._quick_delay_s
            ),
            delayed=self.delayed,
            now_ns=lambda: self.now_ns,
            draw=lambda: 0.0,
        )
        announcing = Announcing(
            announcer=Announcer(CENTRE_ID, SECRET),
            publisher=self.publisher,
            store=self.store,
            gate=self.gate,
            guard=guard,
            events=self.events,
            now_ns=lambda: self.now_ns,
        )
        self.settling = Settling(
            registry=self.registry,
            queue=self.queue,
            gate=self.gate,
            finished_messages=self.finished_messages,
            counts=self.counts,
            events=self.events,
        )
        self.pipeline = Pipeline(
            claiming=Claiming(
                registry=self.registry,
                gate=self.gate,
                guard=guard,
                fairness=self.fairness,
                retries=retries,
                centre_id=CENTRE_ID,
                worker="worker",
            ),
            caching=Caching(
                downloads=self.downloads,
                store=self.store,
                gate=self.gate,
                announcing=announcing,
                public_check=self.public_check,
                retries=retries,
                data_base_url=BASE_URL,
                now_ns=lambda: self.now_ns,
            ),
            announcing=announcing,
            settling=self.settling,
            retries=retries,
            counts=self.counts,
        )
        self.receiver = Receiver(self.queue, self.pipeline, self.gate, self.in_flight)

    def item(self, envelope: Envelope, *, deliveries: int = 1) -> Item:
        return Item(self.queue.deliver(envelope, deliveries))

    def begin(self, envelope: Envelope) -> Item:
        """Start the work on one message, as the receiver does."""
        item = self.item(envelope)
        item.task = asyncio.get_running_loop().create_task(self.pipeline.handle(item))
        return item

    async def handle(self, envelope: Envelope, *, deliveries: int = 1) -> Item:
        """Work on one message to its end, and see what follows in the background."""
        item = self.item(envelope, deliveries=deliveries)
        await self.pipeline.handle(item)
        await self.settle()
        return item

    async def settle(self) -> None:
        await self.finished_messages.flush()
        await self.downloads.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def redeliver(self) -> None:
        """Every lease and visibility has ended: work on what comes again, to its end."""
        self.registry.expire_leases()
        for received in self.queue.redeliver():
            await self.pipeline.handle(Item(received))
        await self.settle()

    async def counted(self, metric: Metric, *labels: str) -> int:
        await self.counts.flush(self.registry)
        return self.registry.counts[metric_field(metric, *labels)]


def task_of(item: Item) -> asyncio.Task[None]:
    """Return what works on an item that has begun."""
    assert item.task is not None
    return item.task


def lease_of(item: Item) -> Lease:
    """Return what the registry gave for an item that is claimed."""
    assert item.lease is not None
    return item.lease


def envelope_of(
    *,
    topic: str = "origin/a/wis2/yy-met/data/core/weather/surface-based-observations/synop",
    attempts: int = 0,
    arrived_ms: int | None = None,
    payload: bytes | None = None,
    **notification: Any,
) -> Envelope:
    """Return an envelope; further keywords go to `testkit.messages.wnm.wnm`."""
    return Envelope(
        topic=topic,
        payload=encoded(wnm(**notification)) if payload is None else payload,
        broker="test",
        arrived_ms=time.time_ns() // 1_000_000 if arrived_ms is None else arrived_ms,
        attempts=attempts,
    )
