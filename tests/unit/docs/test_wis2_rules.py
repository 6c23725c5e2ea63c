"""docs/wis2-rules.md: citations lead to a rule, a rule has a source and tests that exist."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from testkit.repository import ROOT, place, tracked
from wis2_gc_common.settings.catalogue import CATALOGUE

PAGE = (ROOT / "docs/wis2-rules.md").read_text("utf-8")

#: Every file but this one, which cites what is not there.
OTHERS = {name: text for name, text in tracked().items() if ROOT / name != Path(__file__)}

#: Nobody builds on these yet. A rule leaves this list together with its first test.
NOT_BUILT = {"R1", "R2", "R3"}

_TEST = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`")
_NUMBER = r"[A-Z]?\d+\b"
_CITATION = re.compile(rf"wis2-rules\.md (?P<numbers>{_NUMBER}(?:(?:, | and | to ){_NUMBER})*)")
#: The page itself may be named, too: in a link, as a path.
_PAGE_ITSELF = re.compile(r"docs/wis2-rules\.md(?=[\n,])|wis2-rules\.md(?=[)`\]:\"]|#rule-)")
_CONFORMANCE = re.compile(r"\bdef test_rule_((?:[a-z]?\d+_)+)")


@dataclass(frozen=True)
class Rule:
    anchor: str
    number: str
    source: str
    tests: tuple[tuple[str, str], ...]


def read_rules(page: str) -> list[Rule]:
    """Return the rules, chapters and rows of tables alike. Raises ValueError: not of that form."""
    rules = []
    for piece in page.split('<a id="rule-')[1:]:
        anchor, _, text = piece.partition('"></a>')
        if text.startswith("\n### "):
            number = text.split()[1].removesuffix(".")
            fields = dict(
                re.findall(
                    r"^- \*\*(\w+):\*\*\s(.+?)(?=\n- |\n\n|\Z)", text, re.MULTILINE | re.DOTALL
                )
            )
            source, tests = fields["Source"], fields["Tests"]
        else:
            number, *_, source, tests, _ = text.partition("\n")[0].split(" |")
        rules.append(Rule(anchor, number, " ".join(source.split()), tuple(_TEST.findall(tests))))
    return rules


RULES = {rule.number: rule for rule in read_rules(PAGE)}


def cited(text: str) -> set[str]:
    """Return the numbers that a text cites, ranges unfolded. Raises ValueError: broken."""
    numbers: set[str] = set()
    for found in _CITATION.finditer(text):
        for first, last in re.findall(rf"({_NUMBER})(?: to ({_NUMBER}))?", found["numbers"]):
            kind = first.rstrip("0123456789")
            if last and last.rstrip("0123456789") != kind:
                raise ValueError(found[0])
            begin, end = (int(each.removeprefix(kind)) for each in (first, last or first))
            numbers |= {f"{kind}{number}" for number in range(begin, end + 1)}
    named = text.count("wis2-rules.md")
    if named != len(_CITATION.findall(text)) + len(_PAGE_ITSELF.findall(text)):
        raise ValueError("names wis2-rules.md without a number")
    return numbers


@cache
def functions(file: str) -> frozenset[str]:
    """Return the functions of a module, and the methods of its classes as `Class::method`."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = set()
    for node in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(node, kinds):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, kinds)}
    return frozenset(names)


def test_every_rule_is_read() -> None:
    rules = read_rules(PAGE)
    assert [rule.anchor for rule in rules] == [rule.number.lower() for rule in rules]
    kinds = {"": 28, "M": 19, "E": 3, "W": 22, "R": 3}
    numbers = [f"{kind}{number + 1}" for kind, count in kinds.items() for number in range(count)]
    assert [rule.number for rule in rules] == numbers


def test_every_citation_is_a_rule() -> None:
    wrong, count = {}, 0
    for name, text in OTHERS.items():
        if "wis2-rules.md" not in text:
            continue
        links = {link.upper() for link in re.findall(r"wis2-rules\.md#rule-(\w+)", text)}
        if name == "docs/wis2-rules.md":
            links |= {link.upper() for link in re.findall(r"\(#rule-(\w+)\)", text)}
        try:
            numbers = cited(text) | links
        except ValueError as error:
            wrong[name] = str(error)
            continue
        count += len(numbers)
        if numbers - RULES.keys():
            wrong[name] = str(numbers - RULES.keys())
    assert wrong == {}
    assert count > 150


def test_every_conformance_test_is_named_for_a_rule_that_is_there() -> None:
    count = 0
    for name, text in OTHERS.items():
        if not name.startswith("tests/conformance/"):
            continue
        for numbers in _CONFORMANCE.findall(text):
            for number in numbers.split("_")[:-1]:
                assert number.lstrip("0").upper() in RULES, f"{name}: test_rule_{numbers}…"
                count += 1
    assert count > 60


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(wis2-rules.md 24)", {"24"}),
        ("wis2-rules.md 6 to 8, 14 and M2.", {"6", "7", "8", "14", "M2"}),
        ("wis2-rules.md W1 to W3: odd", {"W1", "W2", "W3"}),
        ("see docs/wis2-rules.md, and [rules](wis2-rules.md)", set()),
    ],
)
def test_a_citation_is_understood(text: str, numbers: set[str]) -> None:
    assert cited(text) == numbers


@pytest.mark.parametrize(
    "text", ["wis2-rules.md section 8", "wis2-rules.md\n# 8", "wis2-rules.md W1 to M2"]
)
def test_a_citation_that_nobody_can_follow_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wis2-rules\.md"):
        cited(text)


def test_nothing_is_cited_that_is_not_here() -> None:
    names = re.compile(r"\b(?:SPEC|DESIGN)(?:\.md\b| \d)|test_spec_")
    assert [name for name, text in OTHERS.items() if names.search(text)] == []


@pytest.mark.parametrize("number", RULES)
def test_a_rule_says_its_source(number: str) -> None:
    table = re.findall(r"^\| \*\*(\w+)\*\* \|", PAGE, re.MULTILINE)
    assert len(table) > 8
    for part in RULES[number].source.split("; "):
        assert part.split()[0].rstrip(",") in table, part


@pytest.mark.parametrize("number", RULES)
def test_a_rule_has_tests_that_are_there(number: str) -> None:
    tests = RULES[number].tests
    assert bool(tests) != (number in NOT_BUILT), f"rule {number}: {len(tests)} tests"
    for file, name in tests:
        assert (ROOT / file).is_file(), file
        assert name in functions(file), f"{file}::{name}"
        assert name.rpartition("::")[2].startswith("test_")


def test_every_module_and_setting_it_names_is_there() -> None:
    names = re.findall(r"`([\w/-]+/[\w.-]+\.(?:py|lua|tf|yaml))`", PAGE)
    assert len(names) > 40
    assert [name for name in names if not place(name).is_file()] == []
    settings = set(re.findall(r"`(GC_\w+)`", PAGE))
    assert settings
    assert settings <= {setting.name for setting in CATALOGUE}
