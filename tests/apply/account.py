"""An AWS account on this machine: the emulator as a process, and programs that talk to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "apply" / "bin"

#: As in no documentation: `make deploy` refuses what is left of its examples.
ACCOUNT_ID = "210987654321"
REGION = "eu-west-3"
ZONE = "cache.test"

#: moto imports much, and the machine may be busy.
_START_S = 180.0
#: What is not there in a test: the credentials and settings of the one who runs it.
_PREFIXES = ("AWS_", "TF_")
#: A request to a host that is not this machine fails at once: nobody listens at port 9.
_NOBODY = {
    **dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
}


@dataclass(frozen=True, slots=True)
class Provider:
    """The locked provider of AWS, on this machine."""

    settings: Path
    """Terraform's own configuration, by which it takes this one and asks nobody."""
    lock: Path
    """terraform/*/.terraform.lock.hcl, with the sum for this machine's platform."""


class Account:
    """One account, empty but for a hosted zone."""

    def __init__(self, directory: Path, provider: Provider) -> None:
        self._directory = directory
        self.provider = provider
        self._log = directory / "emulator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.variables: Mapping[str, str] = {}
        """The environment of all programs that talk to it."""

    def __enter__(self) -> Self:
        port_file = self._directory / "port"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_PREFIXES)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [TOOLS / "python", "-m", "tests.apply.emulator", port_file],
                cwd=ROOT,
                env={**inherited, "MOTO_ACCOUNT_ID": ACCOUNT_ID},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_S
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the emulator did not start:\n{self._log.read_text('utf-8')}")
            time.sleep(0.05)
        programs = self._directory / "bin"
        programs.mkdir()
        (programs / "aws").symlink_to(TOOLS / "aws")
        self.variables = {
            **inherited,
            **_NOBODY,
            "PATH": f"{programs}:{inherited['PATH']}",
            "HOME": str(self._directory),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port_file.read_text('utf-8')}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_ARGS": "-no-color",
            "TF_CLI_CONFIG_FILE": str(self.provider.settings),
        }
        self.aws("route53", "create-hosted-zone", "--name", ZONE, "--caller-reference", "1")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def find(self, program: str) -> str:
        """Return where a program is."""
        found = shutil.which(program, path=self.variables["PATH"])
        assert found is not None, program
        return found

    def add_program(self, name: str, script: str) -> None:
        """Put a stand-in for a program into its PATH."""
        path = self._directory / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        path.chmod(0o755)

    def aws(self, *words: str) -> Any:
        """Ask with the real AWS CLI; return what it prints."""
        # Of SQS the CLI does not look at the variable.
        where = ("--endpoint-url", self.variables["AWS_ENDPOINT_URL"], "--region", REGION)
        done = subprocess.run(
            ["aws", *words, *where, "--output", "json"],
            env=dict(self.variables),
            executable=self.find("aws"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None
