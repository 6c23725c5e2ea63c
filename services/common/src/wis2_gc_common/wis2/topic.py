"""The WIS2 topic grammar (wis2-rules.md 2, 3 and 21)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from wis2_gc_common.errors import Poison, Reason

Channel = Literal["origin", "cache"]

#: Levels 2 and 3, version and system; a later standard may bring version `b`: wis2-rules.md 3.
BASE = "a/wis2"
#: The default subscription of a Global Cache (wis2-rules.md 1).
DEFAULT_FILTERS = (f"origin/{BASE}/#", f"cache/{BASE}/#")

#: Every broker in use accepts this many levels. EMQX closes the connection of a client that
#: publishes on more levels than its `max_topic_levels`, 32 in our chart; mosquitto accepts 200. The
#: topic hierarchy has about 12.
MAX_LEVELS = 32
#: Our own limit, in UTF-8; the longest real topics have about 150 bytes. Topics name objects: a
#: level becomes a folder (at most 255 bytes in a file system) and the whole topic a part of the key
#: (at most 1024 bytes in S3). A stranger's topic must not look like a broken store.
MAX_TOPIC_BYTES = 512
MAX_LEVEL_BYTES = 128

_CENTRE_ID = r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?"
#: Levels 1 to 6 are checked exactly, those below only for safety: the GTS gateways write
#: `.../data/core/I/S/A/I/01/SBBR`.
_TOPIC = re.compile(
    rf"(?P<channel>origin|cache)/{BASE}/(?P<centre_id>{_CENTRE_ID})/"
    r"(?:(?P<metadata>metadata)|data/(?P<policy>core|recommended)/.+)",
    re.ASCII | re.DOTALL,
)
_CENTRE_ID_RE = re.compile(_CENTRE_ID, re.ASCII)
#: Wildcards, and control characters, line separators, surrogates and noncharacters: brokers
#: (mosquitto for one) close the connection of a client that publishes them.
_UNSAFE = re.compile(
    "[+#\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
    )
    + "]"
)
_CENTRE_ID_LEVEL, _POLICY_LEVEL = 3, 6
#: Characters that a folder's name must not contain.
_NOT_IN_A_FOLDER = re.compile(r"[^A-Za-z0-9._+=@,/-]")


@dataclass(frozen=True, slots=True)
class Topic:
    """A valid WIS2 topic."""

    text: str
    channel: Channel
    centre_id: str
    policy: Literal["core", "recommended"] | None
    """`None` for metadata."""

    @property
    def is_metadata(self) -> bool:
        """Whether this topic announces a discovery metadata record."""
        return self.policy is None

    @property
    def levels_after_wis2(self) -> str:
        """`centre-id/…`, the part that names the object (never begins with `/`)."""
        return self.text.split("/", 3)[3]

    @property
    def folder(self) -> str:
        """`levels_after_wis2` as a path that every store accepts; two topics may have the same.

        It has the same number of levels, each of 1 to 128 safe characters, the first one not a dot.
        """
        levels = _NOT_IN_A_FOLDER.sub("_", self.levels_after_wis2).split("/")
        return "/".join(level.lstrip(".") or "_" for level in levels)

    @property
    def to_cache(self) -> str:
        """The topic of our announcement: only the first level changes (wis2-rules.md 21)."""
        return "cache/" + self.text.split("/", 1)[1]


@lru_cache(maxsize=4096)
def parse_topic(text: str) -> Topic:
    """Return the parts of `text`.

    Raises Poison(INVALID_TOPIC); its `centre_id` is the 4th level if that can be one, so that we
    can tell the centre. Source: wis2-rules.md 3.
    """
    match = _TOPIC.fullmatch(text)
    problem = "not in the WIS2 topic hierarchy" if match is None else _problem_below(text)
    if match is None or problem:
        name = centre_in(text)
        centre_id = name if is_centre_id(name) else ""
        raise Poison(Reason.INVALID_TOPIC, f"{problem}: {text[:150]!r}", centre_id=centre_id)
    channel: Channel = "origin" if match["channel"] == "origin" else "cache"
    policy: Literal["core", "recommended"] | None = None
    if match["metadata"] is None:
        policy = "core" if match["policy"] == "core" else "recommended"
    return Topic(text=text, channel=channel, centre_id=match["centre_id"], policy=policy)


def _problem_below(text: str) -> str:
    """Return why a topic with valid first six levels is not safe to use; "" if it is safe."""
    if len(text) > MAX_TOPIC_BYTES:
        return f"over {MAX_TOPIC_BYTES} bytes"
    unsafe = _UNSAFE.search(text)
    if unsafe is not None:
        return f"U+{ord(unsafe[0]):04X} in it"
    encoded = text.encode()
    levels = encoded.split(b"/")
    if len(levels) > MAX_LEVELS:
        return f"{len(levels)} levels, {MAX_LEVELS} at most"
    if len(encoded) > MAX_TOPIC_BYTES:
        return f"{len(encoded)} bytes, {MAX_TOPIC_BYTES} at most"
    longest = max(map(len, levels))
    if longest > MAX_LEVEL_BYTES:
        return f"a level of {longest} bytes, {MAX_LEVEL_BYTES} at most"
    is_empty = len(levels) > _POLICY_LEVEL and not any(levels[_POLICY_LEVEL:])
    return "nothing below the policy" if is_empty else ""


def centre_in(topic: str) -> str:
    """Return the centre-id in a topic that nobody has checked yet; "" if it has none."""
    levels = topic.split("/", _CENTRE_ID_LEVEL + 1)
    return levels[_CENTRE_ID_LEVEL] if len(levels) > _CENTRE_ID_LEVEL else ""


def is_centre_id(text: str) -> bool:
    """Whether `text` can be a centre-id: lower case, digits, `-` and `_`, at most 64 characters."""
    return _CENTRE_ID_RE.fullmatch(text) is not None
