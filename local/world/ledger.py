"""The ground truth of a simulated world: what must come out of the cache, and what has."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.world.items import Outcome

if TYPE_CHECKING:
    from local.world.items import Item

_SHOWN = 20
#: Of announcements seen, to find repeats among them.
_MAX_REMEMBERED = 200_000

Key = tuple[str, str, str]


@dataclass(slots=True)
class Ledger:
    """Books every published item, and every announcement of the cache under test."""

    published: int = 0
    expected: int = 0
    announced: int = 0
    """Expected items that came out."""
    unexpected: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Came out, but not as they must: an own link where there must be none, or the reverse."""
    by_outcome: Counter[str] = field(default_factory=Counter)
    _open: dict[Key, Item] = field(default_factory=dict)
    _never: dict[Key, str] = field(default_factory=dict)
    _seen: dict[Key, str] = field(default_factory=dict)
    _unexpected: int = 0
    _repeated: int = 0

    def publish(self, item: Item) -> None:
        """Book an item about to be published."""
        self.published += 1
        self.by_outcome[item.outcome] += 1
        if item.outcome is Outcome.NEVER:
            _remember(self._never, item.key, item.data_id)
        else:
            self.expected += 1
            self._open[item.key] = item

    def announce(self, payload: bytes, *, centre_id: str, data_base_url: str) -> Item | None:
        """Book an announcement of the cache `centre_id`; return the item it was waited for as."""
        key, message_id, problem = _read(payload, centre_id)
        if key in self._seen:
            # The same id again is the same announcement (SPEC.md 24); another one is not.
            if self._seen[key] != message_id:
                self._repeated += 1
                _show(self.repeated, key[0])
            return None
        item = self._open.pop(key, None)
        _remember(self._seen, key, message_id)
        if item is None:
            if key in self._never:
                self._unexpected += 1
                _show(self.unexpected, key[0])
            return None  # else: of an earlier run
        self.announced += 1
        is_ours = any(href.startswith(f"{data_base_url}/") for href in _decisive_hrefs(payload))
        if problem or is_ours != (item.outcome is Outcome.CACHED):
            _show(self.wrong, f"{key[0]}: {problem or 'link'}")
        return item

    def report(self) -> dict[str, Any]:
        """Return the state of the books, as JSON values."""
        return {
            "published": self.published,
            "expected": self.expected,
            "announced": self.announced,
            "missing": len(self._open),
            "unexpected": self._unexpected,
            "repeated": self._repeated,
            "outcomes": dict(self.by_outcome),
            "examples": {
                "missing": [
                    f"{item.data_id} ({item.kind}, {item.fault})"
                    for item in list(self._open.values())[:_SHOWN]
                ],
                "unexpected": self.unexpected,
                "repeated": self.repeated,
                "wrong": self.wrong,
            },
        }


def _read(payload: bytes, centre_id: str) -> tuple[Key, str, str]:
    message = json.loads(payload)
    properties = message["properties"]
    rel = next(
        link["rel"]
        for link in message["links"]
        if link["rel"] in ("canonical", "update", "deletion")
    )
    problem = "" if properties.get("global-cache") == centre_id else "global-cache"
    return (properties["data_id"], properties["pubtime"], rel), message["id"], problem


def _decisive_hrefs(payload: bytes) -> list[str]:
    links = json.loads(payload)["links"]
    return [link["href"] for link in links if link["rel"] in ("canonical", "update", "deletion")]


def _show(examples: list[str], text: str) -> None:
    if len(examples) < _SHOWN:
        examples.append(text)


def _remember(memory: dict[Key, str], key: Key, value: str) -> None:
    memory[key] = value
    if len(memory) > _MAX_REMEMBERED:
        del memory[next(iter(memory))]
