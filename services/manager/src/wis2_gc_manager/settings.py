"""The manager's settings, read once at start (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.settings import catalogue
from wis2_gc_common.settings.reader import read_common, read_repeat_window_hours
from wis2_gc_common.wis2.event_format import EventFormat

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_common.settings.reader import CommonSettings, Reader
    from wis2_gc_common.settings.values import BrokerUrl, Network, QueueUrl, Secret, StoreUrl


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """What a manager knows; the meaning of each value is in the catalogue."""

    common: CommonSettings
    dead_letter_url: QueueUrl
    store_url: StoreUrl
    data_base_url: str
    public_check_interval_s: float
    local_broker_url: BrokerUrl
    deployment_secret: Secret
    ca_file: Path | None
    allowed_networks: tuple[Network, ...]
    known_centres_file: Path | None
    denied_networks: tuple[Network, ...]
    allowed_ports: tuple[int, ...]
    max_object_bytes: int
    centre_max_items: int | None
    centre_max_bytes: int | None
    add_length: bool
    add_integrity: bool
    retention_hours: int
    repeat_window_hours: int
    store_expiration_days: int
    concurrency: int
    concurrency_per_host: int
    connect_timeout_s: float
    idle_timeout_s: float
    download_timeout_s: float
    hedge_delay_s: float
    quick_retry_delay_s: float
    retry_delays_s: tuple[float, ...]
    visibility_s: float
    drain_s: float
    instance: str
    event_format: EventFormat


def read_settings(read: Reader) -> ManagerSettings:
    """Return the manager's settings. Raises SettingsError."""
    return ManagerSettings(
        common=read_common(read),
        dead_letter_url=read(catalogue.DEAD_LETTER_QUEUE_URL),
        store_url=read(catalogue.STORE_URL),
        data_base_url=read(catalogue.DATA_BASE_URL),
        public_check_interval_s=read(catalogue.PUBLIC_CHECK_INTERVAL_S),
        local_broker_url=read(catalogue.LOCAL_BROKER_URL),
        deployment_secret=read(catalogue.DEPLOYMENT_SECRET),
        ca_file=read(catalogue.CA_FILE, absent=None),
        allowed_networks=read(catalogue.ALLOWED_NETWORKS),
        known_centres_file=read(catalogue.KNOWN_CENTRES_FILE, absent=None),
        denied_networks=read(catalogue.DENIED_NETWORKS),
        allowed_ports=read(catalogue.ALLOWED_PORTS),
        max_object_bytes=read(catalogue.MAX_OBJECT_BYTES),
        centre_max_items=read(catalogue.CENTRE_MAX_ITEMS, absent=None),
        centre_max_bytes=read(catalogue.CENTRE_MAX_BYTES, absent=None),
        add_length=read(catalogue.ADD_LENGTH),
        add_integrity=read(catalogue.ADD_INTEGRITY),
        retention_hours=read(catalogue.RETENTION_HOURS),
        repeat_window_hours=read_repeat_window_hours(read),
        store_expiration_days=read(catalogue.STORE_EXPIRATION_DAYS),
        concurrency=read(catalogue.CONCURRENCY),
        concurrency_per_host=read(catalogue.CONCURRENCY_PER_HOST),
        connect_timeout_s=read(catalogue.CONNECT_TIMEOUT_S),
        idle_timeout_s=read(catalogue.IDLE_TIMEOUT_S),
        download_timeout_s=read(catalogue.DOWNLOAD_TIMEOUT_S),
        hedge_delay_s=read(catalogue.HEDGE_DELAY_S),
        quick_retry_delay_s=read(catalogue.QUICK_RETRY_DELAY_S),
        retry_delays_s=read(catalogue.RETRY_DELAYS_S),
        visibility_s=read(catalogue.VISIBILITY_S),
        drain_s=read(catalogue.DRAIN_S),
        instance=read(catalogue.INSTANCE),
        event_format=EventFormat(
            failure_type=read(catalogue.EVENT_FAILURE_TYPE),
            failure_subtype=read(catalogue.EVENT_FAILURE_SUBTYPE),
            override_type=read(catalogue.EVENT_OVERRIDE_TYPE),
            override_subtype=read(catalogue.EVENT_OVERRIDE_SUBTYPE),
            override_title=read(catalogue.EVENT_OVERRIDE_TITLE),
            dataschema=read(catalogue.EVENT_DATASCHEMA),
        ),
    )
