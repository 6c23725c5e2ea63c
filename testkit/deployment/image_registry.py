"""A container registry on 127.0.0.1, in memory: what docker push and pull need of one."""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_MANIFEST = re.compile(r"/v2/(.+)/manifests/(.+)")
_BLOB = re.compile(r"/v2/.+/blobs/(sha256:[0-9a-f]{64})")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([^/]*)")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class ImageRegistry:
    """Use it as a context manager; `address` is what comes before the first `/` of a name."""

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        """(media type, manifest) by (repository, tag or digest)."""
        self.blobs: dict[str, bytes] = {}
        self._uploads: dict[str, bytearray] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path == "/v2/":
                    self._answer(200, b"{}")
                elif match := _MANIFEST.fullmatch(path):
                    kind, body = registry.manifests.get((match[1], match[2]), ("", b""))
                    digest = {"Docker-Content-Digest": digest_of(body), "Content-Type": kind}
                    self._answer(200 if kind else 404, body, **digest)
                elif match := _BLOB.fullmatch(path):
                    body = registry.blobs.get(match[1], b"")
                    self._answer(200 if body else 404, body, **{"Docker-Content-Digest": match[1]})
                else:
                    self._answer(404)

            do_HEAD = do_GET  # noqa: N815 - http.server asks for this name

            def do_POST(self) -> None:
                name = uuid.uuid4().hex
                registry._uploads[name] = bytearray()
                repository = _UPLOAD.fullmatch(urlsplit(self.path).path)
                assert repository is not None
                self._answer(202, Location=f"/v2/{repository[1]}/blobs/uploads/{name}")

            def do_PATCH(self) -> None:
                upload = _UPLOAD.fullmatch(urlsplit(self.path).path)
                assert upload is not None
                held = registry._uploads[upload[2]]
                held += self._body()
                self._answer(202, Location=self.path, Range=f"0-{len(held) - 1}")

            def do_PUT(self) -> None:
                parts = urlsplit(self.path)
                if match := _MANIFEST.fullmatch(parts.path):
                    body = self._body()
                    kept = (self.headers["Content-Type"], body)
                    for reference in (match[2], digest_of(body)):
                        registry.manifests[match[1], reference] = kept
                    self._answer(201, b"", **{"Docker-Content-Digest": digest_of(body)})
                    return
                upload = _UPLOAD.fullmatch(parts.path)
                assert upload is not None
                data = bytes(registry._uploads.pop(upload[2]) + self._body())
                digest = parse_qs(parts.query)["digest"][0]
                if digest_of(data) != digest:
                    self._answer(400)
                    return
                registry.blobs[digest] = data
                self._answer(201, Location=f"/v2/x/blobs/{digest}")

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = bytearray()
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return bytes(body)

            def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(code)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
