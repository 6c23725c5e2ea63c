"""What only the S3 store does: checksums, parts, retries, and what its errors tell the operator."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import random
import ssl
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme
from moto.server import ThreadedMotoServer

from local.parts.ports import free_port
from testkit.servers import parts
from testkit.servers.scripted_s3 import (
    BUCKET,
    ScriptedS3,
    Stored,
    answers,
    answers_half,
    damages,
    hangs_up,
    never_answers,
    obeys_and_hangs_up,
)
from testkit.worlds.world import wait_until
from wis2_gc_common.errors import (
    HostBusy,
    Misconfigured,
    Overridden,
    SettingsError,
    Unavailable,
    UnusableKey,
)
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store.port import Checksum
from wis2_gc_manager.store.s3 import requests as s3_requests
from wis2_gc_manager.store.s3 import upload as s3_upload
from wis2_gc_manager.store.s3.credentials import CredentialChain, new_session
from wis2_gc_manager.store.s3.place import BucketPlace, tls_context
from wis2_gc_manager.store.s3.requests import Requests
from wis2_gc_manager.store.s3.small import SmallObjects
from wis2_gc_manager.store.s3.store import PART_MEMORY_BYTES, S3Store
from wis2_gc_manager.store.s3.upload import S3Upload
from wis2_gc_manager.store.s3.upload_memory import UploadMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from aiohttp import web

    from testkit.servers.scripted_s3 import Fault

KEY = "2026-08-01/05/de-dwd/data/core/weather/0123456789ab/A_SNDE01.bufr"
BUFR = "application/bufr"
DATA = b"BUFR" * 20_000
SHA512 = Checksum("sha512", hashlib.sha512(DATA).digest())
IDENTITY = "AKIATESTTESTTESTTEST"
SECRET = "a-secret/of+the=tests"
TOKEN = "a-session-token-of-the-tests"
PART = 8 * 1024 * 1024


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", IDENTITY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedS3]:
    server = ScriptedS3()
    await server.start()
    yield server
    await server.stop()


class Pauses:
    """Stands in for sleeping between attempts."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


def store_at(
    url: str,
    *,
    is_aws: bool = True,
    pauses: Pauses | None = None,
    open_session: Callable[[], object] = new_session,
    region: str = "eu-west-1",
    authorities: bytes | None = None,
) -> S3Store:
    """Return a store at `url`, taken for S3 itself unless told otherwise."""
    variable = "" if is_aws else "AWS_ENDPOINT_URL_S3"
    place = BucketPlace(BUCKET, "", region, url, f"/{BUCKET}", variable)
    chain = CredentialChain(open_session)
    tls = tls_context(authorities) if place.is_tls else None
    requests = Requests(place, chain, tls=tls, sleep=pauses or Pauses())
    small = SmallObjects(place, chain, authorities=authorities)
    return S3Store(requests, small, retention_hours=24)


@pytest.fixture
async def store(server: ScriptedS3) -> AsyncIterator[S3Store]:
    store = store_at(server.url)
    yield store
    await store.close()


async def upload(store: S3Store, *chunks: bytes, checksum: Checksum | None = None) -> None:
    upload = await store.open_upload(KEY, media_type=BUFR)
    try:
        for chunk in chunks:
            await upload.write(chunk)
        await upload.complete(checksum)
    except BaseException:
        await upload.abort()
        raise


# What is sent


async def test_a_small_object_is_one_request_and_looking_at_it_another(
    server: ScriptedS3, store: S3Store
) -> None:
    await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    assert await store.size(KEY) == len(DATA)
    assert server.methods() == ["PUT", "HEAD"]
    assert server.objects[KEY].data == DATA


async def test_type_and_lifetime_go_with_the_object(server: ScriptedS3, store: S3Store) -> None:
    await store.put(KEY, DATA, media_type=BUFR)
    await upload(store, DATA)
    await upload(store, b"x" * PART, b"y")
    told = [one for one in server.seen if one.method == "PUT" and not one.query]
    told += [one for one in server.seen if "uploads" in one.query]
    assert len(told) == 3
    for one in told:
        assert one.headers["content-type"] == BUFR
        assert one.headers["cache-control"] == "public, max-age=86400, immutable"


