"""What every object store does (`wis2_gc_manager.store.port`)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import psutil
import pytest

from testkit.fakes.manager import FakeStore, Traps
from testkit.servers import parts
from testkit.worlds.world import wait_until
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_manager.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from local.parts.s3_server import S3Server
    from wis2_gc_manager.store.port import ObjectStore

KEY = "2026-08-01/05/de-dwd/data/core/weather/0123456789ab/A_SNDE01.bufr"
BUFR = "application/bufr"
GRIB = "application/grib"


class Adapter(Protocol):
    """One kind of store, and what a reader gets from it."""

    def store(self, *, retention_hours: float = 24) -> ObjectStore: ...
    def read(self, key: str) -> list[bytes]:
        """Return what is visible under `key`: at most one object, if all is well."""
        ...

    def count(self) -> int:
        """Return how many objects, and remains of writes, there are."""
        ...

    async def settle(self) -> None:
        """Return when a server has ended what its clients hung up on."""


class FileAdapter:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def store(self, *, retention_hours: float = 24) -> ObjectStore:
        return open_store(StoreUrl("file", str(self.directory)), retention_hours=retention_hours)

    def read(self, key: str) -> list[bytes]:
        path = self.directory / key
        found = [path, *path.parent.glob(f"{path.name}.~*")]
        return [one.read_bytes() for one in found if one.is_file()]

    def count(self) -> int:
        return sum(1 for path in self.directory.rglob("*") if path.is_file())

    async def settle(self) -> None:
        """There is no server."""


class FakeAdapter:
    """The store of the manager's unit tests."""

    def __init__(self) -> None:
        self.fake = FakeStore(Traps())

    def store(self, *, retention_hours: float = 24) -> ObjectStore:
        return self.fake

    def read(self, key: str) -> list[bytes]:
        data = self.fake.objects.get(key)
        return [] if data is None else [data]

    def count(self) -> int:
        return len(self.fake.objects)

    async def settle(self) -> None:
        """There is no server."""


