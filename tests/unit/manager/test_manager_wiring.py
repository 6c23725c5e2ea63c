"""What each part of a manager is told of the settings: a value that goes astray stops no test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi

from testkit.fakes.manager_settings import REQUIRED
from wis2_gc_common.settings.reader import Reader
from wis2_gc_manager import main as main_module
from wis2_gc_manager.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

#: No two alike.
GIVEN = {
    **REQUIRED,
    "GC_CA_FILE": certifi.where(),
    "GC_RETENTION_HOURS": "37",
    "GC_STORE_EXPIRATION_DAYS": "3",
    "GC_VISIBILITY_TIMEOUT": "41",
    "GC_MAX_OBJECT_BYTES": "4300",
    "GC_CONCURRENCY": "47",
    "GC_CONCURRENCY_PER_HOST": "7",
    "GC_CONNECT_TIMEOUT": "11",
    "GC_IDLE_TIMEOUT": "13",
    "GC_DOWNLOAD_TIMEOUT": "1700",
    "GC_REPEAT_WINDOW_HOURS": "17",
    "GC_INSTANCE": "manager-19",
}


class Recorder:
    """Takes the place of what makes the parts, and knows what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, dict[str, Any]] = {}
        for name in ("RedisRegistry", "open_queue", "open_store", "LinkDownloader", "Manager"):
            monkeypatch.setattr(main_module, name, self._makes(name))

    def _makes(self, name: str) -> Callable[..., str]:
        def make(*positional: Any, **named: Any) -> str:
            self.told[name] = {"positional": positional, **named}
            return name

        return make


async def test_each_part_is_told_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(Reader(GIVEN))
    recorder = Recorder(monkeypatch)
    await main_module._put_together(settings)
    told = recorder.told
    assert told["RedisRegistry"] == {
        "positional": (settings.common.redis_url,),
        "retention_hours": 37,
        "lease_s": 41.0,
        "repeat_window_hours": 17,
        "claims_when_full": True,
    }
    assert told["open_store"] == {
        "positional": (settings.store_url,),
        "retention_hours": 37,
        "expiration_days": 3,
        "ca_file": Path(certifi.where()),
    }
    assert told["open_queue"] == {
        "positional": (settings.common.queue_url, settings.dead_letter_url),
        "redis_url": settings.common.redis_url,
        "consumer": "manager-19",
        "visibility_s": 41.0,
    }
    downloader = told["LinkDownloader"]
    assert downloader["max_object_bytes"] == 4300
    assert downloader["concurrency_per_host"] == 7
    assert downloader["connect_timeout_s"] == 11.0
    assert downloader["idle_timeout_s"] == 13.0
    assert downloader["total_timeout_s"] == 1700.0
    assert downloader["ca_file"] == Path(certifi.where())
    assert told["Manager"]["tls"] is not None
