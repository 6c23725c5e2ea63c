"""The contract of the queue (architecture.md#queue).

At-least-once, unordered. Bulk messages (`Envelope.is_bulk`) come after all others, and a manager
says how many bulk messages it has room for. (SQS has no such order and shares fairly between
centres itself.) One notification per message. A listener sends from its own thread (`Sender`); a
manager receives on its event loop (`Queue`). Every adapter passes the same suite,
`tests/integration/test_queue.py`.

Who retries: the client library resends within its time-out; nothing else here retries. An outage is
`Unavailable("queue")`, raised at once; the caller stops and comes back.
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

    `uid` stays the same through every redelivery and delayed return. It is the owner of the claim
    in the registry: so a message recognises the claim of its own dead worker.
    """

    topic: str
    payload: bytes
    broker: str
    """`GC_GLOBAL_BROKER_NAME` of the listener."""
    arrived_ms: int
    """Milliseconds since 1970: when the listener received it."""
    attempts: int = 0
    """How many times its sources have failed so far."""
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_bulk: bool = False
    """It may wait for messages that are not bulk: its centre sends above its rate, or it comes back
    after a delay."""

    @property
    def size(self) -> int:
        """Bytes of topic and payload."""
        return len(self.topic) + len(self.payload)

    def again(self, *, attempts: int, is_bulk: bool | None = None) -> Envelope:
        """Return the envelope to put back. `is_bulk`: None keeps the present value."""
        return replace(
            self, attempts=attempts, is_bulk=self.is_bulk if is_bulk is None else is_bulk
        )


class Sent(StrEnum):
    """The result for one entry of a batch."""

    ACCEPTED = "accepted"
    """The queue has stored it durably: acknowledge it to the broker."""
    POISON = "poison"
    """The queue can never take it: count, log, acknowledge."""
    REFUSED = "refused"
    """Not now (throttled, full): send again later, do not acknowledge."""
    OVER_QUOTA = "over_quota"
    """Bulk whose lane has used its share of the memory: count, log, acknowledge. Others go on."""


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery; invisible to others until its visibility ends."""

    envelope: Envelope
    receipt: str
    """What `extend`, `delete`, `put_back` and `dead_letter` take; valid for this delivery only."""
    deliveries: int
    """How many times it was handed out and not given back, this time included (1: the first time).

    Messages that `close` hands over may count as handed out.
    """
    packed: bytes | None = field(default=None, compare=False, repr=False)
    """The envelope as `encode_envelope` writes it, where the queue has it so; None: it has not."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages wait."""

    ready: int
    in_flight: int
    delayed: int
    dead: int
    oldest_s: float | None
    """Age of the oldest ready or in-flight message, in seconds; 0 when there is none.

    None if the queue does not tell (SQS: see its alarm in CloudWatch).
    """


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, with the reason."""

    envelope: Envelope
    reason: str
    """A `wis2_gc_common.errors.Reason`."""
    last_error: str
    died_ms: int


class Sender(Protocol):
    """The listener's side. Blocking; used by one thread."""

    def check(self) -> None:
        """Check, once at start, that we can use the queue; sends nothing.

        Raises Unavailable: not now; Misconfigured: not before a setting is changed.
        """

    def send(self, batch: Sequence[Envelope]) -> list[Sent]:
        """Send up to `max_batch` envelopes; one answer per entry, in order.

        Raises Unavailable("queue"): the result of all entries is unknown; send them all again.
        """

    @property
    def max_batch(self) -> int:
        """How many envelopes one call may take."""

    def close(self) -> None:
        """Release connections. Never raises."""


class Queue(Protocol):
    """The manager's side. All methods raise Unavailable("queue") on an outage."""

    async def receive(
        self, max_messages: int, *, wait_s: float, max_bulk: int | None = None
    ) -> list[Received]:
        """Return up to `max_messages`, waiting at most `wait_s` for the first.

        Includes messages whose delay is over and those of dead consumers. `max_bulk`: how many of
        them may be bulk (None: all). What this consumer held before it restarted comes in any case.
        """

    async def extend(self, receipts: Sequence[str]) -> None:
        """Restart the visibility of these deliveries now (heartbeat). Unknown ones are ignored."""

    async def delete(self, receipts: Sequence[str]) -> None:
        """Forget these messages for good. Unknown ones are ignored."""

    async def put_back(
        self, received: Received, *, delay_s: float, attempts: int, is_bulk: bool | None = None
    ) -> None:
        """Hand the message back; it comes again after `delay_s` (0: now), as a first delivery.

        The message is never lost: it is stored at every moment. On a queue without transactions
        (SQS), a crash in the middle may leave two, with the same `uid`. `attempts` and `is_bulk`
        (None: as it was) replace those of the envelope.
        """

    async def dead_letter(self, received: Received, *, reason: str, last_error: str) -> None:
        """Move the message to the dead letters; as with `put_back`, it is never lost."""

    async def depth(self) -> Depth:
        """Return how many messages wait."""

    async def close(self) -> None:
        """Release connections; messages still held are handed to others at once. Never raises."""


class DeadLetters(Protocol):
    """The operator's side; blocking."""

    def list(self, limit: int) -> list[DeadLetter]:
        """Return the oldest `limit` dead letters without removing them."""

    def redrive(self, limit: int | None = None) -> int:
        """Move dead letters (all, or the oldest `limit`) back as new messages; return how many.

        They are bulk: they have waited long, and there may be many.
        """

    def close(self) -> None:
        """Release connections. Never raises."""
