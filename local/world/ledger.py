"""The ground truth of a simulated world: what the cache must announce and what it announced."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.world.items import WorldOutcome
from wis2_gc_common.wis2.pubtime import parse_pubtime

if TYPE_CHECKING:
    from local.world.items import WorldItem

_SHOWN = 20
#: Most remembered announcements, to find repeats.
_MAX_REMEMBERED = 200_000
#: Relations of the deciding link, the strongest first; old nodes write URIs (wis2-rules.md 7).
_RELS = ("deletion", "update", "canonical")

#: Centre-id of the topic, data_id, pubtime, rel.
Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Ledger:
    """Records every published item, and every announcement of the cache under test."""

    published: int = 0
    expected: int = 0
    announced: int = 0
    """Expected items that were announced."""
    overtaken: int = 0
    """Expected items of which a newer version was announced first: by the rules they are dropped as
    stale."""
    unexpected: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Announced, but wrongly: on another topic, with our own link where there must be none, …"""
    by_outcome: Counter[str] = field(default_factory=Counter)
    _open: dict[Key, WorldItem] = field(default_factory=dict)
    _versions: defaultdict[tuple[str, str], list[Key]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """The open keys of one item."""
    _never: dict[Key, str] = field(default_factory=dict)
    _seen: dict[Key, str] = field(default_factory=dict)
    _unexpected: int = 0
    _repeated: int = 0
    _wrong: int = 0

    def publish(self, item: WorldItem) -> None:
        """Record an item before it is published."""
        self.published += 1
        self.by_outcome[item.outcome] += 1
        if item.outcome is WorldOutcome.NEVER:
            _remember(self._never, item.key, item.data_id)
        else:
            self.expected += 1
            self._open[item.key] = item
            self._versions[item.key[:2]].append(item.key)

    def announce(
        self, topic: str, payload: bytes, *, centre_id: str, data_base_url: str
    ) -> WorldItem | None:
        """Record an announcement of the cache `centre_id`; return the expected item, if any."""
        message = json.loads(payload)
        key = _key(topic, message)
        if key in self._seen:
            # The same id is the same announcement (wis2-rules.md 24); another id is a second one.
            if self._seen[key] != message["id"]:
                self._repeated += 1
                _show(self.repeated, key[1])
            return None
        item = self._open.pop(key, None)
        _remember(self._seen, key, message["id"])
        if item is None:
            if key in self._never:
                self._unexpected += 1
                _show(self.unexpected, key[1])
            return None  # else: from an earlier run
        self.announced += 1
        self._close(key)
        problem = _problem(topic, message, item, centre_id=centre_id, data_base_url=data_base_url)
        if problem:
            self._wrong += 1
            _show(self.wrong, f"{key[1]}: {problem}")
        return item

    def _close(self, key: Key) -> None:
        """Remove the key, and older ones of the same item, from the expected ones."""
        left = []
        for other in self._versions.pop(key[:2]):
            if other == key:
                continue
            if parse_pubtime(other[2]) < parse_pubtime(key[2]):
                del self._open[other]
                self.overtaken += 1
            else:
                left.append(other)
        if left:
            self._versions[key[:2]] = left

    def report(self) -> dict[str, Any]:
        """Return the state of the ledger, as JSON values."""
        return {
            "published": self.published,
            "expected": self.expected,
            "announced": self.announced,
            "overtaken": self.overtaken,
            "missing": len(self._open),
            "unexpected": self._unexpected,
            "repeated": self._repeated,
            "wrong": self._wrong,
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


def _key(topic: str, message: dict[str, Any]) -> Key:
    properties = message["properties"]
    rels = {link["rel"].rpartition("/")[2] for link in message["links"]}
    rel = next(rel for rel in _RELS if rel in rels)
    return topic.split("/")[3], properties["data_id"], properties["pubtime"], rel


def _problem(
    topic: str, message: dict[str, Any], item: WorldItem, *, centre_id: str, data_base_url: str
) -> str:
    """Return what is wrong with the announcement of `item`; "" if nothing."""
    if message["properties"].get("global-cache") != centre_id:
        return "global-cache"
    if topic.partition("/")[2] != item.topic.partition("/")[2]:
        return "topic"
    hrefs = [link["href"] for link in message["links"] if link["rel"].rpartition("/")[2] in _RELS]
    are_ours = {href.startswith(f"{data_base_url}/") for href in hrefs}
    return "" if are_ours == {item.outcome is WorldOutcome.CACHED} else "link"


def _show(examples: list[str], text: str) -> None:
    if len(examples) < _SHOWN:
        examples.append(text)


def _remember(memory: dict[Key, str], key: Key, value: str) -> None:
    memory[key] = value
    if len(memory) > _MAX_REMEMBERED:
        del memory[next(iter(memory))]
