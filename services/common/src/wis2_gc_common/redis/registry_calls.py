"""Calls and answers of the registry's scripts that more than one side uses. Pure."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import TYPE_CHECKING, Any, Literal

from wis2_gc_common.ports.registry import Looked, ProcessStatus
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis import registry_scripts as scripts
from wis2_gc_common.wis2.decision import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wis2_gc_common.ports.registry import ItemKey
    from wis2_gc_common.redis.scripts import Script

#: We remember items longer than the retention (wis2-rules.md 9): a late duplicate is still known.
MARGIN_S = 2 * 3600
_COUNT_TTL_S = 60
_PROCESS_IS_FORGOTTEN_MS = 24 * 3600 * 1000
_MAX_LABEL_CHARS = 253
STATES: dict[bytes, Literal["done", "deleted"]] = {b"d": "done", b"x": "deleted"}


def memory_s(retention_hours: int) -> int:
    """Return for how many seconds an item is remembered."""
    return retention_hours * 3600 + MARGIN_S


def record_keys(items: Iterable[ItemKey]) -> list[str]:
    """Return the keys of these items' records."""
    return [keys.record_key(keys.item_record(*item)) for item in items]


def look(items: Sequence[ItemKey], item_ttl_s: int) -> tuple[Script, list[str], tuple[int]]:
    """Return the call that asks what is held of each item; `looked` reads its answer."""
    return scripts.LOOK, record_keys(items), (item_ttl_s,)


def looked(answer: Sequence[Any]) -> Looked:
    """Return the answer to `look` as a `Looked`."""
    return Looked(answer[0], [_held(answer[at : at + 5]) for at in range(1, len(answer), 5)])


def _held(entries: Sequence[bytes | None]) -> Held | None:
    state, pubtime, finished_ms, running, deleting = entries
    if state is None:
        return None
    return Held(
        state=STATES.get(state),
        pubtime_ns=int(pubtime or 0),
        finished_ms=int(finished_ms or 0),
        running_pubtime_ns=None if running is None else int(running),
        deleting_ns=None if deleting is None else int(deleting),
    )


def count_tokens() -> Callable[[], str]:
    """Return a function whose results are all different, also between processes."""
    prefix, numbers = uuid.uuid4().hex, itertools.count()
    return lambda: f"{prefix}{next(numbers)}"


def count(token: str, counts: Mapping[str, int]) -> tuple[list[str], list[str | int]]:
    """Return keys and arguments of COUNT; `token`: the same for every resend of this call."""
    arguments: list[str | int] = [_COUNT_TTL_S]
    for field, amount in counts.items():
        arguments += (field, amount)
    return [keys.COUNTERS, keys.count_key(token), *keys.LABELS], arguments


def heartbeat(status: ProcessStatus) -> tuple[list[str], list[str | int]]:
    """Return keys and arguments of HEARTBEAT."""
    text = json.dumps({"is_ready": status.is_ready, "facts": dict(status.facts)})
    field = keys.process_field(status.kind, status.name)
    return [keys.PROCESSES], [field, text, _PROCESS_IS_FORGOTTEN_MS]


def label(text: str) -> str:
    """Return a label value as `metrics.field` stores it, with bounded length."""
    clean = text.replace("|", "_")[:_MAX_LABEL_CHARS]
    return clean if clean.isascii() else clean.encode("utf-8", "replace").decode()
