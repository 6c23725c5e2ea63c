"""Where a data item is stored, and under which URL: the same on every attempt. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from wis2_gc_common.wis2.topic import Topic

#: From the start of a folder's hour to the last announcement of an object in it; the folder is kept
#: for the retention after that (wis2-rules.md 26). An item keeps the folder of an attempt that
#: began less than an hour ago, and that attempt may begin an hour after the folder's start: only an
#: item delayed by one of our own parts comes later.
ANNOUNCED_WITHIN = timedelta(hours=2)

#: `YYYY-MM-DD/HH`.
HOUR_FOLDER_CHARS = 13

#: Longest file name; the middle of longer ones is removed. ext4 and S3 allow more.
MAX_FILE_NAME_CHARS = 120
#: The longest possible `object_key`.
MAX_OBJECT_KEY_CHARS = 670

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@,-]")


def hour_folder(moment: datetime) -> str:
    """Return `YYYY-MM-DD/HH` of a UTC time: the folder that expires as a whole."""
    return moment.strftime("%Y-%m-%d/%H")


@lru_cache(maxsize=64)
def announce_by_ns(hour: str) -> int:
    """Return the latest time to announce an object in this hour folder, in ns since 1970.

    Raises ValueError: not `YYYY-MM-DD/HH`.
    """
    start = datetime.strptime(hour, "%Y-%m-%d/%H").replace(tzinfo=UTC)
    return int((start + ANNOUNCED_WITHIN).timestamp()) * 1_000_000_000


def object_key(*, hour: str, topic: Topic, data_id: str, pubtime_ns: int, href: str) -> str:
    """Return `{date}/{hour}/{folder of the topic}/{12 hex digits}/{file name}`.

    It has only safe characters, at most MAX_OBJECT_KEY_CHARS, and no part longer than 128. It is
    never absolute and has no `.` or `..` parts. Another data item (another centre, `data_id` or
    pubtime) has another key.
    """
    item = f"{topic.centre_id}\n{data_id}\n{pubtime_ns}"
    digest = hashlib.sha256(item.encode()).hexdigest()[:12]
    return f"{hour}/{topic.folder}/{digest}/{file_name(href)}"


def file_name(href: str) -> str:
    """Return the file name at the end of a link: decoded, with safe characters only.

    `data` if the link has none. Never empty, never begins with a dot.
    """
    try:
        path = unquote_to_bytes(urlsplit(href).path.rsplit("/", 1)[-1])
    except ValueError:  # not a URL, or no UTF-8 form
        path = b""
    last = path.decode("utf-8", "replace")
    # A name may contain encoded slashes: only the part after the last one is the file name.
    last = last.replace("\\", "/").rsplit("/", 1)[-1]
    name = _UNSAFE.sub("_", last).lstrip(".")
    if len(name) > MAX_FILE_NAME_CHARS:
        half = (MAX_FILE_NAME_CHARS - 1) // 2
        name = f"{name[:half]}_{name[-half:]}"
    return name if name.strip("_") else "data"


def object_url(base_url: str, key: str) -> str:
    """Return the public URL of an object; `base_url` may end in a slash or not."""
    return f"{base_url.rstrip('/')}/{quote(key, safe='/')}"
