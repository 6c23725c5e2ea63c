"""What the tests of this folder share: one emulated account for each file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.apply.account import ROOT, TOOLS, Account, Provider

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


#: What `terraform init` says where the provider can be had neither from this machine nor from afar.
_NO_PROVIDER = ("Failed to query available provider packages", "Failed to install provider")


def _without(reason: str) -> NoReturn:
    """Skip, or fail where REQUIRE_TERRAFORM says that it must be there."""
    if os.environ.get("REQUIRE_TERRAFORM"):
        pytest.fail(reason)
    sys.stderr.write(f"\n*** SKIPPED: {reason}\n*** NOTHING of terraform/ was applied.\n\n")
    pytest.skip(reason)


def _provider(directory: Path) -> Provider:
    """Get the locked provider from this machine, or from afar: the last that comes from there."""
    check = (ROOT / "terraform" / "check.sh", "plugins")
    folder = subprocess.run(check, capture_output=True, text=True, check=True).stdout.strip()
    trial = directory / "trial"
    shutil.copytree(ROOT / "terraform" / "modules" / "key", trial)
    shutil.copy(ROOT / "terraform" / "bootstrap" / ".terraform.lock.hcl", trial)
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1"}
    if not Path(environment.get("TF_CLI_CONFIG_FILE", "/")).is_file():
        environment.pop("TF_CLI_CONFIG_FILE", None)
    if not folder:
        # Half a gigabyte: fetched once.
        cache = ROOT / ".tools" / "terraform"
        cache.mkdir(parents=True, exist_ok=True)
        environment["TF_PLUGIN_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        ["terraform", f"-chdir={trial}", "init", "-input=false", "-no-color"]
        + ([f"-plugin-dir={folder}"] if folder else []),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        if "checksums" in done.stderr or not any(each in done.stderr for each in _NO_PROVIDER):
            pytest.fail(f"terraform init:\n{done.stderr}")
        _without("the locked aws provider is neither in TF_PLUGIN_DIR nor to be had from afar")
    settings = directory / "terraform.rc"
    settings.write_text(
        "provider_installation {\n  filesystem_mirror {\n"
        f'    path = "{trial / ".terraform" / "providers"}"\n  }}\n}}\n',
        encoding="utf-8",
    )
    return Provider(settings=settings, lock=trial / ".terraform.lock.hcl")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account of one's own."""
    if shutil.which("terraform") is None:
        _without("terraform is not installed (1.11 or later is required)")
    if not (TOOLS / "aws").exists():
        _without("moto and the AWS CLI are not installed (`make test-apply` does)")
    directory = tmp_path_factory.mktemp("account")
    with Account(directory, _provider(directory)) as account:
        yield account


_broken: set[Path] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        _broken.add(Path(report.fspath))
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Each file tells one story.
    if Path(item.location[0]) in _broken:
        pytest.skip("an earlier chapter failed")
