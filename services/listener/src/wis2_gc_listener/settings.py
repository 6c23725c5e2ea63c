"""The listener's settings (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from wis2_gc_common.runtime.client_id import mqtt_client_id
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import (
    CommonSettings,
    Reader,
    read_common,
    read_repeat_window_hours,
)
from wis2_gc_common.settings.values import BrokerUrl, Secret

if TYPE_CHECKING:
    from pathlib import Path

MqttVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """The settings of one listener, which serves one Global Broker."""

    common: CommonSettings
    broker_url: BrokerUrl
    broker_name: str
    deployment_secret: Secret
    mqtt_version: MqttVersion
    topics: tuple[str, ...]
    ca_file: Path | None
    silence_timeout_s: float
    max_queue_length: int
    centre_rate_per_s: int
    centre_burst: int
    retention_hours: int
    repeat_window_hours: int

    @property
    def client_id(self) -> Secret:
        """The MQTT client id. Never show it: anyone who knows it can take our session."""
        return Secret(
            mqtt_client_id(
                self.deployment_secret.encode(),
                centre_id=self.common.centre_id,
                broker_name=self.broker_name,
            )
        )


def read_settings(read: Reader) -> ListenerSettings:
    """Return the settings. Raises SettingsError."""
    return ListenerSettings(
        common=read_common(read),
        broker_url=read(settings.GLOBAL_BROKER_URL),
        broker_name=read(settings.GLOBAL_BROKER_NAME),
        deployment_secret=read(settings.DEPLOYMENT_SECRET),
        mqtt_version=cast("MqttVersion", read(settings.MQTT_VERSION)),
        topics=read(settings.TOPICS),
        ca_file=read(settings.CA_FILE, absent=None),
        silence_timeout_s=read(settings.SILENCE_TIMEOUT_S),
        max_queue_length=read(settings.MAX_QUEUE_LENGTH),
        centre_rate_per_s=read(settings.CENTRE_RATE),
        centre_burst=read(settings.CENTRE_BURST),
        retention_hours=read(settings.RETENTION_HOURS),
        repeat_window_hours=read_repeat_window_hours(read),
    )
