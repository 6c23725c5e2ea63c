from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from images import healthcheck
from wis2_gc_common.runtime.health import HealthServer

if TYPE_CHECKING:
    from collections.abc import Iterator

problems: list[str] = []


@pytest.fixture
def port() -> Iterator[int]:
    problems.clear()

    server = HealthServer("127.0.0.1", 0, live=lambda: "".join(problems), ready=lambda: "not ready")
    yield server.port
    server.close()


def test_it_follows_healthz_and_not_readyz(port: int) -> None:
    assert healthcheck.is_healthy("127.0.0.1", port)
    problems.append("no progress")
    assert not healthcheck.is_healthy("127.0.0.1", port)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])
def test_it_asks_where_the_service_listens(
    host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GC_HTTP_HOST", host)
    monkeypatch.setenv("GC_HTTP_PORT", str(port))
    assert healthcheck.main() == 0
    problems.append("hangs")
    assert healthcheck.main() == 1


def test_nobody_there_is_unwell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can have this port meanwhile.
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("GC_HTTP_HOST", "127.0.0.1")
        monkeypatch.setenv("GC_HTTP_PORT", str(taken.getsockname()[1]))
        assert healthcheck.main() == 1
    assert "no answer on port" in capsys.readouterr().err


def test_a_port_that_is_not_a_number_is_unwell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GC_HTTP_PORT", "http")
    assert healthcheck.main() == 1


def test_it_runs_in_a_cold_interpreter_without_site_packages(port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-IS", healthcheck.__file__],
        env={"GC_HTTP_HOST": "127.0.0.1", "GC_HTTP_PORT": str(port)},
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
