"""What only the file store does: modes, syncs, full disks, crashes, expiry of folders."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testkit.waiting import until
from wis2_gc_common.errors import Reason, Unavailable, UnusableKey
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store.file import layout as file_layout
from wis2_gc_manager.store.file import store as file_store
from wis2_gc_manager.store.file.expiry import Expiry
from wis2_gc_manager.store.file.layout import Layout
from wis2_gc_manager.store.file.store import FileStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

KEY = "2026-08-01/05/de-dwd/data/core/weather/0123456789ab/A_SNDE01.bufr"
BUFR = "application/bufr"
GRIB = "application/grib"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(directory: Path) -> AsyncIterator[FileStore]:
    store = FileStore(str(directory), retention_hours=24)
    yield store
    await store.close()


def files(directory: Path) -> list[str]:
    """All files, those of `.incoming` and `.trash` too."""
    # Unlike `rglob`, it bears folders that go while it looks.
    return sorted(
        str((Path(folder) / name).relative_to(directory))
        for folder, _, names in os.walk(directory)
        for name in names
    )


async def put_many(store: FileStore, count: int, *, data: bytes = b"data") -> list[object]:
    """Put objects at the same time; return what became of each."""
    puts = (store.put(f"{KEY}{n}", data, media_type=BUFR) for n in range(count))
    return await asyncio.gather(*puts, return_exceptions=True)


# Names and modes


async def test_the_name_tells_the_web_server_the_type(store: FileStore, directory: Path) -> None:
    await store.put(KEY, b"data", media_type=BUFR)
    assert files(directory) == [KEY]
    await store.put(KEY, b"data", media_type=GRIB)
    assert files(directory) == [f"{KEY}.~grib"]
    await store.put(KEY, b"data", media_type="text/html")
    assert files(directory) == [f"{KEY}.~bin"]


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_everybody_may_read_with_every_umask(directory: Path, umask: str) -> None:
    code = (
        "import asyncio\n"
        "from wis2_gc_manager.store.file.store import FileStore\n"
        "async def main():\n"
        f"    store = FileStore({str(directory)!r}, retention_hours=24)\n"
        f"    await store.put({KEY!r}, b'data', media_type={BUFR!r})\n"
        f"    upload = await store.open_upload({KEY + '2'!r}, media_type={BUFR!r})\n"
        "    await upload.complete()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, preexec_fn=lambda: os.umask(int(umask, 8))
    )
    paths = [directory / key for key in files(directory)]
    assert len(paths) == 2
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o644
        for folder in path.relative_to(directory).parents:
            assert (directory / folder).stat().st_mode & 0o777 == 0o755
    assert (directory / ".incoming").stat().st_mode & 0o777 == 0o700


async def test_a_key_that_cannot_be_beside_the_others_is_poison_and_stops_nothing(
    store: FileStore, directory: Path
) -> None:
    plain = "application/octet-stream"
    await store.put("2026-08-01/05/a/b", b"file", media_type=plain)
    for count in (1, 5):
        results = await asyncio.gather(
            store.put("2026-08-01/05/a/b/c", b"below a file", media_type=BUFR),
            store.put("2026-08-01/05/a", b"a folder's name", media_type=plain),
            *(store.put(f"{KEY}{n}", b"good", media_type=BUFR) for n in range(count)),
            return_exceptions=True,
        )
        assert results[2:] == [None] * count
        for result in results[:2]:
            assert isinstance(result, UnusableKey)
            assert result.reason is Reason.UNEXPECTED
    upload = await store.open_upload("2026-08-01/05/a/b/d/c", media_type=BUFR)
    with pytest.raises(UnusableKey):
        await upload.complete()
    await upload.abort()
    assert not [name for name in files(directory) if name.startswith(".")]


# Durable


class Calls:
    """Records what reaches the system, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def path_of(descriptor: int) -> str:
            return str(Path(f"/proc/self/fd/{descriptor}").readlink())

        self.log: list[tuple[str, str]] = []
        for name in ("fsync", "fdatasync"):
            self._wrap(monkeypatch, name, path_of)
        self._wrap(monkeypatch, "rename", lambda _, target: str(target))
        real_syncfs = file_layout.syncfs
        assert real_syncfs is not None

        def syncfs(descriptor: int) -> None:
            self.log.append(("syncfs", ""))
            real_syncfs(descriptor)

        monkeypatch.setattr("wis2_gc_manager.store.file.commit.syncfs", syncfs)

    def _wrap(
        self, monkeypatch: pytest.MonkeyPatch, name: str, describe: Callable[..., str]
    ) -> None:
        real = getattr(os, name)

        def call(*args: object) -> object:
            self.log.append((name, describe(*args)))
            return real(*args)

        monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("how", ["put", "upload"])