class S3Adapter:
    """A bucket of rclone's, whose objects are files; what is in it besides is remains."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.directory = server.objects / prefix

    def store(self, *, retention_hours: float = 24) -> ObjectStore:
        url = StoreUrl("s3", self.server.bucket, self.prefix)
        return open_store(url, retention_hours=retention_hours)

    def read(self, key: str) -> list[bytes]:
        path = self.directory / key
        return [path.read_bytes()] if path.is_file() else []

    def count(self) -> int:
        return sum(1 for path in self.server.objects.rglob("*") if path.is_file())

    async def settle(self) -> None:
        """Wait until the server has closed every connection: it reads and writes on until then."""

        def is_settled() -> bool:
            return not any(
                one.laddr.port == self.server.port
                and one.status not in {psutil.CONN_LISTEN, psutil.CONN_TIME_WAIT}
                for one in psutil.net_connections("tcp")
                if one.laddr
            )

        await asyncio.to_thread(wait_until, is_settled, "the server has no connection", timeout=30)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    keys = ("AKIATESTTESTTESTTEST", "secret-of-the-tests/with+signs==")
    with parts.s3_server(tmp_path_factory.mktemp("s3"), keys=keys) as server:
        yield server


@pytest.fixture(params=["file", "s3", "fake"])
async def adapter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Adapter]:
    if request.param == "file":
        yield FileAdapter(tmp_path / "store")
        return
    if request.param == "fake":
        yield FakeAdapter()
        return
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield S3Adapter(server, "our data/1+1")
    # Through the server: it remembers its folders.
    store = open_store(StoreUrl("s3", server.bucket), retention_hours=24)
    for path in list(server.objects.rglob("*")):
        if path.is_file():
            await store.delete(str(path.relative_to(server.objects)))
    await store.close()


@pytest.fixture
async def store(adapter: Adapter) -> AsyncIterator[ObjectStore]:
    store = adapter.store()
    yield store
    await store.close()


@pytest.mark.parametrize("size", [0, 1, 85_000, 1_000_000])
async def test_what_is_put_is_what_is_read(adapter: Adapter, store: ObjectStore, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    await store.put(KEY, data, media_type=BUFR)
    assert adapter.read(KEY) == [data]
    assert await store.size(KEY) == size
    assert await store.size(KEY) == size
    assert adapter.count() == 1


async def test_where_nothing_is_there_is_no_size(store: ObjectStore) -> None:
    assert await store.size(KEY) is None
    await store.put(KEY, b"data", media_type=BUFR)
    assert await store.size(KEY + "x") is None
    assert await store.size(KEY[:-1]) is None
    assert await store.size(KEY.rpartition("/")[0]) is None


@pytest.mark.parametrize("second_type", [BUFR, GRIB, "text/plain", "application/octet-stream"])
async def test_the_same_key_again_replaces_the_object_of_every_type(
    adapter: Adapter, store: ObjectStore, second_type: str
) -> None:
    await store.put(KEY, b"first", media_type=BUFR)
    await store.put(KEY, b"the second", media_type=second_type)
    assert adapter.read(KEY) == [b"the second"]
    assert await store.size(KEY) == 10
    await store.put(KEY, b"third", media_type=BUFR)
    assert adapter.read(KEY) == [b"third"]


async def test_objects_beside_each_other_do_not_meet(adapter: Adapter, store: ObjectStore) -> None:
    keys = [f"2026-08-01/05/topic/{name}" for name in ("a", "a.b", "a.bufr", "b", "A")]
    for key in keys:
        await store.put(key, key.encode(), media_type=GRIB)
    await store.put(keys[0], b"again", media_type=BUFR)
    await store.delete(keys[3])
    assert [adapter.read(key) for key in keys] == [
        [b"again"],
        [keys[1].encode()],
        [keys[2].encode()],
        [],
        [keys[4].encode()],
    ]


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(
    adapter: Adapter, store: ObjectStore
) -> None:
    await store.delete(KEY)
    for media_type in (BUFR, GRIB):
        await store.put(KEY, b"data", media_type=media_type)
        await store.delete(KEY)
        assert await store.size(KEY) is None
        assert adapter.read(KEY) == []
    await store.delete(KEY)
    assert adapter.count() == 0


async def test_hundreds_of_puts_at_once_are_all_there(adapter: Adapter, store: ObjectStore) -> None:
    keys = [f"2026-08-01/05/t{n % 7}/data/{n:012x}/file.bin" for n in range(500)]
    async with asyncio.TaskGroup() as tasks:
        for key in keys:
            tasks.create_task(store.put(key, key.encode() * 100, media_type=BUFR))
    assert [adapter.read(key) for key in keys] == [[key.encode() * 100] for key in keys]
    assert adapter.count() == 500
    assert [await store.size(key) for key in keys] == [len(key) * 100 for key in keys]


async def test_puts_of_one_key_at_once_leave_one_whole_object(
    adapter: Adapter, store: ObjectStore
) -> None:
    datas = [bytes([n]) * 50_000 for n in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for n, data in enumerate(datas):
            tasks.create_task(store.put(KEY, data, media_type=(BUFR, GRIB)[n % 2]))
    [found] = adapter.read(KEY)
    assert found in datas


async def test_a_cancelled_put_leaves_a_whole_object_or_none(
    adapter: Adapter, store: ObjectStore
) -> None:
    data = b"x" * 200_000
    for n in range(20):
        task = asyncio.create_task(store.put(f"{KEY}{n}", data, media_type=BUFR))
        await asyncio.sleep(0.0002 * (n % 5))
        task.cancel()
        await asyncio.wait({task})
    await store.close()
    await adapter.settle()
    found = [adapter.read(f"{KEY}{n}") for n in range(20)]
    assert all(one in ([], [data]) for one in found)
    assert adapter.count() == sum(map(len, found))


# Uploads


async def test_an_upload_is_seen_when_it_is_complete_and_whole(
    adapter: Adapter, store: ObjectStore
) -> None:
    chunks = [bytes([n % 256]) * (n * 37 % 90_001) for n in range(200)]
    upload = await store.open_upload(KEY, media_type=BUFR)
    for chunk in chunks:
        await upload.write(chunk)
        assert adapter.read(KEY) == []
    assert await store.size(KEY) is None
    await upload.complete()
    assert adapter.read(KEY) == [b"".join(chunks)]
    assert await store.size(KEY) == sum(map(len, chunks))
    await upload.abort()
    assert adapter.read(KEY) == [b"".join(chunks)]
    assert adapter.count() == 1


async def test_an_upload_of_nothing_is_an_empty_object(
    adapter: Adapter, store: ObjectStore
) -> None:
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.complete()
    assert adapter.read(KEY) == [b""]


async def test_an_upload_replaces_an_object_of_another_type(
    adapter: Adapter, store: ObjectStore
) -> None:
    await store.put(KEY, b"first", media_type=BUFR)
    upload = await store.open_upload(KEY, media_type=GRIB)
    await upload.write(b"second")
    assert adapter.read(KEY) == [b"first"]
    await upload.complete()
    assert adapter.read(KEY) == [b"second"]


async def test_an_aborted_upload_leaves_nothing(adapter: Adapter, store: ObjectStore) -> None:
    for size in (0, 10, 3_000_000):
        upload = await store.open_upload(KEY, media_type=BUFR)
        await upload.write(b"x" * size)
        await upload.abort()
        await upload.abort()
        assert adapter.count() == 0


async def test_an_upload_whose_write_is_cancelled_can_be_aborted(
    adapter: Adapter, store: ObjectStore
) -> None:
    for n in range(20):
        upload = await store.open_upload(KEY, media_type=BUFR)
        writing = asyncio.create_task(upload.write(b"x" * 4_000_000))
        await asyncio.sleep(0.0003 * (n % 4))
        writing.cancel()
        await upload.abort()
        await asyncio.wait({writing})
    assert adapter.count() == 0


async def test_a_cancelled_opening_leaves_nothing(adapter: Adapter, store: ObjectStore) -> None:
    await store.check()
    for n in range(20):
        opening = asyncio.create_task(store.open_upload(KEY, media_type=BUFR))
        await asyncio.sleep(0.0001 * (n % 4))
        if opening.cancel():
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:
            await (await opening).abort()
    await store.close()
    assert adapter.count() == 0


# Keys


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/x", "a//b", "a/", "../a", "a/../b", "a/..", "./a", "a/./b", "a\0b"),
        *("a" * 300, "a/" * 600 + "a", "\u00fc" * 150, ".incoming/a", ".trash/a", "a/b.~bufr"),
    ],
)
async def test_what_is_not_a_key_is_a_bug(adapter: Adapter, store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await store.put(key, b"data", media_type=BUFR)
    with pytest.raises(ValueError, match="not a key"):
        await store.open_upload(key, media_type=BUFR)
    with pytest.raises(ValueError, match="not a key"):
        await store.size(key)
    with pytest.raises(ValueError, match="not a key"):
        await store.delete(key)
    assert adapter.count() == 0


@pytest.mark.parametrize("name", ["ü台", "a b", "%2e%2e", "~", "-rf", "a" * 200, "..a", "a;b&c$d"])
async def test_odd_names_are_only_names(adapter: Adapter, store: ObjectStore, name: str) -> None:
    key = f"2026-08-01/05/topic/{name}"
    await store.put(key, b"data", media_type=BUFR)
    assert adapter.read(key) == [b"data"]
    assert await store.size(key) == 4


# Expiry and health


async def test_what_is_within_the_retention_stays(adapter: Adapter, store: ObjectStore) -> None:
    now = datetime.now(UTC)
    hours = [now - timedelta(hours=hours) for hours in (0, 1, 23, 24)]
    keys = [moment.strftime("%Y-%m-%d/%H/topic/digest/file") for moment in hours]
    for key in keys:
        await store.put(key, b"data", media_type=BUFR)
    assert await store.expire(now) == 0
    assert [await store.size(key) for key in keys] == [4] * 4


async def test_a_store_that_can_be_written_passes_the_check_and_keeps_nothing_of_it(
    adapter: Adapter, store: ObjectStore
) -> None:
    await store.check()
    await store.check()
    assert adapter.count() == 0


async def test_closing_finishes_what_was_begun(adapter: Adapter) -> None:
    store = adapter.store()
    puts = [
        asyncio.create_task(store.put(f"{KEY}{n}", b"data", media_type=BUFR)) for n in range(50)
    ]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*puts)
    assert adapter.count() == 50
    await store.close()
