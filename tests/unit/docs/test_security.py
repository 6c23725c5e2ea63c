"""docs/security.md and others name what is there: modules, settings, tests, values of the chart."""

from __future__ import annotations

import re

import yaml

from testkit.repository import ROOT, place
from wis2_gc_common.settings.catalogue import CATALOGUE

PAGES = [
    ROOT / name
    for name in (
        "docs/security.md", "SECURITY.md", "docs/disaster-recovery.md", "docs/compose.md",
    )
]  # fmt: skip
NAMES = re.findall(r"`([^`\n]+)`", "".join(page.read_text("utf-8") for page in PAGES))


def test_every_file_is_there() -> None:
    files = [name for name in NAMES if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|lua|md|tf)", name)]
    assert len(files) > 50
    assert [name for name in files if not place(name).is_file()] == []


def test_every_guard_has_a_module_and_a_test() -> None:
    rows = re.findall(r"^\| .+ \|$", PAGES[0].read_text("utf-8"), re.MULTILINE)
    guards = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    guards = [row for row in guards if len(row) == 5 and row[-1] not in {"test", "the same"}]
    assert len(guards) > 25
    for row in guards:
        assert "`tests/" in row[-1], row
        assert row[0], row


def test_every_setting_is_one() -> None:
    named = {found[0] for name in NAMES if (found := re.match(r"GC_\w+", name))}
    assert named
    known = {setting.name for setting in CATALOGUE}
    assert named <= known | {f"{setting.name}_FILE" for setting in CATALOGUE if setting.is_secret}


def test_every_value_of_the_chart_is_one() -> None:
    values = yaml.safe_load((ROOT / "helm/wis2-global-cache/values.yaml").read_text("utf-8"))
    for name in NAMES:
        first, *rest = name.split(".")
        if first in values and rest and "/" not in name:
            found = values[first]
            for key in rest:
                assert key in found, name
                found = found[key]
