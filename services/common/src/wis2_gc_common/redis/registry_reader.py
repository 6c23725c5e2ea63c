"""The registry as the metrics service and the operator read it, on Redis or Valkey."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import RedisError

from wis2_gc_common.metrics import DELAY_BUCKETS_S
from wis2_gc_common.ports.registry import FailureRecord, ItemRecord, ProcessStatus, Snapshot
from wis2_gc_common.redis import registry_calls as calls
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis.connection import Connections
from wis2_gc_common.redis.errors import unavailable
from wis2_gc_common.wis2.decision import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.ports.registry import ItemKey
    from wis2_gc_common.redis.scripts import Command

_PROCESS_IS_GONE_S = 15.0


class RedisReader:
    """The metrics service's and the operator's side (`RegistryReader`); changes nothing.

    The first call connects to `url`.
    """

    def __init__(self, url: str) -> None:
        self._connections = Connections(url, "registry")

    async def snapshot(self) -> Snapshot:
        """See `RegistryReader`."""
        counters, gauges, held, delays, processes, time = await self._read(
            ("HGETALL", keys.COUNTERS),
            ("HGETALL", keys.GAUGES),
            ("HGETALL", keys.HELD),
            ("HGETALL", keys.DELAYS),
            ("HGETALL", keys.PROCESSES),
            ("TIME",),
        )
        delay = _mapping(delays)
        statuses = (
            _process(field, value.decode()) for field, value in sorted(_mapping(processes).items())
        )
        now_s = _seconds(time)
        return Snapshot(
            counters={field: int(value) for field, value in _mapping(counters).items()},
            gauges={field: float(value) for field, value in _mapping(gauges).items()},
            held={field: int(value) for field, value in _mapping(held).items()},
            delay_buckets=[int(delay.get(str(at), 0)) for at in range(len(DELAY_BUCKETS_S) + 1)],
            delay_sum_s=int(delay.get(keys.DELAY_SUM, 0)) / 1e6,
            processes=[status for status in statuses if now_s - status.at_s <= _PROCESS_IS_GONE_S],
        )

    async def item(self, key: ItemKey) -> ItemRecord | None:
        """See `RegistryReader`. "failed" also means that a worker died or was drained."""
        record = keys.item_record(*key)
        answer, time = await self._read(("HGETALL", keys.record_key(record)), ("TIME",))
        fields = _mapping(answer)
        version = fields.get("v")
        finished = calls.STATES.get(fields.get("s", b""))
        if version is None and finished is None:
            return None  # at most, a listener has seen its deletion
        is_running = int(fields.get("l", 0)) > _seconds(time) * 1000
        parked = 0
        if version is not None:
            (parked,) = await self._read(("HLEN", keys.parked_key(record, int(version))))
        state: Literal["done", "deleted", "running", "failed"]
        if version is None and finished is not None:
            state = finished
        else:
            state = "running" if is_running else "failed"
        held = Held(
            state=finished,
            pubtime_ns=int(fields.get("p", 0)),
            finished_ms=int(fields.get("z", 0)),
            running_pubtime_ns=int(version) if version is not None and is_running else None,
            deleting_ns=int(fields["d"]) if "d" in fields else None,
        )
        object_key = b"".join(
            fields[name] for name in sorted((n for n in fields if n.isdecimal()), key=int)
        )
        return ItemRecord(
            state=state,
            held=held,
            object_key=object_key.decode() or None,
            attempts=int(fields.get("n", 0)),
            last_error=fields.get("e", b"").decode("utf-8", "replace"),
            parked=parked,
        )

    async def failures(self, limit: int) -> list[FailureRecord]:
        """See `RegistryReader`. At most 1000 are kept."""
        if limit <= 0:
            return []
        (lines,) = await self._read(("LRANGE", keys.FAILURES, 0, limit - 1))
        return [_failure(line) for line in lines]

    async def close(self) -> None:
        """See `RegistryReader`."""
        await self._connections.close()

    async def _read(self, *commands: Command) -> list[Any]:
        answers = await self._connections.exchange(commands)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise unavailable("registry", answer) from answer
        return answers


def _process(field: str, value: str) -> ProcessStatus:
    kind, _, name = field.partition("/")
    at_ms, _, text = value.partition(" ")
    status = json.loads(text)
    return ProcessStatus(
        kind="listener" if kind == "listener" else "manager",
        name=name,
        is_ready=status["is_ready"],
        at_s=int(at_ms) / 1000,
        facts=status["facts"],
    )


def _failure(line: bytes) -> FailureRecord:
    at_ms, attempts, text = line.split(b" ", 2)
    return FailureRecord(at_s=int(at_ms) / 1000, attempts=int(attempts), **json.loads(text))


def _mapping(answer: Sequence[bytes]) -> dict[str, bytes]:
    return {
        answer[at].decode("utf-8", "replace"): answer[at + 1] for at in range(0, len(answer), 2)
    }


def _seconds(time: Sequence[bytes]) -> float:
    return int(time[0]) + int(time[1]) / 1e6