async def test_a_small_object_goes_with_its_sha_256(server: ScriptedS3, store: S3Store) -> None:
    await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    digest = hashlib.sha256(DATA)
    headers = server.seen[0].headers
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(digest.digest()).decode()
    assert headers["x-amz-content-sha256"] == digest.hexdigest()


@pytest.mark.parametrize(
    ("method", "header"),
    [
        ("sha256", "x-amz-checksum-sha256"),
        ("sha512", "x-amz-checksum-sha512"),
        ("sha3-256", "x-amz-checksum-crc32"),
        (None, "x-amz-checksum-crc32"),
    ],
)
async def test_a_larger_object_goes_with_the_publishers_checksum_where_s3_knows_it(
    server: ScriptedS3, store: S3Store, method: str | None, header: str
) -> None:
    data = b"z" * 2_000_000
    checksum = None
    if method is not None:
        checksum = Checksum(method, hashlib.new(method.replace("-", "_"), data).digest())  # type: ignore[arg-type]
    await upload(store, data, checksum=checksum)
    [put] = server.seen
    assert header in put.headers
    assert server.objects[KEY].data == data


async def test_a_publishers_checksum_that_does_not_fit_is_refused_by_s3(
    server: ScriptedS3, store: S3Store
) -> None:
    with pytest.raises(Unavailable, match="BadDigest"):
        await upload(store, b"z" * 2_000_000, checksum=SHA512)
    assert not server.objects


async def test_where_s3_does_not_know_a_checksum_it_gets_another(
    server: ScriptedS3, store: S3Store
) -> None:
    server.knows_sha512 = False
    for _ in range(2):
        await upload(store, DATA, checksum=SHA512)
    assert server.objects[KEY].data == DATA
    assert server.methods() == ["PUT"] * 3
    assert "x-amz-checksum-crc32" in server.seen[-1].headers


async def test_a_server_that_is_not_of_aws_gets_content_md5_with_larger_objects(
    server: ScriptedS3,
) -> None:
    store = store_at(server.url, is_aws=False)
    await upload(store, b"z" * 300_000)
    await upload(store, b"z" * PART, b"end")
    bodies = [one for one in server.seen if one.method == "PUT"]
    assert len(bodies) == 3
    assert all("content-md5" in one.headers for one in bodies)
    assert not any(
        name.lower().startswith("x-amz-check") for s in server.seen for name in s.headers
    )
    await store.close()


# Parts


async def test_a_large_object_goes_in_parts_of_8_mib_with_a_checksum_of_the_whole(
    server: ScriptedS3, store: S3Store
) -> None:
    chunks = [random.Random(n).randbytes(300_000) for n in range(70)]
    await upload(store, *chunks)
    assert server.objects[KEY].data == b"".join(chunks)
    parts = [one for one in server.seen if "partNumber" in one.query]
    assert [one.query["partNumber"] for one in parts] == ["1", "2", "3"]
    assert all(one.size >= PART for one in parts[:-1])
    end = server.seen[-1]
    assert end.headers["x-amz-mp-object-size"] == str(70 * 300_000)
    assert end.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert not server.uploads


@pytest.mark.parametrize("chunks", [(b"x" * PART,), (b"x" * (PART - 1), b"y"), (b"x" * 2 * PART,)])
async def test_an_object_that_ends_with_a_part_is_whole(
    server: ScriptedS3, store: S3Store, chunks: tuple[bytes, ...]
) -> None:
    await upload(store, *chunks)
    assert server.objects[KEY].data == b"".join(chunks)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
