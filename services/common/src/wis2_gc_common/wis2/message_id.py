"""The `id` of our notifications (wis2-rules.md 10, 24). Pure."""

from __future__ import annotations

import hmac
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wis2_gc_common.wis2.decision import Rel


def message_id(
    secret: bytes, *, centre_id: str, topic_centre_id: str, data_id: str, pubtime_ns: int, rel: Rel
) -> str:
    """Return the id of our notification: the same after a crash (wis2-rules.md 24).

    Without `secret` nobody can guess it in advance and use it up at a Global Broker. It is a UUID
    of version 4: for all others it is random, and every validator knows that version. Never change
    it: an upgrade would announce the items in work a second time.
    """
    # Only the data_id, at the end, could contain a line break.
    parts = f"{centre_id}\n{topic_centre_id}\n{pubtime_ns}\n{rel}\n{data_id}"
    digest = hmac.digest(secret, parts.encode(), "sha256")
    return str(uuid.UUID(bytes=digest[:16], version=4))
