"""What anybody may ask the web server of the objects and the metrics service."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testkit.hostile.catalogue import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of the store: what an HTTP client must never get. Written by the test where it could be found.
SECRET_FILE = b"this file is nobody's business"
#: A path of the store that is there; its body.
OBJECT_PATH, OBJECT = "{object}", b"an object"


@dataclass(frozen=True)
class Request:
    """One connection: these bytes, then the answer. `{object}` is the path of an object."""

    name: str
    server: str
    """nginx or metrics."""
    raw: bytes
    statuses: frozenset[int]
    """Of the first answer; 0: closed without one."""


def _get(path: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {path} {version}", "Host: a", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


#: Refused by the first that reads it.
REFUSED = frozenset({0, 400, 403, 404, 405, 408, 411, 413, 414, 417, 421, 422, 431, 501, 505})


def _both(name: str, raw: bytes, *more: int) -> Iterator[Request]:
    for server in ("nginx", "metrics"):
        yield Request(name, server, raw, REFUSED | frozenset(more))


@requests
def paths_that_lead_outside() -> Iterator[Request]:
    for path in (
        "/../secret", "/data/../secret", "/data/../../secret", "/data/..%2fsecret",
        "/data/%2e%2e/secret", "/data/%2e%2e%2fsecret", "/data/..%252fsecret", "/data/..\\secret",
        "/data/..%5csecret", "/data/..%c0%afsecret", "/data/%c0%ae%c0%ae/secret",
        "/data//../secret", "/data/./../secret", "/data/;/../secret", "/data..%2fsecret",
        "/data../secret", "/data/....//secret", "/data/%00/../secret", "/data/secret%00.bufr",
        "/data/~/secret", "/data/.secret", "/data/a/.secret/b", "/data/.uploads/", "/data/",
        "/data", "/data/?uploads", "/data/?list-type=2", "/data/../data/../../secret",
        "//etc/passwd", "/etc/passwd", "/static/../app.py", "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/etc/passwd", "/nginx.conf", "/.git/config", "/.env", "/docs",
        "/redoc",
    ):  # fmt: skip
        yield from _both(path, _get(path), 301, 302, 307, 308)


@requests
def methods_that_nobody_may_use() -> Iterator[Request]:
    for method in (
        "PUT", "POST", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "MKCOL",
        "MOVE", "COPY", "LOCK", "PURGE", "get", "GET\tx", "A" * 500, "\x00GET",
    ):  # fmt: skip
        yield from _both(f"{method[:20]!r}", _get("/data/{object}", method=method))
    yield from _both("a body of a gigabyte", _get("/data/x", "Content-Length: 1073741824"))
    yield from _both(
        "an upload", _get("/data/x.bufr", "Content-Length: 5", method="PUT") + b"hello"
    )


@requests
def requests_that_are_not_http() -> Iterator[Request]:
    for name, raw in {
        "garbage": bytes(range(256)) * 8,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "MQTT": b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02up",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20),
        "HTTP/9": _get("/", version="HTTP/9.9"),
        "no version": b"GET /\r\n\r\n",
        "a NUL": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "bare line feeds and a NUL": b"GET /data/ HTTP/1.1\nHost: a\nA: \x00\n\n",
        "no colon": _get("/data/x", "nonsense"),
        "a blank before the colon": _get("/data/x", "Host : b"),
        "a folded line": _get("/data/x", "A: b", " c"),
        "two hosts": _get("/data/x", "Host: b"),
        "no host": b"GET /data/x HTTP/1.1\r\n\r\n",
        "line breaks only": b"\r\n" * 2000,
    }.items():
        yield from _both(name, raw, 200, 301)


@requests
def requests_that_are_large() -> Iterator[Request]:
    for name, raw in {
        "a path of 100 kB": _get("/data/" + "a" * 100_000),
        "a query of 100 kB": _get("/data/x?" + "a=b&" * 25_000),
        "a header of 100 kB": _get("/data/x", "A: " + "x" * 100_000),
        "5000 headers": _get("/data/x", *(f"A{number}: x" for number in range(5000))),
        "a cookie of 60 kB": _get("/data/x", "Cookie: " + "a=b; " * 12_000),
        "a host of 50 kB": f"GET /data/x HTTP/1.1\r\nHost: {'a' * 50_000}\r\n\r\n".encode(),
        "60,000 slashes": _get("/" * 60_000),
        "3000 steps up": _get("/data" + "/.." * 1000),
    }.items():
        yield from _both(name, raw, 301, 307)


@requests
def requests_within_requests() -> Iterator[Request]:
    inner = "GET /data/../secret HTTP/1.1\r\nHost: a\r\n\r\n"
    for name, headers in {
        "a length and chunks": ("Content-Length: 4", "Transfer-Encoding: chunked"),
        "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: 4"),
        "two lengths": ("Content-Length: 0", f"Content-Length: {len(inner)}"),
        "a length with a sign": (f"Content-Length: +{len(inner)}",),
        "a length in a list": (f"Content-Length: 0, {len(inner)}",),
        "chunks of nobody": ("Transfer-Encoding: xchunked",),
        "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        "chunks after a tab": ("Transfer-Encoding:\tchunked",),
        "chunks with a vertical tab": ("Transfer-Encoding: \x0bchunked",),
        "a line break in a header": ("A: b\nTransfer-Encoding: chunked",),
        "an upgrade": ("Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    }.items():
        body = f"0\r\n\r\n{inner}"
        yield from _both(name, _get("/data/x", *headers) + body.encode(), 200)


@requests
def hosts_that_are_not_ours() -> Iterator[Request]:
    for host in (
        "127.0.0.2", "169.254.169.254", "evil.example", "evil.example:99999", "a b", "a/b", "[::1]",
        "<script>", "", "a\x00b", "..", "a" * 300, "localhost:6379", "{object}",
    ):  # fmt: skip
        raw = f"GET /data/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
        yield from _both(f"{host[:20]!r}", raw)
    for path in (
        "http://127.0.0.2/", "http://169.254.169.254/latest/meta-data/", "https://evil.example/",
        "ftp://127.0.0.2/", "evil.example:443", "//evil.example/", "/\\evil.example/", "*",
    ):  # fmt: skip
        yield from _both(f"asked for {path}", _get(path), 301)
    for header in (
        "X-Forwarded-Host: evil.example", "X-Original-URL: /secret", "X-Rewrite-URL: /secret",
        "Forwarded: host=evil.example", "X-Accel-Redirect: /secret", "X-HTTP-Method-Override: PUT",
        "Authorization: AWS x:y", "Destination: /data/y", "If-None-Match: " + '"a",' * 1500,
    ):  # fmt: skip
        yield from _both(header[:40], _get("/data/nothing", header))


@requests
def ranges_of_objects() -> Iterator[Request]:
    for odd in (
        "bytes=0-99999999999999999999", "bytes=-1", "bytes=5-1", "bytes=a-b", "bytes=", "x=0-1",
        "bytes=0-,0-,0-", "bytes=" + ",".join(["0-"] * 1000), "bytes=-99999999999999999999",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), "bytes=0-0,1-1,2-2", "bytes=--1",
    ):  # fmt: skip
        yield Request(
            odd[:30], "nginx", _get("/data/{object}", f"Range: {odd}"),
            frozenset({200, 206, 400, 416}),
        )  # fmt: skip


@requests
def questions_to_the_api() -> Iterator[Request]:
    for path in (
        "/api/failures?limit=-1", "/api/failures?limit=99999999999999999999",
        "/api/failures?limit=abc", "/api/failures?limit=1e9", "/api/failures?limit[]=1",
        "/api/failures?limit=10&limit=99999", "/api/failures?centre_id=../../etc",
        "/api/failures?centre_id=*", "/api/failures?centre_id=" + "a" * 5000,
        "/api/failures?centre_id=%00", "/api/failures?centre_id=%ff", "/api/failures?x=%ud800",
        "/api/items", "/api/items?data_id=" + "a" * 9000, "/api/items?data_id=%0a%0d&centre_id=a",
        "/api/items?centre_id=a%0ab&data_id=c", "/api/centres/../failures", "/api/centres?$where=1",
        "/api/", "/api", "/api/nothing", "/api/%2e%2e/metrics", "/metrics/../api/centres",
        "/metrics%00", "/metrics?name[]=x", "/healthz/..;/metrics", "/openapi.json/..",
        "/api/queue?redis=KEYS%20*", "/api/centres?callback=alert",
    ):  # fmt: skip
        yield Request(path[:60], "metrics", _get(path), REFUSED | {200, 307})
    for accept in (
        "application/openmetrics-text; version=99", "*/*;q=x", "a" * 5000, "text/html",
        "application/openmetrics-text;" * 200, ",", ";;;", "\xff",
    ):  # fmt: skip
        yield Request(
            f"accepts {accept[:30]!r}", "metrics", _get("/metrics", f"Accept: {accept}"),
            REFUSED | {200, 406},
        )  # fmt: skip


def ask(port: int, raw: bytes) -> tuple[int, bytes]:
    """Return the status of the first answer (0: none), and all that came."""
    answer = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 30) as connection,
    ):
        connection.settimeout(30)
        connection.sendall(raw)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            answer += piece
    parts = answer.split(None, 2)
    is_answer = len(parts) > 1 and parts[0].startswith(b"HTTP/") and parts[1].isdigit()
    return (int(parts[1]) if is_answer else 0), answer
