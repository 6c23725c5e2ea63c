"""Other programs, run one after the other.

What they are given never holds a secret in its arguments: those are for everyone on the machine
to read. A secret goes in by standard input, or stays in the program's own hands.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

_SHOWN_CHARS = 400
#: Stand before the verbs, with a value of their own.
_GLOBAL_OPTIONS = ("--kube-context", "--context", "-n")


class Commands:
    """Runs programs with one environment, from one directory.

    `say` gets what the operator is to see: each command before it runs.
    """

    def __init__(
        self, *, environment: Mapping[str, str], directory: Path, say: Callable[[str], None]
    ) -> None:
        self._environment = dict(environment)
        self._directory = directory
        self._say = say

    def find(self, program: str) -> str | None:
        """Return where `program` is, or None."""
        return shutil.which(program, path=self._environment.get("PATH", ""))

    def run(
        self,
        *argv: str | Path,
        codes: Collection[int] = (0,),
        variables: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> int:
        """Run a program whose output is for the operator; return its exit code.

        `variables` are added to its environment, and shown; `stdin` is not: it may be a secret.
        Raises DeployError: not one of `codes`, or the program is not there.
        """
        command = [str(word) for word in argv]
        shown = [f"{name}={shlex.quote(value)}" for name, value in (variables or {}).items()]
        self._say(f"$ {' '.join((*shown, shlex.join(command)))}")
        code, _, _ = self._call(command, stdin, None, variables or {})
        if code not in codes:
            raise DeployError(f"`{_short(command)}` ended with exit code {code}")
        return code

    def read(self, *argv: str | Path, stdin: bytes | None = None) -> str:
        """Return what a program prints, without the last line's end.

        Raises DeployError with the last line of its complaint.
        """
        command = [str(word) for word in argv]
        code, out, err = self._call(command, stdin, subprocess.PIPE, {})
        if code != 0:
            complaint = next((line for line in reversed(err.splitlines()) if line.strip()), "")
            detail = f": {complaint.strip()[:_SHOWN_CHARS]}" if complaint else ""
            raise DeployError(f"`{_short(command)}` ended with exit code {code}{detail}")
        return out.rstrip("\n")

    def _call(
        self,
        command: list[str],
        stdin: bytes | None,
        output: int | None,
        variables: Mapping[str, str],
    ) -> tuple[int, str, str]:
        # What we said so far comes before what the program says.
        sys.stdout.flush()
        try:
            process = subprocess.Popen(
                command,
                env={**self._environment, **variables},
                cwd=self._directory,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        except FileNotFoundError:
            raise DeployError(f"{command[0]} is not installed") from None
        out, err = (text.decode("utf-8", "replace") for text in _wait(process, stdin))
        return process.returncode, out, err


def _wait(process: subprocess.Popen[bytes], stdin: bytes | None) -> tuple[bytes, bytes]:
    """Wait until it ends by itself, whatever the operator presses.

    Ctrl-C reaches the program too. Terraform and Helm then finish what is under way and write
    down what they did; to kill them a moment later would leave a lock and a forgotten resource.
    """
    interruption: KeyboardInterrupt | None = None
    while True:
        try:
            # What was to be written is with the program since the first call.
            out, err = process.communicate(None if interruption else stdin)
        except KeyboardInterrupt as pressed:
            interruption = pressed
            continue
        if interruption is not None:
            raise interruption
        return out or b"", err or b""


def _short(command: list[str]) -> str:
    """Return the program and its verbs, without the options."""
    words: list[str] = []
    rest = iter(command)
    for word in rest:
        if word in _GLOBAL_OPTIONS:
            next(rest, None)
        elif not word.startswith("-"):
            words.append(word.rsplit("/", 1)[-1])
        elif "=" not in word:
            break
    return " ".join(words[:3])
