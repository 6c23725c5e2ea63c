"""Every metric: name, type, labels, help (wis2-rules.md M1 to M9).

The only source for what the services count, what `/metrics` shows and the table in
`docs/metrics.md`. The registry keeps counters in one hash and gauges in another:
`field(METRIC, label, …)` names the hash field; `split_field` splits it for `/metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEPARATOR = "|"
#: Counters that a process keeps while the registry is away.
_MAX_COUNTS = 1000


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; the WMO's own metrics have `report_by` before `labels`."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    is_wmo: bool = False


def field(metric: Metric, *labels: str) -> str:
    """Return the hash field of one time series. Raises ValueError: wrong number of labels."""
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
    # Centre-ids, host names, reasons and broker names cannot contain the separator.
    return _SEPARATOR.join((metric.name, *(label.replace(_SEPARATOR, "_") for label in labels)))


def field_of_centre(metric: Metric, centre_id: str, counts: Mapping[str, int]) -> str:
    """Return the hash field for a centre, whose name comes from a stranger.

    `counts`: those that are not written yet. If there are many, further centres share a field.
    """
    name = field(metric, centre_id)
    is_known = name in counts or len(counts) < _MAX_COUNTS
    return name if is_known else field(metric, OTHER_CENTRES)


def split_field(text: str) -> tuple[str, tuple[str, ...]]:
    """Return (metric name, label values)."""
    name, *labels = text.split(_SEPARATOR)
    return name, tuple(labels)


# fmt: off
DOWNLOADED = Metric("wmo_wis2_gc_downloaded_total", "counter", ("centre_id",),
    "Data items cached; inline content counts as a download.", is_wmo=True)
DOWNLOADED_ERRORS = Metric("wmo_wis2_gc_downloaded_errors_total", "counter", ("centre_id",),
    "Notifications whose download failed, each once, at its first failure; many succeed later.", is_wmo=True)
LAST_DOWNLOAD = Metric("wmo_wis2_gc_last_download_timestamp_seconds", "gauge", ("centre_id",),
    "Time of the last successful download.", is_wmo=True)
INTEGRITY_FAILED = Metric("wmo_wis2_gc_integrity_failed_total", "counter", ("centre_id",),
    "Notifications whose data failed the integrity check, each once, at its first failure.", is_wmo=True)
DATASERVER_STATUS = Metric("wmo_wis2_gc_dataserver_status_flag", "gauge", ("centre_id", "dataserver"),
    "1 after a success, 0 after a failure of that data server. What we refuse or lack changes nothing.", is_wmo=True)
DATASERVER_LAST_DOWNLOAD = Metric("wmo_wis2_gc_dataserver_last_download_timestamp_seconds", "gauge",
    ("centre_id", "dataserver"), "Time of the last successful download from that data server.", is_wmo=True)
NO_CACHE = Metric("wmo_wis2_gc_no_cache_total", "counter", ("centre_id",),
    "Notifications with cache: false, without duplicates.", is_wmo=True)
CACHE_OVERRIDE = Metric("wmo_wis2_gc_cache_override_total", "counter", ("centre_id",),
    "Notifications this cache decided not to cache, without duplicates.", is_wmo=True)
LAST_METADATA = Metric("wmo_wis2_gc_last_metadata_timestamp_seconds", "gauge", ("centre_id",),
    "Time of the last processed metadata item.", is_wmo=True)
# In the WMO's style; the WMO metric hierarchy of January 2026 has no name for it yet.
CACHED_VOLUME = Metric("wmo_wis2_gc_cached_volume_bytes_total", "counter", ("centre_id",),
    "Bytes of the data items cached.", is_wmo=True)

HELD_ITEMS = Metric("wis2_gc_centre_items", "gauge", ("centre_id",),
    "Items of that centre's topics begun within the retention, as its quota counts them; other: of all centres that share one.")
HELD_BYTES = Metric("wis2_gc_centre_bytes", "gauge", ("centre_id",),
    "Bytes of that centre's topics stored within the retention, in blocks of 4096.")
QUOTA_ITEMS = Metric("wis2_gc_centre_quota_items", "gauge", (),
    "How many items a centre may hold; other: half of it. No series: any number.")
QUOTA_BYTES = Metric("wis2_gc_centre_quota_bytes", "gauge", (),
    "How many bytes a centre may hold; other: half of it. No series: any number.")
FUTURE_PUBTIMES = Metric("wis2_gc_future_pubtimes_total", "counter", ("centre_id",),
    "Items announced whose pubtime was more than 5 minutes ahead of our clock.")
RECEIVED = Metric("wis2_gc_notifications_received_total", "counter", ("broker",),
    "Notifications received from a Global Broker.")
QUEUED = Metric("wis2_gc_notifications_queued_total", "counter", ("broker",),
    "Notifications handed to the queue; several may announce one item.")
DROPPED = Metric("wis2_gc_notifications_dropped_total", "counter", ("broker", "reason"),
    "Notifications dropped by the listener before the queue.")
INVALID = Metric("wis2_gc_notifications_invalid_total", "counter", ("centre_id",),
    "Invalid notifications on topics of that centre, each time one arrives.")
OVER_QUOTA = Metric("wis2_gc_notifications_over_quota_total", "counter", ("centre_id",),
    "Notifications of that centre lost because the queue held its share of Redis' memory.")
ITEMS = Metric("wis2_gc_items_total", "counter", ("outcome",),
    "Items announced: cached, uncached (cache: false), override, deleted. Over quota: notifications.")
ITEMS_DROPPED = Metric("wis2_gc_items_dropped_total", "counter", ("reason",),
    "Queued notifications (not items) a manager dropped: decided duplicates and poison.")
SOURCE_FAILURES = Metric("wis2_gc_source_failures_total", "counter", ("reason",),
    "Failed attempts (not notifications) to get data from one source.")
GIVEN_UP = Metric("wis2_gc_items_given_up_total", "counter", ("reason",),
    "Items given up after the last retry, each once, however many notifications announce it; a later one may still bring it.")
DEAD_LETTERS = Metric("wis2_gc_dead_letters_total", "counter", ("reason",),
    "Notifications moved to the dead letter queue, each time.")
PUBLIC_CHECKS = Metric("wis2_gc_public_checks_total", "counter", ("result",),
    "Objects fetched through their public URL to see that it works: ok, failed.")
MONITORING_EVENTS = Metric("wis2_gc_monitoring_events_total", "counter", ("subtype",),
    "Monitoring events published.")
ANNOUNCE_DELAY = Metric("wis2_gc_announce_delay_seconds", "histogram", (),
    "Items cached: from a notification's pubtime to the acknowledged publication of ours.")
QUEUE_READABLE = Metric("wis2_gc_queue_readable", "gauge", (),
    "1 while the depth of the queue can be read. At 0 the queue's other series are absent.")
QUEUE_MESSAGES = Metric("wis2_gc_queue_messages", "gauge", ("state",),
    "Notifications in the queue: ready, in_flight, delayed, dead.")
QUEUE_OLDEST = Metric("wis2_gc_queue_oldest_seconds", "gauge", (),
    "Age of the oldest notification that is not delayed. No series on SQS, which does not report it.")
LISTENER_READY = Metric("wis2_gc_listener_ready", "gauge", ("broker",),
    "1 while the listener of that Global Broker is subscribed.")
SILENCE_RECONNECTS = Metric("wis2_gc_listener_silence_reconnects_total", "counter", ("broker",),
    "Connections to that Global Broker made again because it was connected and silent.")
SESSIONS_TAKEN_OVER = Metric("wis2_gc_listener_sessions_taken_over_total", "counter", ("broker",),
    "How often another client took our session at that Global Broker, where it says so (MQTT 5).")
LISTENER_LAST_MESSAGE = Metric("wis2_gc_listener_last_message_timestamp_seconds", "gauge", ("broker",),
    "Time of the last notification from that Global Broker.")
MANAGER_READY = Metric("wis2_gc_manager_ready", "gauge", ("instance",),
    "1 while that manager receives.")
HEALTH_STATE = Metric("wis2_gc_health_state", "gauge", (),
    "The verdict of /api/health: 0 well (also until 5 minutes were read), 1 degraded, 2 down. No series while the registry is away.")
HEALTH_REASON = Metric("wis2_gc_health_reason", "gauge", ("reason",),
    "1 while that reason holds, else 0; each has its section in operations.md.")
# fmt: on

#: The label of all centres that have no series of their own (`labels.lua`).
OTHER_CENTRES = "other"

#: Upper bounds of the delay histogram, in seconds; the sensor centres use 120, 300 and 600.
DELAY_BUCKETS_S = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0,
)  # fmt: skip

CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
