"""From the text of an environment variable to a value.

All of them raise ValueError that says what is required, as the end of a sentence: "requires …".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from wis2_gc_common.settings.values import BrokerUrl, Network, QueueUrl, Secret, StoreUrl
from wis2_gc_common.wis2.event_format import MAX_TITLE_CHARS
from wis2_gc_common.wis2.topic import is_centre_id

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    minimum: int
    maximum: int

    def __call__(self, text: str) -> int:
        """Return the number. Raises ValueError."""
        try:
            value = int(text)
        except ValueError:
            value = self.minimum - 1
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"requires a whole number from {self.minimum} to {self.maximum}")
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time."""

    minimum: float
    maximum: float

    def __call__(self, text: str) -> float:
        """Return the seconds. Raises ValueError."""
        try:
            value = float(text)
        except ValueError:
            value = self.minimum - 1
        if not self.minimum <= value <= self.maximum:  # also refuses NaN
            raise ValueError(f"requires seconds from {self.minimum:g} to {self.maximum:g}")
        return value


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these words, in small or capital letters; an empty one: none has to be given."""

    choices: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the word, in lower case. Raises ValueError."""
        if text.lower() not in self.choices:
            raise ValueError(f"requires one of {', '.join(filter(None, self.choices))}")
        return text.lower()


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off: true or false."""

    def __call__(self, text: str) -> bool:
        """Return whether it is on. Raises ValueError."""
        return OneOf(("true", "false"))(text) == "true"


@dataclass(frozen=True, slots=True)
class Matching:
    """A text of these characters."""

    pattern: str
    requires: str
    """What the pattern says, in words."""

    def __call__(self, text: str) -> str:
        """Return the text. Raises ValueError."""
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise ValueError(f"requires {self.requires}")
        return text


@dataclass(frozen=True, slots=True)
class Each(Generic[T]):
    """Values with commas between them; an empty text is none."""

    parse: Callable[[str], T]

    def __call__(self, text: str) -> tuple[T, ...]:
        """Return the values. Raises ValueError."""
        return tuple(self.parse(part.strip()) for part in text.split(",") if part.strip())


def centre_id(text: str) -> str:
    """Return the centre-id of a Global Cache."""
    # Test instances in the real WIS2 have such names (wis2-rules.md W19).
    if not is_centre_id(text) or not text.endswith(("-global-cache", "-global-cache-test")):
        raise ValueError("is not of the form {tld}-{name}-global-cache, or the same and -test")
    return text


def deployment_secret(text: str) -> Secret:
    """Return a secret that is long enough."""
    if len(text) < _MIN_SECRET_LENGTH:
        raise ValueError(f"has {len(text)} characters; it requires at least {_MIN_SECRET_LENGTH}")
    return Secret(text)


def redis_url(text: str) -> Secret:
    """Return a URL that redis-py reads as it is meant."""
    parts = _split(text, ("redis", "rediss", "unix"))
    if parts.scheme != "unix":
        _check_login(parts)
        # For any other path redis-py uses database 0, where another cache may have its data.
        if not _REDIS_PATH.fullmatch(parts.path):
            raise ValueError("requires a database's number, or nothing, behind the host: /0")
    return Secret(text)


def queue_url(text: str) -> QueueUrl:
    """Return which queue it is."""
    if text.startswith("redis-stream:"):
        name = text.removeprefix("redis-stream:")
        if not _QUEUE_NAME.fullmatch(name):
            raise ValueError(
                "requires a name of letters, digits, '-', '_', '.' after redis-stream:"
            )
        return QueueUrl("redis-stream", name)
    parts = _split(text, ("http", "https"), hint="redis-stream:NAME or an SQS queue URL")
    if not parts.hostname or not parts.path.strip("/"):
        raise ValueError("is neither redis-stream:NAME nor an SQS queue URL")
    return QueueUrl("sqs", text)


def store_url(text: str) -> StoreUrl:
    """Return which store it is."""
    parts = _split(text, ("file", "s3"))
    if parts.query:
        raise ValueError("has a '?'; write %3F where a folder's name has one")
    if parts.scheme == "s3":
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError("names no bucket (3 to 63 lower-case letters, digits, '-', '.')")
        return StoreUrl("s3", parts.netloc, parts.path.strip("/"))
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("requires an absolute path: file:///directory")
    return StoreUrl("file", unquote(parts.path))


def base_url(text: str) -> str:
    """Return the URL, without a slash at its end."""
    parts = _split(text, ("http", "https"))
    if not parts.hostname or parts.query or parts.username is not None:
        raise ValueError("requires http[s]://host[:port][/path] and no more")
    return text.rstrip("/")


_BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


def parse_broker_url(text: str) -> BrokerUrl:
    """Return the parts of `mqtt[s]://…` or `ws[s]://…`. Raises ValueError, without the password."""
    parts = _split(text, tuple(_BROKER_PORTS))
    host = _check_login(parts)
    if parts.query:
        raise ValueError("has a '?'; write %3F where a password has one")
    return BrokerUrl(
        scheme=parts.scheme,
        host=host,
        port=parts.port or _BROKER_PORTS[parts.scheme],
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else Secret(unquote(parts.password)),
        path=parts.path or "/mqtt",
    )


def _split(text: str, schemes: tuple[str, ...], hint: str = "") -> SplitResult:
    wanted = hint or " or ".join(f"{scheme}://" for scheme in schemes)
    # urlsplit would silently remove some of these.
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("has a blank or a control character in it; write it as %20 and so on")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"is not a URL; requires {wanted}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"requires {wanted}")
    # A password that is cut at its '#' would give a wrong host.
    if parts.fragment:
        raise ValueError("has a '#'; write %23 where a password or a name has one")
    return parts


def _check_login(parts: SplitResult) -> str:
    """Return the host name. Raises ValueError: none, or the URL looks like a cut password."""
    if "@" in parts.path or "@" in parts.query:
        raise ValueError("has an '@' behind the host; write %2F, %3F and %40 in a password")
    if not parts.hostname:
        raise ValueError("names no host")
    return parts.hostname


_MIN_SECRET_LENGTH = 16
_REDIS_PATH = re.compile(r"/?[0-9]{0,9}/?", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}", re.ASCII)
#: An event has 8192 bytes; most of them are for other fields than the schema's URL.
_MAX_SCHEMA_URL_CHARS = 1000

name = Matching(r"[A-Za-z0-9_-]{1,32}", "1 to 32 letters, digits, '-' or '_'")
#: A pod's host name may be as long as a DNS name.
instance = Matching(r"[A-Za-z0-9_.:-]{1,253}", "1 to 253 letters, digits, '-', '_', '.' or ':'")
host = Matching(r"[A-Za-z0-9_.:%-]{1,253}", "an address or a host name, without brackets and port")
#: What Helm accepts as the name of a release.
release = Matching(
    r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", "1 to 53 lower-case letters, digits and '-'"
)
#: The type of a monitoring event.
event_name = Matching(r"[A-Za-z0-9._-]{1,250}", "1 to 250 letters, digits, '.', '-' or '_'")


def https_url(text: str) -> str:
    """Return the URL of a host, without a slash at its end."""
    parts = _split(text, ("https",))
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ValueError("requires https://host[:port] and no more")
    return text.rstrip("/")


def filters(text: str) -> tuple[str, ...]:
    """Return comma-separated MQTT topic filters."""
    filters = tuple(part.strip() for part in text.split(",") if part.strip())
    if not filters:
        raise ValueError("names no topic filter")
    for topic_filter in filters:
        levels = topic_filter.split("/")
        if "#" in topic_filter and (topic_filter.count("#") > 1 or levels[-1] != "#"):
            raise ValueError(f"{topic_filter!r}: '#' may only be the last level")
        if any("+" in level and level != "+" for level in levels):
            raise ValueError(f"{topic_filter!r}: '+' must be a whole level")
    return filters


def networks(text: str) -> tuple[Network, ...]:
    """Return comma-separated CIDRs."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"requires comma-separated CIDRs: {error}") from None


def event_title(text: str) -> str:
    """Return a title of one line."""
    if len(text) > MAX_TITLE_CHARS or not text.strip() or not text.isprintable():
        raise ValueError(f"requires one line of at most {MAX_TITLE_CHARS} characters")
    return text


def schema_url(text: str) -> str:
    """Return the URL of a JSON schema."""
    parts = _split(text, ("http", "https"))
    if not parts.hostname or parts.username is not None:
        raise ValueError("requires http[s]://host/path, without a login")
    if len(text) > _MAX_SCHEMA_URL_CHARS:
        raise ValueError(f"is longer than {_MAX_SCHEMA_URL_CHARS} characters")
    return text


def directory(text: str) -> Path:
    """Return an absolute path."""
    if not text.startswith("/"):
        raise ValueError("requires an absolute path")
    return Path(text)


def readable_file(text: str) -> Path:
    """Return the path of a file that can be read now."""
    path = Path(text)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path
