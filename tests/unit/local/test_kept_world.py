from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.kept_world import NOTE, KeptWorld, take_for, world_of
from local.plan import operator_file
from local.settings import read_settings
from wis2_gc_common.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

REAL = {"BROKERS": "fr=mqtts://u:hidden@fr.example br=mqtts://u:hidden@br.example:1883"}


def world(environment: dict[str, str]) -> KeptWorld:
    return world_of(read_settings(environment), "xx-a-global-cache")


def take(directory: Path, environment: dict[str, str]) -> None:
    settings = read_settings(environment)
    take_for(directory, world(environment), keeps_both=settings.keeps_both_worlds)


def put(directory: Path, *names: str, text: str = "something") -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def last_run(directory: Path, brokers: str) -> None:
    put(directory, "environment", text=operator_file({"GC_EXPECTED_BROKERS": brokers}, {}))


@pytest.mark.parametrize("environment", [{}, REAL])
def test_the_same_world_goes_on(tmp_path: Path, environment: dict[str, str]) -> None:
    take(tmp_path, environment)
    put(tmp_path, "data/2026/item")
    take(tmp_path, environment)


def test_real_brokers_come_and_go_in_the_same_world(tmp_path: Path) -> None:
    take(tmp_path, REAL)
    put(tmp_path, "data/2026/item")
    take(tmp_path, {"BROKERS": "fr=mqtts://fr.example jp=mqtts://jp.example"})
    take(tmp_path, {"BROKERS": "us=mqtts://us.example"})


def test_the_note_has_addresses_in_order_and_no_password(tmp_path: Path) -> None:
    take(tmp_path, REAL)
    note = (tmp_path / NOTE).read_text()
    assert note.index("mqtts://br.example:1883") < note.index("mqtts://fr.example:8883")
    assert '"xx-a-global-cache"' in note
    assert "hidden" not in note


@pytest.mark.parametrize(
    "data",
    [
        "data/2026/item",
        "buckets/wis2-data/item",
        "redis/appendonlydir/appendonly.aof.1.incr.aof",
        "world/ledger.json",
    ],
)
def test_real_brokers_are_refused_a_simulated_world(tmp_path: Path, data: str) -> None:
    take(tmp_path, {})
    put(tmp_path, data)
    note = (tmp_path / NOTE).read_text()
    with pytest.raises(SettingsError) as caught:
        take(tmp_path, REAL | {"WORLD": "keep"})
    assert str(caught.value) == (
        f"STATE: {tmp_path} holds a simulated world; BROKERS is set. They are never mixed: "
        f"remove it (make clean STATE={tmp_path}), or use another directory (STATE=…)"
    )
    assert (tmp_path / NOTE).read_text() == note


def test_a_simulated_world_is_refused_data_of_real_brokers(tmp_path: Path) -> None:
    take(tmp_path, REAL)
    put(tmp_path, "data/2026/item")
    with pytest.raises(SettingsError, match=r"holds data of real Global Brokers \(br, fr\); with"):
        take(tmp_path, {"WORLD": "keep"})


def test_a_run_that_left_only_its_note_locks_nobody_out(tmp_path: Path) -> None:
    take(tmp_path, {})
    put(tmp_path, "world/alpha/mosquitto.conf", "redis/redis.conf", "secrets/name")
    put(tmp_path, "redis/appendonlydir/appendonly.aof.1.incr.aof", text="")
    take(tmp_path, REAL)
    put(tmp_path, "data/2026/item")
    take(tmp_path, REAL)


@pytest.mark.parametrize("note", [None, "", "[]", '{"kind"'])
def test_without_a_note_the_files_of_real_brokers_are_known(
    tmp_path: Path, note: str | None
) -> None:
    put(tmp_path, "data/2026/item")
    last_run(tmp_path, "fr,br")
    if note is not None:
        put(tmp_path, NOTE, text=note)
    with pytest.raises(SettingsError, match="holds data of real Global Brokers; without BROKERS"):
        take(tmp_path, {})
    take(tmp_path, REAL)


def test_without_a_note_the_files_of_a_simulated_world_are_known(tmp_path: Path) -> None:
    put(tmp_path, "data/2026/item", "world/ledger.json")
    last_run(tmp_path, "alpha,beta")
    with pytest.raises(SettingsError, match="holds a simulated world; BROKERS is set"):
        take(tmp_path, REAL)
    take(tmp_path, {})


@pytest.mark.parametrize("environment", [{}, REAL])
def test_what_perhaps_holds_both_is_kept_on_demand_only(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    put(tmp_path, "data/2026/item", "world/ledger.json")
    last_run(tmp_path, "fr,br")
    with pytest.raises(SettingsError, match=r"perhaps data of real .* \(WORLD=keep\)$"):
        take(tmp_path, environment)
    take(tmp_path, environment | {"WORLD": "keep"})
    take(tmp_path, environment)


def test_world_has_two_values() -> None:
    with pytest.raises(SettingsError, match="WORLD: 'any': requires one of checked, keep"):
        read_settings({"WORLD": "any"})
