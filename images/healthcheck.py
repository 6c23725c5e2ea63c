"""Checks the service in this container: exit code 0 if `/healthz` answers 200.

It runs every few seconds in a new interpreter, so it uses plain sockets: to import an HTTP client
would cost several times the CPU.
"""

from __future__ import annotations

import os
import socket
import sys

#: A service that listens on all addresses also listens on loopback.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_TIMEOUT_S = 4


def is_healthy(host: str, port: int) -> bool:
    """Whether `/healthz` answers 200. Raises OSError: nothing listens, or no answer in time."""
    with socket.create_connection((_LOOPBACK.get(host, host), port), _TIMEOUT_S) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.readline(100).split()[1:2] == [b"200"]


def main() -> int:
    """Return the exit code; the problem goes to the engine's health log."""
    host, port = os.environ.get("GC_HTTP_HOST", ""), os.environ.get("GC_HTTP_PORT") or "8080"
    try:
        return 0 if is_healthy(host, int(port)) else 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer on port {port}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
