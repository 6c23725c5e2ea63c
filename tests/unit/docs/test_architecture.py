"""docs/architecture.md: citations lead to a chapter, its numbers are those of the code."""

from __future__ import annotations

import ast
import operator
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testkit.repository import ROOT, headings, tracked
from wis2_gc_common.settings.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable


PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "hours": 3600}
VALUES = re.findall(r"`(_?[A-Z][A-Z_\d]+)`\s+([\d.,]*\d)(?:\s+(KiB|MiB|GiB|hours))?", PAGE)
SETTINGS = {setting.name: setting.default for setting in CATALOGUE}
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Add: operator.add,
}


def value_of(node: ast.expr) -> float | None:
    """Return what an expression of numbers is, None for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = value_of(node.left), value_of(node.right)
        if left is not None and right is not None:
            return OPERATORS[type(node.op)](left, right)
    return None


@cache
def constants() -> dict[str, set[float]]:
    """Return the numbers that modules of the services define, by name."""
    found: dict[str, set[float]] = {}
    for path in (ROOT / "services").glob("*/src/**/*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = value_of(node.value)
                if value is not None:
                    found.setdefault(node.targets[0].id, set()).add(value)
    return found


def test_the_page_has_numbers() -> None:
    assert len(VALUES) > 30


@pytest.mark.parametrize(("name", "number", "unit"), VALUES)
def test_a_number_is_that_of_the_code(name: str, number: str, unit: str) -> None:
    if name.startswith("GC_"):
        default = SETTINGS[name]
        if not unit:
            assert number == default
        else:
            assert default is not None
            assert float(number) * UNITS[unit] == float(default)
    else:
        assert float(number) * UNITS.get(unit, 1) in constants().get(name, set()), name


def test_every_citation_is_a_chapter() -> None:
    chapters, count = headings(PAGE), 0
    for name, text in tracked().items():
        for anchor in re.findall(r"architecture\.md#([\w-]+)", text):
            assert anchor in chapters, f"{name}: architecture.md#{anchor}"
            count += 1
    assert count > 25


def test_every_module_it_names_is_there() -> None:
    modules = {path.name for path in (ROOT / "services").glob("*/src/**/*.*")}
    names = re.findall(r"`([\w/]*\b\w+\.(?:py|lua))`", PAGE)
    assert len(names) > 20
    for name in names:
        if name.startswith("tests/"):
            assert (ROOT / name).is_file(), name
        else:
            assert Path(name).name in modules, name
