"""A test that cannot be ended by its time-out does not hang the run."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

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


SOURCES = {"loop": DEAF_LOOP, "fixture": DEAF_FIXTURE, "thread": DEAF_THREAD}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A run of pytest for each source; they wait for their ends at the same time."""
    with contextlib.ExitStack() as stack:
        runs = {}
        for deaf, source in SOURCES.items():
            directory = tmp_path_factory.mktemp(deaf)
            # The project's own conftest and settings, but for the times.
            (directory / "conftest.py").write_text((PROJECT / "tests/conftest.py").read_text())
            (directory / "test_deaf.py").write_text(source)
            options = ["-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(directory)]
            options += ["-o", "timeout=1", "-o", "last_deadline=1", "-o", f"pythonpath={PROJECT}"]
            runs[deaf] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "pytest", "-q", *options, str(directory)],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
            )  # fmt: skip
            stack.callback(runs[deaf].kill)
        yield runs


@pytest.mark.parametrize("deaf", SOURCES)
def test_what_does_not_heed_its_time_out_is_ended(
    runs: dict[str, subprocess.Popen[str]], deaf: str
) -> None:
    # Its own time-out fails this test where nothing ends the other one.
    printed, _ = runs[deaf].communicate(timeout=100)
    assert runs[deaf].returncode != 0
    # Not by pytest: it has written no summary of failures.
    assert "short test summary" not in printed
