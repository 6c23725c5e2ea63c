"""What all steps use: the environment, other programs, and the operator.

A program's arguments never contain a secret: everyone on the machine can read them. A secret goes
in by standard input, or the program itself keeps it.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from deploy.environment import Environment

_SHOWN_CHARS = 400
_INTERVAL_S = 3.0


class DeployError(Exception):
    """A step failed; the next steps do not run. The message is one line for the operator."""

    exit_code = 1


class Declined(DeployError):
    """Something is missing or wrong; the step found it before any change."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Session:
    """One run of `make deploy` or of one of its steps."""

    environment: Environment
    variables: Mapping[str, str]
    """Environment variables of the programs, which run in the checkout."""
    say: Callable[[str], None]
    """Shows one line."""
    ask: Callable[[str], str] | None = None
    """Shows a question and returns the typed answer; None: nobody is there to answer."""
    ask_secret: Callable[[str], str] | None = None
    """The same, without showing the typed text."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = field(default=time.time)

    def run(self, *argv: str | Path, **options: Any) -> int:
        """Show and run a program whose output is for the operator; return its exit code.

        `options`: as for `_call`. Raises DeployError: it fails, or does not exist.
        """
        variables = options.get("variables", {}).items()
        shown = [f"{name}={shlex.quote(value)}" for name, value in variables]
        self.say(f"$ {' '.join((*shown, shlex.join(map(str, argv))))}")
        return self._call(argv, None, **options)[0]

    def read(self, *argv: str | Path, **options: Any) -> str:
        """Return what a program prints, without the last line's end.

        `options`: as for `_call`. Raises DeployError with the last line of its error output.
        """
        return self._call(argv, subprocess.PIPE, **options)[1].rstrip("\n")

    def read_json(self, *argv: str | Path, **options: Any) -> Any:
        """Return the JSON that a program prints. Raises DeployError: it fails, or prints none."""
        text = self.read(*argv, **options)
        try:
            return json.loads(text)
        except ValueError:
            what = f"{text[:_SHOWN_CHARS]!r}, which is not JSON" if text else "nothing"
            raise DeployError(f"`{_verbs(argv)}` prints {what}") from None

    def aws(self, *words: str | Path, stdin: bytes = b"") -> Any:
        """Return what AWS answers in the environment's region. Raises DeployError."""
        where = ("--region", self.environment.region, "--output", "json")
        return self.read_json("aws", *words, *where, stdin=stdin)

    def ask_aws(self, *words: str) -> Any:
        """Return the same, or None if we may not ask, which does not prevent a deployment."""
        try:
            return self.aws(*words)
        except DeployError:
            return None

    def helm(self, *words: str | Path) -> tuple[str | Path, ...]:
        """Return a helm command for this cluster."""
        return "helm", f"--kube-context={self.environment.cluster_name}", *words

    def kubectl(self, *words: str | Path, namespace: str = "") -> tuple[str | Path, ...]:
        """Return a kubectl command for this cluster."""
        where = (f"--namespace={namespace}",) if namespace else ()
        return "kubectl", f"--context={self.environment.cluster_name}", *where, *words

    def until(self, check: Callable[[], str], patience_s: float) -> str:
        """Return what `check` returns once it raises no DeployError; at the end raise the last."""
        deadline = self.now() + patience_s
        while True:
            try:
                return check()
            except DeployError as problem:
                if self.now() >= deadline:
                    raise DeployError(f"{problem} (waited {patience_s:g} s)") from None
            self.sleep(_INTERVAL_S)

    def confirm(self, what: str, *, word: str, is_typed: bool = False) -> None:
        """Require `word`, typed or as CONFIRM, before something serious begins.

        `is_typed`: CONFIRM is not enough.
        Raises Declined: another word, or nobody to ask and no CONFIRM=`word`.
        """
        answer = "" if is_typed else self.variables.get("CONFIRM", "")
        if not answer:
            if self.ask is None:
                raise Declined(f"{what}: no terminal to confirm it; CONFIRM={word} confirms")
            answer = self.ask(f'{what}. Type "{word}" to continue: ').strip()
        if answer != word:
            raise Declined(f"{what}: not confirmed")

    def _call(
        self, argv: tuple[str | Path, ...], output: int | None, *,
        codes: Collection[int] = (0,), variables: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> tuple[int, str]:  # fmt: skip
        """Run a program; return its exit code, one of `codes`, and its output if that is piped.

        `variables` are added to its environment; `stdin` is not shown: it may be a secret.
        """
        # Our output so far must come before the program's output.
        sys.stdout.flush()
        # Ctrl-C reaches the program too. Terraform and Helm then finish the current action and
        # record it; a kill would leave a lock and a forgotten resource.
        pressed: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
        try:
            done = subprocess.run(
                argv, env={**self.variables, **(variables or {})}, cwd=self.environment.root,
                input=stdin, stdout=output, stderr=output, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise DeployError(f"{argv[0]} is not installed") from None
        finally:
            signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt
        out, err = ((text or b"").decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if done.returncode not in codes:
            lines = [line.strip() for line in err.splitlines() if line.strip()]
            detail = f": {lines[-1][:_SHOWN_CHARS]}" if lines else ""
            raise DeployError(f"`{_verbs(argv)}` ended with exit code {done.returncode}{detail}")
        return done.returncode, out


def _verbs(argv: tuple[str | Path, ...]) -> str:
    """Return the program and its verbs, without the options."""
    words = takewhile(lambda word: "=" in word or word[0] != "-", map(str, argv))
    return " ".join([word.rsplit("/", 1)[-1] for word in words if word[0] != "-"][:3])
