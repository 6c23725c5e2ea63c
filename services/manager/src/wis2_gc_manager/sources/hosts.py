"""How many requests one data server gets: concurrency, a short queue, a circuit breaker.

Source: wis2-rules.md 20.

This is only state: the caller gives the clock, and nothing is connected. A host is `name:port`.
Strangers name hosts, so the memory of idle ones is bounded; a centre that brings many in makes us
forget its own hosts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from wis2_gc_common.errors import HostBusy, Reason
from wis2_gc_common.runtime.backoff import grown_s

if TYPE_CHECKING:
    from collections.abc import Callable

#: A download that would wait longer than this for its turn is not tried.
MAX_ESTIMATED_WAIT_S = 2.0
#: Estimates can be wrong: no download holds a slot of the manager longer than this while it waits.
MAX_WAIT_S = 4.0
#: The assumed duration of a download before the first one has ended.
_UNKNOWN_DURATION_S = 0.5
#: The same for downloads that are promised a later time; one that is too early gets a better one.
_PROMISED_UNKNOWN_S = 0.03
#: Weight of the latest download in the running average.
_AVERAGE_WEIGHT = 0.1

#: Failures in a row that open the circuit.
FAILURES_TO_OPEN = 5
_FIRST_OPEN_S = 5.0
_MAX_OPEN_S = 300.0
#: Bounds of a server's Retry-After, and the value used if it names none.
_MIN_THROTTLE_S, _MAX_THROTTLE_S, _DEFAULT_THROTTLE_S = 1.0, 600.0, 10.0
#: When to come back while a probe is under way.
_PROBE_RETRY_S = 1.0
#: The range of the estimated wait that a download is told when the line is too long.
_MIN_RETRY_S, _MAX_RETRY_S = 0.5, 30.0
#: Downloads that are sent away are promised times at this fraction of the time in which places
#: become free: the host must not idle while they are away. One that comes too early is sent away
#: again.
PROMISED_PACE = 0.8
#: Longest wait behind others that were sent away: averages change.
_MAX_PROMISE_S = 600.0

#: Hosts remembered. Above it, the centre that has most loses the one that is idle for longest.
MAX_HOSTS = 4096


class Outcome(Enum):
    """What a download shows about its host."""

    ANSWERED = "answered"
    """The host works: it answered, even with 404 or a wrong checksum."""
    FAILED = "failed"
    """No connection, time-out or 5xx."""
    THROTTLED = "throttled"
    """429 or 503."""
    NO_VERDICT = "no_verdict"
    """Given up for reasons of our own."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One download's place at a host. `turn` is None if it may start at once."""

    host: str
    limit: int
    """The largest number of downloads at once beside which this one may start."""
    turn: asyncio.Future[HostBusy | None] | None = None
    started_at: float = 0.0
    is_probe: bool = False


@dataclass(slots=True, eq=False)
class _Host:
    centre_id: str
    """The centre that brought it in."""
    running: dict[Ticket, None] = field(default_factory=dict)
    """In order of start."""
    waiting: deque[Ticket] = field(default_factory=deque)
    average_s: float | None = None
    failures: int = 0
    open_until: float | None = None
    """None: the circuit is closed."""
    why_open: Reason = Reason.CIRCUIT_OPEN
    """CIRCUIT_OPEN after failures, THROTTLED when the server asked for a pause."""
    openings: int = 0
    """How long the circuit was last opened for; grows until a probe succeeds."""
    is_probing: bool = False
    promised: float = 0.0
    """How many that were sent away are still to come, as of `promised_at`."""
    promised_at: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting


