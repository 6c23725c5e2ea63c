"""One item all the way: announced by our broker, and fetched where the announcement says.

In dev the item is one of our own making, put on the queue as a listener would put it. In
production nobody's item may be made up: there the next real one is taken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from deploy.smoke.waiting import NotYet
from wis2_gc_common.errors import Poison
from wis2_gc_common.integrity import new_hash
from wis2_gc_common.notification import Notification, parse
from wis2_gc_common.topic import parse_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.smoke.broker import Messages
    from deploy.smoke.web import Web
    from wis2_gc_common.integrity import Integrity

#: No country has the code xx.
TEST_CENTRE = "xx-smoke-test"
TOPIC = f"a/wis2/{TEST_CENTRE}/data/core/weather/experimental/smoke-test"
_OK = 200


class Synthetic(NamedTuple):
    """A notification on `origin/…` with its data inside, and what must come of it."""

    payload: bytes
    data_id: str
    data: bytes


def make_synthetic() -> Synthetic:
    """Return a notification that no other run ever made."""
    token = secrets.token_hex(8)
    pubtime = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    data = f"Smoke test {token} of {pubtime}. Not an observation.\n".encode()
    data_id = f"{TEST_CENTRE}/smoke-test/{token}"
    digest, content = (
        base64.b64encode(each).decode() for each in (hashlib.sha512(data).digest(), data)
    )
    message = {
        "id": str(uuid.uuid4()),
        "conformsTo": ["http://wis.wmo.int/spec/wnm/1/conf/core"],
        "type": "Feature",
        "geometry": None,
        "properties": {
            "data_id": data_id,
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
    return Synthetic(json.dumps(message).encode(), data_id, data)


def read_announcement(topic: str, payload: bytes) -> Notification | None:
    """Return what is announced; None for anything that is not a notification."""
    try:
        return parse(parse_topic(topic), payload)
    except Poison:
        return None


def fetch(web: Web, announced: Notification, *, centre_id: str, data_base_url: str) -> bytes:
    """Return the announced object. Raises NotYet: not ours, not there, or not what was said."""
    href, length, integrity = announced.link.href, announced.link.length, announced.integrity
    if announced.global_cache != centre_id:
        raise NotYet(f"{announced.data_id} is announced as the copy of {announced.global_cache}")
    if not href.startswith(f"{data_base_url}/"):
        raise NotYet(f"{href} is not under {data_base_url}")
    answer = web.get(href)
    if answer.status != _OK:
        raise NotYet(f"{href} answers {answer.status}")
    if length is not None and length != len(answer.body):
        raise NotYet(f"{href}: {len(answer.body)} bytes, {length} announced")
    if announced.integrity_problem or not (integrity is None or _passes(answer.body, integrity)):
        raise NotYet(f"{href}: the checksum does not match")
    if answer.headers.get("X-Content-Type-Options", "").lower() != "nosniff":
        raise NotYet(f"{href}: no X-Content-Type-Options: nosniff")
    return answer.body


def _passes(data: bytes, integrity: Integrity) -> bool:
    made = new_hash(integrity.method)
    made.update(data)
    return integrity.matches(made.digest())


def check_item(
    messages: Messages,
    web: Web,
    *,
    send: Callable[[str, bytes], None] | None,
    centre_id: str,
    data_base_url: str,
    timeout_s: float,
) -> str:
    """Return that an item came out as it went in, or as it was announced. Raises NotYet.

    `send` puts a notification of ours on the queue; None: the next real item is taken.
    """
    sent = make_synthetic() if send else None

    def is_wanted(each: Notification) -> bool:
        if sent:
            return each.data_id == sent.data_id
        # An override or `cache: false` is announced with its origin's link.
        return each.global_cache == centre_id and each.link.href.startswith(f"{data_base_url}/")

    if send and sent:
        send(f"origin/{TOPIC}", sent.payload)
    topic, found = _find(messages, is_wanted, timeout_s)
    if found is None:
        raise NotYet(
            f"{sent.data_id} was not announced within {timeout_s:g} s" if sent else
            f"nothing of ours was announced within {timeout_s:g} s; is a Global Broker connected?"
        )  # fmt: skip
    if sent and topic != f"cache/{TOPIC}":
        raise NotYet(f"{sent.data_id} was announced on {topic}")
    data = fetch(web, found, centre_id=centre_id, data_base_url=data_base_url)
    if sent and data != sent.data:
        raise NotYet(f"{found.link.href} holds other bytes than were sent")
    return f"{found.data_id} announced, {len(data)} bytes fetched"


def _find(
    messages: Messages, is_wanted: Callable[[Notification], bool], timeout_s: float
) -> tuple[str, Notification | None]:
    """Return the first wanted announcement and its topic; None: none came in time."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = messages.get(timeout=left)
        except queue.Empty:
            break
        announced = read_announcement(message.topic, bytes(message.payload))
        if announced and is_wanted(announced):
            return message.topic, announced
    return "", None
