"""The listener's settings (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from wis2_gc_common.runtime.client_id import mqtt_client_id
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import (
    CommonSettings,
    Reader,
    of,
    of_optional,
    read_repeat_window_hours,
)
from wis2_gc_common.settings.values import BrokerUrl, Secret

if TYPE_CHECKING:
    from pathlib import Path

MqttVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """The settings of one listener, which serves one Global Broker."""

    common: CommonSettings
    broker_url: BrokerUrl = of(settings.GLOBAL_BROKER_URL)
    broker_name: str = of(settings.GLOBAL_BROKER_NAME)
    deployment_secret: Secret = of(settings.DEPLOYMENT_SECRET)
    mqtt_version: MqttVersion
    topics: tuple[str, ...] = of(settings.TOPICS)
    ca_file: Path | None = of_optional(settings.CA_FILE)
    silence_timeout_s: float = of(settings.SILENCE_TIMEOUT_S)
    max_queue_length: int = of(settings.MAX_QUEUE_LENGTH)
    centre_rate_per_s: int = of(settings.CENTRE_RATE)
    centre_burst: int = of(settings.CENTRE_BURST)
    retention_hours: int = of(settings.RETENTION_HOURS)
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
    return read.into(
        ListenerSettings,
        common=read.into(CommonSettings),
        mqtt_version=cast("MqttVersion", read(settings.MQTT_VERSION)),
        repeat_window_hours=read_repeat_window_hours(read),
    )