class HostLimits:
    """Grants places at hosts.

    A download that is sent away is told when a place is expected for it: the line continues in
    those that are away. So a backlog of thousands comes back at the pace of the host, each about
    once, and not all of it every second. Each manager promises at its own pace; together they send
    the host as much as they may.

    `concurrency`: downloads at once from one host. `clock`: monotonic seconds.
    """

    def __init__(self, *, concurrency: int, clock: Callable[[], float]) -> None:
        self._concurrency = concurrency
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._names: dict[str, OrderedDict[str, None]] = {}
        """By centre: the hosts it brought in, the longest unused first."""

    def __len__(self) -> int:
        """Return how many hosts are remembered."""
        return len(self._hosts)

    def enter(self, name: str, *, centre_id: str = "", at_most: int | None = None) -> Ticket:
        """Return a place at the host; if `turn` is set, `wait` for it before the start.

        `centre_id`: the centre of the item.
        `at_most`: a lower concurrency than the general one. Every ticket must `leave`.
        Raises HostBusy: CIRCUIT_OPEN (it fails), THROTTLED (it asked for a pause), HOST_QUEUE.
        """
        limit = self._concurrency if at_most is None else min(at_most, self._concurrency)
        host = self._hosts.get(name)
        if host is None:
            host = self._remember(name, centre_id)
        ticket = Ticket(name, limit)
        if host.open_until is not None:
            self._check_circuit(host, host.open_until, limit)
            host.is_probing = ticket.is_probe = True
        elif len(host.running) >= limit or host.waiting:
            estimate_s = self._estimated_wait_s(host, limit)
            if estimate_s > MAX_ESTIMATED_WAIT_S:
                wait_s = min(max(estimate_s, _MIN_RETRY_S), _MAX_RETRY_S)
                retry_s = self._promise(host, limit, wait_s)
                raise HostBusy(Reason.HOST_QUEUE, f"{estimate_s:.1f} s", retry_after_s=retry_s)
            ticket.turn = asyncio.get_running_loop().create_future()
            host.waiting.append(ticket)
            return ticket
        self._start(host, ticket)
        return ticket

    async def wait(self, ticket: Ticket) -> None:
        """Return when it is the ticket's turn.

        Raises HostBusy: after MAX_WAIT_S, or when the circuit opens meanwhile. The ticket must
        `leave` in any case.
        """
        if ticket.turn is None:
            return
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                refusal = await ticket.turn
        except TimeoutError:
            retry_s = self._promise(self._hosts[ticket.host], ticket.limit, MAX_WAIT_S)
            raise HostBusy(Reason.HOST_QUEUE, f"{MAX_WAIT_S:g} s", retry_after_s=retry_s) from None
        if refusal is not None:
            raise refusal

    def leave(
        self, ticket: Ticket, outcome: Outcome, *, retry_after_s: float | None = None
    ) -> None:
        """Give the place back and say what the host did. `retry_after_s`: with THROTTLED."""
        host = self._hosts.get(ticket.host)
        if host is None:
            # It was sent away when the circuit opened, and the host was forgotten since then.
            return
        if ticket in host.running:
            del host.running[ticket]
            self._learn(host, ticket, outcome, retry_after_s)
        elif ticket in host.waiting:
            host.waiting.remove(ticket)
        self._advance(host)
        if host.is_idle:
            self._names[host.centre_id].move_to_end(ticket.host)

    def _remember(self, name: str, centre_id: str) -> _Host:
        if len(self._hosts) >= MAX_HOSTS:
            self._forget_one()
        host = self._hosts[name] = _Host(centre_id)
        self._names.setdefault(centre_id, OrderedDict())[name] = None
        return host

    def _forget_one(self) -> None:
        centre_id = max(self._names, key=lambda one: len(self._names[one]))
        names = self._names[centre_id]
        # The first is unused for longest; only a few are busy (the manager's concurrency).
        oldest = next((name for name in names if self._hosts[name].is_idle), None)
        if oldest is not None:
            del self._hosts[oldest], names[oldest]
            if not names:
                del self._names[centre_id]

    def _check_circuit(self, host: _Host, open_until: float, limit: int) -> None:
        left_s = open_until - self._clock()
        if left_s > 0:
            detail, retry_s = "", max(left_s, _MIN_RETRY_S)
        elif host.is_probing:
            detail, retry_s = "probing", _PROBE_RETRY_S
        else:
            return
        if host.why_open is Reason.THROTTLED:
            # Many wait, and none is known to be the next; failures have their own delays.
            retry_s = self._promise(host, limit, retry_s)
        raise HostBusy(host.why_open, detail, retry_after_s=retry_s)

    def _promise(self, host: _Host, limit: int, wait_s: float) -> float:
        """Return after how many seconds one more download that is sent away should come back.

        `wait_s`: the time until the line is short enough for those that are here.
        """
        now = self._clock()
        average_s = _PROMISED_UNKNOWN_S if host.average_s is None else host.average_s
        place_s = PROMISED_PACE * average_s / limit
        if place_s <= 0:
            return wait_s
        ahead = max(0.0, host.promised - (now - host.promised_at) / place_s)
        # A download beyond the longest promise comes back too early, and is counted again. Without
        # this bound, a long backlog would keep others away for hours after its end.
        ahead = min(ahead, _MAX_PROMISE_S / place_s)
        host.promised, host.promised_at = ahead + 1, now
        return wait_s + ahead * place_s

    def _estimated_wait_s(self, host: _Host, limit: int) -> float:
        """Return how long one more would wait for its turn.

        The average of past downloads says nothing about a host that has begun to hang. The age of
        the running ones is a lower bound: their median, so that one large object among small ones
        does not count.
        """
        average_s = _UNKNOWN_DURATION_S if host.average_s is None else host.average_s
        running = len(host.running)
        median = next(islice(host.running, running // 2, None), None)
        if median is not None:
            average_s = max(average_s, self._clock() - median.started_at)
        return (len(host.waiting) + 1) * average_s / limit

    def _start(self, host: _Host, ticket: Ticket) -> None:
        ticket.started_at = self._clock()
        host.running[ticket] = None

    def _learn(
        self, host: _Host, ticket: Ticket, outcome: Outcome, retry_after_s: float | None
    ) -> None:
        if ticket.is_probe:
            host.is_probing = False
        elif host.open_until is not None:
            # It began before the circuit opened: its result is too old.
            return
        if outcome is Outcome.THROTTLED:
            asked_s = _DEFAULT_THROTTLE_S if retry_after_s is None else retry_after_s
            seconds = min(max(asked_s, _MIN_THROTTLE_S), _MAX_THROTTLE_S)
            self._open(host, seconds, Reason.THROTTLED)
        elif outcome is Outcome.FAILED:
            host.failures += 1
            if ticket.is_probe or host.failures >= FAILURES_TO_OPEN:
                open_s = grown_s(host.openings, first_s=_FIRST_OPEN_S, longest_s=_MAX_OPEN_S)
                host.openings += 1
                self._open(host, open_s, Reason.CIRCUIT_OPEN)
        elif outcome is Outcome.ANSWERED:
            host.failures = 0
            host.openings = 0
            host.open_until = None
            took_s = self._clock() - ticket.started_at
            if host.average_s is None:
                host.average_s = took_s
            else:
                host.average_s += _AVERAGE_WEIGHT * (took_s - host.average_s)

    def _open(self, host: _Host, seconds: float, why: Reason) -> None:
        host.open_until = self._clock() + seconds
        host.why_open = why
        while host.waiting:
            ticket = host.waiting.popleft()
            if ticket.turn is not None and not ticket.turn.done():
                retry_s = seconds
                if why is Reason.THROTTLED:
                    retry_s = self._promise(host, ticket.limit, seconds)
                ticket.turn.set_result(HostBusy(why, retry_after_s=retry_s))

    def _advance(self, host: _Host) -> None:
        """Start the next in line, in the order of arrival."""
        while host.waiting and len(host.running) < host.waiting[0].limit:
            ticket = host.waiting.popleft()
            if ticket.turn is not None and not ticket.turn.done():
                self._start(host, ticket)
                ticket.turn.set_result(None)
