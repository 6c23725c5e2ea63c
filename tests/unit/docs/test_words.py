"""The words of CONTRIBUTING.md: in all texts of the project, and stricter in what is printed."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from testkit.repository import tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The right column of CONTRIBUTING.md's table, and its kind.
AVOIDED = re.compile(
    r"(?<![a-z])(?:wants|want\b|anew|in case|(?:who|whom|what|which)ever|shall|upon"
    r"|(?<!there[ _])(?:is|are|was|were)[ _]no(?![ _](?:longer|more|one))(?=[ _]))(?![a-z])",
    re.IGNORECASE,
)
#: What takes two readings where a line stands alone, as those do that a program prints.
RIDDLES = re.compile(
    r"\b(?:besides|whom|nobody|somebody|(?:is|are) to (?:be|lie)|(?:be|is) had|(?:is|are) none of"
    r"|(?:is|are) told|lets? in|gets? in|out of reach|made up|put in(?!to)|asked for|for good"
    r"|(?:then|come|comes) again)\b",
    re.IGNORECASE,
)
#: Whose words are not ours, or must be named: samples, locks, the WMO's rules, the list itself.
NOT_OURS = re.compile(
    r"golden/|corpus/|package-lock\.json$|\.lock\.hcl$|^requirements/|^LICENSE$|\.svg$"
    r"|^docs/wis2-rules\.md$|^CONTRIBUTING\.md$|/test_words\.py$"
)
PROGRAMS = ("services/", "local/", "deploy/", "images/", "compose/", "tools/", "bench/", "helm/")
_MADE = "[…]"


def printed_by_python(source: str) -> Iterator[str]:
    """Yield each text of a Python file that is not a docstring; `[…]` is a value put in later."""
    tree = ast.parse(source)
    unsaid = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            unsaid.update(id(part) for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else _MADE for p in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in unsaid:
            yield node.value if isinstance(node.value, str) else ""


#: What other files print: lines of shell, help of make, messages of Terraform, hints of the chart.
PRINTED = {
    r"\.sh$": re.compile(r"\b(?:echo|printf|say)\b[^\"'\n]*([\"'].*)"),
    r"(?:^Makefile|\.mk)$": re.compile(r":.*## (.+)"),
    r"\.tf$": re.compile(r"\b(?:error_message|description)\s*=\s*\"(.*)\""),
    r"/NOTES\.txt$": re.compile(r"(.+)"),
    r"/templates/.*\.(?:tpl|yaml)$": re.compile(r"\b(?:fail|printf) \(?(?:printf )?\"([^\"]*)\""),
    r"^compose\.yaml$": re.compile(r"\$\{\w+:\?([^}]*)\}"),
}


def printed() -> Iterator[tuple[str, str]]:
    """Yield (file, text) of everything that a program of ours may print."""
    for name, text in tracked().items():
        if name.endswith(".py") and name.startswith(PROGRAMS):
            yield from ((name, each) for each in printed_by_python(text))
        for pattern, line in PRINTED.items():
            if re.search(pattern, name):
                yield from ((name, each) for each in line.findall(text))


def test_every_text_avoids_the_words_of_the_list() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in tracked().items()
        if not NOT_OURS.search(name)
        for match in AVOIDED.finditer(text)
    ]
    assert not found, "\n".join(["what to say instead is in CONTRIBUTING.md#words:", *found])


def test_what_is_printed_is_not_a_riddle() -> None:
    texts = list(printed())
    assert len(texts) > 3000
    assert {re.search(r"\.?\w+$", name)[0] for name, _ in texts} >= {  # type: ignore[index]
        ".py", ".sh", ".mk", ".tf", ".txt", ".tpl", ".yaml",
    }  # fmt: skip
    assert [f"{name}: {text}" for name, text in texts if RIDDLES.search(text)] == []


@pytest.mark.parametrize(
    "old",
    [
        "is no URL; wants mqtt://",
        "whoever runs under our name shall have it, we end",
        "the supervisor starts us anew",
        "a second retry, in case it helps",
    ],
)
def test_the_examples_of_the_list_are_found(old: str) -> None:
    assert AVOIDED.search(old)


@pytest.mark.parametrize(
    "old",
    ["lets in who has no account", "is set, then come again", "PART=x is none of a, b"],
)
def test_riddles_are_found_in_what_python_prints(old: str) -> None:
    source = f'"""Lets in a docstring."""\ndef f(x):\n    raise E(f"{{x}} {old}")\n'
    assert [text for text in printed_by_python(source) if RIDDLES.search(text)] == [f"[…] {old}"]


def test_what_is_right_is_not_found() -> None:
    assert not AVOIDED.search("there is no broker; it is no longer there; wanted replicas")
