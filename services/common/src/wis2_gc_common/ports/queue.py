"""The contract of the queue (architecture.md#queue).

At-least-once, unordered. What is bulk (`Envelope.is_bulk`) comes after what is not, and a manager
says how much of it there is room for. (SQS has no such order; there the shares of the centres are
its own.) One notification per message. A listener sends, from its own thread (`Sender`); a manager
receives on its event loop (`Queue`). Every adapter passes the same suite,
`tests/integration/test_queue.py`.

Who retries: nobody in here, but for the resends that the client library does within its time-out.
An outage is `Unavailable("queue")`, raised at once; the caller stops and comes back.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Envelope:
    """One queued notification, untouched.

    `uid` names this envelope through every redelivery and delayed return: it is the owner of the
    claim in the registry, so that a message can tell its own dead worker from a stranger.
    """

    topic: str
    payload: bytes
    broker: str
    """`GC_GLOBAL_BROKER_NAME` of the listener."""
    arrived_ms: int
    """Milliseconds since 1970: when the listener received it."""
    attempts: int = 0
    """How often its sources have failed so far."""
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_bulk: bool = False
    """It may wait for what is not: its centre sends more than others should have to wait for, or it
    comes back after a delay."""

    @property
    def size(self) -> int:
        """Bytes of what the stranger sent."""
        return len(self.topic) + len(self.payload)

    def again(self, *, attempts: int, is_bulk: bool | None = None) -> Envelope:
        """Return the envelope as it is put back. `is_bulk`: None leaves it as it is."""
        return replace(
            self, attempts=attempts, is_bulk=self.is_bulk if is_bulk is None else is_bulk
        )


class Sent(StrEnum):
    """What became of one entry of a batch."""

    ACCEPTED = "accepted"
    """The queue has it, durably: the broker may forget it."""
    POISON = "poison"
    """The queue can never take it: count, log, acknowledge."""
    REFUSED = "refused"
    """Not now (throttled, full): send again later, do not acknowledge."""
    OVER_QUOTA = "over_quota"
    """Bulk whose lane holds its share of the memory: count, log, acknowledge. All others go on."""


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery; invisible to others until its visibility ends."""

    envelope: Envelope
    receipt: str
    """What `extend`, `delete`, `put_back` and `dead_letter` take; valid for this delivery only."""
    deliveries: int
    """How often it was handed out and not given back, this time included (1: the first time).

    What `close` hands over may count as handed out.
    """


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits."""

    ready: int
    in_flight: int
    delayed: int
    dead: int
    oldest_s: float | None
    """Age of the oldest ready or in-flight message, in seconds; 0 when there is none.

    None where the queue does not tell (SQS: see its alarm in CloudWatch).
    """


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, with the reason on it."""

    envelope: Envelope
    reason: str
    """A `wis2_gc_common.errors.Reason`."""
    last_error: str
    died_ms: int


class Sender(Protocol):
    """The listener's side. Blocking; used by one thread."""

    def check(self) -> None:
        """Ask, once at start, whether the queue is there for us; sends nothing.

        Raises Unavailable: not now; Misconfigured: not before a setting is changed.
        """

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        """Send up to `max_batch` envelopes; one answer per entry, in order.

        Raises Unavailable("queue"): nothing is known of any entry; send them all again.
        """

    @property
    def max_batch(self) -> int:
        """How many envelopes one call may take."""

    def close(self) -> None:
        """Release connections. Never raises."""


class Queue(Protocol):
    """The manager's side. All methods raise Unavailable("queue") on an outage."""

    @property
    def visibility_s(self) -> float:
        """How long a received message stays invisible unless it is extended."""

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        """Return up to `max_messages`, waiting at most `wait_s` for the first.

        Includes messages whose delay is over and those of dead consumers. `max_bulk`: so many of
        them may be bulk (None: all); what this consumer held in its former life comes in any case.
        """

    async def extend(self, receipts: Sequence[str]) -> None:
        """Restart the visibility of these deliveries now (heartbeat). Unknown ones are ignored."""

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget these messages for good. Unknown ones are ignored."""

    async def put_back(
        self, received: Received, *, delay_s: float, attempts: int, is_bulk: bool | None = None
    ) -> None:
        """Hand the message back; it comes again after `delay_s` (0: now), as a first delivery.

        Never lost: at no moment it is nowhere. Where the queue has no transactions (SQS), a death
        in the middle may leave two, with the same `uid`. `attempts` replaces the envelope's,
        and so does `is_bulk` (None: as it was).
        """

    async def dead_letter(self, received: Received, *, reason: str, last_error: str) -> None:
        """Move the message to the dead letters; never lost, as with `put_back`."""

    async def depth(self) -> Depth:
        """Return how much waits."""

    async def close(self) -> None:
        """Release connections; messages still held are handed to others at once. Never raises."""


class DeadLetters(Protocol):
    """The operator's side; blocking."""

    def list(self, limit: int) -> list[DeadLetter]:
        """Return the oldest `limit` dead letters without removing them."""

    def redrive(self, limit: int | None = None) -> int:
        """Move dead letters (all, or the oldest `limit`) back as new messages; return how many.

        They come as bulk: they have waited long, and there may be many.
        """

    def close(self) -> None:
        """Release connections. Never raises."""
