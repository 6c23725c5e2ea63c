"""The settings of the metrics service (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import CommonSettings, of

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_common.settings.reader import Reader
    from wis2_gc_common.settings.values import QueueUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """Where to read the rollouts of our release."""

    release: str = of(settings.KUBERNETES_RELEASE)
    api_url: str = of(settings.KUBERNETES_API_URL)
    credentials: Path = of(settings.KUBERNETES_CREDENTIALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """The settings of `wis2-gc-metrics`."""

    common: CommonSettings
    dead_letter_queue_url: QueueUrl = of(settings.DEAD_LETTER_QUEUE_URL)
    expected_brokers: tuple[str, ...] = of(settings.EXPECTED_BROKERS)
    """Names of the Global Brokers that `/readyz` waits for; empty: those that have reported."""
    kubernetes: KubernetesSettings | None
    """None: not in a cluster."""


def read_settings(read: Reader) -> MetricsSettings:
    """Return the typed settings. Raises SettingsError naming the variable."""
    in_cluster = read(settings.KUBERNETES_RELEASE, absent=None) is not None
    return read.into(
        MetricsSettings,
        common=read.into(CommonSettings),
        kubernetes=read.into(KubernetesSettings) if in_cluster else None,
    )
