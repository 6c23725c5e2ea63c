"""Every link of every page leads to a file of this repository, and to a heading in it."""

from __future__ import annotations

import re

import pytest

from testkit.repository import ROOT, headings, tracked

PAGES = [name for name in tracked() if name.endswith(".md")]
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]+))?\)")


def test_there_are_pages_with_links() -> None:
    assert len(PAGES) > 50
    assert sum(len(_LINK.findall(tracked()[page])) for page in PAGES) > 150


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for name, anchor in _LINK.findall(tracked()[page]):
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), name
        if anchor:
            assert anchor in headings(target.read_text("utf-8")), f"{name}#{anchor}"
