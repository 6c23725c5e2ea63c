from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_manager.upkeep.known_centres import MAX_BYTES, read_known_centres

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_column_names_the_centres(tmp_path: Path) -> None:
    path = tmp_path / "centre-id.csv"
    path.write_text(
        "Name,Description,Source,Status\n"
        'de-dwd,"Wetterdienst, Deutscher",,Operational\r\n'
        "\n"
        "au-bom,Bureau of Meteorology,,Retired\n"
        "Not A Centre,x,,\n",
        encoding="utf-8",
    )
    assert read_known_centres(path) == frozenset({"de-dwd", "au-bom"})


def test_a_list_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "centre-id.csv"
    path.write_text("de-dwd\n")
    assert read_known_centres(path) == frozenset({"de-dwd"})
    path.write_text("fr-meteofrance\n")
    assert read_known_centres(path) == frozenset({"fr-meteofrance"})


def test_without_a_good_list_the_last_one_stays(tmp_path: Path) -> None:
    assert read_known_centres(None) is None
    assert read_known_centres(tmp_path / "missing.csv") is None
    (tmp_path / "empty.csv").write_text("Name\n")
    assert read_known_centres(tmp_path / "empty.csv") is None
    (tmp_path / "binary.csv").write_bytes(b"\xff\x00" * MAX_BYTES)
    assert read_known_centres(tmp_path / "binary.csv") is None
