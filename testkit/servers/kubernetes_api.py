"""A Kubernetes API of two lists, over HTTPS on 127.0.0.1, and the credentials for it."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE = "wis2"
RELEASE = "wis2"
TOKEN = "a.token.of-the-pod"


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    """Return a condition as Kubernetes writes it."""
    return {"type": kind, "status": status, **more}


def workload(name: str, *, image: str = "r.example/wis2/x:1.0", **status: Any) -> dict[str, Any]:
    """Return a Deployment or StatefulSet of two pods, complete unless `status` says otherwise."""
    complete = {
        "observedGeneration": 3,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    }
    return {
        "metadata": {"name": name, "generation": 3, "managedFields": [{"manager": "helm"}]},
        "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}},
        },
        "status": {key: v for key, v in {**complete, **status}.items() if v is not None},
    }


@dataclass
class Cluster:
    """What the API holds and how it answers; what it was asked."""

    url: str
    credentials: Path
    deployments: list[dict[str, Any]] = field(default_factory=list)
    stateful_sets: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    """Answered to everything, in place of a list."""
    location: str | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it; open from the beginning."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and `Authorization` of each request."""

    def answer(self, path: str) -> bytes:
        """Return what a GET of `path` is answered."""
        if self.body is not None:
            return self.body
        items = self.stateful_sets if "/statefulsets" in path else self.deployments
        return json.dumps({"kind": "List", "apiVersion": "apps/v1", "items": items}).encode()


@contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Yield a cluster whose API answers; `directory` becomes its credentials."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Or the answer waits 40 ms, until its head is acknowledged.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            cluster.asked.append((self.path, self.headers.get("Authorization")))
            cluster.gate.wait(30)
            body = cluster.answer(self.path)
            self.send_response(cluster.status)
            if cluster.location is not None:
                self.send_header("Location", cluster.location)
            # As the real one does, to who asks for it; and with a long list.
            self.send_header("Connection", "close")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for begin in range(0, len(body), 1000):
                part = body[begin : begin + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, address: Any) -> None:
            # In the request's own thread: who says nothing holds nobody up.
            try:
                with context.wrap_socket(request, server_side=True) as secured:
                    super().finish_request(secured, address)
            except OSError:
                pass  # who asked has gone, or does not trust us

    server = Server(("127.0.0.1", 0), Handler)
    cluster = Cluster(f"https://127.0.0.1:{server.server_port}", directory)
    cluster.gate.set()
    authority.cert_pem.write_to_path(str(directory / "ca.crt"))
    (directory / "token").write_text(TOKEN)
    (directory / "namespace").write_text(NAMESPACE)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield cluster
    finally:
        cluster.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