async def test_when_a_request_of_a_large_object_fails_for_good_nothing_is_left(
    server: ScriptedS3, at: int
) -> None:
    store = store_at(server.url)
    server.script.extend([_goes_on] * at)
    server.script.append(answers(403, "AccessDenied"))
    with pytest.raises(Misconfigured):
        await upload(store, b"x" * PART, b"y" * PART)
    assert not server.objects
    assert not server.uploads
    await store.close()


@pytest.mark.parametrize("fault", [hangs_up, obeys_and_hangs_up, damages, answers_half])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
async def test_a_fault_in_a_large_object_is_made_up_for(
    server: ScriptedS3, store: S3Store, fault: Fault, at: int
) -> None:
    server.script.extend([_goes_on] * at)
    server.script.append(fault)
    chunks = (b"x" * PART, b"y" * PART)
    await upload(store, *chunks)
    assert server.objects[KEY].data == b"".join(chunks)


async def test_an_upload_cancelled_while_it_is_opened_at_the_server_is_aborted(
    server: ScriptedS3, store: S3Store
) -> None:
    begun = asyncio.Event()
    may_go_on = asyncio.Event()

    async def waits(_server: object, _request: object) -> None:
        begun.set()
        await may_go_on.wait()

    server.script.append(waits)
    upload = await store.open_upload(KEY, media_type=BUFR)
    writing = asyncio.create_task(upload.write(b"x" * PART))
    await begun.wait()
    writing.cancel()
    aborting = asyncio.create_task(upload.abort())
    await asyncio.wait({writing})
    may_go_on.set()
    await aborting
    assert writing.cancelled()
    assert server.methods() == ["POST", "DELETE"]
    assert not server.uploads


async def test_an_abort_that_is_cancelled_goes_on_and_closing_waits_for_it(
    server: ScriptedS3, store: S3Store
) -> None:
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    assert server.uploads
    aborting = asyncio.create_task(upload.abort())
    await asyncio.sleep(0)
    aborting.cancel()
    await asyncio.wait({aborting})
    await store.close()
    assert not server.uploads


async def test_an_abort_that_fails_says_so_and_raises_nothing(server: ScriptedS3) -> None:
    store = store_at(server.url)
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    server.always = answers(403, "AccessDenied")
    await upload.abort()
    await upload.abort()
    with pytest.raises(RuntimeError):
        await upload.write(b"x")
    with pytest.raises(RuntimeError):
        await upload.complete()
    await store.close()


async def test_an_upload_that_expired_meanwhile_is_an_outage_not_a_success(
    server: ScriptedS3, store: S3Store
) -> None:
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    server.uploads.clear()
    # Of an earlier attempt: other bytes of the same size.
    server.objects[KEY] = Stored(b"y" * PART, {})
    with pytest.raises(Unavailable, match="the upload is gone"):
        await upload.complete()
    await upload.abort()


@pytest.mark.parametrize("there", [None, b"x" * (PART - 1), b"another item"])
async def test_a_lost_answer_to_a_completion_is_not_a_success_unless_the_whole_object_is_there(
    server: ScriptedS3, store: S3Store, there: bytes | None
) -> None:
    async def loses_the_upload(server: ScriptedS3, request: web.Request) -> None:
        await request.read()
        server.uploads.clear()
        if there is not None:
            server.objects[KEY] = Stored(there, {})
        assert request.transport is not None
        request.transport.abort()

    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    server.script.append(loses_the_upload)
    with pytest.raises(Unavailable, match="the upload is gone"):
        await upload.complete()
    await upload.abort()


async def test_a_completion_that_fails_with_status_200_is_not_a_success(server: ScriptedS3) -> None:
    store = store_at(server.url)
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    server.script.append(answers(200, "InternalError"))
    await upload.complete()
    assert server.objects[KEY].data == b"x" * PART
    await store.close()


async def test_more_than_s3_takes_is_an_override(
    server: ScriptedS3, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "MAX_PARTS", 1)
    with pytest.raises(Overridden):
        await upload(store, b"x" * PART, b"y" * PART)
    assert not server.uploads


