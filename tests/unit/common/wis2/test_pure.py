"""The rules of WIS2 use no file, no network and no clock of their own."""

from __future__ import annotations

import ast

import pytest

from testkit.repository import place

#: What computes only. A module that is not here may do more: think before you add it.
COMPUTES = {
    "__future__", "base64", "binascii", "bisect", "collections", "dataclasses", "datetime", "enum",
    "functools", "hashlib", "hmac", "msgspec", "re", "types", "typing", "urllib.parse", "uuid",
    "zlib",
}  # fmt: skip
#: Attributes that ask the machine, of modules that also compute.
ASKS_THE_MACHINE = {"now", "today", "utcnow", "uuid1", "uuid4", "getnode"}


def _impure(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name not in COMPUTES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if not module.startswith(("wis2_gc_common", "collections.")) and module not in COMPUTES:
                found.append(module)
            found += [alias.name for alias in node.names if alias.name in ASKS_THE_MACHINE]
        elif isinstance(node, ast.Attribute) and node.attr in ASKS_THE_MACHINE:
            found.append(node.attr)
        elif isinstance(node, ast.Name) and node.id == "open":
            found.append("open")
    return found


def test_the_rules_only_compute() -> None:
    modules = sorted(place("common/wis2").glob("*.py"))
    assert len(modules) > 10
    assert {path.name: found for path in modules if (found := _impure(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "from time import time",
        "from datetime import datetime\nx = datetime.now()",
        "from uuid import uuid4",
        "x = open('a')",
    ],
)
def test_what_asks_the_machine_is_found(source: str) -> None:
    assert _impure(source)
