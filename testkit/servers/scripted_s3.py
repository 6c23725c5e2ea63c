"""A server that verifies as S3 is documented to, keeps what it was asked, and fails on demand.

rclone and moto store well, but verify no checksum but MD5 and never fail; so the tests of faults
and of what S3 itself would refuse are made against this one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    #: What happens instead of an answer, or before it; None: go on as ever.
    Fault = Callable[["ScriptedS3", web.Request], Awaitable[web.StreamResponse | None]]

BUCKET = "the-bucket"


def refusal(
    status: int, code: str, headers: Mapping[str, str] | None = None, text: str = ""
) -> web.Response:
    """An error as S3 writes it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'
    return web.Response(
        status=status, text=body, content_type="application/xml", headers=dict(headers or {})
    )


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    size: int


@dataclass
class Stored:
    data: bytes
    headers: Mapping[str, str]


@dataclass
class ScriptedS3:
    """Started by `start`; `script` holds what goes wrong next, first come first."""

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    script: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    knows_sha512: bool = True
    url: str = ""

    async def start(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def methods(self) -> list[str]:
        return [one.method for one in self.seen]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self.script.popleft() if self.script else self.always
        if fault is not None:
            self._note(request, 0)
            answer = await fault(self, request)
            if answer is not None:
                return answer
            self.seen.pop()
        body = await request.read()
        self._note(request, len(body))
        return self.obey(request, body)

    def _note(self, request: web.Request, size: int) -> None:
        query = dict(request.query)
        self.seen.append(Seen(request.method, request.raw_path, query, request.headers, size))

    def obey(self, request: web.Request, body: bytes) -> web.Response:  # noqa: PLR0911
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket != BUCKET:
            return refusal(404, "NoSuchBucket")
        if "authorization" not in request.headers:
            return refusal(403, "AccessDenied")
        problem = self._verify(request.headers, body)
        if problem:
            return refusal(400, problem)
        if "uploadId" in request.query or "uploads" in request.query:
            return self._upload(request, key, body)
        if request.method == "PUT":
            self.objects[key] = Stored(body, request.headers)
            return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        if request.method == "HEAD":
            found = self.objects.get(key)
            if found is None:
                return web.Response(status=404)
            headers = {"ETag": '"x"', "Last-Modified": "Sat, 01 Aug 2026 05:00:00 GMT"}
            return web.Response(headers={**headers, "Content-Length": str(len(found.data))})
        self.objects.pop(key, None)
        return web.Response(status=204)

    def _upload(self, request: web.Request, key: str, body: bytes) -> web.Response:  # noqa: PLR0911
        if "uploads" in request.query:
            name = f"upload/{len(self.seen)}+="
            self.uploads[name] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
            return web.Response(text=text + "</InitiateMultipartUploadResult>")
        name = request.query["uploadId"]
        if name not in self.uploads:
            return refusal(404, "NoSuchUpload")
        parts = self.uploads[name]
        if request.method == "DELETE":
            del self.uploads[name]
            return web.Response(status=204)
        if request.method == "PUT":
            parts[int(request.query["partNumber"])] = body
            return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        etags = re.findall(rb"<ETag>&quot;([0-9a-f]{32})&quot;</ETag>", body)
        if numbers != sorted(parts) or len(etags) != len(numbers):
            return refusal(400, "InvalidPart")
        chosen = [parts[number] for number in numbers]
        if any(len(part) < 5 * 1024 * 1024 for part in chosen[:-1]):
            return refusal(400, "EntityTooSmall")
        data = b"".join(chosen)
        crc = request.headers.get("x-amz-checksum-crc32")
        if crc is not None and crc != base64.b64encode(zlib.crc32(data).to_bytes(4)).decode():
            return refusal(400, "BadDigest")
        if request.headers.get("x-amz-mp-object-size", str(len(data))) != str(len(data)):
            return refusal(400, "InvalidRequest")
        del self.uploads[name]
        self.objects[key] = Stored(data, request.headers)
        return web.Response(text="<CompleteMultipartUploadResult/>")

    def _verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the code of what is wrong with a body; the whole object's CRC is for the end."""
        if "x-amz-checksum-type" in headers:
            return ""
        digests = {
            "x-amz-checksum-sha256": hashlib.sha256(body).digest(),
            "x-amz-checksum-sha512": hashlib.sha512(body).digest(),
            "x-amz-checksum-crc32": zlib.crc32(body).to_bytes(4),
            "content-md5": hashlib.md5(body).digest(),
        }
        for name, digest in digests.items():
            sent = headers.get(name)
            if sent is None:
                continue
            if name == "x-amz-checksum-sha512" and not self.knows_sha512:
                return "InvalidRequest"
            if base64.b64decode(sent) != digest:
                return "BadDigest"
        signed = headers.get("x-amz-content-sha256", "")
        if signed != "UNSIGNED-PAYLOAD" and signed != hashlib.sha256(body).hexdigest():
            return "XAmzContentSHA256Mismatch"
        return ""


def answers(status: int, code: str, **headers: str) -> Fault:
    """S3 refuses."""

    async def fault(_server: ScriptedS3, request: web.Request) -> web.StreamResponse:
        await request.read()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if request.method == "HEAD":
            return web.Response(status=status, headers=named)
        return refusal(status, code, named)

    return fault


async def hangs_up(_server: ScriptedS3, request: web.Request) -> None:
    """The connection is gone in the middle of the request."""
    assert request.transport is not None
    await request.content.readany()
    request.transport.abort()


async def obeys_and_hangs_up(server: ScriptedS3, request: web.Request) -> None:
    """The request is obeyed, and its answer lost."""
    server.obey(request, await request.read())
    assert request.transport is not None
    request.transport.abort()


async def damages(server: ScriptedS3, request: web.Request) -> web.Response:
    """A bit is lost on the way."""
    body = bytearray(await request.read())
    if body:
        body[len(body) // 2] ^= 1
    return server.obey(request, bytes(body))


async def answers_half(_server: ScriptedS3, request: web.Request) -> web.StreamResponse:
    """The answer ends before its announced length."""
    await request.read()
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"<Comple")
    assert request.transport is not None
    request.transport.close()
    return response


async def never_answers(_server: ScriptedS3, request: web.Request) -> None:
    """The request is read, and nothing comes back."""
    await request.read()
    await asyncio.Event().wait()
