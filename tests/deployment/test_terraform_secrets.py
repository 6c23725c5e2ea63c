"""Passwords: made in Secrets Manager, set in ElastiCache, and in no state."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

TERRAFORM = Path(__file__).parents[2] / "terraform"
SET_PASSWORD = TERRAFORM / "modules" / "registry" / "set-password.sh"
REGION = "eu-west-3"

# The module secrets, for real, against moto.

PLUGINS = subprocess.run(
    [TERRAFORM / "check.sh", "plugins"], capture_output=True, text=True, check=True
).stdout.strip()
needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None or not PLUGINS,
    reason="NOT TESTED: requires terraform, and the aws provider in TF_PLUGIN_DIR",
)

ROOT_MODULE = """
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}
provider "aws" {
  region = "%(region)s"
}
provider "aws" {
  alias  = "passwords"
  region = "%(region)s"
}
variable "password_version" {
  type = number
}
module "key" {
  source      = "%(modules)s/key"
  name        = "test"
  description = "test"
}
module "secrets" {
  source           = "%(modules)s/secrets"
  providers        = { aws = aws, aws.passwords = aws.passwords }
  name             = "test"
  key_arn          = module.key.arn
  password_version = var.password_version
  recovery_days    = 0
  global_brokers   = ["fr"]
  broker_accounts  = ["gb-fr"]
}
module "images" {
  source       = "%(modules)s/images"
  name         = "test"
  services     = ["listener", "manager"]
  kept_images  = 5
  force_delete = true
}
"""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty account on this machine; its Secrets Manager."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    try:
        yield boto3.client("secretsmanager", region_name=REGION)
    finally:
        server.stop()


def _terraform(folder: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    environment = os.environ | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    environment.pop("TF_CLI_CONFIG_FILE", None)
    done = subprocess.run(
        ["terraform", f"-chdir={folder}", *words, "-no-color"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode in codes, done.stderr + done.stdout
    return done.stdout


def _passwords(aws: Any) -> dict[str, Any]:
    return {
        secret: json.loads(aws.get_secret_value(SecretId=f"test/{secret}")["SecretString"])
        for secret in ("registry", "broker", "deployment", "accounts/gb-fr", "global-brokers/fr")
    }


@needs_terraform
@pytest.mark.timeout(300)
def test_passwords_are_made_once_renewed_on_demand_and_never_in_plan_or_state(
    aws: Any, tmp_path: Path
) -> None:
    text = ROOT_MODULE % {"region": REGION, "modules": TERRAFORM / "modules"}
    (tmp_path / "main.tf").write_text(text)
    _terraform(tmp_path, "init", f"-plugin-dir={PLUGINS}")
    version = "-var=password_version=1"
    _terraform(tmp_path, "plan", version, "-out=plan")
    _terraform(tmp_path, "apply", "plan")
    first = _passwords(aws)
    aws.put_secret_value(SecretId="test/global-brokers/fr", SecretString='{"url": "mqtts://ours"}')

    # Applying twice changes nothing.
    _terraform(tmp_path, "plan", version, "-detailed-exitcode")
    _terraform(tmp_path, "apply", "-auto-approve", version)
    assert _passwords(aws) == first | {"global-brokers/fr": {"url": "mqtts://ours"}}

    _terraform(tmp_path, "apply", "-auto-approve", "-var=password_version=2")
    second = _passwords(aws)
    assert second["global-brokers/fr"] == {"url": "mqtts://ours"}

    # No login, and message ids are made with it: it stays.
    assert set(first["deployment"]) == {"secret"}
    assert second["deployment"] == first["deployment"]
    # EMQX keeps the password that it knows.
    assert set(first["accounts/gb-fr"]) == {"password"}
    assert second["accounts/gb-fr"] == first["accounts/gb-fr"]

    made = [p for held in (first, second) for s in ("registry", "broker") for p in held[s].values()]
    made += [*first["deployment"].values(), *first["accounts/gb-fr"].values()]
    assert first.keys() == second.keys()
    assert set(first["broker"]) == {"publisherPassword", "dashboardPassword"}
    assert set(first["registry"]) == {"password"}
    assert len(set(made)) == 8
    assert all(len(password) == 48 and password.isalnum() for password in made)
    shown = _terraform(tmp_path, "show", "-json", "plan")
    states = "".join(path.read_text() for path in tmp_path.glob("terraform.tfstate*"))
    assert "test/registry" in states
    assert not [password for password in made if password in shown + states]


# set-password.sh against a recording `aws`

FAKE_AWS = """#!/bin/sh
printf '%s\\n' "$*" >>"$RECORD/calls"
case "$*" in
    *get-secret-value*AWSCURRENT*) cat "$RECORD/current" ;;
    *get-secret-value*AWSPREVIOUS*) cat "$RECORD/previous" ;;
    *modify-user*"--user-id wis2-gc-test-cache "*) cat >"$RECORD/request"; echo modifying ;;
    *describe-users*) head -1 "$RECORD/states"; sed -i 1d "$RECORD/states" ;;
    *) exit 9 ;;
esac
"""


@dataclass(frozen=True)
class Account:
    """What the recording `aws` answers, and what it was asked."""

    folder: Path

    def holds(
        self,
        current: str = '{"password":"New1"}',
        previous: str | None = None,
        states: str = "active",
    ) -> None:
        (self.folder / "current").write_text(current)
        if previous is not None:
            (self.folder / "previous").write_text(previous)
        (self.folder / "states").write_text("\n".join(states.split()) + "\n")

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SET_PASSWORD)],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": f"{self.folder}:{os.environ['PATH']}",
                "RECORD": str(self.folder),
                "AWS_REGION": REGION,
                "SECRET_ID": "arn:registry",
                "USER_ID": "wis2-gc-test-cache",
                "WAIT_ROUNDS": "3",
                "WAIT_SECONDS": "0",
            },
        )

    @property
    def calls(self) -> str:
        return (self.folder / "calls").read_text()

    @property
    def request(self) -> dict[str, Any] | None:
        path = self.folder / "request"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def account(tmp_path: Path) -> Account:
    fake = tmp_path / "aws"
    fake.write_text(FAKE_AWS)
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return Account(tmp_path)


def test_the_registrys_user_gets_the_password_of_the_secret(account: Account) -> None:
    account.holds(states="modifying active")
    done = account.run()
    assert done.returncode == 0, done.stderr
    assert account.request == {"Type": "password", "Passwords": ["New1"]}
    # It has asked until the user was active.
    assert (account.folder / "states").read_text() == ""
    # Arguments are for everyone on the machine to read, and outputs are logged.
    assert "New1" not in account.calls + done.stdout + done.stderr


def test_the_password_before_stays_valid_beside_the_new_one(account: Account) -> None:
    account.holds(previous='{"password": "Old1"}')
    assert account.run().returncode == 0
    assert account.request is not None
    assert account.request["Passwords"] == ["New1", "Old1"]


@pytest.mark.parametrize("secret", ["{}", '{"password":""}', "None"])
def test_a_secret_without_a_password_changes_nothing(account: Account, secret: str) -> None:
    account.holds(current=secret)
    done = account.run()
    assert done.returncode == 1
    assert "holds no password" in done.stderr
    assert account.request is None


def test_a_user_that_does_not_become_active_is_an_error(account: Account) -> None:
    account.holds(states="modifying modifying modifying modifying")
    done = account.run()
    assert done.returncode == 1
    assert 'still "modifying"; apply again' in done.stderr


def test_without_the_aws_cli_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", str(SET_PASSWORD)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "the AWS CLI is needed" in done.stderr