async def test_data_is_synced_before_it_is_named_and_the_name_before_the_answer(
    store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await store.check()
    calls = Calls(monkeypatch)
    if how == "put":
        await store.put(KEY, b"data", media_type=BUFR)
    else:
        upload = await store.open_upload(KEY, media_type=BUFR)
        await upload.write(b"data")
        await upload.complete()
    kinds = [kind for kind, _ in calls.log]
    assert kinds[:2] == ["fsync", "rename"]
    assert "/.incoming/" in calls.log[0][1]
    # The object's folder and all those above it, which are new, up to the store's own.
    parents = [str(parent) for parent in (directory / KEY).parents]
    wanted = parents[: parents.index(str(directory)) + 1]
    assert [path for kind, path in calls.log[2:] if kind == "fsync"] == wanted

    calls.log.clear()
    await store.put(KEY.replace("0123456789ab", "ba9876543210"), b"data", media_type=BUFR)
    synced = [path for kind, path in calls.log if kind == "fsync"]
    assert synced[1:] == [wanted[0].replace("0123456789ab", "ba9876543210"), wanted[1]]


async def test_many_puts_share_their_syncs(
    store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.check()
    calls = Calls(monkeypatch)
    assert await put_many(store, 60) == [None] * 60
    renames = [n for n, (kind, _) in enumerate(calls.log) if kind == "rename"]
    syncs = [n for n, (kind, _) in enumerate(calls.log) if kind in ("syncfs", "fsync")]
    assert len(renames) == 60
    assert len(syncs) < 20
    assert syncs[0] < renames[0]
    assert syncs[-1] > renames[-1]


async def test_without_syncfs_each_object_is_synced(
    store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wis2_gc_manager.store.file.commit.syncfs", None)
    assert await put_many(store, 30) == [None] * 30
    assert len(files(directory)) == 30


async def test_a_large_upload_never_leaves_much_unsynced(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    upload = await store.open_upload(KEY, media_type=BUFR)
    for _ in range(40):
        await upload.write(bytes(1024 * 1024))
    assert [kind for kind, _ in calls.log].count("fdatasync") == 2
    await upload.complete()
    assert await store.size(KEY) == 40 * 1024 * 1024


_PUTTING = """
import asyncio, sys
from wis2_gc_manager.store.file.store import FileStore

async def main(directory, worker):
    store = FileStore(directory, retention_hours=24)
    async def one(n):
        turn = 0
        while True:
            turn += 1
            size = (n * 7919 + turn * 104729) % 300_000
            key = f"2026-08-01/05/t{n % 3}/{n}-{turn % 50}/file"
            head = b"%d %d\\n" % (turn, size)
            if n % 4:
                await store.put(key, head + b"x" * size, media_type="application/bufr")
            else:
                upload = await store.open_upload(key, media_type="application/grib")
                await upload.write(head)
                await upload.write(b"x" * size)
                await upload.complete()
            print(key, turn, flush=True)
    await asyncio.gather(*map(one, range(8)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_a_process_that_is_killed_leaves_whole_objects_and_all_that_it_reported(
    directory: Path, tmp_path: Path
) -> None:
    reported: dict[str, int] = {}
    for life in range(4):
        log = tmp_path / f"log{life}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _PUTTING, str(directory), str(life)], stdout=output
            )
            deadline = time.monotonic() + 60
            while log.stat().st_size < 2000 + life * 777:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.003)
            process.send_signal(signal.SIGKILL)
            process.wait()
        # The last line may be cut, as the process was.
        for line in log.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                key, turn = line.split()
                reported[key] = int(turn)
        seen = 0
        for path in (directory / "2026-08-01").rglob("*"):
            if path.is_file():
                head, _, body = path.read_bytes().partition(b"\n")
                size = int(head.split()[1])
                assert body == b"x" * size
                seen += 1
        assert seen >= len(reported)
        for key in reported:
            folder = (directory / key).parent
            assert [one.name.partition(".~")[0] for one in folder.iterdir()] == ["file"]


# Outages


class SmallDisk:
    """A file system of 4 MB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.path)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)

    def is_bare(self) -> bool:
        return not list(self.path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    disk.path.mkdir()
    if os.geteuid() != 0 or not disk.mount():
        pytest.skip("MISSING: the right to mount a small disk; full disks are tested by limit only")
    yield disk
    disk.unmount()


async def test_a_full_disk_is_unavailable_leaves_nothing_half_done_and_passes(
    small_disk: SmallDisk,
) -> None:
    store = FileStore(str(small_disk.path / "store"), retention_hours=24)
    ballast = small_disk.path / "ballast"
    await store.put(KEY, b"first", media_type=BUFR)
    try:
        ballast.write_bytes(b"x" * 3_700_000)
        for count in (1, 8):
            for result in await put_many(store, count, data=b"y" * 500_000):
                assert isinstance(result, Unavailable)
                assert result.part == "store"
        with pytest.raises(Unavailable):
            await store.check()
        upload = await store.open_upload(KEY, media_type=BUFR)
        with pytest.raises(Unavailable):
            await upload.write(b"z" * 4_000_000)
        await upload.abort()
        assert files(small_disk.path / "store") == [KEY]
        assert (small_disk.path / "store" / KEY).read_bytes() == b"first"

        ballast.unlink()
        await store.check()
        assert await put_many(store, 5, data=b"y" * 500_000) == [None] * 5
    finally:
        await store.close()


async def test_a_missing_mount_is_unavailable_and_nothing_is_written_beneath_it(
    small_disk: SmallDisk,
) -> None:
    store = FileStore(str(small_disk.path), retention_hours=24)
    try:
        await store.put(KEY, b"first", media_type=BUFR)
        small_disk.unmount()
        assert small_disk.is_bare()
        for call in (
            store.check(),
            store.put(KEY, b"second", media_type=BUFR),
            store.open_upload(KEY, media_type=BUFR),
            store.expire(datetime.now(UTC)),
        ):
            with pytest.raises(Unavailable):
                await call
        assert all(isinstance(result, Unavailable) for result in await put_many(store, 5))
        assert small_disk.is_bare()
    finally:
        small_disk.mount()
        await store.close()


async def test_a_disk_that_turns_read_only_is_unavailable_until_it_is_writable_again(
    small_disk: SmallDisk,
) -> None:
    store = FileStore(str(small_disk.path), retention_hours=24)
    try:
        await store.put(KEY, b"first", media_type=BUFR)
        small_disk.remount("ro")
        for call in (
            store.check(),
            store.put(KEY, b"second", media_type=BUFR),
            store.open_upload(KEY, media_type=BUFR),
        ):
            with pytest.raises(Unavailable):
                await call
        assert await store.size(KEY) == 5
        small_disk.remount("rw")
        await store.check()
        await store.put(KEY, b"the second", media_type=BUFR)
        assert await store.size(KEY) == 10
    finally:
        await store.close()


async def test_a_quota_is_unavailable_and_leaves_nothing_half_done(
    store: FileStore, directory: Path
) -> None:
    await store.put(KEY, b"first", media_type=BUFR)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    upload = await store.open_upload(KEY, media_type=BUFR)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for result in await put_many(store, 5, data=b"y" * 150_000):
            assert isinstance(result, Unavailable)
        with pytest.raises(Unavailable):
            await store.check()
        await upload.write(b"z" * 500_000)
        with pytest.raises(Unavailable):
            await upload.complete()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await upload.abort()
    assert files(directory) == [KEY]


@pytest.mark.parametrize("failing", ["write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ESTALE])
async def test_every_step_that_fails_is_unavailable_and_leaves_no_part(
    store: FileStore,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    number: int,
) -> None:
    await store.check()
    real = getattr(os, failing)

    def fail(*args: object) -> object:
        if threading.current_thread().name.startswith("file-store"):
            raise OSError(number, os.strerror(number))
        return real(*args)

    with monkeypatch.context() as broken:
        broken.setattr(os, failing, fail)
        for count in (1, 2):
            for result in await put_many(store, count):
                assert isinstance(result, Unavailable)
        upload = await store.open_upload(KEY, media_type=BUFR)
        await upload.write(b"data")
        with pytest.raises(Unavailable):
            await upload.complete()
        await upload.abort()
    assert files(directory) == []
    assert await put_many(store, 4) == [None] * 4


async def test_a_failing_syncfs_fails_all_of_the_batch(
    store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.check()

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("wis2_gc_manager.store.file.commit.syncfs", fail)
    results = await put_many(store, 40)
    failed = [result for result in results if isinstance(result, Unavailable)]
    assert len(failed) >= 30
    assert len(files(directory)) == 40 - len(failed)


# Expiry


def make(directory: Path, name: str, *, age: timedelta = timedelta()) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"data")
    when = time.time() - age.total_seconds()
    os.utime(path, (when, when))
    return path


async def test_whole_hours_expire_and_nothing_else(store: FileStore, directory: Path) -> None:
    await store.check()
    now = datetime(2026, 8, 2, 7, 30, tzinfo=UTC)
    for name in ("2026-07-31/22/a/b/f", "2026-07-31/23/f", "2026-08-01/05/t/f", "2026-08-01/04/f"):
        make(directory, name)
    kept = [
        "2026-08-01/06/t/f",
        "2026-08-01/x/f",
        "2026-08-01/24/f",
        "2026-02-30/05/f",
        "2026-08-02/07/f",
        "2030-01-01/00/f",
        "index.html",
        "other/2026-07-01/05/f",
        "2026-07-01",
    ]
    for name in kept:
        make(directory, name)
    make(directory, "elsewhere/f")
    (directory / "2026-06-01").symlink_to(directory / "elsewhere")
    assert await store.expire(now) == 4
    assert files(directory) == sorted([*kept, "elsewhere/f"])
    assert not (directory / "2026-07-31").exists()
    assert await store.expire(now) == 0


async def test_other_time_zones_expire_the_same_hours(store: FileStore, directory: Path) -> None:
    make(directory, "2026-08-01/05/f")
    east = timezone(timedelta(hours=9))
    moment = datetime(2026, 8, 2, 7, 0, tzinfo=UTC)
    assert await store.expire((moment - timedelta(seconds=1)).astimezone(east)) == 0
    assert await store.expire(moment.astimezone(east)) == 1


async def test_what_dead_processes_left_is_removed_but_not_what_is_being_written(
    store: FileStore, directory: Path
) -> None:
    await store.check()
    upload = await store.open_upload(KEY, media_type=BUFR)
    make(directory, ".incoming/dead-1", age=timedelta(hours=25))
    make(directory, ".incoming/alive", age=timedelta(hours=1))
    make(directory, ".trash/2026-07-01T05-x/t/f")
    assert await store.expire(datetime.now(UTC)) == 0
    left = files(directory)
    assert ".incoming/alive" in left
    assert len(left) == 2
    await upload.complete()
    assert (directory / KEY).exists()


@pytest.fixture
def may_delete(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold up every deletion of a file until it is set."""
    may_delete = threading.Event()
    unlink = os.unlink

    def held_up(path: str) -> None:
        assert may_delete.wait(60)
        unlink(path)

    monkeypatch.setattr(os, "unlink", held_up)
    return may_delete


async def test_readers_lose_an_hour_at_once_and_an_expiry_that_is_cancelled_is_finished_later(
    store: FileStore, directory: Path, may_delete: threading.Event
) -> None:
    for n in range(100):
        make(directory, f"2026-08-01/05/t{n % 10}/{n}/f")
    now = datetime(2026, 9, 1, tzinfo=UTC)
    expiring = asyncio.create_task(store.expire(now))
    await until(lambda: not (directory / "2026-08-01/05").exists())
    expiring.cancel()
    await asyncio.wait({expiring})
    may_delete.set()
    # Nothing of it runs on, but for the file it was at.
    await store.in_thread(lambda: None, threads=store._cleaner)
    assert len(files(directory)) >= 99
    await store.put(KEY, b"data", media_type=BUFR)
    assert await store.expire(now - timedelta(days=30)) == 0
    assert files(directory) == [KEY]


async def test_closing_ends_an_expiry(directory: Path, may_delete: threading.Event) -> None:
    for n in range(100):
        make(directory, f"2026-08-01/05/t{n % 10}/{n}/f")
    store = FileStore(str(directory), retention_hours=24)
    expiring = asyncio.create_task(store.expire(datetime(2026, 9, 1, tzinfo=UTC)))
    await until(lambda: not (directory / "2026-08-01/05").exists())
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    may_delete.set()
    await closing
    await expiring
    assert len(files(directory)) >= 99


def test_what_another_process_has_thrown_away_already_is_not_an_outage(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "store"))
    layout.prepare()
    for name in ("one", "two"):
        (Path(layout.trash) / name / "deeper").mkdir(parents=True)
        (Path(layout.trash) / name / "deeper" / "object").write_bytes(b"x")

    def other_process() -> bool:
        # Asked before every file and folder: here it deletes all that was listed before.
        for folder in Path(layout.trash).iterdir():
            shutil.rmtree(folder)
        return False

    expiry = Expiry(layout, retention=timedelta(hours=24), must_stop=other_process)
    assert expiry.run(datetime.now(UTC)) == 0
    assert list(Path(layout.trash).iterdir()) == []


async def test_two_processes_may_expire_the_same_store(directory: Path) -> None:
    for n in range(500):
        make(directory, f"2026-08-01/{n % 20:02}/t{n % 10}/{n}/f")
    stores = [FileStore(str(directory), retention_hours=24) for _ in range(3)]
    now = datetime(2026, 9, 1, tzinfo=UTC)
    gone = await asyncio.gather(*(store.expire(now) for store in stores))
    assert sum(gone) == 20
    assert files(directory) == []
    for store in stores:
        await store.close()


async def test_puts_go_on_while_their_folders_are_expired_under_them(
    store: FileStore, directory: Path
) -> None:
    async def put() -> None:
        for n in range(100):
            await store.put(f"2026-08-01/05/t/{n}/f", b"data", media_type=GRIB)

    async def expire() -> None:
        for _ in range(50):
            await store.expire(datetime(2026, 9, 1, tzinfo=UTC))

    await asyncio.gather(put(), put(), expire())
    left = files(directory)
    assert all(name.startswith("2026-08-01/05/t/") for name in left)
    assert all((directory / name).read_bytes() == b"data" for name in left)
    # What the last expiry did not see, the next one does.
    await store.put("2026-08-01/05/t/last/f", b"data", media_type=GRIB)
    assert await store.expire(datetime(2026, 9, 1, tzinfo=UTC)) == 1
    assert files(directory) == []


# Settings


def test_opening_touches_no_disk(directory: Path) -> None:
    open_store(StoreUrl("file", str(directory)), retention_hours=24)
    assert not directory.exists()


# Shortages of our own


class Shortage:
    """No file can be opened in the store for so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.create = Layout.create

    def __call__(self, layout: Layout) -> tuple[int, str]:
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return self.create(layout)


async def test_a_process_without_open_files_waits_and_calls_it_no_outage(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(directory), retention_hours=24)
    monkeypatch.setattr(file_store, "PAUSE_S", 0.0)
    for number in range(2):
        shortage = Shortage(3)
        monkeypatch.setattr(Layout, "create", lambda layout, s=shortage: s(layout))
        key = f"2026-08-01/05/a/{number}/x"
        if number:
            upload = await store.open_upload(key, media_type="application/bufr")
            await upload.write(b"BUFR")
            await upload.complete()
        else:
            await store.put(key, b"BUFR", media_type="application/bufr")
        monkeypatch.setattr(Layout, "create", shortage.create)
        assert shortage.left == 0
        assert await store.size(key) == 4
    await store.close()


async def test_a_shortage_that_does_not_end_is_told_to_the_operator(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(directory), retention_hours=24)
    monkeypatch.setattr(file_store, "PAUSE_S", 0.0)
    shortage = Shortage(10**6)
    monkeypatch.setattr(Layout, "create", lambda layout, s=shortage: s(layout))
    with pytest.raises(Unavailable, match="too many open files"):
        await store.put("2026-08-01/05/a/b/x", b"BUFR", media_type="application/bufr")
    with pytest.raises(Unavailable, match="too many open files"):
        await store.open_upload("2026-08-01/05/a/b/y", media_type="application/bufr")
    await store.close()
