"""`/healthz` and `/readyz` of listener and manager, from a thread of their own.

A thread answers also when the service's event loop or MQTT thread hangs: that is what liveness is
there to find.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Health:
    """One answer: `problem` is "" when all is well, else one line for the operator."""

    problem: str = ""


class HealthServer:
    """Serves two probes until closed."""

    def __init__(
        self, host: str, port: int, *, live: Callable[[], Health], ready: Callable[[], Health]
    ) -> None:
        probes = {"/healthz": live, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                probe = probes.get(self.path.partition("?")[0])
                if probe is None:
                    self._answer(404, {"error": "there are /healthz and /readyz"})
                    return
                problem = probe().problem
                status = {"status": "unavailable" if problem else "ok", "problem": problem}
                self._answer(503 if problem else 200, status)

            def _answer(self, code: int, body: dict[str, str]) -> None:
                content = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                """Probes every few seconds are not worth a log line."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port, also where the system picked it."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
