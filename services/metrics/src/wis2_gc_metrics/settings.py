"""The settings of the metrics service (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import read_common

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_common.settings.reader import CommonSettings, Reader
    from wis2_gc_common.settings.values import QueueUrl


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Where to read the rollouts of our release."""

    release: str
    api_url: str
    credentials: Path


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The settings of `wis2-gc-metrics`."""

    common: CommonSettings
    dead_letter_queue_url: QueueUrl
    expected_brokers: tuple[str, ...]
    """Names of the Global Brokers that `/readyz` waits for; empty: those that have reported."""
    kubernetes: KubernetesSettings | None
    """None: not in a cluster."""


def read_settings(read: Reader) -> MetricsSettings:
    """Return the typed settings. Raises SettingsError naming the variable."""
    return MetricsSettings(
        common=read_common(read),
        dead_letter_queue_url=read(settings.DEAD_LETTER_QUEUE_URL),
        expected_brokers=read(settings.EXPECTED_BROKERS),
        kubernetes=_read_kubernetes(read),
    )


def _read_kubernetes(read: Reader) -> KubernetesSettings | None:
    release = read(settings.KUBERNETES_RELEASE, absent=None)
    if release is None:
        return None
    return KubernetesSettings(
        release=release,
        api_url=read(settings.KUBERNETES_API_URL),
        credentials=read(settings.KUBERNETES_CREDENTIALS),
    )
