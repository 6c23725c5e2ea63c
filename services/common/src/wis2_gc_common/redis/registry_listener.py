"""The listener's side of the registry on Redis or Valkey."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wis2_gc_common.redis import registry_calls
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis import registry_scripts as scripts
from wis2_gc_common.redis.connection import SyncConnection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wis2_gc_common.ports.registry import ItemKey, Looked, ProcessStatus, Refusal
    from wis2_gc_common.redis.scripts import Call

#: How many refusals wait while no manager runs.
_MAX_REFUSALS = 1000


class RedisListenerRegistry:
    """The listener's side (`ListenerRegistry`). Used by one thread; the first call connects.

    `retention_hours`: GC_RETENTION_HOURS, as the managers have it.
    """

    def __init__(self, url: str, *, retention_hours: int) -> None:
        self._connection = SyncConnection(url, "registry")
        self._item_ttl_s = registry_calls.memory_s(retention_hours)
        self._count_token = registry_calls.count_tokens()

    def look(self, items: Sequence[ItemKey], *, deletions: Mapping[ItemKey, int]) -> Looked:
        """See `ListenerRegistry`. If Redis refuses to record a deletion, the look still works."""
        calls: list[Call] = []
        if deletions:
            arguments: list[str | int] = [self._item_ttl_s]
            for item, pubtime in deletions.items():
                arguments += (pubtime, registry_calls.label(item.centre_id))
            names = [keys.KNOWN, keys.HELD, *registry_calls.record_keys(deletions)]
            calls.append((scripts.NOTE, names, arguments))
        calls.append(registry_calls.look(items, self._item_ttl_s))
        *_, answer = self._connection.run(*calls)
        if isinstance(answer, Exception):
            raise answer
        return registry_calls.looked(answer)

    def count(self, counts: Mapping[str, int]) -> None:
        """See `ListenerRegistry`. Exact, except for a call that is repeated after Unavailable."""
        if counts:
            self._connection.call(scripts.COUNT, *registry_calls.count(self._count_token(), counts))

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """See `ListenerRegistry`. A refusal may come twice when the connection breaks."""
        texts = [json.dumps(asdict(refusal)) for refusal in refusals]
        if texts:
            self._connection.call(scripts.REFUSE, [keys.REFUSALS], (_MAX_REFUSALS, *texts))

    def heartbeat(self, status: ProcessStatus) -> None:
        """See `ListenerRegistry`."""
        self._connection.call(scripts.HEARTBEAT, *registry_calls.heartbeat(status))

    def hold_session(self, broker_name: str, holder: str, *, lease_s: float) -> bool:
        """See `ListenerRegistry`."""
        return bool(self._session(broker_name, holder, max(1, round(lease_s * 1000))))

    def leave_session(self, broker_name: str, holder: str) -> None:
        """See `ListenerRegistry`."""
        self._session(broker_name, holder, 0)

    def _session(self, broker_name: str, holder: str, lease_ms: int) -> Any:
        names = [keys.session_key(broker_name)]
        return self._connection.call(scripts.SESSION, names, (holder, lease_ms))

    def close(self) -> None:
        """See `ListenerRegistry`."""
        self._connection.close()
