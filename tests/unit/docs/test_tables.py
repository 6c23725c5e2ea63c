from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.docs_tables import PAGES, with_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_table_in_the_docs_is_that_of_the_catalogue(path: Path) -> None:
    page = path.read_text()
    assert page == with_table(page, PAGES[path]()), "run: make docs-tables"


def test_a_page_without_the_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="end of table"):
        with_table("# Settings\n", "")
