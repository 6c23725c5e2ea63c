"""Every page of docs/decisions says whether it still holds, and names pages that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "docs/decisions"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
LINK = r"\[[\w-]+\.md\]\([\w-]+\.md\)"
STATUS = re.compile(rf"Status: (accepted|proposed|replaced by {LINK}|changed by {LINK}: \S.*)")


def test_there_are_decisions() -> None:
    assert len(PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_a_status_under_its_title(page: Path) -> None:
    title, empty, status, below, *_ = page.read_text("utf-8").splitlines()
    assert title.startswith("# ")
    assert (empty, below) == ("", "")
    assert STATUS.fullmatch(status), status
    for shown, name in re.findall(r"\[([^]]+)\]\(([^)]+)\)", status):
        assert shown == name
        later = FOLDER / name
        assert later.is_file(), name
        # A page is changed by a page of the same day, or of a later one.
        assert later != page
        assert later.name[:8] >= page.name[:8], name
