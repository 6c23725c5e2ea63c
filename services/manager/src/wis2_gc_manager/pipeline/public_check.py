"""Whether what we announce can be fetched where we say (wis2-rules.md 21, 27).

That the store has an object says nothing of what is in front of it: name, certificate, web server,
CDN. So every now and then one of the objects just stored is fetched through its public URL, as
anybody would. One object that fails stops nothing. Several at once that the store has, but the
public URL does not give, are an outage of ours: announcements wait until a fetch works.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.metrics import PUBLIC_CHECKS
from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from wis2_gc_common.errors import Part
    from wis2_gc_common.wis2.integrity import Method
    from wis2_gc_manager.pipeline.counts import Counts
    from wis2_gc_manager.store.port import ObjectStore

PUBLIC_URL: Part = "public URL"
#: So many different objects have to fail before it is the URL, and not an object.
OBJECTS = 3
#: Of so many centres, those of the objects stored last, this many objects are known here. A burst
#: of one centre, whose file names something in front of the store may refuse, leaves the others'.
_CENTRES = 32
_OBJECTS_OF_CENTRE = 8

log = get_logger(__name__)


class Sample(NamedTuple):
    """An object as it must come through its public URL."""

    url: str
    key: str
    centre_id: str
    size_bytes: int
    method: Method
    digest: bytes


class Shortage(Exception):
    """We lack something of our own, such as open files: it says nothing of the URL."""


@dataclass(kw_only=True, slots=True, eq=False)
class PublicCheck:
    """Fetches samples and draws the conclusion. For one event loop."""

    fetch: Callable[[Sample], Awaitable[str]]
    """Returns what is wrong, "" for nothing; raises Shortage."""
    store: ObjectStore
    counts: Counts
    last_problem: str = field(default="", init=False)
    """Of the last round: what is wrong with at least one object."""
    _samples: dict[str, dict[str, Sample]] = field(default_factory=dict, init=False)
    """By centre and key; of both the newest come last."""

    def offer(self, sample: Sample) -> None:
        """Know an object that is in the store, and about to be announced."""
        of_centre = self._samples.pop(sample.centre_id, {})
        self._samples[sample.centre_id] = of_centre
        of_centre.pop(sample.key, None)
        of_centre[sample.key] = sample
        if len(of_centre) > _OBJECTS_OF_CENTRE:
            del of_centre[next(iter(of_centre))]
        if len(self._samples) > _CENTRES:
            del self._samples[next(iter(self._samples))]

    async def look(self) -> None:
        """Fetch one object; where that fails, others too.

        Raises Unavailable("public URL"): OBJECTS different ones failed, and none did not;
        Unavailable("store"): it does not say whether an object is there.
        """
        await self._look(enough=OBJECTS)

    async def probe(self) -> None:
        """As `look`, for a URL that has failed: returns only when a fetch works.

        Also when there is no object left to be fetched: then nothing speaks against it.
        """
        await self._look(enough=1)

    async def _look(self, *, enough: int) -> None:
        chosen = choose(chain.from_iterable(map(dict.values, self._samples.values())))
        answers = [await self._ask(sample) for sample in chosen[:1]]
        if answers != [""]:
            # At once: the others wait with their announcements for this.
            answers += await asyncio.gather(*(self._ask(sample) for sample in chosen[1:]))
        problems = [answer for answer in answers if answer]
        self.last_problem = problems[0] if problems else ""
        if "" not in answers and len(problems) >= enough:
            raise Unavailable(PUBLIC_URL, problems[0])

    async def _ask(self, sample: Sample) -> str | None:
        """Return what is wrong with an object, "" for nothing, None where that is not known."""
        try:
            problem = await self.fetch(sample)
        except Shortage as shortage:
            log.warning("public_check_not_made", detail=str(shortage))
            return None
        if problem and await self.store.size(sample.key) != sample.size_bytes:
            # Deleted, expired or replaced meanwhile: as it should be.
            of_centre = self._samples.get(sample.centre_id, {})
            of_centre.pop(sample.key, None)
            if not of_centre:
                self._samples.pop(sample.centre_id, None)
            return None
        self.counts.add(PUBLIC_CHECKS, "failed" if problem else "ok")
        if problem:
            log.warning("public_url_failed", url=sample.url, detail=problem)
        return problem


def choose(samples: Iterable[Sample]) -> list[Sample]:
    """Return up to OBJECTS different ones, the newest first, of different centres if possible.

    A fault that is one centre's, of its odd file names for instance, then looks like one.
    """
    newest = list({sample.key: sample for sample in samples}.values())[::-1]
    of_centres: dict[str, Sample] = {}
    for sample in newest:
        of_centres.setdefault(sample.centre_id, sample)
    chosen = list(of_centres.values())
    chosen += [sample for sample in newest if sample not in chosen]
    return chosen[:OBJECTS]
