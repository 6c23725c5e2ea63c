"""All ways to spoil one member of a message: for tests of what is done with what is invalid."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

REMOVED: Any = object()


_TIME = "2026-01-01T00:00:00Z"
#: Members of a notification that most do not have.
ADDED: dict[Path, dict[str, list[Any]]] = {
    (): {
        "version": ["v04", "v05", 7, None],
        "conformsTo": [["http://wis.wmo.int/spec/wnm/1/conf/core"], [], None],
        "id": ["x", None],
    },
    ("properties",): {
        "datetime": [_TIME, None, 7],
        "start_datetime": [_TIME, None],
        "end_datetime": [_TIME, None],
        "cache": [True, False, None, "false"],
        "global-cache": ["yy-global-cache", None, 7, ""],
        "producer": ["x", None],
        "metadata_id": ["x", None],
        "integrity": [{"method": "md5", "value": ""}, {"method": "sha512", "value": ""}, None],
        "content": [{"encoding": "utf-8", "value": "x", "size": "1"}, {}, None],
    },
    ("links", 0): {
        "length": [0, 9.0, 9.5, "9", "x", None, True],
        "type": ["x", None],
        "hreflang": ["x", None],
        "title": ["x", 7],
        "security": [{}, {"a b": 7}, {"a": 7}, {"a": {"$ref": 7}}, None],
    },
}


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each member of `value`, at any depth."""
    if isinstance(value, dict | list):
        for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield (*path, name)
            yield from paths(inner, (*path, name))


def spoilt(value: Any) -> list[Any]:
    """Return what `value` is exchanged for."""
    others: list[Any] = [REMOVED, None, 7, 7.5, -1, 2**60, True, "", "nonsense", "7", "x" * 5000]
    others += [[], {}, [value], {"x": value}, [7], {"x": 7}]
    if isinstance(value, str):
        others += [value.upper(), f" {value}"]
    if isinstance(value, list):
        others += [value * 2, value[:1]]
    return others


def mutations(message: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (what was done, the message with one member removed, exchanged or added)."""
    for path in paths(message):
        parent: Any = message
        for name in path[:-1]:
            parent = parent[name]
        for other in spoilt(parent[path[-1]]):
            changed = copy.deepcopy(message)
            place: Any = changed
            for name in path[:-1]:
                place = place[name]
            if other is REMOVED:
                del place[path[-1]]
                what = "removed"
            else:
                place[path[-1]] = other
                what = repr(other)[:40]
            yield f"{'/'.join(map(str, path))}: {what}", changed
    for path, members in ADDED.items():
        for name, values in members.items():
            for value in values:
                changed = copy.deepcopy(message)
                place = changed
                for step in path:
                    place = place[step]
                if name not in place:
                    place[name] = value
                    yield f"{'/'.join(map(str, (*path, name)))}: added {value!r}", changed
