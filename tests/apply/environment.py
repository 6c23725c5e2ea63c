"""An environment, deployed by `python -m deploy` from a copy of what that reads."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.main import main
from tests.apply.account import ACCOUNT_ID, REGION, ROOT, ZONE

if TYPE_CHECKING:
    from tests.apply.account import Account

#: The emulator has no name for each bucket. Into the copy only.
_OVERRIDES = {
    "bootstrap": 'provider "aws" {\n  s3_use_path_style = true\n}\n',
    "main": """\
terraform {
  backend "s3" {
    encrypt        = true
    use_lockfile   = true
    use_path_style = true
  }
}
provider "aws" {
  s3_use_path_style = true
}
provider "aws" {
  alias             = "us_east_1"
  s3_use_path_style = true
}
""",
}
#: What the examples in terraform/environments become.
_OURS = {
    "123456789012": ACCOUNT_ID,
    "192.0.2.0/24": "198.51.100.0/24",
    "example.org": ZONE,
    "xx-example-": "xx-somewhere-",
}

Plan = dict[str, Any]


class Failed(Exception):
    """`make deploy`, or Terraform, ended with an error; the message is what it said."""


class Environment:
    """One environment."""

    def __init__(self, directory: Path, account: Account, name: str) -> None:
        self.account = account
        self.said: list[str] = []
        """What the operator was shown by the last step, line by line."""
        self.state_bucket = f"wis2-gc-state-{ACCOUNT_ID}-{REGION}"
        self._root = directory / name
        self._name = name
        self._last_plan = directory / "last-plan.json"
        self.directory = self._root / ".deploy" / name
        """What `make deploy` keeps on this machine."""
        for folder in ("terraform", "helm"):
            shutil.copytree(
                ROOT / folder,
                self._root / folder,
                ignore=shutil.ignore_patterns(".terraform", "*.tftest.hcl"),
            )
        for module, override in _OVERRIDES.items():
            path = self._root / "terraform" / module / "emulator_override.tf"
            path.write_text(override, encoding="utf-8")
            shutil.copy(account.provider.lock, path.parent)
        self._add_programs()
        for example, ours in _OURS.items():
            self.set(example, ours)

    def _add_programs(self) -> None:
        """Stand in for what is not looked at here: a clean checkout, and an empty cluster.

        terraform and aws are real; of the former what it shows of a plan is kept. PyPI has the
        AWS CLI 1 only, whose calls are those of 2, so of the latter the version is another's.
        """
        add, account = self.account.add_program, self.account
        add("git", '[ "$1" != --version ] || echo git version 2.40\n')
        add("helm", '[ "$1" != version ] || echo v3.18.0\n')
        add("kubectl", '[ "$1" != version ] || echo \'"v1.35.0"\'\n')
        aws, terraform = (Path(account.find(name)).resolve() for name in ("aws", "terraform"))
        add("aws", f'[ "$1" = --version ] && echo aws-cli/2.9.0 || exec {aws} "$@"\n')
        add(
            "terraform",
            f'case "$*" in *"show -json "*) {terraform} "$@" | tee {self._last_plan} ;;\n'
            f'*) exec {terraform} "$@" ;; esac\n',
        )

    @property
    def _tfvars(self) -> Path:
        return self._root / "terraform" / "environments" / f"{self._name}.tfvars"

    def set(self, old: str, new: str) -> None:
        """Change a text in the tfvars file; an empty `old` adds it at the end."""
        text = self._tfvars.read_text("utf-8")
        assert old in text, f"{old} is not in {self._tfvars.name}: this suite goes by the examples"
        changed = text.replace(old, new) if old else f"{text}{new}\n"
        self._tfvars.write_text(changed, encoding="utf-8")

    # What `make deploy` does

    def bootstrap(self) -> None:
        """`make deploy-bootstrap`."""
        self._step("bootstrap")

    def apply(self) -> dict[str, str]:
        """`make deploy-infra`; return what it did, as `changes` does."""
        self._last_plan.unlink(missing_ok=True)
        self._step("infra")
        return _changes(json.loads(self._last_plan.read_text("utf-8")))

    def destroy(self) -> None:
        """`make destroy`."""
        self._step("destroy")

    def _step(self, name: str) -> None:
        """Run one step. Raises Failed."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(
                [name, "--env", self._name],
                root=self._root,
                environment=self.account.variables,
                ask=lambda question: question.partition('Type "')[2].partition('"')[0],
            )
        # Shown where a test fails.
        sys.stdout.write(out.getvalue() + err.getvalue())
        self.said = out.getvalue().splitlines()
        if code != 0:
            raise Failed(err.getvalue().strip())

    # What a test looks at

    def changes(self, *options: str) -> dict[str, str]:
        """Return what the next apply would do to which address: create, update, delete, replace.

        Raises Failed: Terraform refuses such a plan.
        """
        plan = self.directory / "looked-at"
        self._terraform(
            "plan", "-input=false", f"-var-file={self._tfvars}", f"-out={plan}", *options
        )
        return _changes(json.loads(self._terraform("show", "-json", str(plan))))

    def state(self) -> list[dict[str, Any]]:
        """Return every managed resource of the state."""
        root = json.loads(self._terraform("show", "-json")).get("values", {}).get("root_module", {})
        return [found for found in _resources(root) if found["mode"] == "managed"]

    def output(self) -> dict[str, Any]:
        """Return the outputs."""
        found = json.loads(self._terraform("output", "-json"))
        return {name: output["value"] for name, output in found.items()}

    def _terraform(self, *words: str) -> str:
        done = subprocess.run(
            ["terraform", "-chdir=terraform/main", *words],
            env={**self.account.variables, "TF_DATA_DIR": str(self.directory / "terraform")},
            executable=self.account.find("terraform"),
            cwd=self._root,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise Failed(done.stderr)
        return done.stdout


def _changes(plan: Plan) -> dict[str, str]:
    return {
        change["address"]: _verb(change["change"]["actions"])
        for change in plan["resource_changes"]
        if change["mode"] == "managed" and change["change"]["actions"] != ["no-op"]
    }


def _verb(actions: list[str]) -> str:
    return actions[0] if len(actions) == 1 else "replace"


def _resources(module: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(module.get("resources", []))
    for child in module.get("child_modules", []):
        found += _resources(child)
    return found