async def test_many_large_objects_at_once_share_a_bounded_memory_and_all_arrive(
    server: ScriptedS3,
) -> None:
    store = store_at(server.url)
    chunk = b"m" * 400_000
    peak = 0

    async def one(number: int) -> None:
        nonlocal peak
        upload = await store.open_upload(f"{KEY}{number}", media_type=BUFR)
        for _ in range(26):
            await upload.write(chunk)
            peak = max(peak, PART_MEMORY_BYTES - store._memory.free_bytes)
            await asyncio.sleep(0)
        await upload.complete()

    async with asyncio.TaskGroup() as tasks:
        for number in range(25):
            tasks.create_task(one(number))
    assert peak <= PART_MEMORY_BYTES + PART + len(chunk)
    assert store._memory.free_bytes == PART_MEMORY_BYTES
    assert {len(one.data) for one in server.objects.values()} == {26 * len(chunk)}
    assert len(server.objects) == 25
    await store.close()


class Hours:
    """A clock in our hands."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_beside_slow_uploads_a_fast_one_goes_on_and_those_in_its_way_are_handed_back(
    server: ScriptedS3,
) -> None:
    store, clock = store_at(server.url), Hours()
    memory = UploadMemory(PART_MEMORY_BYTES, part_bytes=PART, clock=clock)
    store._memory = memory
    slow = [await store.open_upload(f"{KEY}{n}", media_type=BUFR) for n in range(16)]
    waiting: list[asyncio.Task[None]] = []
    for _ in range(8):
        for upload in slow:
            await upload.write(b"s" * 256 * 1024)
        clock.now_s += 20.0
    assert memory.free_bytes == 0
    for upload in slow:
        task = asyncio.ensure_future(upload.write(b"s" * 256 * 1024))
        await asyncio.sleep(0)
        if not task.done():
            waiting.append(task)
    assert len(waiting) == 15
    fast = await store.open_upload(KEY, media_type=BUFR)
    async with asyncio.timeout(60):
        for _ in range(200):  # 50 MB
            await fast.write(b"f" * 256 * 1024)
            clock.now_s += 0.03
        await fast.complete()
    assert await store.size(KEY) == 200 * 256 * 1024
    results = [task.done() and task.exception() for task in waiting]
    lost = [upload for upload in slow if isinstance(upload, S3Upload) and upload._share.is_lost]
    assert 0 < len(lost) < len(slow)
    assert all(isinstance(result, HostBusy) for result in results if result)
    for upload in lost:
        with pytest.raises(HostBusy):
            await upload.write(b"more")
        with pytest.raises(HostBusy):  # nothing is stored of which a part is missing
            await upload.complete()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for upload in slow:
        await upload.abort()
    assert memory.free_bytes == PART_MEMORY_BYTES
    assert set(server.objects) == {KEY}
    await store.close()


async def test_a_200_mb_object_takes_the_memory_of_a_few_parts(tmp_path: Path) -> None:
    with parts.s3_server(tmp_path) as rclone:
        place = BucketPlace(
            rclone.bucket, "", "us-east-1", rclone.url, f"/{rclone.bucket}", "AWS_X"
        )
        chain = CredentialChain(new_session)
        store = S3Store(
            Requests(place, chain, tls=None),
            SmallObjects(place, chain, authorities=None),
            retention_hours=24,
        )
        await store.check()
        tracemalloc.start()
        upload = await store.open_upload(KEY, media_type=BUFR)
        for number in range(800):
            await upload.write(bytes([number % 256]) * 256 * 1024)
        await upload.complete()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert await store.size(KEY) == 200 * 2**20
        assert peak < 3 * PART
        await store.close()


# Faults of small objects


@pytest.mark.parametrize("fault", [hangs_up, obeys_and_hangs_up, damages, answers_half])
async def test_a_fault_in_a_small_object_is_made_up_for(
    server: ScriptedS3, store: S3Store, fault: Fault
) -> None:
    server.script.extend([fault, fault])
    await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    assert server.objects[KEY].data == DATA


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (502, "x"), (400, "RequestTimeout"), (429, "y")],
)
async def test_throttling_and_errors_of_the_server_are_waited_out_with_growing_pauses(
    server: ScriptedS3, status: int, code: str
) -> None:
    pauses = Pauses()
    store = store_at(server.url, pauses=pauses)
    server.script.extend([answers(status, code)] * 3)
    await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    assert server.objects[KEY].data == DATA
    assert len(pauses.taken) == 3
    for pause, longest in zip(pauses.taken, (0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= pause <= longest
    await store.close()


async def test_after_four_attempts_it_is_an_outage(server: ScriptedS3, store: S3Store) -> None:
    server.always = answers(503, "SlowDown")
    with pytest.raises(Unavailable, match="503, SlowDown") as caught:
        await store.put(KEY, DATA, media_type=BUFR)
    assert not isinstance(caught.value, Misconfigured)
    assert caught.value.part == "store"
    assert len(server.seen) == 4
    server.seen.clear()
    with pytest.raises(Unavailable):
        await store.size(KEY)
    assert 2 <= len(server.seen) <= 5


async def test_data_that_is_always_damaged_on_its_way_is_never_stored(
    server: ScriptedS3, store: S3Store
) -> None:
    server.always = damages
    with pytest.raises(Unavailable, match=r"BadDigest|Mismatch"):
        await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    with pytest.raises(Unavailable, match=r"BadDigest|Mismatch"):
        await upload(store, b"x" * PART, b"y")
    assert not server.objects


async def test_a_server_that_never_answers_is_given_up(
    server: ScriptedS3, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "_SHORT", aiohttp.ClientTimeout(total=0.05))
    monkeypatch.setattr("wis2_gc_manager.store.s3.store._CHECK_S", 0.3)
    server.always = never_answers
    with pytest.raises(Unavailable, match="no answer in time"):
        await store.delete(KEY)
    with pytest.raises(Unavailable, match="no answer in"):
        await store.check()


async def test_a_server_that_is_not_there_is_an_outage_and_may_come_back() -> None:
    server = ScriptedS3()
    port = free_port()
    await server.start(port=port)
    await server.stop()
    store = store_at(server.url)
    for call in (store.check, lambda: store.put(KEY, DATA, media_type=BUFR)):
        with pytest.raises(Unavailable, match="cannot be connected to") as caught:
            await call()
        assert not isinstance(caught.value, Misconfigured)
    await server.start(port=port)
    await store.check()
    await store.close()
    await server.stop()


async def test_a_server_killed_in_the_middle_of_an_upload_is_an_outage(tmp_path: Path) -> None:
    rclone = parts.s3_server(tmp_path)
    rclone.start()
    place = BucketPlace(rclone.bucket, "", "us-east-1", rclone.url, f"/{rclone.bucket}", "AWS_X")
    chain = CredentialChain(new_session)
    store = S3Store(
        Requests(place, chain, tls=None, sleep=Pauses()),
        SmallObjects(place, chain, authorities=None),
        retention_hours=24,
    )
    upload = await store.open_upload(KEY, media_type=BUFR)
    await upload.write(b"x" * PART)
    rclone.kill()
    with pytest.raises(Unavailable):
        await upload.write(b"y" * PART)
    await upload.abort()
    rclone.start()
    await store.put(KEY, DATA, media_type=BUFR)
    assert await store.size(KEY) == len(DATA)
    await store.close()
    rclone.stop()


async def test_a_cancelled_put_is_not_repeated(server: ScriptedS3, store: S3Store) -> None:
    server.always = never_answers
    putting = asyncio.create_task(store.put(KEY, DATA, media_type=BUFR))
    await asyncio.to_thread(wait_until, lambda: server.seen, "the request is there")
    putting.cancel()
    await asyncio.wait({putting}, timeout=10)
    assert putting.cancelled()
    await store.close()
    assert len(server.seen) == 1


# What the operator is told


@pytest.mark.parametrize(
    ("fault", "variable", "told"),
    [
        (answers(404, "NoSuchBucket"), "GC_STORE_URL", "there is no such bucket"),
        (answers(403, "AccessDenied"), "GC_STORE_URL", "s3:PutObject"),
        (
            answers(301, "PermanentRedirect", x_amz_bucket_region="us-west-2"),
            "AWS_REGION",
            "it is in us-west-2, not in eu-west-1",
        ),
        (answers(301, "PermanentRedirect"), "AWS_REGION", "in another region than eu-west-1"),
        (answers(403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID", "credentials are refused"),
        (answers(403, "SignatureDoesNotMatch"), "AWS_ACCESS_KEY_ID", "credentials are refused"),
        (answers(400, "KMS.DisabledException"), "GC_STORE_URL", "encryption key"),
        (answers(405, "MethodNotAllowed"), "GC_STORE_URL", "as no S3 does"),
    ],
)
async def test_what_will_not_pass_by_itself_is_one_line_that_says_what_to_check(
    server: ScriptedS3, store: S3Store, fault: Fault, variable: str, told: str
) -> None:
    server.always = fault
    for call in (store.check, lambda: store.put(KEY, DATA, media_type=BUFR)):
        with pytest.raises(Misconfigured, match=told) as caught:
            await call()
        assert caught.value.variable == variable
        assert caught.value.part == "store"
        assert BUCKET in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_a_denied_look_or_deletion_is_found_by_the_check(
    server: ScriptedS3, store: S3Store
) -> None:
    await store.check()
    assert not server.objects
    for steps, action in ((1, "s3:GetObject and s3:ListBucket"), (2, "s3:DeleteObject")):
        server.script.extend([_goes_on] * steps)
        server.script.append(answers(403, "AccessDenied"))
        with pytest.raises(Misconfigured, match=action):
            await store.check()


async def test_a_certificate_for_another_name_or_of_an_unknown_authority_is_told_apart() -> None:
    authority = trustme.CA()
    trusted = authority.cert_pem.bytes()
    cases = [
        ("127.0.0.1", trusted, ""),
        ("s3.example.org", trusted, "another host name"),
        ("127.0.0.1", None, "GC_CA_FILE|not trusted"),
    ]
    for name, authorities, told in cases:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        server = ScriptedS3()
        await server.start(context)
        store = store_at(server.url, authorities=authorities)
        if told:
            with pytest.raises(Misconfigured, match=told):
                await store.check()
            with pytest.raises(Misconfigured, match=told):
                await store.put(KEY, DATA, media_type=BUFR)
        else:
            await store.check()
            await store.put(KEY, DATA, media_type=BUFR)
            assert await store.size(KEY) == len(DATA)
            assert server.methods() == ["PUT", "HEAD", "DELETE", "PUT", "HEAD"]
        await store.close()
        await server.stop()


async def test_a_key_that_is_too_long_with_its_prefix_is_poison(server: ScriptedS3) -> None:
    place = BucketPlace(BUCKET, "p" * 200 + "/", "eu-west-1", server.url, f"/{BUCKET}", "")
    chain = CredentialChain(new_session)
    store = S3Store(
        Requests(place, chain, tls=None),
        SmallObjects(place, chain, authorities=None),
        retention_hours=24,
    )
    key = "/".join(["k" * 99] * 9)
    with pytest.raises(UnusableKey):
        await store.put(key, DATA, media_type=BUFR)
    await store.put(key[:799], DATA, media_type=BUFR)
    await store.close()


# Credentials


class Session:
    """Stands in for a session of the SDK, which finds what the test says."""

    def __init__(self, *found: tuple[str, str, str | None] | Exception) -> None:
        self.found = list(found)
        self.opened = 0

    def __call__(self) -> Session:
        self.opened += 1
        return self

    def get_credentials(self) -> Session:
        return self

    def get_frozen_credentials(self) -> object:
        import botocore.credentials

        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        return botocore.credentials.ReadOnlyCredentials(*found, None)


async def test_credentials_that_have_expired_are_looked_for_again_and_the_request_repeated(
    server: ScriptedS3,
) -> None:
    session = Session(("OLD" * 6, SECRET, TOKEN), ("NEW" * 6, SECRET, TOKEN))
    store = store_at(server.url, open_session=session)
    server.script.extend([answers(400, "ExpiredToken")] * 2)
    await store.put(KEY, DATA, media_type=BUFR)
    assert session.opened == 2
    used = [one.headers["authorization"].partition("Credential=")[2][:6] for one in server.seen]
    assert used == ["OLDOLD", "OLDOLD", "NEWNEW"]
    assert all(one.headers["x-amz-security-token"] == TOKEN for one in server.seen)
    await store.close()


async def test_credentials_that_stay_refused_are_not_looked_for_all_the_time(
    server: ScriptedS3,
) -> None:
    session = Session((IDENTITY, SECRET, None))
    store = store_at(server.url, open_session=session)
    server.always = answers(403, "InvalidAccessKeyId")
    for _ in range(5):
        with pytest.raises(Misconfigured):
            await store.put(KEY, DATA, media_type=BUFR)
    assert session.opened == 2
    await store.close()


async def test_no_credentials_are_told_in_one_line(
    server: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    store = store_at(server.url)
    for call in (store.check, lambda: store.put(KEY, DATA, media_type=BUFR)):
        with pytest.raises(Misconfigured, match="no AWS credentials are found") as caught:
            await call()
        assert caught.value.variable == "AWS_ACCESS_KEY_ID"
    assert not server.seen
    await store.close()


async def test_credentials_that_cannot_be_had_are_an_outage_without_their_servers_words(
    server: ScriptedS3,
) -> None:
    session = Session(RuntimeError(f"answered {SECRET}"), (IDENTITY, SECRET, None))
    store = store_at(server.url, open_session=session)
    with pytest.raises(Unavailable, match="are not available now") as caught:
        await store.check()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    await store.check()
    await store.close()


async def test_the_event_loop_goes_on_while_credentials_are_looked_for(server: ScriptedS3) -> None:
    import threading

    may_find = threading.Event()

    class Slow(Session):
        def get_frozen_credentials(self) -> object:
            assert may_find.wait(20)
            return super().get_frozen_credentials()

    store = store_at(server.url, open_session=Slow((IDENTITY, SECRET, None)))
    puts = [asyncio.create_task(store.put(f"{KEY}{n}", DATA, media_type=BUFR)) for n in range(5)]
    for _ in range(100):
        await asyncio.sleep(0)
    may_find.set()
    await asyncio.gather(*puts)
    assert len(server.objects) == 5
    await store.close()


async def test_nothing_secret_is_logged_or_raised_with_any_error(
    server: ScriptedS3, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    store = store_at(server.url)
    errors = []
    payload = b"a payload nobody may see " * 100
    for fault in (
        answers(403, f"AccessDenied</Code><AWSAccessKeyId>{IDENTITY}</AWSAccessKeyId><Code>x"),
        answers(403, "SignatureDoesNotMatch"),
        answers(400, "Unheard-of"),
        answers(503, "SlowDown"),
        hangs_up,
        damages,
        answers_half,
    ):
        server.always = fault
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            store.check,
            lambda: store.put(KEY, payload, media_type=BUFR),
            lambda: store.size(KEY),
            lambda: upload(store, payload * 4000),
        )
        for call in calls:
            try:
                await call()
            except Unavailable as error:
                errors.append(repr(error) + repr(error.__cause__) + str(error))
    assert len(errors) >= 24
    await store.close()
    output = capsys.readouterr()
    everything = caplog.text + output.out + output.err + "".join(errors)
    assert "s3_request_repeated" in everything
    for secret in (SECRET, TOKEN, IDENTITY, "Signature=", "a payload nobody"):
        assert secret not in everything


# Opening


def test_the_sdk_is_loaded_only_where_s3_is_chosen(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from wis2_gc_common.settings.values import StoreUrl\n"
        "from wis2_gc_manager.store import open_store\n"
        f"open_store(StoreUrl('file', {str(tmp_path)!r}), retention_hours=24)\n"
        "print(sorted({'boto3', 'botocore', 'obstore', 'aiohttp'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_a_private_endpoint_is_trusted_by_its_ca_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.cert_pem.bytes())
    server = ScriptedS3()
    await server.start(context)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    store = open_store(StoreUrl("s3", BUCKET), retention_hours=24, ca_file=ca_file)
    await store.put(KEY, DATA, media_type=BUFR)
    await store.close()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(ca_file))
    store = open_store(StoreUrl("s3", BUCKET), retention_hours=24)
    await store.check()
    await store.close()
    await server.stop()
    with pytest.raises(SettingsError, match="GC_CA_FILE: holds no certificates"):
        open_store(StoreUrl("s3", BUCKET), retention_hours=24, ca_file=tmp_path / "none.pem")


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> object:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    server.stop()


async def test_moto_stores_what_the_sdk_then_finds(moto: str) -> None:
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3", endpoint_url=moto, region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    store = open_store(StoreUrl("s3", BUCKET, "a prefix"), retention_hours=48, expiration_days=2)
    await store.check()
    await store.put(KEY, DATA, media_type=BUFR, checksum=SHA512)
    found = client.get_object(Bucket=BUCKET, Key=f"a prefix/{KEY}")
    assert found["Body"].read() == DATA
    assert found["ContentType"] == BUFR
    assert found["CacheControl"] == "public, max-age=172800, immutable"
    large = random.Random(1).randbytes(PART + 1000)
    upload = await store.open_upload(KEY + "2", media_type="application/grib")
    await upload.write(large)
    await upload.write(large)
    await upload.complete(Checksum("sha256", b""))
    found = client.get_object(Bucket=BUCKET, Key=f"a prefix/{KEY}2")
    assert found["Body"].read() == large + large
    assert found["ContentType"] == "application/grib"
    cut_off = await store.open_upload(KEY + "3", media_type=BUFR)
    await cut_off.write(large)
    await cut_off.abort()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)
    names = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert names == [f"a prefix/{KEY}", f"a prefix/{KEY}2"]
    await store.delete(KEY)
    assert await store.size(KEY) is None
    await store.close()
    other = open_store(StoreUrl("s3", "no-such-bucket"), retention_hours=24)
    with pytest.raises(Misconfigured, match="there is no such bucket"):
        await other.check()
    await other.close()
    client.close()


async def _goes_on(_server: object, _request: object) -> None:
    """No fault."""


async def test_who_waits_for_a_connection_of_ours_does_not_take_s3_for_away(
    server: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "_CONNECTIONS", 1)
    monkeypatch.setattr(s3_requests, "_SHORT", aiohttp.ClientTimeout(total=4.0))

    async def slowly(_server: ScriptedS3, _request: object) -> None:
        await asyncio.sleep(0.4)

    server.always = slowly
    store = store_at(server.url)
    # Each is answered well within its time; the last one's turn comes after it.
    await asyncio.gather(*(store.delete(f"{KEY}-{number}") for number in range(12)))
    assert len(server.seen) == 12
    await store.close()


async def test_no_more_open_files_is_none_of_the_attempts_and_no_outage(
    server: ScriptedS3, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Requests._exchange
    left = 2 * s3_requests.ATTEMPTS

    async def short(self: Requests, *args: object) -> object:
        nonlocal left
        if left:
            left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await exchange(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Requests, "_exchange", short)
    await store.delete(KEY)
    assert server.methods() == ["DELETE"]
    left = 10**6
    with pytest.raises(Unavailable, match="too many open files"):
        await store.delete(KEY)
