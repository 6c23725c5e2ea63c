from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from wis2_gc_operator import main as operator


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings that are right, with a registry where nobody listens."""
    for name in ("GC_QUEUE_URL", "GC_DEAD_LETTER_QUEUE_URL", "GC_REDIS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GC_CENTRE_ID", "xx-test-global-cache")
    monkeypatch.setenv("GC_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setattr(operator, "configure_logging", lambda **_: None)
    return monkeypatch


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["item", "fr-a", "x"],
        ["failures"],
        ["dead-letters", "list"],
        ["dead-letters", "redrive"],
    ],
)
def test_a_registry_that_is_away_is_one_line_and_exit_code_1(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert operator.main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("wis2-gc: ")
    assert captured.err.count("\n") == 1
    assert "secret" not in captured.err


def test_a_check_with_everything_away_still_reports_every_part(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.main(["check", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["is_ok"] is False
    assert answer["problems"].keys() == {"registry", "queue"}
    assert all(answer["problems"].values())


@pytest.mark.parametrize("name", ["GC_CENTRE_ID", "GC_REDIS_URL"])
def test_a_missing_setting_is_one_line_that_names_it_and_exit_code_2(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    environment.delenv(name)
    assert operator.main(["status"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"wis2-gc: {name}: is not set.")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["nothing"],
        ["item"],
        ["item", "x"],
        ["dead-letters"],
        ["failures", "--limit", "0"],
        ["failures", "--limit", "1001"],
        ["failures", "--limit", "many"],
        ["dead-letters", "redrive", "--limit", "-1"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        operator.main(command)
    assert stopped.value.code == 2
    assert "usage: wis2-gc" in capsys.readouterr().err


OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_every_command_of_the_operations_page_exists() -> None:
    command = re.compile(r"^\s*(?:\$ )?wis2-gc ([^|#\n]+)", re.MULTILINE)
    lines = command.findall(OPERATIONS.read_text("utf-8"))
    assert len(lines) > 8
    for line in lines:
        assert callable(operator._parser().parse_args(shlex.split(line)).run)
