"""Bounds what one client may use of the metrics service: connections and time.

uvicorn waits for ever for the rest of a request, and accepts connections until it has no more file
descriptors. Here a request must arrive and be answered within a time limit, and if there are too
many connections, the one that waits longest is closed.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

#: Connections at once; a scraper, an ingress and some readers of the status page use a few.
MAX_CONNECTIONS = 256
#: From the connection, or the last answer, to the next answer; also for slow readers.
REQUEST_TIMEOUT_S = 20.0
#: Each that begins to wait takes the next number: on the loop's clock several begin at one time.
_turns = count(1)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, bounded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._turn = 0

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Accept the connection; if there are too many, close the one that waits longest."""
        super().connection_made(transport)
        self._start_waiting()
        if len(self.connections) > MAX_CONNECTIONS:
            idle = [each for each in self._all() if _is_waiting(each)]
            min(idle, key=lambda each: each._turn).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Give the next request its own time."""
        self._start_waiting()
        super().on_response_complete()

    def _all(self) -> Iterable[BoundedProtocol]:
        # An aborted one leaves the set a moment later.
        return (
            each
            for each in cast("set[BoundedProtocol]", self.connections)
            if not each.transport.is_closing()
        )

    def _start_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._turn = next(_turns)
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)


def _is_waiting(protocol: H11Protocol) -> bool:
    cycle: RequestResponseCycle | None = protocol.cycle
    return cycle is None or cycle.response_complete
