"""An `Envelope` as a message of SQS, and back. Pure.

The body is the payload as received, so that an operator can read it in the console. The other
fields are message attributes: `topic`, `broker`, `arrived_ms`, `uid`, and `attempts`, `bulk` and
`not_before_ms` if they are not the default. SQS refuses some characters, bytes that are not UTF-8,
and empty texts: an envelope with one of these is sent as a whole in base64, marked by `encoding`.
So every envelope that the binary codec accepts survives.

Dead letters also have `reason`, `last_error` and `died_ms`. A message that has them and comes from
the queue itself was redriven: its attempts start again at 0, and it is bulk.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import NotAnEnvelope, Reason, Unsendable
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.queue import DeadLetter, Envelope, Received
from wis2_gc_common.wis2.topic import centre_in, is_centre_id

if TYPE_CHECKING:
    from collections.abc import Mapping

#: SQS accepts messages and batches of up to 1 MiB; queues made before August 2025, and other
#: servers, 256 KiB. A notification has at most 8 KiB, so the lower limit is enough.
MAX_BYTES = 256 * 1024
#: SQS' own limit for a delay.
MAX_DELAY_S = 900
#: A message that is due within this time is not put back again.
_DUE_TOLERANCE_MS = 500
_MAX_ERROR_CHARS = 1000
#: What SQS refuses in bodies and attributes.
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Characters that SQS does not allow in a message group id (1 to 128 characters).
_NOT_IN_GROUP = re.compile(r"[^A-Za-z0-9!-/:-@\[-`{-~]")
_MAX_GROUP_CHARS = 128
_NO_GROUP = "none"
_ENCODING = "encoding"
_BASE64 = "envelope-base64"
_NOT_BEFORE = "not_before_ms"

#: The `AttributeNames` that `decode_message` (the first) and `decode_dead_letter` require. The
#: newer `MessageSystemAttributeNames` means the same, but servers outside AWS do not know it.
SYSTEM_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message received from the queue."""

    received: Received
    early_s: float
    """Seconds until it is due; 0 if it is due."""


