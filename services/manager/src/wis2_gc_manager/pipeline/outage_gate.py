"""Holds the work back while one of our own parts is away (architecture.md#three-kinds-of-failure).

An outage of ours does not count against any item. A caller that gets `Unavailable` reports it here.
One probe for each part then asks until the part is back, and all that wait continue with the step
that failed. All steps may be repeated.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.runtime.backoff import Backoff
from wis2_gc_common.runtime.causes import BUG
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from wis2_gc_common.errors import Part

T = TypeVar("T")

#: Seconds before the first probe: short, because often only one connection has broken.
FIRST_PROBE_S = 0.1
#: Seconds before the second one, and how they grow while the part stays away.
PROBE_DELAY_S = 1.0
PROBE_GROWTH = 1.5
MAX_PROBE_DELAY_S = 5.0
#: Shares of each delay: managers must not all ask a part at once when it comes back.
_SHARES = (0.8, 1.2)
#: A probe that takes longer has failed.
PROBE_TIMEOUT_S = 10.0
#: If a part fails again this soon after a good probe, the delays go on growing.
RELAPSE_S = 5.0
#: If a part answers its probe, but fails one step this often, the item is the problem.
MAX_REPEATS = 6

log = get_logger(__name__)


@dataclass(slots=True)
class _Outage:
    detail: str
    began_s: float
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Gate:
    """Open while no part is known to be away. For one event loop."""

    def __init__(
        self,
        probes: Mapping[Part, Callable[[], Awaitable[object]]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `probes` whether a part is back: they return, or raise Unavailable."""
        self._probes = probes
        self._sleep = sleep
        self._monotonic_s = monotonic_s
        self._outages: dict[Part, _Outage] = {}
        self._opened_s: dict[Part, float] = {}
        self._backoffs: dict[Part, Backoff] = {
            part: Backoff(
                first_s=PROBE_DELAY_S,
                longest_s=MAX_PROBE_DELAY_S,
                growth=PROBE_GROWTH,
                shares=_SHARES,
                jitter=draw,
            )
            for part in probes
        }

    @property
    def problems(self) -> Mapping[Part, str]:
        """The parts that are away, and why."""
        return {part: outage.detail for part, outage in self._outages.items()}

    @property
    def is_open(self) -> bool:
        """Whether no part is known to be away."""
        return not self._outages

    def report(self, error: Unavailable) -> None:
        """Close the gate until the part of `error` answers its probe."""
        outage = self._outages.get(error.part)
        if outage is not None:
            outage.detail = error.detail
            return
        outage = self._outages[error.part] = _Outage(error.detail, self._monotonic_s())
        outage.task = asyncio.get_running_loop().create_task(self._watch(error.part, outage))
        log.warning("part_away", part=error.part, detail=error.detail)

    async def wait_open(self, part: Part | None = None) -> None:
        """Return when `part` is back; without `part`, when all are."""
        while True:
            if part is not None:
                outage = self._outages.get(part)
            else:
                outage = next(iter(self._outages.values()), None)
            if outage is None:
                return
            await outage.opened.wait()

    async def repeat(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of `step`, however long a part is away meanwhile.

        Raises Unavailable only if the part comes back each time and `step` still fails, for the
        MAX_REPEATSth time: the part does not serve this item now.
        """
        repeats = 1
        while True:
            try:
                return await step()
            except Unavailable as error:
                self.report(error)
                if repeats >= MAX_REPEATS:
                    raise
                await self.wait_open(error.part)
            repeats += 1

    async def close(self) -> None:
        """Stop probing; the owner cancels what still waits."""
        tasks = [outage.task for outage in self._outages.values() if outage.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, part: Part, outage: _Outage) -> None:
        backoff = self._backoffs[part]
        if outage.began_s - self._opened_s.get(part, float("-inf")) > RELAPSE_S:
            backoff.reset()
            delay_s = backoff.share_of(FIRST_PROBE_S)
        else:
            delay_s = backoff.next_s()
        while True:
            await self._sleep(delay_s)
            problem = await self._probe(part)
            if problem is None:
                break
            outage.detail = problem
            delay_s = backoff.next_s()
        self._opened_s[part] = now_s = self._monotonic_s()
        del self._outages[part]
        outage.opened.set()
        log.warning("part_back", part=part, away_s=round(now_s - outage.began_s, 1))

    async def _probe(self, part: Part) -> str | None:
        """Return what is wrong with `part`, None when it is back."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probes[part]()
        except Unavailable as error:
            return error.detail
        except TimeoutError:
            return f"no answer within {PROBE_TIMEOUT_S:g} s"
        except Exception:
            # A bug in a probe must not leave the gate closed for ever without a log line.
            log.exception("probe_failed", part=part)
            return BUG
        return None
