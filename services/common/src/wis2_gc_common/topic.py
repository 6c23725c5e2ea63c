"""The WIS2 topic grammar (SPEC.md 2, 3 and 21)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from wis2_gc_common.errors import Poison, Reason

Channel = Literal["origin", "cache"]

#: The default subscription of a Global Cache (SPEC.md 1).
DEFAULT_FILTERS = ("origin/a/wis2/#", "cache/a/wis2/#")

#: Ours; the longest real topics have about 150 characters. Topics name objects: a level becomes a
#: folder (255 bytes in a file system) and all of it a key (1024 bytes in S3), and a stranger's
#: topic must not look like a store that is out of order.
MAX_TOPIC_CHARS = 512
MAX_LEVEL_CHARS = 128

_CENTRE_ID = r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?"
_LEVEL = rf"[a-z0-9][a-z0-9._-]{{0,{MAX_LEVEL_CHARS - 1}}}"
_TOPIC = re.compile(
    rf"(?P<channel>origin|cache)/a/wis2/(?P<centre_id>{_CENTRE_ID})/"
    rf"(?:(?P<metadata>metadata)"
    rf"|data/(?P<policy>core|recommended)/{_LEVEL}(?:/{_LEVEL})+)",
    re.ASCII,
)
_CENTRE_ID_RE = re.compile(_CENTRE_ID, re.ASCII)


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
        """Whether a discovery metadata record is announced here."""
        return self.policy is None

    @property
    def levels_after_wis2(self) -> str:
        """`centre-id/…`, the part that names the object (never begins with `/`)."""
        return self.text.split("/", 3)[3]

    @property
    def to_cache(self) -> str:
        """The topic on which our copy is announced: only the first level changes (SPEC.md 21)."""
        return "cache/" + self.text.split("/", 1)[1]


@lru_cache(maxsize=4096)
def parse_topic(text: str) -> Topic:
    """Return the parts of `text`.

    Raises Poison(INVALID_TOPIC). Source: SPEC.md 3.
    """
    match = _TOPIC.fullmatch(text) if len(text) <= MAX_TOPIC_CHARS else None
    if match is None:
        raise Poison(Reason.INVALID_TOPIC, text[:200])
    channel: Channel = "origin" if match["channel"] == "origin" else "cache"
    policy: Literal["core", "recommended"] | None = None
    if match["metadata"] is None:
        policy = "core" if match["policy"] == "core" else "recommended"
    return Topic(text=text, channel=channel, centre_id=match["centre_id"], policy=policy)


def is_centre_id(text: str) -> bool:
    """Whether `text` can be a centre-id: lower case, digits, `-` and `_`, at most 64 characters."""
    return _CENTRE_ID_RE.fullmatch(text) is not None
