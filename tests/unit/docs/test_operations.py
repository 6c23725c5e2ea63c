"""docs/operations.md has a section for each reason of the verdict, and for no other."""

from __future__ import annotations

import re

from testkit.repository import ROOT, headings
from wis2_gc_common.health.facts import Code

PAGE = (ROOT / "docs/operations.md").read_text("utf-8")


def test_every_reason_has_its_section_and_each_section_its_reason() -> None:
    _, _, chapter = PAGE.partition("\n## Reasons\n")
    sections = re.findall(r"^### (.+)$", chapter.partition("\n## ")[0], re.MULTILINE)
    assert [section.lower().replace(" ", "_") for section in sections] == list(Code)


def test_the_anchor_of_a_reason_is_its_section() -> None:
    anchors = headings(PAGE)
    for code in Code:
        page, _, anchor = code.runbook.partition("#")
        assert (page, anchor in anchors) == ("docs/operations.md", True), code
