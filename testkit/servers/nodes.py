"""The web servers of WIS2 Nodes, as helpful or hostile as a test requires."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What a path answers; `gate` holds the body back until it is set."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced_length: int | None = None
    gate: threading.Event | None = None


class Node:
    """One data server on a port of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._gates: list[threading.Event] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                answer = node._next_answer(self.path)
                if answer.gate is not None:
                    answer.gate.wait(60)
                length = answer.announced_length
                self.send_response(answer.status)
                self.send_header(
                    "Content-Length", str(len(answer.body) if length is None else length)
                )
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
                if length is not None and length > len(answer.body):
                    self.close_connection = True

            def log_message(self, *_args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_args: Any) -> None:
                """A client that went away is the test's business, not the log's."""

        self._server = Server((host, 0), Handler)
        self.host = host
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, path: str, *answers: Answer | bytes, host: str | None = None) -> str:
        """Let `path` answer each of `answers` in turn, the last for ever; return its URL."""
        url = f"http://{host or self.host}:{self.port}{path}"
        with self._lock:
            parts = urlsplit(url)
            key = parts.path + (f"?{parts.query}" if parts.query else "")
            self.answers[key] = [Answer(a) if isinstance(a, bytes) else a for a in answers]
            self._gates += [a.gate for a in self.answers[key] if a.gate is not None]
        return url

    def _next_answer(self, path: str) -> Answer:
        with self._lock:
            self.requests[path] += 1
            answers = self.answers.get(path)
            if not answers:
                return Answer(b"no such item", status=404)
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        for gate in self._gates:
            gate.set()
        self._server.shutdown()
        self._server.server_close()
