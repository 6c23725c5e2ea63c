from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.state import StateDirectory
from wis2_gc_common.errors import SettingsError

CLEAN = Path(__file__).parents[3] / "local" / "clean.sh"


def clean(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", CLEAN, path], capture_output=True, text=True, check=False)


def test_secrets_stay_the_same_and_private(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    secret = state.secret("redis")
    state.close()
    again = StateDirectory(tmp_path / "state")
    assert again.secret("redis") == secret
    assert len(secret) == 48
    assert (tmp_path / "state" / "secrets" / "redis").stat().st_mode & 0o077 == 0
    again.close()


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SettingsError, match=r"STATE: .* holds other things"):
        StateDirectory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"STATE: .* cannot be used"):
        StateDirectory(tmp_path / "file" / "state")


def test_one_directory_serves_one_run_at_a_time(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    code = (
        "from local.state import StateDirectory; from pathlib import Path; "
        f"StateDirectory(Path({str(state.path)!r}))"
    )
    second = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert f"is in use by process {os.getpid()}" in second.stderr
    state.close()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_clean_removes_what_a_run_made(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.secret("redis")
    state.close()
    assert clean(state.path).returncode == 0
    assert not state.path.exists()
    assert clean(state.path).returncode == 0


def test_clean_removes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = clean(tmp_path)
    assert result.returncode == 2
    assert "was not made by make run" in result.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_clean_refuses_while_a_run_lives(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    result = clean(state.path)
    assert result.returncode == 2
    assert "is in use" in result.stderr
    assert state.path.exists()
    state.close()
