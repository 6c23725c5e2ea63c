"""A test that cannot be ended by its time-out does not hang the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]

#: pytest-timeout's error is raised in a callback, where the loop keeps it.
DEAF_LOOP = """
import asyncio

async def test_deaf():
    def spin():
        loop.call_soon(spin)
    loop = asyncio.get_running_loop()
    spin()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""
DEAF_FIXTURE = """
import threading
import pytest

@pytest.fixture(scope="session")
def server():
    yield
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass

def test_done(server):
    pass
"""
DEAF_THREAD = """
import threading

def test_done():
    threading.Thread(target=threading.Event().wait).start()
"""


@pytest.mark.parametrize("source", [DEAF_LOOP, DEAF_FIXTURE, DEAF_THREAD])
def test_what_does_not_heed_its_time_out_is_ended(tmp_path: Path, source: str) -> None:
    # The project's own conftest and settings, but for the times.
    (tmp_path / "conftest.py").write_text((PROJECT / "tests/conftest.py").read_text())
    (tmp_path / "test_deaf.py").write_text(source)
    options = ["-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    options += ["-o", "timeout=1", "-o", "last_deadline=2", "-o", f"pythonpath={PROJECT}"]
    # Its own time-out fails this test where nothing ends the other one.
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    # Not by pytest: it has written no summary of failures.
    assert "short test summary" not in ended.stdout
