"""prod, made, given up and made again at the same addresses: the chapters of one story."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.apply.account import ACCOUNT_ID, REGION
from tests.apply.environment import Environment, Failed
from tests.apply.leftovers import leftovers

if TYPE_CHECKING:
    from tests.apply.account import Account

pytestmark = pytest.mark.timeout(1800)

NAME = "wis2-gc-prod"
KINDS = ("egress", "broker")


@pytest.fixture(scope="module")
def prod(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("checkouts"), account, "prod")


@pytest.fixture(scope="module")
def addresses() -> dict[str, list[str]]:
    """What was reported to the WMO Secretariat: filled by the first apply."""
    return {}


def test_everything_is_made_at_the_first_go(
    prod: Environment, account: Account, addresses: dict[str, list[str]]
) -> None:
    # What terraform/bootstrap makes is told by the other story.
    bucket = ("s3api", "create-bucket", "--bucket", prod.state_bucket)
    account.aws(*bucket, "--create-bucket-configuration", f"LocationConstraint={REGION}")
    prod.set("", "disposable = true")
    prod.set("global_brokers = []", 'global_brokers = ["inmet-br", "meteo-fr"]')
    prod.apply()
    for kind in KINDS:
        addresses[kind] = prod.output()[f"{kind}_addresses"]
        assert len(set(addresses[kind])) == 3
        assert f"{kind} addresses: {', '.join(addresses[kind])}" in prod.said
    # Of the whole account, tagged or not: a filter would miss what nobody tagged.
    (budget,) = account.aws("budgets", "describe-budgets", "--account-id", ACCOUNT_ID)["Budgets"]
    assert not budget.get("CostFilters")
    assert not budget.get("FilterExpression")


def test_what_is_there_is_left_as_it_is(prod: Environment) -> None:
    assert prod.changes() == {}


def test_no_plan_destroys_the_addresses(prod: Environment) -> None:
    with pytest.raises(Failed, match="Instance cannot be destroyed"):
        prod.changes("-destroy")


def test_a_destroyed_environment_leaves_its_addresses_and_its_secrets_for_a_while(
    prod: Environment, account: Account
) -> None:
    prod.destroy()
    assert prod.state() == []
    kept = [f"{NAME}-{kind}-{number}" for kind in KINDS for number in (1, 2, 3)]
    assert {k: sorted(v) for k, v in leftovers(account, NAME).items()} == {
        "addresses": sorted(kept)
    }


def test_names_of_secrets_that_wait_for_their_end_are_told_before_anything_is_made(
    prod: Environment, account: Account
) -> None:
    with pytest.raises(Failed, match=f"{NAME}/registry") as refused:
        prod.apply()
    assert prod.said == []
    assert leftovers(account, NAME).keys() == {"addresses"}
    # What it says is what helps.
    told = str(refused.value).partition("without a way back: ")[2]
    assert "aws secretsmanager delete-secret" in told
    subprocess.run(["sh", "-c", told], env=dict(account.variables), check=True)


def test_the_next_one_has_the_same_addresses(
    prod: Environment, addresses: dict[str, list[str]]
) -> None:
    kept = prod.directory / "kept-addresses.tfvars"
    prod.set("", kept.read_text("utf-8"))
    prod.apply()
    assert {kind: prod.output()[f"{kind}_addresses"] for kind in KINDS} == addresses
    assert prod.changes() == {}
