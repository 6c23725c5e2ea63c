"""Every setting of every service, read once at start (architecture.md#settings).

`CATALOGUE` is the only place where a setting has its name, description and default. The services'
typed objects and the table in `docs/settings.md` are made from it (a test compares).
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload
from urllib.parse import SplitResult, unquote, urlsplit

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2 import event_format
from wis2_gc_common.wis2.event_format import MAX_TITLE_CHARS
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS, is_centre_id

_log = get_logger(__name__)

T = TypeVar("T")
Environment = Mapping[str, str]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REQUIRED: Any = object()
ALL = ("listener", "manager", "metrics", "operator")


class Secret(str):
    """A text that `repr` hides; `str()` still shows it, also the password of a URL."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """An MQTT broker's address; `repr` and `str` hide the password."""

    scheme: str
    host: str
    port: int
    username: str | None
    password: Secret | None
    path: str = "/mqtt"

    @property
    def is_tls(self) -> bool:
        """Whether the broker's certificate is verified."""
        return self.scheme in ("mqtts", "wss")

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT travels over a WebSocket."""
        return self.scheme in ("ws", "wss")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class QueueUrl:
    """`redis-stream:NAME`, or an SQS queue URL."""

    kind: str
    """"redis-stream" or "sqs"."""
    name: str
    """The stream's name, or the whole SQS URL."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`file:///directory`, or `s3://bucket[/prefix]`."""

    kind: str
    """"file" or "s3"."""
    place: str
    """The directory, or the bucket."""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One environment variable."""

    name: str
    services: tuple[str, ...]
    parse: Callable[[str], T]
    default: str | None
    """As written in the environment; REQUIRED if there is none; None: the setting may be absent."""
    meaning: str
    is_secret: bool = False
    """May also be given as `{name}_FILE`, the path of a file that holds it."""

    @property
    def is_required(self) -> bool:
        """Whether the setting has no default and may not be absent."""
        return self.default is REQUIRED


def _centre_id(text: str) -> str:
    # Test instances in the real WIS2 have such names (wis2-rules.md W19).
    if not is_centre_id(text) or not text.endswith(("-global-cache", "-global-cache-test")):
        raise ValueError("is not of the form {tld}-{name}-global-cache, or the same and -test")
    return text


def _deployment_secret(text: str) -> Secret:
    if len(text) < _MIN_SECRET_LENGTH:
        raise ValueError(f"has {len(text)} characters; it requires at least {_MIN_SECRET_LENGTH}")
    return Secret(text)


def _redis_url(text: str) -> Secret:
    parts = _split(text, ("redis", "rediss", "unix"))
    if parts.scheme != "unix":
        _check_login(parts)
        # For any other path redis-py uses database 0, where another cache may have its data.
        if not _REDIS_PATH.fullmatch(parts.path):
            raise ValueError("requires a database's number, or nothing, behind the host: /0")
    return Secret(text)


def _queue_url(text: str) -> QueueUrl:
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


def _store_url(text: str) -> StoreUrl:
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


def _base_url(text: str) -> str:
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
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
#: A pod's host name may be as long as a DNS name.
_INSTANCE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,253}", re.ASCII)
#: What Helm accepts as the name of a release.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", re.ASCII)
_EVENT_NAME = re.compile(r"[A-Za-z0-9._-]{1,250}", re.ASCII)
#: An event has 8192 bytes; most of them are for other fields than the schema's URL.
_MAX_SCHEMA_URL_CHARS = 1000
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,253}", re.ASCII)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("requires 1 to 32 letters, digits, '-' or '_'")
    return text


def _instance(text: str) -> str:
    if not _INSTANCE_NAME.fullmatch(text):
        raise ValueError("requires 1 to 253 letters, digits, '-', '_', '.' or ':'")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("requires an address or a host name, without brackets and port")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(_name(part.strip()) for part in text.split(",") if part.strip())


def _https_url(text: str) -> str:
    parts = _split(text, ("https",))
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ValueError("requires https://host[:port] and no more")
    return text.rstrip("/")


def _release(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError("requires 1 to 53 lower-case letters, digits and '-'")
    return text


def _filters(text: str) -> tuple[str, ...]:
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


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"requires comma-separated CIDRs: {error}") from None


def _whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise ValueError(f"requires a whole number from {minimum} to {maximum}")
        return value

    return parse


def _ports(text: str) -> tuple[int, ...]:
    port = _whole(1, 65_535)
    return tuple(port(part.strip()) for part in text.split(",") if part.strip())


def _seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:  # also refuses NaN
            raise ValueError(f"requires seconds from {minimum:g} to {maximum:g}")
        return value

    return parse


def _delays(text: str) -> tuple[float, ...]:
    parse = _seconds(0, 86_400)
    return tuple(parse(part.strip()) for part in text.split(",") if part.strip())


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"requires one of {', '.join(filter(None, choices))}")
        return text.lower()

    return parse


def _event_name(text: str) -> str:
    if not _EVENT_NAME.fullmatch(text):
        raise ValueError("requires 1 to 250 letters, digits, '.', '-' or '_'")
    return text


def _event_title(text: str) -> str:
    if len(text) > MAX_TITLE_CHARS or not text.strip() or not text.isprintable():
        raise ValueError(f"requires one line of at most {MAX_TITLE_CHARS} characters")
    return text


def _schema_url(text: str) -> str:
    parts = _split(text, ("http", "https"))
    if not parts.hostname or parts.username is not None:
        raise ValueError("requires http[s]://host/path, without a login")
    if len(text) > _MAX_SCHEMA_URL_CHARS:
        raise ValueError(f"is longer than {_MAX_SCHEMA_URL_CHARS} characters")
    return text


def _switch(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


def _directory(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("requires an absolute path")
    return Path(text)


def _readable_file(text: str) -> Path:
    path = Path(text)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


#: The catalogue, in the order of the table in the docs.
# fmt: off
CENTRE_ID = Setting("GC_CENTRE_ID", ALL, _centre_id, REQUIRED,
    "Our centre-id, `{tld}-{name}-global-cache`; of a test instance `{tld}-{name}-global-cache-test`.")
REDIS_URL = Setting("GC_REDIS_URL", ALL, _redis_url, REQUIRED,
    "The registry: `redis://` or `rediss://` (certificate verified).", is_secret=True)
QUEUE_URL = Setting("GC_QUEUE_URL", ("listener", "manager", "metrics", "operator"), _queue_url,
    "redis-stream:notifications", "An SQS queue URL, or `redis-stream:NAME` on the same Redis.")
DEAD_LETTER_QUEUE_URL = Setting("GC_DEAD_LETTER_QUEUE_URL", ("manager", "metrics", "operator"), _queue_url,
    "redis-stream:dead-letters", "Where messages go that no attempt can finish; the same two forms.")
STORE_URL = Setting("GC_STORE_URL", ("manager",), _store_url, REQUIRED,
    "`s3://bucket[/prefix]` or `file:///directory`.")
DATA_BASE_URL = Setting("GC_DATA_BASE_URL", ("manager",), _base_url, REQUIRED,
    "Public URL under which the store is served.")
PUBLIC_CHECK_INTERVAL_S = Setting("GC_PUBLIC_CHECK_INTERVAL", ("manager",), _seconds(0, 3600), "10",
    "Seconds between two looks of a manager at its objects through `GC_DATA_BASE_URL`; 0: none.")
LOCAL_BROKER_URL = Setting("GC_LOCAL_BROKER_URL", ("manager",), parse_broker_url, REQUIRED,
    "Our own broker, `mqtt[s]://user:password@host:port`.", is_secret=True)
DEPLOYMENT_SECRET = Setting("GC_DEPLOYMENT_SECRET", ("listener", "manager"), _deployment_secret, REQUIRED,
    "A secret of this deployment, the same for all listeners and managers and at every start; message ids and MQTT client ids are made with it. "
    "At least 16 characters, for example from `openssl rand -hex 32`.", is_secret=True)
GLOBAL_BROKER_URL = Setting("GC_GLOBAL_BROKER_URL", ("listener",), parse_broker_url, REQUIRED,
    "One Global Broker, `mqtt[s]://` or `ws[s]://`.", is_secret=True)
GLOBAL_BROKER_NAME = Setting("GC_GLOBAL_BROKER_NAME", ("listener",), _name, REQUIRED,
    "Short name of that broker; part of the MQTT client id.")
MQTT_VERSION = Setting("GC_MQTT_VERSION", ("listener",), _one_of("5", "3.1.1"), "5",
    "MQTT version spoken with the Global Broker: `5` or `3.1.1`.")
TOPICS = Setting("GC_TOPICS", ("listener",), _filters, ",".join(DEFAULT_FILTERS),
    "Comma-separated topic filters to subscribe to.")
SILENCE_TIMEOUT_S = Setting("GC_SILENCE_TIMEOUT", ("listener",), _seconds(0, 86_400), "300",
    "Seconds of silence after which a connected broker is connected to again, if that is out of proportion to its past; 0: never.")
EXPECTED_BROKERS = Setting("GC_EXPECTED_BROKERS", ("metrics",), _names, "",
    "Names of the Global Brokers whose listeners `/readyz` waits for; empty: those that have reported.")
KUBERNETES_RELEASE = Setting("GC_KUBERNETES_RELEASE", ("metrics",), _release, None,
    "Name of the Helm release whose rollouts are shown; not set: not in a cluster, none are.")
KUBERNETES_API_URL = Setting("GC_KUBERNETES_API_URL", ("metrics",), _https_url, "https://kubernetes.default.svc",
    "Address of the Kubernetes API, which is asked for them.")
KUBERNETES_CREDENTIALS = Setting("GC_KUBERNETES_CREDENTIALS", ("metrics",), _directory,
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "Directory with `token`, `ca.crt` and `namespace`, as Kubernetes puts it into a pod.")
CA_FILE = Setting("GC_CA_FILE", ("listener", "manager"), _readable_file, None,
    "PEM file of certificate authorities trusted besides the system's (brokers, data servers, a private S3 endpoint).")
ALLOWED_NETWORKS = Setting("GC_ALLOWED_NETWORKS", ("manager",), _networks, "",
    "CIDRs that the address guard admits although they are private (tests, a centre's intranet).")
KNOWN_CENTRES_FILE = Setting("GC_KNOWN_CENTRES_FILE", ("manager",), _readable_file, None,
    "CSV file whose first column names the centre-ids of the WIS2 registry: they have labels of their own in `/metrics`, "
    "whatever strangers make up. Read again every five minutes.")
DENIED_NETWORKS = Setting("GC_DENIED_NETWORKS", ("manager",), _networks, "",
    "CIDRs that no link may lead to although they are public (an intranet with public numbers, our own IPv6 range); wins over `GC_ALLOWED_NETWORKS`.")
ALLOWED_PORTS = Setting("GC_ALLOWED_PORTS", ("manager",), _ports, "",
    "Ports that links may name besides 21, 22, 80, 443 and those from 1024 on that are of no well-known internal service.")
MAX_OBJECT_BYTES = Setting("GC_MAX_OBJECT_BYTES", ("manager",), _whole(1, 2**40), str(1024**3),
    "Larger items are announced with the origin's link instead of being cached.")
CENTRE_MAX_ITEMS = Setting("GC_CENTRE_MAX_ITEMS", ("manager",), _whole(0, 10**12), None,
    "Most items of one centre within the retention; what comes beyond is announced with the origin's link. 0: any number. "
    "Not set: what half of Redis' `maxmemory`, or of the file system's files, has room for.")
CENTRE_MAX_BYTES = Setting("GC_CENTRE_MAX_BYTES", ("manager",), _whole(0, 2**50), None,
    "The same in bytes stored. 0: any number. Not set: half of the file system, 1 TiB in S3.")
ADD_LENGTH = Setting("GC_ADD_LENGTH", ("manager",), _switch, "true",
    "Whether our link says how long the data is where the publisher's does not: `true` or `false`.")
ADD_INTEGRITY = Setting("GC_ADD_INTEGRITY", ("manager",), _switch, "false",
    "Whether a checksum is added where the publisher gave only a size. Sensor centres and other caches then take ours for another item.")
RETENTION_HOURS = Setting("GC_RETENTION_HOURS", ("listener", "manager"), _whole(1, 24 * 31), "24",
    "How long an item can be fetched, at least; listeners and managers need the same value.")
REPEAT_WINDOW_HOURS = Setting("GC_REPEAT_WINDOW_HOURS", ("listener", "manager"), _whole(0, 24 * 31), "12",
    "So long after an item is done, a newer one without an update link is dropped as a repeat; later it is "
    "cached as new. `GC_RETENTION_HOURS` where that is less. Listeners and managers need the same value.")
STORE_EXPIRATION_DAYS = Setting("GC_STORE_EXPIRATION_DAYS", ("manager",), _whole(1, 31), "1",
    "`s3://` only: days of the bucket's lifecycle rule, at least `GC_RETENTION_HOURS`.")
CONCURRENCY = Setting("GC_CONCURRENCY", ("manager",), _whole(1, 10_000), "256",
    "Notifications a manager works on at once.")
CONCURRENCY_PER_HOST = Setting("GC_CONCURRENCY_PER_HOST", ("manager",), _whole(1, 1000), "16",
    "Downloads a manager runs at once from one host.")
CONNECT_TIMEOUT_S = Setting("GC_CONNECT_TIMEOUT", ("manager",), _seconds(0.1, 300), "10",
    "Seconds a data server has to accept a connection, TLS included.")
IDLE_TIMEOUT_S = Setting("GC_IDLE_TIMEOUT", ("manager",), _seconds(0.1, 600), "20",
    "Seconds a download may stand still.")
DOWNLOAD_TIMEOUT_S = Setting("GC_DOWNLOAD_TIMEOUT", ("manager",), _seconds(1, 7200), "600",
    "Seconds a whole download may take, redirects included.")
HEDGE_DELAY_S = Setting("GC_HEDGE_DELAY", ("manager",), _seconds(0, 300), "2",
    "Seconds after which a second source is tried while the first is still slow.")
QUICK_RETRY_DELAY_S = Setting("GC_QUICK_RETRY_DELAY", ("manager",), _seconds(0, 60), "1",
    "Seconds after which a source that broke off, or answered 500, 502 or 503, is tried once more before `GC_RETRY_DELAYS` begin; 0: never.")
RETRY_DELAYS_S = Setting("GC_RETRY_DELAYS", ("manager",), _delays, "10,30,120,600,1800",
    "Seconds before each retry of an item whose sources all failed (jitter is added); then it is dropped, on record.")
VISIBILITY_S = Setting("GC_VISIBILITY_TIMEOUT", ("manager",), _seconds(0.5, 43_200), "30",
    "Seconds after which the work of a dead manager is taken over; also the length of a lease.")
DRAIN_S = Setting("GC_DRAIN_TIMEOUT", ("manager",), _seconds(0, 3600), "20",
    "Seconds a manager may finish its work in after SIGTERM; the rest is handed back.")
INSTANCE = Setting("GC_INSTANCE", ("manager",), _instance, socket.gethostname(),
    "Name of this manager, unique among the running ones; default: the host name.")
MAX_QUEUE_LENGTH = Setting("GC_MAX_QUEUE_LENGTH", ("listener",), _whole(100, 10**9), "200000",
    "Redis-stream queue only: at this many waiting messages the listener stops acknowledging.")
CENTRE_RATE = Setting("GC_CENTRE_RATE", ("listener",), _whole(1, 10**6), "20",
    "Notifications a second that a centre may send one listener for long; what is above it waits behind the other centres'.")
CENTRE_BURST = Setting("GC_CENTRE_BURST", ("listener",), _whole(1, 10**6), "300",
    "How many more a centre may send at once, after it has sent less than that.")
EVENT_FAILURE_TYPE = Setting("GC_EVENT_FAILURE_TYPE", ("manager",), _event_name, event_format.DEFAULT_TYPE,
    "`type` of a monitoring event about a failure of a centre.")
EVENT_FAILURE_SUBTYPE = Setting("GC_EVENT_FAILURE_SUBTYPE", ("manager",), _event_name,
    event_format.DEFAULT_FAILURE_SUBTYPE, "`data.subtype` of such an event.")
EVENT_OVERRIDE_TYPE = Setting("GC_EVENT_OVERRIDE_TYPE", ("manager",), _event_name, event_format.DEFAULT_TYPE,
    "`type` of a monitoring event about an item that this cache decided not to cache.")
EVENT_OVERRIDE_SUBTYPE = Setting("GC_EVENT_OVERRIDE_SUBTYPE", ("manager",), _event_name,
    event_format.DEFAULT_OVERRIDE_SUBTYPE, "`data.subtype` of such an event.")
EVENT_OVERRIDE_TITLE = Setting("GC_EVENT_OVERRIDE_TITLE", ("manager",), _event_title,
    event_format.DEFAULT_OVERRIDE_TITLE, "`data.content.title` of such an event; the reason is in the description.")
EVENT_DATASCHEMA = Setting("GC_EVENT_DATASCHEMA", ("manager",), _schema_url, event_format.DEFAULT_SCHEMA,
    "`dataschema` of all monitoring events: the URL of their JSON schema.")
HTTP_HOST = Setting("GC_HTTP_HOST", ALL[:3], _host, "0.0.0.0",  # noqa: S104 - pods are probed from outside
    "Address the HTTP port listens on.")
HTTP_PORT = Setting("GC_HTTP_PORT", ALL[:3], _whole(0, 65_535), "8080",
    "Health and metrics; for the metrics service its API. 0: the system picks one.")
LOG_LEVEL = Setting("GC_LOG_LEVEL", ALL, _one_of("debug", "info", "warning", "error"), "info",
    "Least severe level that is logged.")
LOG_FORMAT = Setting("GC_LOG_FORMAT", ALL, _one_of("json", "console", ""), "",
    "`json` or `console`; default: `console` on a terminal, else `json`.")
# fmt: on

CATALOGUE: tuple[Setting[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Setting)
)


def unknown_settings(environment: Environment) -> list[str]:
    """Return the `GC_…` variables that no service reads, sorted: most are misspelt.

    Empty variables count as not set.
    """
    known = {setting.name for setting in CATALOGUE}
    known |= {f"{setting.name}_FILE" for setting in CATALOGUE if setting.is_secret}
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith("GC_") and value and name not in known
    )


def warn_of_unknown_settings() -> None:
    """Log one line that names them; no error, since Kubernetes adds such names for services."""
    names = unknown_settings(os.environ)
    if names:
        _log.warning("unknown_settings", variables=names)


class Reader:
    """Reads settings from one environment; the only place that does."""

    def __init__(self, environment: Environment | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    @overload
    def __call__(self, setting: Setting[T]) -> T: ...
    @overload
    def __call__(self, setting: Setting[T], *, absent: None) -> T | None: ...

    def __call__(self, setting: Setting[T], *, absent: object = REQUIRED) -> T | None:
        """Return the parsed value; `absent=None` for settings that may be missing.

        Raises SettingsError naming the variable.
        """
        text = self._text(setting)
        if text is None:
            if absent is REQUIRED:
                raise SettingsError(setting.name, f"is not set. {setting.meaning}")
            return None
        try:
            return setting.parse(text)
        except ValueError as error:
            # Do not show a text that may contain a password, intended or not.
            shown = "" if setting.is_secret or "@" in text else f"{text[:200]!r} "
            raise SettingsError(setting.name, f"{shown}{error}") from None

    def _text(self, setting: Setting[Any]) -> str | None:
        text = self._environment.get(setting.name)
        path = self._environment.get(f"{setting.name}_FILE") if setting.is_secret else None
        if text and path:
            raise SettingsError(setting.name, f"is set, and so is {setting.name}_FILE; set one")
        if path:
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                problem = f"{path} cannot be read: {os_words(error)}"
                raise SettingsError(f"{setting.name}_FILE", problem) from None
            except UnicodeDecodeError:
                raise SettingsError(f"{setting.name}_FILE", f"{path} is not a text") from None
            if not text:
                raise SettingsError(f"{setting.name}_FILE", f"names an empty file: {path}")
        if text:
            return text
        return None if setting.is_required else setting.default


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """The settings that all services share."""

    centre_id: str
    redis_url: Secret
    queue_url: QueueUrl
    http_host: str
    http_port: int
    log_level: str
    log_format: str


def read_common(read: Reader) -> CommonSettings:
    """Return the settings all services share. Raises SettingsError."""
    return CommonSettings(
        centre_id=read(CENTRE_ID),
        redis_url=read(REDIS_URL),
        queue_url=read(QUEUE_URL),
        http_host=read(HTTP_HOST),
        http_port=read(HTTP_PORT),
        log_level=read(LOG_LEVEL),
        log_format=read(LOG_FORMAT),
    )


def read_repeat_window_hours(read: Reader) -> int:
    """Return how long a newer version without an update link is a repeat. Raises SettingsError.

    Never longer than the retention: nothing repeats what has left the cache (wis2-rules.md 8).
    """
    return min(read(REPEAT_WINDOW_HOURS), read(RETENTION_HOURS))
