"""modules/registry/set-password.sh, with the real AWS CLI; and what it has to mind."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.apply.account import REGION, ROOT

if TYPE_CHECKING:
    from tests.apply.account import Account

pytestmark = pytest.mark.timeout(1800)

SCRIPT = ROOT / "terraform" / "modules" / "registry" / "set-password.sh"
FIRST, SECOND = "FirstPasswordOfTheRegistry", "SecondPasswordOfTheRegistry"


@pytest.fixture(params=[1, 2])
def user(request: pytest.FixtureRequest, account: Account) -> str:
    """A user that nobody can log in as, and a secret of this name with a password for it.

    By the AWS CLI 1 that is locked, and by 2, which docs/deploy.md asks for and PyPI does not have.
    """
    if request.param == 2:
        found = shutil.which("aws")
        version = subprocess.check_output([found, "--version"]) if found else b""
        if not version.startswith(b"aws-cli/2"):
            pytest.skip("no AWS CLI 2 on this machine")
        # The first ones do not look at the variable.
        account.add_program("aws", f'exec {found} --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    name = f"wis2-gc-test-{request.param}"
    account.aws(
        *("elasticache", "create-user", "--user-id", name, "--user-name", name),
        *("--engine", "redis", "--access-string", "on ~{gc}* +@all"),
        *("--authentication-mode", "Type=iam"),
    )
    account.aws("secretsmanager", "create-secret", "--name", name)
    _put(account, name, FIRST)
    return name


def _put(account: Account, name: str, password: str) -> None:
    text = json.dumps({"password": password})
    account.aws(
        *("secretsmanager", "put-secret-value", "--secret-id", name, "--secret-string", text)
    )


def _run(account: Account, secret: str, user: str) -> subprocess.CompletedProcess[str]:
    given = {"AWS_REGION": REGION, "SECRET_ID": secret, "USER_ID": user, "WAIT_SECONDS": "0.2"}
    return subprocess.run(
        [SCRIPT],
        env={**account.variables, **given},
        # Terraform's provisioner gives it none.
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _login(account: Account, user: str) -> object:
    (found,) = account.aws("elasticache", "describe-users", "--user-id", user)["Users"]
    return (
        found["Status"],
        found["Authentication"]["Type"],
        found["Authentication"]["PasswordCount"],
    )


def test_the_password_of_the_secret_is_set_and_the_one_before_stays_valid(
    account: Account, user: str
) -> None:
    for renewal, count in ((None, 1), (None, 1), (SECOND, 2)):
        if renewal:
            _put(account, user, renewal)
        done = _run(account, user, user)
        assert done.returncode == 0, done.stderr
        assert _login(account, user) == ("active", "password", count)
        # Not shown: it would be in Terraform's output.
        assert done.stdout + done.stderr == ""
    done = _run(account, user, "nobody")
    assert done.returncode != 0
    assert "UserNotFound" in done.stderr
    assert FIRST not in done.stdout + done.stderr
