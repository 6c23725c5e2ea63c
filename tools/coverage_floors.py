"""What the unit tests cover of each package, and the floors below which it must not fall.

`make coverage` runs the tests and calls this with the report of coverage.py; floors are whole per
cent of lines and branches together, in `tests/unit/coverage-floors.toml`. They only rise:
`make coverage RAISE=yes` writes those that can. They hold for Python 3.11, which the images have.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOORS = Path(__file__).parents[1] / "tests/unit/coverage-floors.toml"
#: Per cent between what is covered and the floor: property tests do not take each branch each time.
SLACK = 0.5
_HEAD = "# Per cent of lines and branches that the unit tests cover: make coverage RAISE=yes\n"


def by_package(report: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Return the sums over the files of each package; `report` is coverage.py's JSON."""
    packages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, measured in report["files"].items():
        package = ".".join(Path(file.partition("/src/")[2]).parent.parts)
        packages[package].update(
            {name: n for name, n in measured["summary"].items() if isinstance(n, int)}
        )
    return dict(packages)


def lines(count: Counter[str]) -> float:
    """Return per cent of the lines."""
    return _percent(count["covered_lines"], count["num_statements"])


def branches(count: Counter[str]) -> float:
    """Return per cent of the branches."""
    return _percent(count["covered_branches"], count["num_branches"])


def both(count: Counter[str]) -> float:
    """Return per cent of lines and branches together, as coverage.py has it."""
    covered = count["covered_lines"] + count["covered_branches"]
    return _percent(covered, count["num_statements"] + count["num_branches"])


def _percent(covered: int, of: int) -> float:
    return 100 * covered / of if of else 100.0


def problems(packages: Mapping[str, Counter[str]], floors: Mapping[str, int]) -> list[str]:
    """Return a line for each package below its floor, without one, and each floor of no package."""
    found = [
        f"{name}: {both(count):.2f} % are covered, the floor is {floors[name]} %"
        for name, count in packages.items()
        if name in floors and both(count) < floors[name]
    ]
    found += [f"{name} has no floor: make coverage RAISE=yes" for name in packages.keys() - floors]
    found += [f"{name} has a floor, and is not a package" for name in floors.keys() - packages]
    return sorted(found)


def raised(packages: Mapping[str, Counter[str]], floors: Mapping[str, int]) -> dict[str, int]:
    """Return the floors as high as they can be; none is lower than before."""
    return {
        name: max(int(both(count) - SLACK), floors.get(name, 0))
        for name, count in sorted(packages.items())
    }


def main() -> int:
    """Print the table; return 1 if a package is below its floor."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("report", type=Path)
    arguments.add_argument("--raise", dest="is_raise", action="store_true")
    given = arguments.parse_args()
    packages = by_package(json.loads(given.report.read_text()))
    floors: dict[str, int] = tomllib.loads(FLOORS.read_text()) if FLOORS.exists() else {}
    can_be = raised(packages, floors)
    if given.is_raise:
        FLOORS.write_text(_HEAD + "".join(f'"{name}" = {n}\n' for name, n in can_be.items()))
        floors = can_be
    print(f"{'package':40} {'lines %':>8} {'branches %':>10} {'both %':>7} {'floor':>5}")
    for name, count in sorted(packages.items()):
        higher = f"  can be {can_be[name]}" if can_be[name] > floors.get(name, 0) else ""
        print(
            f"{name:40} {lines(count):8.1f} {branches(count):10.1f} {both(count):7.1f}"
            f" {floors.get(name, 0):5}{higher}"
        )
    wrong = problems(packages, floors)
    print("\n".join(wrong) or "no package is below its floor")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
