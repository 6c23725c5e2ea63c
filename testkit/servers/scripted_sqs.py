"""An SQS whose every answer a test writes: for refusals that no stand-in knows."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Answer = tuple[int, dict[str, Any] | bytes]

QUEUE_PATH = "/123456789012/notifications"
DEAD_PATH = "/123456789012/dead-letters"


def refusal(code: str, *, status: int = 400, message: str = "no") -> Answer:
    """Return the answer to a call that SQS refuses."""
    return status, {"__type": f"com.amazonaws.sqs#{code}", "message": message}


@dataclass
class ScriptedSqs:
    """Listens on 127.0.0.1 until closed. `answer` is asked for every call."""

    answer: Callable[[str, dict[str, Any]], Answer]
    tls: ssl.SSLContext | None = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    """The access key that signed each call."""

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Or the answer waits 40 ms, until its head is acknowledged.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                action = self.headers["X-Amz-Target"].removeprefix("AmazonSQS.")
                outer.calls.append((action, body))
                signature = self.headers.get("Authorization", "")
                outer.identities.append(signature.partition("Credential=")[2].partition("/")[0])
                status, answer = outer.answer(action, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args: object) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def origin(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def queue_url(self) -> str:
        return self.origin + QUEUE_PATH

    @property
    def dead_letter_queue_url(self) -> str:
        return self.origin + DEAD_PATH

    def actions(self) -> list[str]:
        return [action for action, _ in self.calls]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
