"""A 300 MB object passes through with bounded memory, on the event loop used in production."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys

from testkit.servers.web_server import WebServer, stream

SIZE_BYTES = 300 * 1024 * 1024
BLOCK = bytes(range(256)) * 4096
#: One body in memory at a time, what the library reads ahead, and the allocator's slack.
ALLOWED_GROWTH_BYTES = 12 * 1024 * 1024

CLIENT = """
import asyncio, ipaddress, json, sys
from pathlib import Path
import uvloop
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.port import Request

class Discard:
    size_bytes = 0
    async def write(self, chunk):
        self.size_bytes += len(chunk)
        await asyncio.sleep(0)
    async def abort(self):
        raise AssertionError("aborted")

def peak_bytes():
    # Not getrusage: its peak is inherited from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

async def main():
    upload = Discard()
    async def open_upload():
        return upload
    downloader = LinkDownloader(
        allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),), max_object_bytes=2**40,
        concurrency_per_host=4, connect_timeout_s=10, idle_timeout_s=20, total_timeout_s=250,
        ca_file=None,
    )
    await downloader.fetch(Request(sys.argv[1], None, None), open_upload)
    before = peak_bytes()
    upload.size_bytes = 0
    payload = await downloader.fetch(Request(sys.argv[2], int(sys.argv[3]), None), open_upload)
    after = peak_bytes()
    await downloader.close()
    print(json.dumps({
        "growth": after - before, "written": upload.size_bytes, "digest": payload.digest.hex(),
    }))

uvloop.run(main())
"""


async def test_a_large_object_passes_through_with_bounded_memory() -> None:
    digest = hashlib.sha512()
    for _ in range(SIZE_BYTES // len(BLOCK)):
        digest.update(BLOCK)
    async with WebServer() as server:
        small = server.serve("/small", b"x")
        large = server.serve("/large", script=stream(SIZE_BYTES, block=BLOCK))
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, small, large, str(SIZE_BYTES),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(client.communicate(), 270)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
    assert client.returncode == 0
    report = json.loads(output)
    assert report["written"] == SIZE_BYTES
    assert report["digest"] == digest.hexdigest()
    assert report["growth"] < ALLOWED_GROWTH_BYTES
