from __future__ import annotations

import ast
from collections import defaultdict

from testkit.repository import ROOT

FOLDERS = ("services", "local", "bench", "deploy", "tools", "images", "compose")


def test_no_two_classes_have_the_same_name() -> None:
    # Who reads `Refusal` knows which one without looking at the imports.
    places = defaultdict(list)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
