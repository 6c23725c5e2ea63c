"""Follows one item to its end: our broker announces it, and we fetch it from the announced URL.

In dev we make the item ourselves and put it on the queue as a listener would. In production we must
not invent an item: there we take the next real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deploy.session import DeployError
from deploy.smoke.outside import OK, get
from wis2_gc_common.errors import Poison
from wis2_gc_common.wis2.inline import decode_content
from wis2_gc_common.wis2.integrity import new_hash
from wis2_gc_common.wis2.notification import Notification, parse
from wis2_gc_common.wis2.topic import parse_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.smoke.outside import Messages

#: No country has the code xx.
TEST_CENTRE = "xx-smoke-test"
TOPIC = f"a/wis2/{TEST_CENTRE}/data/core/weather/experimental/smoke-test"


def make_synthetic() -> Notification:
    """Return a notification that no other run has made, on `origin/…`, with its data inside."""
    token = uuid.uuid4()
    pubtime = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    data = f"Smoke test {token} of {pubtime}. Not an observation.\n".encode()
    digest, content = (
        base64.b64encode(each).decode() for each in (hashlib.sha512(data).digest(), data)
    )
    message = {
        "id": str(token),
        "conformsTo": ["http://wis.wmo.int/spec/wnm/1/conf/core"],
        "type": "Feature",
        "geometry": None,
        "properties": {
            "data_id": f"{TEST_CENTRE}/smoke-test/{token}",
            "pubtime": pubtime,
            "datetime": pubtime,
            "integrity": {"method": "sha512", "value": digest},
            "content": {"encoding": "base64", "value": content, "size": len(data)},
        },
        # RFC 2606: such a host never exists. The data is inside.
        "links": [
            {"href": f"https://{TEST_CENTRE}.invalid/{token}.txt", "rel": "canonical",
             "type": "text/plain", "length": len(data)}
        ],
    }  # fmt: skip
    return parse(parse_topic(f"origin/{TOPIC}"), json.dumps(message).encode())


def read_announcement(topic: str, payload: bytes) -> Notification | None:
    """Return the announced notification; None if the message is not a notification."""
    try:
        return parse(parse_topic(topic), payload)
    except Poison:
        return None


def fetch(announced: Notification, *, centre_id: str, data_base_url: str) -> bytes:
    """Return the announced object. Raises DeployError: not ours, or not as announced."""
    href, length, integrity = announced.link.href, announced.link.length, announced.integrity
    if announced.global_cache != centre_id:
        raise DeployError(
            f"{announced.data_id} is announced as the copy of {announced.global_cache}"
        )
    if not href.startswith(f"{data_base_url}/"):
        raise DeployError(f"{href} is not under {data_base_url}")
    answer = get(href)
    if answer.status != OK:
        raise DeployError(f"{href} answers {answer.status}")
    if length is not None and length != len(answer.body):
        raise DeployError(f"{href}: {len(answer.body)} bytes, {length} announced")
    has_passed = not announced.integrity_problem
    if integrity:
        made = new_hash(integrity.method)
        made.update(answer.body)
        has_passed = integrity.matches(made.digest())
    if not has_passed:
        raise DeployError(f"{href}: the checksum does not match")
    if answer.headers.get("X-Content-Type-Options", "").lower() != "nosniff":
        raise DeployError(f"{href}: no X-Content-Type-Options: nosniff")
    return answer.body


def check_item(
    messages: Messages,
    *,
    send: Callable[[str, bytes], None] | None,
    centre_id: str,
    data_base_url: str,
    timeout_s: float,
) -> str:
    """Return a line: the item came out as sent, or as announced. Raises DeployError: it did not.

    `send` puts a notification of ours on the queue; None: take the next real item.
    """
    sent = make_synthetic() if send else None

    def is_wanted(each: Notification) -> bool:
        if sent:
            return each.data_id == sent.data_id
        # An override or `cache: false` is announced with the origin's link.
        return each.global_cache == centre_id and each.link.href.startswith(f"{data_base_url}/")

    if send and sent:
        send(f"origin/{TOPIC}", sent.payload)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            message = messages.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise DeployError(
                f"{sent.data_id} was not announced within {timeout_s:g} s" if sent else
                f"nothing of ours was announced within {timeout_s:g} s; is a Global Broker "
                "connected?"
            ) from None  # fmt: skip
        found = read_announcement(message.topic, bytes(message.payload))
        if found and is_wanted(found):
            break
    if sent and message.topic != f"cache/{TOPIC}":
        raise DeployError(f"{sent.data_id} was announced on {message.topic}")
    data = fetch(found, centre_id=centre_id, data_base_url=data_base_url)
    if sent and sent.content and data != decode_content(sent.content):
        raise DeployError(f"{found.link.href} holds other bytes than were sent")
    return f"{found.data_id} announced, {len(data)} bytes fetched"
