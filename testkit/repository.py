"""The files of this repository and what its pages name, for tests that hold the two together."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SERVICES = {"common", "listener", "manager", "metrics", "operator"}


def place(name: str) -> Path:
    """Return the file that a page names: `common/errors.py` is in the package of that service."""
    service, _, rest = name.partition("/")
    if service in _SERVICES:
        return ROOT / f"services/{service}/src/wis2_gc_{service}" / rest
    return ROOT / name


@cache
def tracked() -> dict[str, str]:
    """Return the text of every file of the project, new ones too, by its path."""
    answer = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = [name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(names) > 900
    return {name: (ROOT / name).read_text("utf-8", errors="replace") for name in names}


def headings(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them, and those it sets itself."""
    made = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }
    return made | set(re.findall(r'<a id="([^"]+)">', page))
