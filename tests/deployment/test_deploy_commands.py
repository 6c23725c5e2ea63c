"""Other programs, run by `deploy.session`, and what is read of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.checks import version_of
from deploy.environment import Environment, read_variables
from deploy.session import Declined, DeployError, Session


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def session(tmp_path: Path, said: list[str]) -> Session:
    return Session(Environment("dev", tmp_path, "1", "eu-west-3"), os.environ, said.append)


def test_a_command_is_shown_as_it_can_be_typed(session: Session, said: list[str]) -> None:
    assert session.run("true", "two words", variables={"TAG": "a b"}) == 0
    assert said == ["$ TAG='a b' true 'two words'"]


def test_a_failure_names_the_program_and_its_verbs_only(session: Session) -> None:
    with pytest.raises(DeployError) as failure:
        session.run("sh", "-c", "exit 3")
    assert str(failure.value) == "`sh` ended with exit code 3"
    for words, shown in (
        (("-chdir=terraform/main", "plan", "-input=false"), "env plan"),
        (("--kube-context=c", "upgrade", "--install", "x"), "env upgrade"),
        (("--context=c", "--namespace=n", "get", "pod", "-l", "a"), "env get pod"),
    ):
        # `env` fails with these.
        with pytest.raises(DeployError, match=f"`{shown}` ended"):
            session.read("env", *words)


def test_what_is_read_and_fails_tells_the_last_line_of_the_complaint(session: Session) -> None:
    with pytest.raises(DeployError, match=r"exit code 1: no such thing$"):
        session.read("sh", "-c", "echo first >&2; echo 'no such thing' >&2; exit 1")


def test_what_is_not_json_is_one_line_as_every_failure(session: Session) -> None:
    """An empty answer of kubectl once ended in a traceback."""
    assert session.read_json("echo", '{"items": []}') == {"items": []}
    with pytest.raises(DeployError, match=r"^`true` prints nothing$"):
        session.read_json("true")
    with pytest.raises(DeployError, match=r"^`echo no` prints 'no', which is not JSON$"):
        session.read_json("echo", "no")


def test_a_program_that_is_not_there_is_said(session: Session) -> None:
    with pytest.raises(DeployError, match="no-such-program is not installed"):
        session.run("no-such-program")


def test_what_goes_in_is_not_shown(session: Session, said: list[str], tmp_path: Path) -> None:
    session.run("sh", "-c", "cat >got", stdin=b"hidden")
    assert (tmp_path / "got").read_text() == "hidden"
    assert "hidden" not in said[0]


def test_an_interrupted_program_is_left_to_finish_what_it_does(tmp_path: Path) -> None:
    script = tmp_path / "deploys.py"
    script.write_text(
        "import os\n"
        "import signal\n"
        "from pathlib import Path\n"
        "from deploy.environment import Environment\n"
        "from deploy.session import Session\n"
        # A shell that runs the tests in the background may ignore the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "session = Session(Environment('dev', Path.cwd(), '', ''), os.environ, print)\n"
        "inner = 'trap \"echo finishing\" INT; : >started; n=0;'\n"
        "inner += ' while [ ! -e go ]; do sleep 0.05; done; : >finished'\n"
        "try:\n"
        "    session.run('sh', '-c', inner)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped after', Path('finished').exists())\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())}, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)  # subprocess.run would have killed it after a quarter of a second
    (tmp_path / "go").touch()
    out, _ = process.communicate(timeout=30)
    assert "finishing" in out
    assert "stopped after True" in out


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("git version 2.39.5", (2, 39, 5)),
        ("v3.18.4+gd80839c", (3, 18, 4)),
        ("aws-cli/2.31.8 Python/3.13.7", (2, 31, 8)),
        ('{"terraform_version": "1.11.4"}', (1, 11, 4)),
        ("", ()),
        ("none", ()),
    ],
)
def test_versions_are_found_in_what_programs_say(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


def test_variables_are_read_as_terraform_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "dev.tfvars"
    file.write_text("""
# account_id = "1"
account_id  = "2" # yours
disposable = true
number= 3
nothing = null
tags = {
  region = "inside"
}
list = ["a", // one
  "b",
]
""")
    assert read_variables(file) == {
        "account_id": "2", "disposable": True, "number": 3, "nothing": None,
        "tags": {"region": "inside"}, "list": ["a", "b"],
    }  # fmt: skip
    file.write_text("account_id = \n")
    with pytest.raises(Declined, match=r"dev\.tfvars cannot be read"):
        read_variables(file)
