"""The settings of the operator's command (architecture.md#settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.settings import catalogue
from wis2_gc_common.settings.reader import of

if TYPE_CHECKING:
    from wis2_gc_common.settings.reader import Reader
    from wis2_gc_common.settings.values import QueueUrl, Secret


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of the operator's command."""

    centre_id: str = of(catalogue.CENTRE_ID)
    redis_url: Secret = of(catalogue.REDIS_URL)
    queue_url: QueueUrl = of(catalogue.QUEUE_URL)
    dead_letter_queue_url: QueueUrl = of(catalogue.DEAD_LETTER_QUEUE_URL)
    expected_brokers: tuple[str, ...] = of(catalogue.EXPECTED_BROKERS)
    """Empty: those whose listeners report."""
    log_level: str = of(catalogue.LOG_LEVEL)
    log_format: str = of(catalogue.LOG_FORMAT)


def read_settings(read: Reader) -> OperatorSettings:
    """Return the typed settings. Raises SettingsError naming the variable."""
    return read.into(OperatorSettings)
