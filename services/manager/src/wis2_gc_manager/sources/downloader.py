"""Fetches links of every scheme (wis2-rules.md 15 to 20).

`LinkDownloader` is the one `Downloader` of a manager. The guard, the limits of each host and
the bounds of memory and time are here, the protocols in `http`, `ftp` and `sftp`.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Protocol

from wis2_gc_common.errors import HostBusy, Overridden, Reason, Refused, SourceError
from wis2_gc_common.runtime.causes import SHORTAGES
from wis2_gc_manager.sources.address_guard import AddressGuard, Network
from wis2_gc_manager.sources.addresses import Addresses, system_lookup
from wis2_gc_manager.sources.body import Body, Form
from wis2_gc_manager.sources.body_memory import BodyMemory
from wis2_gc_manager.sources.hosts import HostLimits, Outcome
from wis2_gc_manager.sources.http_client import HttpClient
from wis2_gc_manager.sources.link_target import Target, parse_target
from wis2_gc_manager.sources.timeouts import Timeouts, sooner, stopped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wis2_gc_manager.sources.lookups import Lookup
    from wis2_gc_manager.sources.port import OpenUpload, Payload, Request

MAX_REDIRECTS = 5
#: The memory of all bodies in flight together.
MEMORY_BYTES = 64 * 1024 * 1024
#: FTP and SFTP servers commonly admit only a handful of sessions from one address.
_MAX_SESSIONS = 4

#: When to try again after a shortage of ours.
_SHORTAGE_S = 1.0

#: Failures that count against a host (`HostLimits`). Certificates do not count: they fail at once,
#: and the item should report that and not wait.
_FAILURES = frozenset({Reason.CONNECT, Reason.DNS, Reason.TIMEOUT, Reason.SERVER_ERROR})


#: Reasons after which the other form of a large encoded body may be the item.
_NOT_THE_ITEM = frozenset(
    {Reason.LENGTH, Reason.INTEGRITY, Reason.CONTENT_ENCODING, Reason.TOO_LARGE}
)


class _Client(Protocol):
    async def get(self, target: Target, body: Body) -> Target | None: ...


class LinkDownloader:
    """`Downloader` of every scheme; requires a running event loop."""

    def __init__(
        self,
        *,
        allowed_networks: Sequence[Network],
        denied_networks: Sequence[Network] = (),
        allowed_ports: Sequence[int] = (),
        max_object_bytes: int,
        concurrency_per_host: int,
        connect_timeout_s: float,
        idle_timeout_s: float,
        total_timeout_s: float,
        ca_file: Path | None,
        lookup: Lookup = system_lookup,
    ) -> None:
        """Take the settings of these names; `lookup` resolves a host name (blocking), for tests.

        Raises OSError, ssl.SSLError: `ca_file` holds no certificates.
        """
        self._guard = AddressGuard(allowed_networks, denied_networks, allowed_ports)
        self._timeouts = Timeouts(connect_timeout_s, idle_timeout_s, total_timeout_s)
        self._max_object_bytes = max_object_bytes
        self._addresses = Addresses(self._guard, lookup)
        self._limits = HostLimits(
            concurrency=concurrency_per_host, clock=asyncio.get_running_loop().time
        )
        self._memory = BodyMemory(MEMORY_BYTES)
        self._http = HttpClient(
            self._guard, self._addresses, timeouts=self._timeouts, ca_file=ca_file
        )
        self._clients: dict[str, _Client] = {"http": self._http, "https": self._http}

    async def fetch(self, request: Request, open_upload: OpenUpload) -> Payload:
        """See `wis2_gc_manager.sources.port.Downloader`."""
        target = parse_target(request.href)
        deadline = asyncio.timeout(self._timeouts.total_s)
        try:
            async with deadline:
                form: Form | None = None
                while True:
                    body = Body(
                        request,
                        open_upload,
                        max_bytes=self._max_object_bytes,
                        memory=self._memory,
                        deadline=deadline,
                        idle_timeout_s=self._timeouts.idle_s,
                        form=form,
                    )
                    try:
                        await self._fill(target, body)
                        return await body.finish()
                    except (SourceError, Overridden) as error:
                        if body.other_form is None or error.reason not in _NOT_THE_ITEM:
                            raise
                        form = body.other_form
                    finally:
                        await body.close()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise SourceError(Reason.TIMEOUT, "in all") from None

    async def close(self) -> None:
        """See `wis2_gc_manager.sources.port.Downloader`."""
        await self._http.close()
        await self._addresses.close()

    async def _fill(self, target: Target, body: Body) -> None:
        for _ in range(1 + MAX_REDIRECTS):
            following = await self._visit(target, body)
            if following is None:
                return
            target = following
        raise SourceError(Reason.TOO_MANY_REDIRECTS)

    async def _visit(self, target: Target, body: Body) -> Target | None:
        """Ask one host; return where it redirects to, None when `body` is filled."""
        self._guard.check_host(target.host)
        self._guard.check_port(target.port)
        client = self._client(target.scheme)
        at_most = None if target.scheme in ("http", "https") else _MAX_SESSIONS
        centre_id = body.request.centre_id
        ticket = self._limits.enter(target.endpoint, centre_id=centre_id, at_most=at_most)
        outcome, retry_after_s = Outcome.NO_VERDICT, None
        try:
            if ticket.turn is not None:
                with stopped(body.deadline):
                    await self._limits.wait(ticket)
            if self._addresses.recall(target.host, centre_id) is None:
                with sooner(body.deadline, self._timeouts.connect_s):
                    await self._addresses.admitted(target.host, centre_id)
            following = await client.get(target, body)
            outcome = Outcome.ANSWERED
        except SourceError as error:
            if await self._is_our_shortage(error, target.host):
                raise HostBusy(
                    Reason.HOST_QUEUE, "no connection of ours is free", retry_after_s=_SHORTAGE_S
                ) from error
            outcome, retry_after_s = _verdict(error), error.retry_after_s
            raise
        except Overridden:
            outcome = Outcome.ANSWERED
            raise
        except asyncio.CancelledError:
            if body.deadline.expired():
                outcome = Outcome.FAILED
            raise
        finally:
            if outcome is Outcome.FAILED and body.request.is_again and not ticket.is_probe:
                # Otherwise the circuit would open after half as many items.
                outcome = Outcome.NO_VERDICT
            self._limits.leave(ticket, outcome, retry_after_s=retry_after_s)
        return following

    async def _is_our_shortage(self, error: SourceError, host: str) -> bool:
        """Whether this machine had no file, port or memory for a connection: no host is to blame.

        A system without IPv6 reports each IPv6 address with the same error as a missing free port.
        """
        number = getattr(error.__cause__, "errno", None)
        if number == errno.EADDRNOTAVAIL:
            return any(":" not in address for address in await self._addresses.admitted(host))
        return number in SHORTAGES

    def _client(self, scheme: str) -> _Client:
        client = self._clients.get(scheme)
        if client is None:
            client = self._clients[scheme] = self._rare_client(scheme)
        return client

    def _rare_client(self, scheme: str) -> _Client:
        """Import what few managers ever use; asyncssh takes a quarter of a second."""
        if scheme == "ftp":
            from wis2_gc_manager.sources.ftp_client import FtpClient  # noqa: PLC0415

            return FtpClient(self._addresses, timeouts=self._timeouts)
        from wis2_gc_manager.sources.sftp_client import SftpClient  # noqa: PLC0415

        return SftpClient(self._addresses, timeouts=self._timeouts)


def _verdict(error: SourceError) -> Outcome:
    """Return what an error says about the host that was just asked."""
    if isinstance(error, Refused | HostBusy):
        return Outcome.NO_VERDICT
    if error.reason is Reason.THROTTLED:
        return Outcome.THROTTLED
    return Outcome.FAILED if error.reason in _FAILURES else Outcome.ANSWERED
