"""Every setting of every service: name, who reads it, default, meaning (architecture.md#settings).

`CATALOGUE` is the only place where a setting has its name, description and default. The services'
typed objects, the chart's schema and the table in `docs/settings.md` are made from it (tests
compare).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wis2_gc_common.settings import parsers
from wis2_gc_common.settings.parsers import Each, OneOf, Seconds, Switch, Whole
from wis2_gc_common.wis2 import event_format
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

REQUIRED: Any = object()
ALL = ("listener", "manager", "metrics", "operator")


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


#: In the order of the table in the docs.
# fmt: off
CENTRE_ID = Setting("GC_CENTRE_ID", ALL, parsers.centre_id, REQUIRED,
    "Our centre-id, `{tld}-{name}-global-cache`; of a test instance `{tld}-{name}-global-cache-test`.")
REDIS_URL = Setting("GC_REDIS_URL", ALL, parsers.redis_url, REQUIRED,
    "The registry: `redis://` or `rediss://` (certificate verified).", is_secret=True)
QUEUE_URL = Setting("GC_QUEUE_URL", ("listener", "manager", "metrics", "operator"), parsers.queue_url,
    "redis-stream:notifications", "An SQS queue URL, or `redis-stream:NAME` on the same Redis.")
DEAD_LETTER_QUEUE_URL = Setting("GC_DEAD_LETTER_QUEUE_URL", ("manager", "metrics", "operator"), parsers.queue_url,
    "redis-stream:dead-letters", "Where messages go that no attempt can finish; the same two forms.")
STORE_URL = Setting("GC_STORE_URL", ("manager",), parsers.store_url, REQUIRED,
    "`s3://bucket[/prefix]` or `file:///directory`.")
DATA_BASE_URL = Setting("GC_DATA_BASE_URL", ("manager",), parsers.base_url, REQUIRED,
    "Public URL under which the store is served.")
PUBLIC_CHECK_INTERVAL_S = Setting("GC_PUBLIC_CHECK_INTERVAL", ("manager",), Seconds(0, 3600), "10",
    "Seconds between two looks of a manager at its objects through `GC_DATA_BASE_URL`; 0: none.")
LOCAL_BROKER_URL = Setting("GC_LOCAL_BROKER_URL", ("manager",), parsers.parse_broker_url, REQUIRED,
    "Our own broker, `mqtt[s]://user:password@host:port`.", is_secret=True)
DEPLOYMENT_SECRET = Setting("GC_DEPLOYMENT_SECRET", ("listener", "manager"), parsers.deployment_secret, REQUIRED,
    "A secret of this deployment, the same for all listeners and managers and at every start; message ids and MQTT client ids are made with it. "
    "At least 16 characters, for example from `openssl rand -hex 32`.", is_secret=True)
GLOBAL_BROKER_URL = Setting("GC_GLOBAL_BROKER_URL", ("listener",), parsers.parse_broker_url, REQUIRED,
    "One Global Broker, `mqtt[s]://` or `ws[s]://`.", is_secret=True)
GLOBAL_BROKER_NAME = Setting("GC_GLOBAL_BROKER_NAME", ("listener",), parsers.name, REQUIRED,
    "Short name of that broker; part of the MQTT client id.")
MQTT_VERSION = Setting("GC_MQTT_VERSION", ("listener",), OneOf(("5", "3.1.1")), "5",
    "MQTT version spoken with the Global Broker: `5` or `3.1.1`.")
TOPICS = Setting("GC_TOPICS", ("listener",), parsers.filters, ",".join(DEFAULT_FILTERS),
    "Comma-separated topic filters to subscribe to.")
SILENCE_TIMEOUT_S = Setting("GC_SILENCE_TIMEOUT", ("listener",), Seconds(0, 86_400), "300",
    "Seconds of silence after which a connected broker is connected to again, if that is out of proportion to its past; 0: never.")
EXPECTED_BROKERS = Setting("GC_EXPECTED_BROKERS", ("metrics", "operator"), Each(parsers.name), "",
    "Names of the Global Brokers whose listeners `/readyz` and the verdict on the cache expect; empty: those that report.")
KUBERNETES_RELEASE = Setting("GC_KUBERNETES_RELEASE", ("metrics",), parsers.release, None,
    "Name of the Helm release whose rollouts are shown; not set: none are shown.")
KUBERNETES_API_URL = Setting("GC_KUBERNETES_API_URL", ("metrics",), parsers.https_url, "https://kubernetes.default.svc",
    "Address of the Kubernetes API, from which they are read.")
KUBERNETES_CREDENTIALS = Setting("GC_KUBERNETES_CREDENTIALS", ("metrics",), parsers.directory,
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "Directory with `token`, `ca.crt` and `namespace`, as Kubernetes puts it into a pod.")
CA_FILE = Setting("GC_CA_FILE", ("listener", "manager"), parsers.readable_file, None,
    "PEM file of certificate authorities trusted in addition to the system's (brokers, data servers, a private S3 endpoint).")
ALLOWED_NETWORKS = Setting("GC_ALLOWED_NETWORKS", ("manager",), parsers.networks, "",
    "CIDRs that the address guard admits although they are private (tests, a centre's intranet).")
KNOWN_CENTRES_FILE = Setting("GC_KNOWN_CENTRES_FILE", ("manager",), parsers.readable_file, None,
    "CSV file whose first column names the centre-ids of the WIS2 registry: they have labels of their own in `/metrics`, "
    "also when strangers invent other centre-ids. Read again every five minutes.")
DENIED_NETWORKS = Setting("GC_DENIED_NETWORKS", ("manager",), parsers.networks, "",
    "CIDRs that no link may lead to although they are public (an intranet with public numbers, our own IPv6 range); wins over `GC_ALLOWED_NETWORKS`.")
ALLOWED_PORTS = Setting("GC_ALLOWED_PORTS", ("manager",), Each(Whole(1, 65_535)), "",
    "Ports that links may name in addition to 21, 22, 80, 443 and to those from 1024 on that no well-known internal service has.")
MAX_OBJECT_BYTES = Setting("GC_MAX_OBJECT_BYTES", ("manager",), Whole(1, 2**40), str(1024**3),
    "Larger items are announced with the origin's link instead of being cached.")
CENTRE_MAX_ITEMS = Setting("GC_CENTRE_MAX_ITEMS", ("manager",), Whole(0, 10**12), None,
    "Most items of one centre within the retention; what comes beyond is announced with the origin's link. 0: any number. "
    "Not set: what half of Redis' `maxmemory`, or of the file system's files, has room for.")
CENTRE_MAX_BYTES = Setting("GC_CENTRE_MAX_BYTES", ("manager",), Whole(0, 2**50), None,
    "The same in bytes stored. 0: any number. Not set: half of the file system, 1 TiB in S3.")
ADD_LENGTH = Setting("GC_ADD_LENGTH", ("manager",), Switch(), "true",
    "Whether our link says how long the data is where the publisher's does not: `true` or `false`.")
ADD_INTEGRITY = Setting("GC_ADD_INTEGRITY", ("manager",), Switch(), "false",
    "Whether a checksum is added where the publisher gave only a size. Sensor centres and other caches then take ours for another item.")
RETENTION_HOURS = Setting("GC_RETENTION_HOURS", ("listener", "manager"), Whole(1, 24 * 31), "24",
    "How long an item can be fetched, at least; listeners and managers need the same value.")
REPEAT_WINDOW_HOURS = Setting("GC_REPEAT_WINDOW_HOURS", ("listener", "manager"), Whole(0, 24 * 31), "12",
    "For so many hours after an item is done, a newer one without an update link is dropped as a repeat; later it is "
    "cached as new. At most `GC_RETENTION_HOURS`. Listeners and managers need the same value.")
STORE_EXPIRATION_DAYS = Setting("GC_STORE_EXPIRATION_DAYS", ("manager",), Whole(1, 31), "1",
    "`s3://` only: days of the bucket's lifecycle rule, at least `GC_RETENTION_HOURS`.")
CONCURRENCY = Setting("GC_CONCURRENCY", ("manager",), Whole(1, 10_000), "256",
    "Notifications a manager works on at once.")
CONCURRENCY_PER_HOST = Setting("GC_CONCURRENCY_PER_HOST", ("manager",), Whole(1, 1000), "16",
    "Downloads a manager runs at once from one host.")
CONNECT_TIMEOUT_S = Setting("GC_CONNECT_TIMEOUT", ("manager",), Seconds(0.1, 300), "10",
    "Seconds a data server has to accept a connection, TLS included.")
IDLE_TIMEOUT_S = Setting("GC_IDLE_TIMEOUT", ("manager",), Seconds(0.1, 600), "20",
    "Seconds that a download may go on without a byte.")
DOWNLOAD_TIMEOUT_S = Setting("GC_DOWNLOAD_TIMEOUT", ("manager",), Seconds(1, 7200), "600",
    "Seconds a whole download may take, redirects included.")
HEDGE_DELAY_S = Setting("GC_HEDGE_DELAY", ("manager",), Seconds(0, 300), "2",
    "Seconds after which a second source is tried while the first is still slow.")
QUICK_RETRY_DELAY_S = Setting("GC_QUICK_RETRY_DELAY", ("manager",), Seconds(0, 60), "1",
    "Seconds after which a source that broke off, or answered 500, 502 or 503, is tried once more before `GC_RETRY_DELAYS` begin; 0: never.")
RETRY_DELAYS_S = Setting("GC_RETRY_DELAYS", ("manager",), Each(Seconds(0, 86_400)), "10,30,120,600,1800",
    "Seconds before each retry of an item whose sources all failed (jitter is added); then it is dropped, on record.")
VISIBILITY_S = Setting("GC_VISIBILITY_TIMEOUT", ("manager",), Seconds(0.5, 43_200), "30",
    "Seconds after which the work of a dead manager is taken over; also the length of a lease.")
DRAIN_S = Setting("GC_DRAIN_TIMEOUT", ("manager",), Seconds(0, 3600), "20",
    "Seconds that a manager has after SIGTERM to finish its work; the rest is handed back.")
INSTANCE = Setting("GC_INSTANCE", ("manager",), parsers.instance, socket.gethostname(),
    "Name of this manager, unique among the running ones; default: the host name.")
MAX_QUEUE_LENGTH = Setting("GC_MAX_QUEUE_LENGTH", ("listener",), Whole(100, 10**9), "200000",
    "Redis-stream queue only: at this many waiting messages the listener stops acknowledging.")
CENTRE_RATE = Setting("GC_CENTRE_RATE", ("listener",), Whole(1, 10**6), "20",
    "Notifications a second that a centre may send one listener for long; what is above it waits behind the other centres'.")
CENTRE_BURST = Setting("GC_CENTRE_BURST", ("listener",), Whole(1, 10**6), "300",
    "How many more a centre may send at once, after it has sent less than that.")
EVENT_FAILURE_TYPE = Setting("GC_EVENT_FAILURE_TYPE", ("manager",), parsers.event_name, event_format.DEFAULT_TYPE,
    "`type` of a monitoring event about a failure of a centre.")
EVENT_FAILURE_SUBTYPE = Setting("GC_EVENT_FAILURE_SUBTYPE", ("manager",), parsers.event_name,
    event_format.DEFAULT_FAILURE_SUBTYPE, "`data.subtype` of such an event.")
EVENT_OVERRIDE_TYPE = Setting("GC_EVENT_OVERRIDE_TYPE", ("manager",), parsers.event_name, event_format.DEFAULT_TYPE,
    "`type` of a monitoring event about an item that this cache decided not to cache.")
EVENT_OVERRIDE_SUBTYPE = Setting("GC_EVENT_OVERRIDE_SUBTYPE", ("manager",), parsers.event_name,
    event_format.DEFAULT_OVERRIDE_SUBTYPE, "`data.subtype` of such an event.")
EVENT_OVERRIDE_TITLE = Setting("GC_EVENT_OVERRIDE_TITLE", ("manager",), parsers.event_title,
    event_format.DEFAULT_OVERRIDE_TITLE, "`data.content.title` of such an event; the reason is in the description.")
EVENT_DATASCHEMA = Setting("GC_EVENT_DATASCHEMA", ("manager",), parsers.schema_url, event_format.DEFAULT_SCHEMA,
    "`dataschema` of all monitoring events: the URL of their JSON schema.")
HTTP_HOST = Setting("GC_HTTP_HOST", ALL[:3], parsers.host, "0.0.0.0",  # noqa: S104 - pods are probed from outside
    "Address the HTTP port listens on.")
HTTP_PORT = Setting("GC_HTTP_PORT", ALL[:3], Whole(0, 65_535), "8080",
    "Health and metrics; for the metrics service its API. 0: the system picks one.")
LOG_LEVEL = Setting("GC_LOG_LEVEL", ALL, OneOf(("debug", "info", "warning", "error")), "info",
    "Least severe level that is logged.")
LOG_FORMAT = Setting("GC_LOG_FORMAT", ALL, OneOf(("json", "console", "")), "",
    "`json` or `console`; default: `console` on a terminal, else `json`.")
# fmt: on

CATALOGUE: tuple[Setting[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Setting)
)
