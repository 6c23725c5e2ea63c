"""Names that are the same on every attempt: message ids, data item digests, object keys."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from wis2_gc_common.wis2.notification import Rel
    from wis2_gc_common.wis2.topic import Topic

#: From the start of an hour folder's hour to the last announcement of an object in it; the folder
#: is kept for the retention from then on (wis2-rules.md 26). An item keeps the folder of an attempt
#: that began less than an hour ago, in an hour that began up to an hour before: only an item held
#: up by one of our own parts comes later.
ANNOUNCED_WITHIN = timedelta(hours=2)

#: `YYYY-MM-DD/HH`.
HOUR_FOLDER_CHARS = 13

#: Longest file name we keep; longer ones lose their middle. ext4 and S3 allow more.
MAX_FILE_NAME_CHARS = 120
#: What no `object_key` is longer than.
MAX_OBJECT_KEY_CHARS = 670

#: What brokers take; and how much of it is secret: 64 bits, and each guess costs a login.
MAX_CLIENT_ID_CHARS = 100
CLIENT_ID_SECRET_CHARS = 16

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@,-]")


def message_id(
    secret: bytes, *, centre_id: str, topic_centre_id: str, data_id: str, pubtime_ns: int, rel: Rel
) -> str:
    """Return the id of our notification: the same after a crash (wis2-rules.md 24).

    Without `secret` nobody can tell it beforehand, and use it up at a Global Broker. A UUID of
    version 4: to all others it is a random one, and every validator knows that version. Never to be
    changed, or an upgrade would announce what is in work a second time.
    """
    # Only the data_id, at the end, could have a line break.
    parts = f"{centre_id}\n{topic_centre_id}\n{pubtime_ns}\n{rel}\n{data_id}"
    digest = hmac.digest(secret, parts.encode(), "sha256")
    return str(uuid.UUID(bytes=digest[:16], version=4))


def mqtt_client_id(secret: bytes, *, centre_id: str, broker_name: str) -> str:
    """Return the client id of our session at a Global Broker: the same after every restart.

    Whoever has an account there and knows the id can take the session over, and the public account
    is everybody's: so it ends in 16 hex digits that nobody can tell without `secret`. At most 100
    characters. The standard obliges brokers to take 23; all in use at Global Brokers take 100 or
    more, and operators there shall see who it is. Never to be changed, or an upgrade would leave
    the session behind.
    """
    name = f"{centre_id}-{broker_name}"
    digest = hmac.digest(secret, f"mqtt client id\n{name}".encode(), "sha256").hex()
    suffix = f"-{digest[:CLIENT_ID_SECRET_CHARS]}"
    return name[: MAX_CLIENT_ID_CHARS - len(suffix)] + suffix


def item_digest(centre_id: str, data_id: str) -> str:
    """Return 32 hex digits that stand for an item in the registry's fixed-size keys.

    `centre_id`: that of the topic (wis2-rules.md 6); no centre-id holds a line feed.
    """
    return hashlib.sha256(f"{centre_id}\n{data_id}".encode()).hexdigest()[:32]


def hour_folder(moment: datetime) -> str:
    """Return `YYYY-MM-DD/HH` of a UTC time: the folder that expires as a whole."""
    return moment.strftime("%Y-%m-%d/%H")


@lru_cache(maxsize=64)
def announce_by_ns(hour: str) -> int:
    """Return until when an object in this hour folder may be announced, in ns since 1970.

    Raises ValueError: not `YYYY-MM-DD/HH`.
    """
    start = datetime.strptime(hour, "%Y-%m-%d/%H").replace(tzinfo=UTC)
    return int((start + ANNOUNCED_WITHIN).timestamp()) * 1_000_000_000


def object_key(*, hour: str, topic: Topic, data_id: str, pubtime_ns: int, href: str) -> str:
    """Return `{date}/{hour}/{folder of the topic}/{12 hex digits}/{file name}`.

    Made of safe characters only, at most MAX_OBJECT_KEY_CHARS of them, no part longer than 128,
    never absolute, no `.` or `..` parts.
    Another data item (another centre, `data_id` or pubtime) has another key.
    """
    item = f"{topic.centre_id}\n{data_id}\n{pubtime_ns}"
    digest = hashlib.sha256(item.encode()).hexdigest()[:12]
    return f"{hour}/{topic.folder}/{digest}/{file_name(href)}"


def file_name(href: str) -> str:
    """Return the file name a link ends in, as data: decoded, cut to safe characters.

    `data` when the link names none. Never empty, never begins with a dot.
    """
    try:
        path = unquote_to_bytes(urlsplit(href).path.rsplit("/", 1)[-1])
    except ValueError:  # no URL, or no UTF-8 form
        path = b""
    last = path.decode("utf-8", "replace")
    # A name may carry encoded slashes: only what follows the last one is a file name.
    last = last.replace("\\", "/").rsplit("/", 1)[-1]
    name = _UNSAFE.sub("_", last).lstrip(".")
    if len(name) > MAX_FILE_NAME_CHARS:
        half = (MAX_FILE_NAME_CHARS - 1) // 2
        name = f"{name[:half]}_{name[-half:]}"
    return name if name.strip("_") else "data"


def object_url(base_url: str, key: str) -> str:
    """Return the public address of an object; `base_url` may end in a slash or not."""
    return f"{base_url.rstrip('/')}/{quote(key, safe='/')}"
