"""The tables in `docs/`: of settings and metrics from their catalogues, of modules from the code.

`make docs-tables` writes them; a test fails if they are out of date.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wis2_gc_common import metrics
from wis2_gc_common.settings import catalogue as settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.settings.catalogue import Setting

DOCS = Path(__file__).parents[1] / "docs"
BEGIN = "<!-- table: made by make docs-tables -->"
END = "<!-- end of table -->"


def settings_table() -> str:
    """Return one row per environment variable."""
    rows = [
        (f"`{setting.name}`", _services(setting), _default(setting), setting.meaning)
        for setting in settings.CATALOGUE
    ]
    return _table(("variable", "read by", "default", "meaning"), rows)


def metrics_table() -> str:
    """Return one row per metric family."""
    rows = [
        (f"`{metric.name}`", metric.type, _labels(metric), metric.help)
        for metric in metrics.CATALOGUE
    ]
    return _table(("metric", "type", "labels", "meaning"), rows)


def with_table(page: str, table: str) -> str:
    """Return `page` with `table` between its two marks. Raises ValueError if a mark is missing."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"requires the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _services(setting: Setting[Any]) -> str:
    return "all" if setting.services == settings.ALL else ", ".join(setting.services)


def _default(setting: Setting[Any]) -> str:
    if setting.is_required:
        return "**required**"
    if setting.name == "GC_INSTANCE":
        return "the host name"
    return f"`{setting.default}`" if setting.default else "none"


def _labels(metric: Metric) -> str:
    labels = (("report_by",) if metric.is_wmo else ()) + metric.labels
    return ", ".join(f"`{label}`" for label in labels)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def modules_table() -> str:
    """Return one row per module of the services: the file, and its docstring's first paragraph."""
    rows = []
    for package in ("common", "listener", "manager", "metrics", "operator"):
        source = DOCS.parent / f"services/{package}/src/wis2_gc_{package}"
        for path in sorted(source.rglob("*.py"), key=lambda path: (path.parent, path.name)):
            summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
            name = f"{package}/{path.relative_to(source)}"
            is_room = path.name == "__init__.py"
            shown = f"**{name.removesuffix('__init__.py')}**" if is_room else f"`{name}`"
            rows.append((shown, " ".join(summary.split())))
    return _table(("module", "what it is for"), rows)


PAGES = {
    DOCS / "settings.md": settings_table,
    DOCS / "metrics.md": metrics_table,
    DOCS / "code-map.md": modules_table,
}

if __name__ == "__main__":
    for path, table in PAGES.items():
        path.write_text(with_table(path.read_text(), table()))
