"""The manager's settings, read once at start (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.settings import catalogue
from wis2_gc_common.settings.reader import CommonSettings, of, of_optional, read_repeat_window_hours
from wis2_gc_common.wis2.event_format import EventFormat

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_common.settings.reader import Reader
    from wis2_gc_common.settings.values import BrokerUrl, Network, QueueUrl, Secret, StoreUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """What a manager knows; the meaning of each value is in the catalogue."""

    common: CommonSettings
    dead_letter_url: QueueUrl = of(catalogue.DEAD_LETTER_QUEUE_URL)
    store_url: StoreUrl = of(catalogue.STORE_URL)
    data_base_url: str = of(catalogue.DATA_BASE_URL)
    public_check_interval_s: float = of(catalogue.PUBLIC_CHECK_INTERVAL_S)
    local_broker_url: BrokerUrl = of(catalogue.LOCAL_BROKER_URL)
    deployment_secret: Secret = of(catalogue.DEPLOYMENT_SECRET)
    ca_file: Path | None = of_optional(catalogue.CA_FILE)
    allowed_networks: tuple[Network, ...] = of(catalogue.ALLOWED_NETWORKS)
    known_centres_file: Path | None = of_optional(catalogue.KNOWN_CENTRES_FILE)
    denied_networks: tuple[Network, ...] = of(catalogue.DENIED_NETWORKS)
    allowed_ports: tuple[int, ...] = of(catalogue.ALLOWED_PORTS)
    max_object_bytes: int = of(catalogue.MAX_OBJECT_BYTES)
    centre_max_items: int | None = of_optional(catalogue.CENTRE_MAX_ITEMS)
    centre_max_bytes: int | None = of_optional(catalogue.CENTRE_MAX_BYTES)
    add_length: bool = of(catalogue.ADD_LENGTH)
    add_integrity: bool = of(catalogue.ADD_INTEGRITY)
    retention_hours: int = of(catalogue.RETENTION_HOURS)
    repeat_window_hours: int
    store_expiration_days: int = of(catalogue.STORE_EXPIRATION_DAYS)
    concurrency: int = of(catalogue.CONCURRENCY)
    concurrency_per_host: int = of(catalogue.CONCURRENCY_PER_HOST)
    connect_timeout_s: float = of(catalogue.CONNECT_TIMEOUT_S)
    idle_timeout_s: float = of(catalogue.IDLE_TIMEOUT_S)
    download_timeout_s: float = of(catalogue.DOWNLOAD_TIMEOUT_S)
    hedge_delay_s: float = of(catalogue.HEDGE_DELAY_S)
    quick_retry_delay_s: float = of(catalogue.QUICK_RETRY_DELAY_S)
    retry_delays_s: tuple[float, ...] = of(catalogue.RETRY_DELAYS_S)
    visibility_s: float = of(catalogue.VISIBILITY_S)
    drain_s: float = of(catalogue.DRAIN_S)
    instance: str = of(catalogue.INSTANCE)
    event_format: EventFormat


def read_settings(read: Reader) -> ManagerSettings:
    """Return the manager's settings. Raises SettingsError."""
    return read.into(
        ManagerSettings,
        common=read.into(CommonSettings),
        repeat_window_hours=read_repeat_window_hours(read),
        event_format=EventFormat(
            failure_type=read(catalogue.EVENT_FAILURE_TYPE),
            failure_subtype=read(catalogue.EVENT_FAILURE_SUBTYPE),
            override_type=read(catalogue.EVENT_OVERRIDE_TYPE),
            override_subtype=read(catalogue.EVENT_OVERRIDE_SUBTYPE),
            override_title=read(catalogue.EVENT_OVERRIDE_TITLE),
            dataschema=read(catalogue.EVENT_DATASCHEMA),
        ),
    )
