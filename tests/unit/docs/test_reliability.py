"""docs/reliability.md names tests and modules that are there; so does disaster-recovery.md."""

from __future__ import annotations

import re

import pytest

from testkit.repository import ROOT, place

TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
RECOVERY = (ROOT / "docs" / "disaster-recovery.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT + RECOVERY)))
PROMISES = TEXT.partition("## The long run")[0].splitlines()
ROWS = [row.split("|") for row in PROMISES if row.startswith("| ") and "---" not in row]


def test_it_names_tests() -> None:
    assert len(NAMED) > 10


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_it_names_is_there(file: str, name: str) -> None:
    assert re.search(
        rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
    )


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[1].strip()[:40])
def test_each_promise_has_a_test(row: list[str]) -> None:
    assert "the long run" in row[4] or "`tests/" in row[4]


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[1].strip()[:40])
def test_each_module_it_names_is_there(row: list[str]) -> None:
    folder = ROOT
    for name in re.findall(r"`([\w/.]+)`", row[3]):
        # A name alone is beside the one before.
        path = place(name) if "/" in name else folder / name
        folder = path.parent
        assert path.exists(), name
