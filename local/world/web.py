"""The data servers of the simulated world: an item's URL names the data and the fault."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from local.world.data import make_data, other_data, parse_data_name
from local.world.mix import Fault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from local.world.data import DataName

_SLOW_S = 6.0
_SLOW_PARTS = 12
_RETRY_AFTER_S = 3
#: Seconds for which a server refuses an item, from its first request.
_BAD_TIME_S = 5.0
_MAX_REMEMBERED = 10_000
_HTML = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n"


class DataServer:
    """One web server; `close` ends it."""

    def __init__(
        self,
        address: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.port = port
        self._tls = tls
        self._clock = clock
        self._first_seen: dict[str, float] = {}
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """The prefix of the paths of its items."""
        return f"{'https' if self._tls else 'http'}://{self.address}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError: the port is taken. Port 0: the system picks one."""
        app = web.Application()
        app.router.add_get("/{fault}/{name}/{file_name}", self._get)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self.address, self.port, ssl_context=self._tls, backlog=512
        )
        try:
            await site.start()
        except OSError:
            await self.close()
            raise
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and drop the connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            fault = Fault(request.match_info["fault"])
            name = parse_data_name(request.match_info["name"])
        except ValueError:
            raise web.HTTPNotFound from None
        is_bad_time = self._is_bad_time(request.path)
        headers = {"Content-Type": "application/octet-stream"}
        if fault is Fault.NOT_FOUND:
            raise web.HTTPNotFound
        if fault is Fault.UNAVAILABLE and is_bad_time:
            raise web.HTTPServiceUnavailable
        if fault is Fault.THROTTLED and is_bad_time:
            raise web.HTTPTooManyRequests(headers={"Retry-After": str(_RETRY_AFTER_S)})
        if fault is Fault.HTML:
            return web.Response(body=_HTML, content_type="text/html")
        if fault is Fault.SLOW:
            return await _slowly(request, name)
        if fault is Fault.CUT and is_bad_time:
            return await _cut(request, name)
        data = other_data(name) if fault is Fault.CORRUPT else make_data(name)
        if fault is Fault.LONGER:
            data += b"and more"
        return web.Response(body=data, headers=headers)

    def _is_bad_time(self, path: str) -> bool:
        now = self._clock()
        while len(self._first_seen) >= _MAX_REMEMBERED:
            del self._first_seen[next(iter(self._first_seen))]
        return now - self._first_seen.setdefault(path, now) < _BAD_TIME_S


async def _slowly(request: web.Request, name: DataName) -> web.StreamResponse:
    data = make_data(name)
    response = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await response.prepare(request)
    step = max(1, -(-len(data) // _SLOW_PARTS))
    for begin in range(0, len(data), step):
        await response.write(data[begin : begin + step])
        await asyncio.sleep(_SLOW_S / _SLOW_PARTS)
    await response.write_eof()
    return response


async def _cut(request: web.Request, name: DataName) -> web.StreamResponse:
    data = make_data(name)
    response = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
