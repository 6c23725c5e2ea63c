"""What a reader of the registry does: the one on Redis, and the fake of the metrics' unit tests.

What only Redis does (records, labels, processes that are gone) is in `test_registry.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import pytest

from local.parts.ports import free_port
from testkit.fakes.claims import CENTRE, FIRST, ITEM, SLOW, another, granted
from testkit.fakes.reader import FakeReader, snapshot_of
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.ports.registry import FailureRecord, ProcessStatus
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wis2_gc_common.ports.registry import RegistryReader

pytest_plugins = ("testkit.servers.redis",)

LISTENER = ProcessStatus("listener", "fr", is_ready=True, facts={"is_connected": True})


class Adapter(Protocol):
    """One kind of reader, and how the registry that it reads is filled."""

    def connect(self) -> RegistryReader: ...

    def connect_away(self) -> RegistryReader:
        """Return a reader whose registry is away."""

    async def give_up(self, data_id: str) -> None: ...

    def count(self, counts: dict[str, int]) -> None: ...

    def report(self, status: ProcessStatus) -> None: ...


class RedisAdapter:
    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> RedisReader:
        return RedisReader(self._url)

    def connect_away(self) -> RedisReader:
        return RedisReader(f"redis://127.0.0.1:{free_port()}/0")

    async def give_up(self, data_id: str) -> None:
        registry = RedisRegistry(self._url, retention_hours=24, lease_s=30)
        lease = await granted(registry, another(f"of {data_id}", data_id=data_id))
        await registry.release(lease, cause=SLOW, parked_seen=0, is_final=True)
        await registry.close()

    def count(self, counts: dict[str, int]) -> None:
        listener = RedisListenerRegistry(self._url, retention_hours=24)
        listener.count(counts)
        listener.close()

    def report(self, status: ProcessStatus) -> None:
        listener = RedisListenerRegistry(self._url, retention_hours=24)
        listener.heartbeat(status)
        listener.close()


class FakeAdapter:
    def __init__(self) -> None:
        self._reader = FakeReader()

    def connect(self) -> FakeReader:
        return self._reader

    def connect_away(self) -> FakeReader:
        return FakeReader(is_away=True)

    async def give_up(self, data_id: str) -> None:
        record = FailureRecord(0.0, data_id, CENTRE, FIRST.pubtime_ns, str(SLOW), 1)
        self._reader.failure_records.insert(0, record)

    def count(self, counts: dict[str, int]) -> None:
        self._reader.content = replace(self._reader.content, counters=counts)

    def report(self, status: ProcessStatus) -> None:
        self._reader.content = replace(self._reader.content, processes=(status,))


@pytest.fixture(params=["fake", "redis"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    if request.param == "fake":
        return FakeAdapter()
    return RedisAdapter(request.getfixturevalue("redis_url"))


@pytest.fixture
async def reader(adapter: Adapter) -> AsyncIterator[RegistryReader]:
    reader = adapter.connect()
    yield reader
    await reader.close()


async def test_a_new_registry_has_counted_nothing(reader: RegistryReader) -> None:
    snapshot = await reader.snapshot()
    buckets, processes = tuple(snapshot.delay_buckets), tuple(snapshot.processes)
    assert replace(snapshot, delay_buckets=buckets, processes=processes) == snapshot_of()


async def test_a_snapshot_has_the_counters_and_who_is_alive(
    adapter: Adapter, reader: RegistryReader
) -> None:
    adapter.count({"received_total/fr": 3})
    adapter.report(LISTENER)
    snapshot = await reader.snapshot()
    assert snapshot.counters == {"received_total/fr": 3}
    [status] = snapshot.processes
    assert replace(status, at_s=0.0) == LISTENER


async def test_an_item_that_never_came_has_no_record(reader: RegistryReader) -> None:
    assert await reader.item(ITEM) is None


async def test_the_newest_failures_come_first_and_no_more_than_asked_for(
    adapter: Adapter, reader: RegistryReader
) -> None:
    for number in range(4):
        await adapter.give_up(f"wis2/{number}")
    records = await reader.failures(3)
    assert [record.data_id for record in records] == ["wis2/3", "wis2/2", "wis2/1"]
    assert {(record.centre_id, record.error, record.attempts) for record in records} == {
        (CENTRE, str(SLOW), 1)
    }
    assert len(await reader.failures(10)) == 4


@pytest.mark.parametrize("limit", [0, -1])
async def test_who_asks_for_no_failures_gets_none(
    adapter: Adapter, reader: RegistryReader, limit: int
) -> None:
    for number in range(3):
        await adapter.give_up(f"wis2/{number}")
    assert await reader.failures(limit) == []


async def test_a_registry_that_is_away_is_unavailable_and_closing_is_quiet(
    adapter: Adapter,
) -> None:
    reader = adapter.connect_away()
    for asking in (reader.snapshot(), reader.item(ITEM), reader.failures(1)):
        with pytest.raises(Unavailable) as caught:
            await asking
        assert caught.value.part == "registry"
    await reader.close()
