"""`/healthz` and `/readyz` of listener and manager, served by a thread of their own.

The thread answers also when the service's event loop or MQTT thread hangs: liveness must detect
that.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from wis2_gc_common.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable


_log = get_logger(__name__)


#: Connections at once, each with a thread: the kubelet and a few others.
MAX_CONNECTIONS = 32
#: How often its thread looks whether it must end, in seconds: a service that stops waits for it.
CLOSE_S = 0.05


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        # In order of arrival.
        self._open: dict[Any, None] = {}
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # A client that sends half a request must not block others: close the oldest connection.
        with self._lock:
            self._open[request] = None
            if len(self._open) > MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_bind(self) -> None:
        # HTTPServer's own method asks the DNS for our name, and the start would wait for that.
        TCPServer.server_bind(self)

    def handle_error(self, *_args: object) -> None:
        # The client hung up; socketserver would write a traceback between the log lines.
        _log.debug("health_request_failed", error=repr(sys.exception())[:200])


class HealthServer:
    """Serves two probes until closed.

    `live`, `ready`: return "" if all is well, else one line for the operator. `port` 0: the system
    picks one. Raises OSError: it cannot listen on the address.
    """

    def __init__(
        self, host: str, port: int, *, live: Callable[[], str], ready: Callable[[], str]
    ) -> None:
        probes = {"/healthz": live, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                probe = probes.get(self.path.partition("?")[0])
                if probe is None:
                    self._answer(404, {"error": "there are /healthz and /readyz"})
                    return
                try:
                    problem = probe()
                except Exception as error:  # noqa: BLE001 - with any error the answer is "not well"
                    problem = f"the probe failed: {error!r}"[:200]
                status = {"status": "unavailable" if problem else "ok", "problem": problem}
                self._answer(503 if problem else 200, status)

            def _answer(self, code: int, body: dict[str, str]) -> None:
                content = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                """Log nothing: probes come every few seconds."""

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_S,), name="health", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port, also if the system picked it."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
