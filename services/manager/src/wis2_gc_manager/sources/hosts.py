"""How much we ask of one data server: concurrency, a short queue, a circuit breaker.

Source: wis2-rules.md 20.

State only: the clock is given, nothing is connected. A host is `name:port`. Strangers name hosts,
so what is known about idle ones is bounded, and who brings many in makes us forget his own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from wis2_gc_common.errors import HostBusy, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

#: A download that would wait longer than this for its turn is not tried.
MAX_ESTIMATED_WAIT_S = 2.0
#: Estimates err; nobody holds a slot of the manager longer than this while waiting.
MAX_WAIT_S = 4.0
#: What a download is thought to take before the first one has ended.
_UNKNOWN_DURATION_S = 0.5
#: The same for those who are promised a later time: who comes too early is told a better one.
_PROMISED_UNKNOWN_S = 0.03
#: Weight of the latest download in the running average.
_AVERAGE_WEIGHT = 0.1

#: Failures in a row that open the circuit.
FAILURES_TO_OPEN = 5
_FIRST_OPEN_S = 5.0
_MAX_OPEN_S = 300.0
#: Bounds of a server's Retry-After, and what counts where it names none.
_MIN_THROTTLE_S, _MAX_THROTTLE_S, _DEFAULT_THROTTLE_S = 1.0, 600.0, 10.0
#: When to come back while a probe is under way.
_PROBE_RETRY_S = 1.0
#: What is estimated of a line lies in this range when it is told to those who find it too long.
_MIN_RETRY_S, _MAX_RETRY_S = 0.5, 30.0
#: Those sent away are promised times at this fraction of the pace at which places come free: the
#: host must not idle while they are away. Who comes too early for once is sent away again.
PROMISED_PACE = 0.8
#: Longest wait behind others who were sent away: averages change.
_MAX_PROMISE_S = 600.0

#: Hosts remembered; beyond it the longest idle one is forgotten of the centre that has most.
MAX_HOSTS = 4096


class Outcome(Enum):
    """What a download says about its host."""

    ANSWERED = "answered"
    """The host works, whatever it answered: 404 and wrong checksums included."""
    FAILED = "failed"
    """No connection, time-out or 5xx."""
    THROTTLED = "throttled"
    """429 or 503."""
    NO_VERDICT = "no_verdict"
    """Given up for reasons of our own."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One download's place at a host. `turn` is None when it may start at once."""

    host: str
    limit: int
    """Downloads at once that this one puts up with."""
    turn: asyncio.Future[HostBusy | None] | None = None
    started_at: float = 0.0
    is_probe: bool = False


@dataclass(slots=True, eq=False)
class _Host:
    centre_id: str
    """Who brought it in."""
    running: dict[Ticket, None] = field(default_factory=dict)
    """In order of start."""
    waiting: deque[Ticket] = field(default_factory=deque)
    average_s: float | None = None
    failures: int = 0
    open_until: float | None = None
    """None: the circuit is closed."""
    why_open: Reason = Reason.CIRCUIT_OPEN
    """CIRCUIT_OPEN after failures, THROTTLED when the server asked for a pause."""
    open_s: float = 0.0
    """How long the circuit was opened for last; grows until a probe succeeds."""
    is_probing: bool = False
    promised: float = 0.0
    """How many who were sent away are still to come, as of `promised_at`."""
    promised_at: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting


class HostLimits:
    """Grants places at hosts.

    Who is sent away is told when a place is really expected for him: the line goes on in those
    who are away. So a backlog of thousands comes back at the pace of the host, each about once,
    and not all of it every second. Several managers promise each at its own pace; together they
    ask of the host what they may.

    `concurrency`: downloads at once from one host. `clock`: monotonic seconds.
    """

    def __init__(self, *, concurrency: int, clock: Callable[[], float]) -> None:
        self._concurrency = concurrency
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._names: dict[str, OrderedDict[str, None]] = {}
        """By centre: the hosts it brought in, the longest unused first."""

    def __len__(self) -> int:
        """How many hosts are remembered."""
        return len(self._hosts)

    def enter(self, name: str, *, centre_id: str = "", at_most: int | None = None) -> Ticket:
        """Return a place at the host; where `turn` is set, `wait` for it before starting.

        `centre_id`: for whose item.
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
            # Turned away when the circuit opened, and the host forgotten since.
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
        # The front is the longest unused; busy ones are few (the manager's concurrency).
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
            # Nobody knows who of the many that wait is asked first; failures have their own delays.
            retry_s = self._promise(host, limit, retry_s)
        raise HostBusy(host.why_open, detail, retry_after_s=retry_s)

    def _promise(self, host: _Host, limit: int, wait_s: float) -> float:
        """Return after how many seconds one more who is sent away should come back.

        `wait_s`: until the line is short enough for those who are here.
        """
        now = self._clock()
        average_s = _PROMISED_UNKNOWN_S if host.average_s is None else host.average_s
        place_s = PROMISED_PACE * average_s / limit
        if place_s <= 0:
            return wait_s
        ahead = max(0.0, host.promised - (now - host.promised_at) / place_s)
        # Whoever is beyond the longest promise comes again too early, and is one more then: counted
        # each time, a long backlog would keep others away for hours after its end.
        ahead = min(ahead, _MAX_PROMISE_S / place_s)
        host.promised, host.promised_at = ahead + 1, now
        return wait_s + ahead * place_s

    def _estimated_wait_s(self, host: _Host, limit: int) -> float:
        """Return how long one more would wait for its turn.

        The average of past downloads says nothing about a host that has begun to hang: the age of
        the running ones is a lower bound. Their median, so that one large object among small ones
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
            # Begun before the circuit opened: old news.
            return
        if outcome is Outcome.THROTTLED:
            asked_s = _DEFAULT_THROTTLE_S if retry_after_s is None else retry_after_s
            seconds = min(max(asked_s, _MIN_THROTTLE_S), _MAX_THROTTLE_S)
            self._open(host, seconds, Reason.THROTTLED)
        elif outcome is Outcome.FAILED:
            host.failures += 1
            if ticket.is_probe or host.failures >= FAILURES_TO_OPEN:
                host.open_s = min(max(host.open_s * 2, _FIRST_OPEN_S), _MAX_OPEN_S)
                self._open(host, host.open_s, Reason.CIRCUIT_OPEN)
        elif outcome is Outcome.ANSWERED:
            host.failures = 0
            host.open_s = 0.0
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
        """Let the next in line start, first come, first served."""
        while host.waiting and len(host.running) < host.waiting[0].limit:
            ticket = host.waiting.popleft()
            if ticket.turn is not None and not ticket.turn.done():
                self._start(host, ticket)
                ticket.turn.set_result(None)
