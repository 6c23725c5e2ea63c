"""From a host name to addresses that the guard admits, and to a socket connected to one of them.

A name is looked up once, and we connect to the address that was checked. So a name server that
answers differently the second time is never asked a second time.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Reason, Refused, SourceError
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_manager.sources.address_guard import literal_address
from wis2_gc_manager.sources.lookups import Failed, Found, Lookup, Lookups

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_manager.sources.address_guard import AddressGuard

#: An answer is used this long without asking again.
FRESH_S = 60.0
#: Up to this age an answer is used while the name is looked up again, and if that fails: some
#: centres publish only every six hours, and an outage of a name server is not one of their server.
STALE_S = 12 * 3600.0
#: A name that could not be looked up is not looked up again for this long.
FAILED_S = 5.0
_MAX_NAMES = 4096
#: Of one centre: a centre that names thousands of hosts pushes out its own names.
_MAX_OF_CENTRE = 256
_MAX_FAILED = 1024


def system_lookup(host: str) -> list[str]:
    """Ask the system's resolver. Blocks; raises OSError."""
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(info[4][0]) for info in infos]


@dataclass(frozen=True, slots=True)
class _Answer:
    admitted: tuple[str, ...]
    forbidden: str
    """An address that is not admitted; "" if there is none."""
    at: float
    centre_id: str
    """The centre that asked for it first."""


class Addresses:
    """Looks names up, in threads, and remembers a bounded number of answers."""

    def __init__(
        self,
        guard: AddressGuard,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._lookups = Lookups(lookup, self._remember)
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._names: dict[str, OrderedDict[str, None]] = {}
        """The names of each centre, in the order of their last use."""
        self._failed: OrderedDict[str, tuple[Failed, float]] = OrderedDict()

    def recall(self, host: str, centre_id: str = "") -> tuple[str, ...] | None:
        """Return what `admitted` returns without waiting; None if it would look the host up.

        Raises Refused(FORBIDDEN_ADDRESS).
        """
        if literal_address(host) is not None:
            self._guard.check_host(host)
            return (host,)
        answer = self._answers.get(host)
        if answer is None:
            return None
        age_s = self._clock() - answer.at
        if age_s >= STALE_S:
            return None
        self._answers.move_to_end(host)
        self._names[answer.centre_id].move_to_end(host)
        if age_s >= FRESH_S and self._failure(host) is None:
            self._lookups.refresh(host, centre_id)
        return _admitted(answer)

    async def admitted(self, host: str, centre_id: str = "") -> tuple[str, ...]:
        """Return the addresses of a host that may be connected to, at least one.

        `centre_id`: the centre that asks; each has its share of the look-ups.
        Raises Refused(FORBIDDEN_ADDRESS) if all its addresses are forbidden, SourceError(DNS), and
        HostBusy(DNS) if too many names are being looked up.
        """
        known = self.recall(host, centre_id)
        if known is not None:
            return known
        is_known = host in self._answers
        failed = self._failure(host)
        if failed is None:
            found = await self._lookups.find(host, centre_id, is_known=is_known)
            if not isinstance(found, Failed):
                return _admitted(self._judged(found, centre_id))
            failed = found
        raise SourceError(Reason.DNS, failed.words)

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a socket connected to an admitted address of `host`.

        Raises Refused, SourceError(DNS or CONNECT). The caller bounds the time.
        """
        error: OSError | None = None
        for address in await self.admitted(host):
            try:
                return await self.connect_address(address, port)
            except OSError as failure:
                error = failure
        raise SourceError(Reason.CONNECT, os_words(error) if error else "") from error

    async def connect_data(self, address: str, port: int) -> socket.socket:
        """Return a data connection to a server that we are already connected to.

        Raises Refused(FORBIDDEN_PORT), OSError.
        """
        self._guard.check_data_port(port)
        return await self.connect_address(address, port)

    async def connect_address(self, address: str, port: int) -> socket.socket:
        """Return a socket connected to exactly this address. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
        connection = self._guard.open_socket(info)
        try:
            connection.setblocking(False)
            await self._loop.sock_connect(connection, (address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Give up on all look-ups. Never raises."""
        self._lookups.close()

    def _failure(self, host: str) -> Failed | None:
        """Return why the last look-up of a name failed, if it was a moment ago."""
        entry = self._failed.get(host)
        if entry is None or self._clock() - entry[1] >= FAILED_S:
            return None
        return entry[0]

    def _judged(self, found: tuple[str, ...], centre_id: str) -> _Answer:
        admitted = tuple(address for address in found if self._guard.admits(address))
        forbidden = next((address for address in found if address not in admitted), "")
        return _Answer(admitted, forbidden, self._clock(), centre_id)

    def _remember(self, host: str, centre_id: str, found: Found) -> None:
        self._failed.pop(host, None)
        if isinstance(found, Failed):
            self._failed[host] = found, self._clock()
            if len(self._failed) > _MAX_FAILED:
                self._failed.popitem(last=False)
            return
        before = self._answers.get(host)
        owner = centre_id if before is None else before.centre_id
        self._answers[host] = self._judged(found, owner)
        self._answers.move_to_end(host)
        names = self._names.setdefault(owner, OrderedDict())
        names[host] = None
        names.move_to_end(host)
        if len(names) > _MAX_OF_CENTRE:
            self._forget(next(iter(names)))
        elif len(self._answers) > _MAX_NAMES:
            self._forget(next(iter(self._answers)))

    def _forget(self, host: str) -> None:
        answer = self._answers.pop(host)
        names = self._names[answer.centre_id]
        del names[host]
        if not names:
            del self._names[answer.centre_id]


def _admitted(answer: _Answer) -> tuple[str, ...]:
    if not answer.admitted:
        raise Refused(Reason.FORBIDDEN_ADDRESS, f"resolves to {answer.forbidden}")
    return answer.admitted
