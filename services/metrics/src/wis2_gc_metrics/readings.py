"""Reads registry and queue for all requests, one read at a time.

The status page is public: a thousand open browsers must not cause a thousand reads of the registry.
Requests that come while a read runs share the next one. So an answer is never older than its
request, unless the caller accepts that.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from wis2_gc_common.errors import PartError, Unavailable
from wis2_gc_common.health.facts import Facts
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_metrics.exposition import Reading
from wis2_gc_metrics.lookback import Lookback
from wis2_gc_metrics.totals import History

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Protocol

    from wis2_gc_common.errors import Part
    from wis2_gc_common.ports.queue import Depth
    from wis2_gc_common.ports.registry import FailureRecord, ItemKey, ItemRecord, RegistryReader

    class DepthSource(Protocol):
        """The part of a queue that is read here."""

        async def depth(self) -> Depth:
            """Return how many messages wait."""

        async def close(self) -> None:
            """Release connections."""


_log = get_logger(__name__)

T = TypeVar("T")

#: A registry that takes longer counts as away; by default a scrape waits at most 10 s.
READ_TIMEOUT_S = 4.0
#: How old an answer of the API may be, in seconds.
API_MAX_AGE_S = 1.0
#: How often the history gets a point when nobody asks, in seconds.
SAMPLE_INTERVAL_S = 5.0


class SharedRead(Generic[T]):
    """Runs `read` for all callers, never twice at once; they share failures like results."""

    def __init__(
        self, read: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[float, T | Unavailable] | None = None

    async def get(self, *, max_age_s: float = 0.0) -> T:
        """Return the result of a read that began at most `max_age_s` before this call.

        Raises Unavailable if that read did.
        """
        oldest_s = self._clock() - max_age_s
        async with self._lock:
            if self._last is None or self._last[0] < oldest_s:
                begun_s = self._clock()
                self._last = (begun_s, await self._outcome())
            outcome = self._last[1]
        if isinstance(outcome, Unavailable):
            raise outcome.again() from outcome
        return outcome

    async def _outcome(self) -> T | Unavailable:
        try:
            return await self._read()
        except Unavailable as error:
            return error


class Readings:
    """What the metrics service knows of the cache; it owns the connections."""

    def __init__(
        self,
        registry: RegistryReader,
        queue: DepthSource,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._queue = queue
        self._timeout_s = timeout_s
        self._wall_clock = wall_clock
        self._shared = SharedRead(self._read, clock=clock)
        self._lookups = asyncio.Semaphore(8)
        self._away: Part | None = None
        self.history = History()
        self.lookback = Lookback()

    async def now(self, *, max_age_s: float = 0.0) -> Reading:
        """Return a reading at most `max_age_s` old, with or without the queue's numbers.

        Raises Unavailable("registry").
        """
        return await self._shared.get(max_age_s=max_age_s)

    async def facts(self, *, expected_brokers: Sequence[str], max_age_s: float = 0.0) -> Facts:
        """Return what is judged of a reading at most `max_age_s` old; never raises Unavailable."""
        try:
            reading = await self.now(max_age_s=max_age_s)
        except Unavailable as error:
            return Facts(registry=error, depth=error)
        return self.lookback.facts(reading, expected_brokers=expected_brokers)

    async def item(self, key: ItemKey) -> ItemRecord | None:
        """Return what is known of one item. Raises Unavailable("registry")."""
        async with self._lookups:
            return await self._limited(self._registry.item(key))

    async def failures(self, limit: int) -> list[FailureRecord]:
        """Return the newest given-up items, newest first. Raises Unavailable("registry")."""
        async with self._lookups:
            return await self._limited(self._registry.failures(limit))

    async def sample_for_ever(self, *, interval_s: float = SAMPLE_INTERVAL_S) -> None:
        """Add points to the history, so that the first visitor sees rates at once."""
        while True:
            try:
                depth = (await self.now(max_age_s=API_MAX_AGE_S)).depth
                problem = depth if isinstance(depth, Unavailable) else None
            except Unavailable as error:
                problem = error
            self._tell(problem)
            await asyncio.sleep(interval_s)

    def _tell(self, problem: Unavailable | None) -> None:
        """Log which part is away, once for each change."""
        away = None if problem is None else problem.part
        if away == self._away:
            return
        if problem is None:
            _log.info("readings_available")
        else:
            _log.warning("readings_unavailable", part=problem.part, detail=problem.detail)
        self._away = away

    async def close(self) -> None:
        """Release connections. Never raises."""
        await self._registry.close()
        await self._queue.close()

    async def _read(self) -> Reading:
        # In parallel: a scrape waits for the slower of the two, not for both in turn.
        depth = asyncio.create_task(self._depth())
        try:
            snapshot = await self._limited(self._registry.snapshot())
        except BaseException:
            depth.cancel()
            raise
        reading = Reading(self._wall_clock(), snapshot, await depth)
        self.history.add(reading)
        self.lookback.add(reading)
        return reading

    async def _depth(self) -> Depth | Unavailable:
        try:
            return await self._limited(self._queue.depth(), part="queue")
        except Unavailable as error:
            return error
        except PartError as error:
            return Unavailable("queue", error.detail)

    async def _limited(self, read: Awaitable[T], *, part: Part = "registry") -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await read
        except TimeoutError:
            raise Unavailable(part, f"no answer within {self._timeout_s:g} s") from None
