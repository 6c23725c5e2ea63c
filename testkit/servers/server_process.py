"""Servers that a test starts as processes of its own."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess


def wait_for_port(port: int, process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """Return when something listens on the port; fail when the process ends, or the time does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"nothing listens; exit code {process.poll()}")
