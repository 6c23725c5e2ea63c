"""Decides when each host name is looked up (architecture.md#address-guard).

A look-up holds a thread, some for half a minute. Strangers name the hosts, and a stranger whose
name servers are silent holds all the threads that he can get. So each centre and each domain gets
only a few threads, and some are kept for known hosts. A download waits for a thread within bounds,
and then counts as busy, not as failed. A name that nothing waits for any more is not looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_common.errors import HostBusy, Reason, SourceError
from wis2_gc_common.runtime.causes import os_words

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Returns the addresses of a name, or raises OSError. Blocks.
Lookup = Callable[[str], Sequence[str]]

#: Look-ups at once, and how many of them only known names may take.
MAX_LOOKUPS = 64
RESERVED_FOR_KNOWN = 16
#: A centre has one host or a few; some domains belong to many centres.
MAX_OF_CENTRE = 6
MAX_OF_DOMAIN = 12
#: Names that wait for a thread.
MAX_WAITING = 512
MAX_WAITING_OF_CENTRE = 16
#: Longest wait of a download, for its turn and for the answer together. The answer of a slower name
#: server is remembered when it comes.
MAX_WAIT_S = 8.0
#: When to come back if no thread is free: later for each name of the centre that was sent away
#: since it last got a thread, so that thousands do not come back every five seconds.
_BUSY_S, _BUSY_STEP_S, _MAX_BUSY_S = 5.0, 0.5, 300.0
_MAX_CENTRES = 1024

#: Under these second levels of a country, a domain has one label more.
_SECOND_LEVELS = frozenset(
    "ac co com edu gob go gouv gov govt gv int mil ne net nic or org".split()  # noqa: SIM905
)
_COUNTRY_CHARS = 2


def domain_of(host: str) -> str:
    """Return the domain that one owner has, with its name servers: `example.org`, `met.gov.xx`."""
    labels = host.rstrip(".").split(".")
    is_below_country = len(labels[-1]) == _COUNTRY_CHARS and labels[-2:-1] != []
    size = 3 if is_below_country and labels[-2] in _SECOND_LEVELS else 2
    return ".".join(labels[-size:])


@dataclass(frozen=True, slots=True)
class Failed:
    """A name that has no address, or whose name server reports an error or does not answer."""

    words: str


Found = tuple[str, ...] | Failed


@dataclass(slots=True, eq=False)
class _Name:
    host: str
    domain: str
    is_known: bool
    answer: asyncio.Future[Found]
    centres: dict[str, None] = field(default_factory=dict)
    """The centres that ask; the look-up counts for the one that has the fewest threads."""
    waiters: int = 0
    begun_for: str | None = None
    """The centre whose thread it has; None: it waits for one."""


class Lookups:
    """Looks names up in threads; `ended` gets every answer, even if nothing waits for it."""

    def __init__(self, lookup: Lookup, ended: Callable[[str, str, Found], None]) -> None:
        """`lookup` looks a name up; `ended` gets the host, the centre, and what was found."""
        self._lookup = lookup
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, _Name] = {}
        self._waiting: dict[str, _Name] = {}
        self._of_centre: Counter[str] = Counter()
        self._of_domain: Counter[str] = Counter()
        self._sent_away: Counter[str] = Counter()
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is looked up."""
        return not self._running

    async def find(self, host: str, centre_id: str, *, is_known: bool) -> Found:
        """Return the addresses of a name, or why there are none.

        One look-up answers everybody who asks meanwhile. `is_known`: it had an answer before.
        Raises HostBusy(DNS) if its turn does not come in time, SourceError(DNS) if no answer comes
        in time.
        """
        name = self._running.get(host) or self._waiting.get(host)
        if name is None:
            name = self._new(host, centre_id, is_known=is_known)
            if self._may_begin(name):
                self._sent_away.pop(centre_id, None)
                self._begin(name)
            else:
                self._check_room(centre_id)
                self._waiting[host] = name
        elif centre_id not in name.centres and name.begun_for is None:
            name.centres[centre_id] = None
            self._begin_next()
        name.waiters += 1
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                # Shielded: a caller that gives up must not cancel the answer for the others.
                return await asyncio.shield(name.answer)
        except TimeoutError:
            if name.begun_for is None:
                raise self._busy(centre_id) from None
            raise SourceError(Reason.DNS, "no answer in time") from None
        finally:
            name.waiters -= 1
            if not name.waiters and name.begun_for is None:
                self._waiting.pop(host, None)

    def refresh(self, host: str, centre_id: str) -> None:
        """Look a known name up again if a thread is free for it; nothing waits for the answer."""
        if host not in self._running and host not in self._waiting:
            name = self._new(host, centre_id, is_known=True)
            if self._may_begin(name):
                self._begin(name)

    def close(self) -> None:
        """Begin no further look-up, and cancel everybody who waits."""
        self._is_closed = True
        for name in (*self._running.values(), *self._waiting.values()):
            name.answer.cancel()
        self._waiting.clear()

    def _new(self, host: str, centre_id: str, *, is_known: bool) -> _Name:
        answer: asyncio.Future[Found] = self._loop.create_future()
        return _Name(host, domain_of(host), is_known, answer, centres={centre_id: None})

    def _check_room(self, centre_id: str) -> None:
        of_centre = sum(centre_id in name.centres for name in self._waiting.values())
        if of_centre >= MAX_WAITING_OF_CENTRE or len(self._waiting) >= MAX_WAITING:
            raise self._busy(centre_id)

    def _busy(self, centre_id: str) -> HostBusy:
        if len(self._sent_away) >= _MAX_CENTRES:
            self._sent_away.clear()
        self._sent_away[centre_id] += 1
        retry_s = min(_BUSY_S + _BUSY_STEP_S * self._sent_away[centre_id], _MAX_BUSY_S)
        return HostBusy(Reason.DNS, "too many names are being looked up", retry_after_s=retry_s)

    def _may_begin(self, name: _Name) -> bool:
        free = MAX_LOOKUPS - len(self._running) - (0 if name.is_known else RESERVED_FOR_KNOWN)
        return (
            free > 0
            and self._of_domain[name.domain] < MAX_OF_DOMAIN
            and self._fewest(name.centres)[0] < MAX_OF_CENTRE
        )

    def _fewest(self, centres: Iterable[str]) -> tuple[int, str]:
        return min((self._of_centre[centre], centre) for centre in centres)

    def _begin_next(self) -> None:
        """Begin what may begin: known names first, then centres with the fewest threads."""
        while True:
            free = [name for name in self._waiting.values() if self._may_begin(name)]
            if not free:
                return
            name = min(free, key=lambda name: (not name.is_known, self._fewest(name.centres)[0]))
            del self._waiting[name.host]
            self._begin(name)

    def _begin(self, name: _Name) -> None:
        name.begun_for = centre = self._fewest(name.centres)[1]
        self._running[name.host] = name
        self._of_centre[centre] += 1
        self._of_domain[name.domain] += 1
        # A thread of its own, which may outlive us: the executors of the standard library wait for
        # their threads when the process ends, and a look-up can hang for half a minute.
        thread = threading.Thread(target=self._run, args=(name,), name="dns", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._loop.call_soon(self._end, name, Failed("this machine has no thread for it"))

    def _run(self, name: _Name) -> None:
        found: Found
        try:
            found = tuple(dict.fromkeys(self._lookup(name.host))) or Failed("no address")
        except OSError as error:
            found = Failed(os_words(error))
        except UnicodeError:
            found = Failed("not a host name")
        except Exception as error:  # noqa: BLE001 - the thread must be given back
            found = Failed(f"failed with {type(error).__name__}")
        with contextlib.suppress(RuntimeError):  # the loop is closed by now
            self._loop.call_soon_threadsafe(self._end, name, found)

    def _end(self, name: _Name, found: Found) -> None:
        centre = name.begun_for or ""
        del self._running[name.host]
        for counter, key in ((self._of_centre, centre), (self._of_domain, name.domain)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
        if self._is_closed:
            return
        self._ended(name.host, centre, found)
        if not name.answer.done():
            name.answer.set_result(found)
        self._begin_next()
