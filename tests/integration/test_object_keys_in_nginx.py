"""Objects under awkward names: stored, and fetched at the very URL that is announced."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from local.parts.nginx import Nginx
from testkit.servers import parts
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.values import StoreUrl
from wis2_gc_common.wis2.object_key import object_key, object_url
from wis2_gc_common.wis2.topic import parse_topic
from wis2_gc_manager.pipeline.public_check import Sample
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store.file.store import FileStore
from wis2_gc_manager.upkeep.public_fetch import PublicFetch

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_manager.store.port import ObjectStore

LEVELS = (
    "I/S/A/I/01/SBBR",
    "a b/%2e%2e/..",
    "//.incoming",
    "a=b,c@d/&?x",
    "é\N{SNOWMAN}/q;r",
    "x" * 128,
)
NAMES = (
    "A_ISAI01SBBR011200_C_SBBR.bufr",
    "a%20b+c@d,e=f.bin",
    "get?file=x.grib",
    ".hidden",
    "%2e%2e%2fpasswd",
    "a&b;c'd%22.txt",
    "100%25.nc",
    "é" * 200 + ".bufr",
    "",
)


def keys() -> list[str]:
    return [
        object_key(
            hour="2026-11-27/23",
            topic=parse_topic(f"origin/a/wis2/de-dwd-gts-to-wis2/data/core/{levels}"),
            data_id=f"{levels} {name}",
            pubtime_ns=1,
            href=f"https://a.test/{name}",
        )
        for levels in LEVELS
        for name in NAMES
    ]


async def assert_all_are_fetched(store: ObjectStore, base_url: str) -> None:
    fetch = PublicFetch(client_context())
    for number, key in enumerate(keys()):
        data = f"BUFR {number}".encode()
        media_type = ("application/bufr", "application/octet-stream", "text/plain")[number % 3]
        await store.put(key, data, media_type=media_type)
        assert await store.size(key) == len(data)
        digest = hashlib.sha512(data).digest()
        url = object_url(base_url, key)
        sample = Sample(url, key, "yy-met", len(data), "sha512", digest)
        assert await fetch(sample) == "", key
        await store.delete(key)
        assert await store.size(key) is None
    await fetch.close()
    await store.close()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_files_behind_nginx(tmp_path: Path) -> None:
    root = tmp_path / "store"
    nginx = Nginx(tmp_path / "nginx", root=root)
    await asyncio.to_thread(nginx.start)
    try:
        await assert_all_are_fetched(FileStore(str(root), retention_hours=24), nginx.base_url)
    finally:
        await asyncio.to_thread(nginx.stop)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_a_bucket_behind_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with parts.s3_server(tmp_path / "s3") as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        nginx = Nginx(tmp_path / "nginx", bucket_url=s3.bucket_url)
        await asyncio.to_thread(nginx.start)
        try:
            store = open_store(StoreUrl("s3", s3.bucket), retention_hours=24)
            await assert_all_are_fetched(store, nginx.base_url)
        finally:
            await asyncio.to_thread(nginx.stop)
