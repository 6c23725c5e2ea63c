"""The listener's settings (DESIGN.md 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from wis2_gc_common import settings

if TYPE_CHECKING:
    from pathlib import Path

MqttVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What one listener knows; one listener serves one Global Broker."""

    common: settings.CommonSettings
    broker_url: settings.BrokerUrl
    broker_name: str
    mqtt_version: MqttVersion
    topics: tuple[str, ...]
    ca_file: Path | None
    silence_timeout_s: float
    max_queue_length: int
    retention_hours: int
    repeat_window_hours: int

    @property
    def client_id(self) -> str:
        """The MQTT client id: the same after every restart, so that the session is resumed.

        At most 97 characters. The standard obliges brokers to take 23; all in use at Global
        Brokers take 100 or more, and operators there shall see who it is.
        """
        return f"{self.common.centre_id}-{self.broker_name}"


def read_settings(read: settings.Reader) -> ListenerSettings:
    """Return the settings. Raises SettingsError."""
    return ListenerSettings(
        common=settings.read_common(read),
        broker_url=read(settings.GLOBAL_BROKER_URL),
        broker_name=read(settings.GLOBAL_BROKER_NAME),
        mqtt_version=cast("MqttVersion", read(settings.MQTT_VERSION)),
        topics=read(settings.TOPICS),
        ca_file=read(settings.CA_FILE, absent=None),
        silence_timeout_s=read(settings.SILENCE_TIMEOUT_S),
        max_queue_length=read(settings.MAX_QUEUE_LENGTH),
        retention_hours=read(settings.RETENTION_HOURS),
        repeat_window_hours=read(settings.REPEAT_WINDOW_HOURS),
    )
