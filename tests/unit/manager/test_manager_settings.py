"""The manager's settings come from the environment, each under its own name."""

from __future__ import annotations

import pytest

from testkit.fakes.manager_settings import REQUIRED
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings.reader import Reader
from wis2_gc_common.wis2.event_format import EventFormat
from wis2_gc_manager.settings import read_settings


def test_what_is_required_is_enough() -> None:
    settings = read_settings(Reader(REQUIRED))
    assert settings.common.centre_id == "xx-test-global-cache"
    assert settings.data_base_url == "https://cache.test/data"
    assert settings.local_broker_url.port == 8883
    assert settings.retry_delays_s == (10.0, 30.0, 120.0, 600.0, 1800.0)
    assert settings.ca_file is None
    assert settings.instance


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_is_required_and_missing_is_named(name: str) -> None:
    environment = {key: value for key, value in REQUIRED.items() if key != name}
    with pytest.raises(SettingsError, match=name):
        read_settings(Reader(environment))


@pytest.mark.parametrize(("retention", "window", "used"), [("24", "12", 12), ("6", "12", 6)])
def test_what_has_left_the_cache_is_not_repeated(retention: str, window: str, used: int) -> None:
    told = {"GC_RETENTION_HOURS": retention, "GC_REPEAT_WINDOW_HOURS": window}
    assert read_settings(Reader({**REQUIRED, **told})).repeat_window_hours == used


def test_events_name_themselves_as_the_drafts_main_branch_does_unless_told_otherwise() -> None:
    assert read_settings(Reader(REQUIRED)).event_format == EventFormat()
    told = {"GC_EVENT_OVERRIDE_TITLE": "Data granule not cached"}
    settings = read_settings(Reader({**REQUIRED, **told}))
    assert settings.event_format == EventFormat(override_title="Data granule not cached")


def test_passwords_do_not_show() -> None:
    shown = repr(read_settings(Reader(REQUIRED)))
    assert ":secret" not in shown
    assert REQUIRED["GC_DEPLOYMENT_SECRET"] not in shown
