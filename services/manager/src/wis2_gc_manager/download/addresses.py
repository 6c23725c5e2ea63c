"""From a host name to addresses that the guard admits, and to a socket connected to one of them.

A name is looked up once; what was checked is what is connected to, so a name server that answers
differently the second time is never asked a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Reason, Refused, SourceError
from wis2_gc_common.words import os_words
from wis2_gc_manager.address_guard import literal_address

if TYPE_CHECKING:
    from wis2_gc_manager.address_guard import AddressGuard

#: Blocking; returns addresses of a name or raises OSError.
Lookup = Callable[[str], Sequence[str]]

#: An answer is used this long without asking again.
FRESH_S = 60.0
#: Up to this age an answer is used while it is asked for again, so that slow name servers of
#: strangers, who can fill all look-up threads, do not delay the hosts we know.
STALE_S = 900.0
_MAX_NAMES = 4096
_MAX_LOOKUPS = 64


def system_lookup(host: str) -> list[str]:
    """Ask the system's resolver. Blocks; raises OSError."""
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(info[4][0]) for info in infos]


@dataclass(frozen=True, slots=True)
class _Answer:
    admitted: tuple[str, ...]
    forbidden: str
    """An address that is not admitted, "" when there is none."""
    at: float


class Addresses:
    """Looks names up, in threads, and remembers a bounded number of answers."""

    def __init__(
        self,
        guard: AddressGuard,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._guard = guard
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._running: dict[str, asyncio.Task[_Answer]] = {}
        self._threads = asyncio.Semaphore(_MAX_LOOKUPS)

    async def admitted(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host that may be connected to, at least one.

        Raises Refused(FORBIDDEN_ADDRESS) when it has only others, SourceError(DNS).
        """
        if literal_address(host) is not None:
            self._guard.check_host(host)
            return (host,)
        answer = self._answers.get(host)
        if answer is None or self._clock() - answer.at >= STALE_S:
            # Shielded: the one who gives up must not take the answer from the others.
            answer = await asyncio.shield(self._asking(host))
        elif self._clock() - answer.at >= FRESH_S:
            self._asking(host)
        if not answer.admitted:
            raise Refused(Reason.FORBIDDEN_ADDRESS, f"resolves to {answer.forbidden}")
        return answer.admitted

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a socket connected to an admitted address of `host`.

        Raises Refused, SourceError(DNS or CONNECT); the time is the caller's to bound.
        """
        error: OSError | None = None
        for address in await self.admitted(host):
            try:
                return await self.connect_address(address, port)
            except OSError as failure:
                error = failure
        raise SourceError(Reason.CONNECT, os_words(error) if error else "") from error

    async def connect_address(self, address: str, port: int) -> socket.socket:
        """Return a socket connected to this very address. Raises OSError."""
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
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _asking(self, host: str) -> asyncio.Task[_Answer]:
        """Return the look-up under way, of which there is one for each name."""
        running = self._running.get(host)
        if running is not None:
            return running
        task = self._loop.create_task(self._look_up(host))
        self._running[host] = task
        task.add_done_callback(lambda done: self._end(host, done))
        return task

    def _end(self, host: str, task: asyncio.Task[_Answer]) -> None:
        self._running.pop(host, None)
        # Also reads the exception of a refresh that nobody waits for.
        if task.cancelled() or task.exception() is not None:
            return
        self._answers[host] = task.result()
        self._answers.move_to_end(host)
        if len(self._answers) > _MAX_NAMES:
            self._answers.popitem(last=False)

    async def _look_up(self, host: str) -> _Answer:
        async with self._threads:
            try:
                found = await self._in_thread(host)
            except OSError as error:
                raise SourceError(Reason.DNS, os_words(error)) from error
            except UnicodeError as error:
                raise SourceError(Reason.DNS, "not a host name") from error
        unique = tuple(dict.fromkeys(found))
        admitted = tuple(address for address in unique if self._guard.admits(address))
        forbidden = next((address for address in unique if address not in admitted), "")
        if not unique:
            raise SourceError(Reason.DNS, "no address")
        return _Answer(admitted, forbidden, self._clock())

    async def _in_thread(self, host: str) -> Sequence[str]:
        """Run the look-up in a thread of its own, which may outlive us.

        The executors of the standard library wait for their threads when the process ends, and a
        look-up can hang for half a minute.
        """
        future: asyncio.Future[Sequence[str]] = self._loop.create_future()

        def finish(result: Sequence[str] | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result or ())

        def run() -> None:
            result: Sequence[str] | None = None
            failure: Exception | None = None
            try:
                result = self._lookup(host)
            except Exception as error:  # noqa: BLE001 - handed to the waiting coroutine
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed by now
                self._loop.call_soon_threadsafe(finish, result, failure)

        threading.Thread(target=run, name="dns", daemon=True).start()
        return await future
