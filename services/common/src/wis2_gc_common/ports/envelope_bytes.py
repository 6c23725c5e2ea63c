"""An `Envelope` as bytes: the body of a queue message, a parked source in the registry.

MessagePack: an array whose first member is the format version. The decoder ignores members that a
later version appends, so a roll-back loses no notification that is still in the queue.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from wis2_gc_common.errors import NotAnEnvelope, Unsendable
from wis2_gc_common.ports.lanes import READY, bulk_lane
from wis2_gc_common.ports.queue import Envelope

_Whole = Annotated[int, msgspec.Meta(ge=0)]


class _Wire(msgspec.Struct, array_like=True, frozen=True, gc=False):
    version: Literal[1]
    topic: str
    payload: bytes
    broker: str
    arrived_ms: _Whole
    attempts: _Whole
    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    # Below 32, so that it is one byte, the last: `lanes.lua` reads it there.
    lane: Annotated[int, msgspec.Meta(ge=0, lt=32)] = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire, strict=True)


def encode_envelope(envelope: Envelope) -> bytes:
    """Return `envelope` as bytes: its payload, its topic and less than 120 bytes more.

    Raises Unsendable: a text in it has no UTF-8 form, or a number is beyond 64 bits.
    """
    try:
        wire = _Wire(
            1,
            envelope.topic,
            envelope.payload,
            envelope.broker,
            envelope.arrived_ms,
            envelope.attempts,
            envelope.uid,
            bulk_lane(envelope.topic) if envelope.is_bulk else READY,
        )
        return _encoder.encode(wire)
    except (ValueError, OverflowError) as error:
        raise Unsendable(f"envelope: {error}"[:200]) from error


def decode_envelope(data: bytes) -> Envelope:
    """Return the envelope in `data`.

    Raises only NotAnEnvelope: the bytes are not an envelope of ours.
    """
    try:
        wire = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotAnEnvelope(f"envelope: {error}"[:200]) from error
    return Envelope(
        topic=wire.topic,
        payload=wire.payload,
        broker=wire.broker,
        arrived_ms=wire.arrived_ms,
        attempts=wire.attempts,
        uid=wire.uid,
        is_bulk=wire.lane != READY,
    )