def encode_message(envelope: Envelope, *, delay_s: float = 0.0, now_ms: int = 0) -> dict[str, Any]:
    """Return the parameters of SendMessage, or of one entry of a batch without its id.

    `delay_s`: rounded up to whole seconds; the message carries the rest beyond SQS' limit and is
    delayed again when it comes too early (`Arrived.early_s`).
    Raises Unsendable: no codec accepts it, or it is too large for SQS.
    """
    body = _plain(envelope)
    if body is None:
        body = base64.b64encode(encode_envelope(envelope)).decode("ascii")
        attributes = {_ENCODING: _text(_BASE64)}
    else:
        attributes = {
            "topic": _text(envelope.topic),
            "broker": _text(envelope.broker),
            "arrived_ms": _number(envelope.arrived_ms),
            "uid": _text(envelope.uid),
        }
    if envelope.attempts:
        attributes["attempts"] = _number(envelope.attempts)
    if envelope.is_bulk:
        attributes["bulk"] = _number(1)
    message: dict[str, Any] = {
        "MessageBody": body,
        "MessageGroupId": message_group(envelope.topic),
        "MessageAttributes": attributes,
    }
    if delay_s > 0:
        message["DelaySeconds"] = min(-int(-delay_s // 1), MAX_DELAY_S)
        if delay_s > MAX_DELAY_S:
            attributes[_NOT_BEFORE] = _number(now_ms + round(delay_s * 1000))
    if size_bytes(message) > MAX_BYTES:
        raise Unsendable(f"a message of {size_bytes(message)} bytes")
    return message


def encode_dead_letter(
    envelope: Envelope, *, reason: str, last_error: str, died_ms: int
) -> dict[str, Any]:
    """Return the parameters of SendMessage for the dead letter queue. Raises Unsendable."""
    message = encode_message(envelope)
    attributes = message["MessageAttributes"]
    attributes["reason"] = _text(_clean(reason) or Reason.UNEXPECTED)
    attributes["died_ms"] = _number(died_ms)
    if last_error:
        attributes["last_error"] = _text(_clean(last_error[:_MAX_ERROR_CHARS]))
    return message


def decode_message(message: Mapping[str, Any], *, now_ms: int) -> Arrived:
    """Return the message that ReceiveMessage gave. Raises only NotAnEnvelope: it is not ours."""
    try:
        attributes = _attributes(message)
        envelope = _envelope(message["Body"], attributes)
        if "died_ms" in attributes:
            envelope = envelope.again(attempts=0, is_bulk=True)
        early_ms = int(attributes.get(_NOT_BEFORE, "0")) - now_ms
        received = Received(
            envelope,
            message["ReceiptHandle"],
            max(1, int(message["Attributes"]["ApproximateReceiveCount"])),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotAnEnvelope("the message is not one of ours") from None
    return Arrived(received, early_ms / 1000 if early_ms > _DUE_TOLERANCE_MS else 0.0)


def decode_dead_letter(message: Mapping[str, Any]) -> DeadLetter:
    """Return a message of the dead letter queue. Raises NotAnEnvelope: it is not ours.

    If SQS itself put it there, after too many deliveries, its reason is `unexpected`.
    """
    try:
        attributes = _attributes(message)
        system = message["Attributes"]
        is_ours = "died_ms" in attributes
        last_error = attributes.get("last_error", "")
        if not is_ours:
            last_error = "delivered too often without an end; moved by SQS"
        return DeadLetter(
            envelope=_envelope(message["Body"], attributes),
            reason=attributes.get("reason", Reason.UNEXPECTED.value),
            last_error=last_error,
            died_ms=int(attributes["died_ms"] if is_ours else system["SentTimestamp"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotAnEnvelope("the message is not one of ours") from None


def size_bytes(message: Mapping[str, Any]) -> int:
    """Return the bytes that SQS counts: body, and names, types and values of the attributes."""
    size = len(message["MessageBody"].encode())
    for name, value in message["MessageAttributes"].items():
        size += len(name) + len(value["DataType"]) + len(value["StringValue"].encode())
    return size


def message_group(topic: str) -> str:
    """Return the message group of a topic: its centre-id, so that no centre blocks the others."""
    group = centre_in(topic)
    if is_centre_id(group) and len(group) <= _MAX_GROUP_CHARS:
        return group
    return _NOT_IN_GROUP.sub("_", group)[:_MAX_GROUP_CHARS] or _NO_GROUP


def _plain(envelope: Envelope) -> str | None:
    """Return the payload as a body; None if SQS would refuse a part of the envelope."""
    try:
        body = envelope.payload.decode()
    except UnicodeDecodeError:
        return None
    texts = (body, envelope.topic, envelope.broker, envelope.uid)
    if all(texts) and not any(map(_REFUSED.search, texts)):
        return body
    return None


def _envelope(body: str, attributes: Mapping[str, str]) -> Envelope:
    attempts = int(attributes.get("attempts", "0"))
    if attributes.get(_ENCODING) == _BASE64:
        try:
            whole = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        return decode_envelope(whole)
    return Envelope(
        topic=attributes["topic"],
        payload=body.encode(),
        broker=attributes["broker"],
        arrived_ms=int(attributes["arrived_ms"]),
        attempts=attempts,
        uid=attributes["uid"],
        is_bulk="bulk" in attributes,
    )


def _attributes(message: Mapping[str, Any]) -> dict[str, str]:
    given = message.get("MessageAttributes") or {}
    return {name: value["StringValue"] for name, value in given.items() if "StringValue" in value}


def _clean(text: str) -> str:
    return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", text)


def _text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": str(value)}


def _number(value: int) -> dict[str, str]:
    return {"DataType": "Number", "StringValue": str(value)}
