from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.chart_files import generated

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_the_chart_has_what_the_code_says(path: Path) -> None:
    assert path.read_text("utf-8") == generated()[path], "run: make chart-files"
