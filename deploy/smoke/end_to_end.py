"""One item all the way: announced by our broker, and fetched where the announcement says.

In dev the item is one of our own making, put on the queue as a listener would put it. In
production nobody's item may be made up: there the next real one is taken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.smoke.waiting import NotYet

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from deploy.smoke.broker import Message, Subscriber
    from deploy.smoke.web import Web

#: No country has the code xx.
TEST_CENTRE = "xx-smoke-test"
_TOPIC = f"a/wis2/{TEST_CENTRE}/data/core/weather/experimental/smoke-test"
_MAX_LISTEN_S = 5.0


class Synthetic(NamedTuple):
    """A notification with its data inside, and what must come of it."""

    topic: str
    payload: bytes
    data_id: str
    data: bytes


def make_synthetic(now: datetime) -> Synthetic:
    """Return a notification that no other run ever made."""
    token = secrets.token_hex(8)
    pubtime = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    data = f"Smoke test {token} of {pubtime}. Not an observation.\n".encode()
    data_id = f"{TEST_CENTRE}/smoke-test/{token}"
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    content = base64.b64encode(data).decode()
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
    return Synthetic(f"origin/{_TOPIC}", json.dumps(message).encode(), data_id, data)


class Announced(NamedTuple):
    """What our announcement says of an item."""

    topic: str
    data_id: str
    centre_id: str
    """Whose copy it is: `properties.global-cache`."""
    href: str
    length: int | None
    digest: tuple[str, str] | None
    """Method and value of `properties.integrity`."""


def read_announcement(message: Message) -> Announced | None:
    """Return what a notification of data announces; None for anything else."""
    try:
        body: dict[str, Any] = json.loads(message.payload)
        properties = body["properties"]
        link = next(each for each in body["links"] if each["rel"] in ("canonical", "update"))
        integrity = properties.get("integrity")
        return Announced(
            topic=message.topic,
            data_id=str(properties["data_id"]),
            centre_id=str(properties["global-cache"]),
            href=str(link["href"]),
            length=int(link["length"]) if "length" in link else None,
            digest=(integrity["method"], integrity["value"]) if integrity else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None


def fetch(web: Web, announced: Announced, *, centre_id: str, data_base_url: str) -> bytes:
    """Return the announced object. Raises NotYet: not ours, not there, or not what was said."""
    if announced.centre_id != centre_id:
        raise NotYet(f"{announced.data_id} is announced as the copy of {announced.centre_id}")
    if not announced.href.startswith(f"{data_base_url}/"):
        raise NotYet(f"{announced.href} is not under {data_base_url}")
    answer = web.get(announced.href)
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise NotYet(f"{announced.href} answers {answer.status}")
    if announced.length is not None and announced.length != len(answer.body):
        raise NotYet(f"{announced.href}: {len(answer.body)} bytes, {announced.length} announced")
    if announced.digest is not None and not _is_intact(answer.body, *announced.digest):
        raise NotYet(f"{announced.href}: the checksum does not match")
    if answer.headers.get("X-Content-Type-Options", "").lower() != "nosniff":
        raise NotYet(f"{announced.href}: no X-Content-Type-Options: nosniff")
    return answer.body


def check_item(
    subscriber: Subscriber,
    web: Web,
    *,
    send: Callable[[str, bytes], None] | None,
    now: datetime,
    centre_id: str,
    data_base_url: str,
    timeout_s: float,
) -> str:
    """Return that an item came out as it went in, or as it was announced. Raises NotYet.

    `send` puts a notification of ours on the queue; None: the next real item is taken.
    """
    sent = make_synthetic(now) if send is not None else None

    def is_wanted(each: Announced) -> bool:
        if sent is not None:
            return each.data_id == sent.data_id
        # An override or `cache: false` is announced with its origin's link.
        return each.centre_id == centre_id and each.href.startswith(f"{data_base_url}/")

    if send is not None and sent is not None:
        send(sent.topic, sent.payload)
    found = _find(subscriber, is_wanted, timeout_s)
    if found is None and sent is not None:
        raise NotYet(f"{sent.data_id} was not announced within {timeout_s:g} s")
    if found is None:
        raise NotYet(
            f"nothing of ours was announced within {timeout_s:g} s; is a Global Broker connected?"
        )
    if sent is not None and found.topic != f"cache/{_TOPIC}":
        raise NotYet(f"{sent.data_id} was announced on {found.topic}")
    data = fetch(web, found, centre_id=centre_id, data_base_url=data_base_url)
    if sent is not None and data != sent.data:
        raise NotYet(f"{found.href} holds other bytes than were sent")
    return f"{found.data_id} announced, {len(data)} bytes fetched"


def _find(
    subscriber: Subscriber, is_wanted: Callable[[Announced], bool], timeout_s: float
) -> Announced | None:
    """Return the first wanted announcement; None: none came in time."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        message = subscriber.next(min(left, _MAX_LISTEN_S))
        announced = None if message is None else read_announcement(message)
        if announced is not None and is_wanted(announced):
            return announced
    return None


def _is_intact(data: bytes, method: str, value: str) -> bool:
    """Whether the checksum matches, in base64 or, as some publishers write it, in hex."""
    try:
        digest = hashlib.new(method.replace("sha3-", "sha3_"), data)
    except ValueError:
        return False
    return value in (base64.b64encode(digest.digest()).decode(), digest.hexdigest())
