"""dev, from nothing to nothing, by the real provider and the real AWS CLI.

The tests are the chapters of one story: each begins where the one before ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from tests.apply.account import ACCOUNT_ID, REGION
from tests.apply.environment import Environment
from tests.apply.leftovers import leftovers

if TYPE_CHECKING:
    from tests.apply.account import Account

pytestmark = pytest.mark.timeout(1800)

NAME = "wis2-gc-dev"
CACHE = "module.registry.aws_elasticache_replication_group.this"
READERS = 'module.identity.aws_iam_role_policy.this["external-secrets"]'


@pytest.fixture(scope="module")
def dev(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("checkouts"), account, "dev")


def _secret(broker: str, verb: str) -> dict[str, str]:
    of_it = f'this["global-brokers/{broker}"]'
    given = f'given["global-brokers/{broker}"]'
    return {
        f"module.secrets.aws_secretsmanager_secret.{of_it}": verb,
        f"module.secrets.aws_secretsmanager_secret_version.{given}": verb,
    }


def test_the_bucket_of_the_state_is_made_once(dev: Environment, account: Account) -> None:
    dev.bootstrap()
    bucket = dev.state_bucket
    dev.bootstrap()
    (found,) = account.aws("s3api", "list-buckets")["Buckets"]
    assert found["Name"] == bucket


def test_everything_is_made_at_the_first_go(dev: Environment, account: Account) -> None:
    dev.apply()
    assert len(dev.output()["broker_addresses"]) == 1
    (user,) = account.aws("elasticache", "describe-users", "--user-id", f"{NAME}-cache")["Users"]
    # Its password is from Secrets Manager: set-password.sh, by the AWS CLI.
    assert user["Authentication"] == {"Type": "password", "PasswordCount": 1}
    assert user["Status"] == "active"


def test_what_is_there_is_left_as_it_is(dev: Environment) -> None:
    assert dev.changes() == {}


def test_the_state_is_in_the_bucket_without_a_lock_that_stays(
    dev: Environment, account: Account
) -> None:
    bucket = dev.state_bucket
    objects = account.aws("s3api", "list-objects-v2", "--bucket", bucket)["Contents"]
    assert [found["Key"] for found in objects] == ["dev.tfstate"]


def test_all_that_can_carry_tags_carries_ours(dev: Environment) -> None:
    ours = {
        "Environment": "dev",
        "ManagedBy": "terraform",
        "Owner": "wis2-development",
        "Project": "wis2-global-cache",
    }
    tags = {found["address"]: found["values"].get("tags_all") for found in dev.state()}
    bare = [
        each for each, its in tags.items() if its is not None and not ours.items() <= its.items()
    ]
    assert bare == []


def test_a_global_broker_more_and_another_node_type_change_nothing_else(
    dev: Environment, account: Account
) -> None:
    dev.set("global_brokers = []", 'global_brokers = ["meteo-fr"]')
    dev.set('"cache.t4g.small"', '"cache.t4g.medium"')
    assert dev.apply() == {**_secret("meteo-fr", "create"), READERS: "update", CACHE: "update"}
    # The registry is restarted in its maintenance window, and until then each plan says so.
    assert dev.changes() == {CACHE: "update"}
    account.aws(
        *("elasticache", "modify-replication-group", "--replication-group-id", NAME),
        *("--cache-node-type", "cache.t4g.medium", "--apply-immediately"),
    )


def test_a_global_broker_less_and_new_passwords_change_nothing_else(
    dev: Environment, account: Account
) -> None:
    dev.set('global_brokers = ["meteo-fr"]', "global_brokers = []")
    dev.set("", "password_version = 2")
    generated = "module.secrets.aws_secretsmanager_secret_version.generated"
    assert dev.apply() == {
        **_secret("meteo-fr", "delete"),
        READERS: "update",
        f'{generated}["broker"]': "replace",
        f'{generated}["registry"]': "replace",
        "module.registry.terraform_data.password": "replace",
    }
    (user,) = account.aws("elasticache", "describe-users", "--user-id", f"{NAME}-cache")["Users"]
    # Pods that still have the former one are not shut out.
    assert user["Authentication"]["PasswordCount"] == 2
    assert dev.changes() == {}


def test_a_destroyed_environment_leaves_nothing_but_the_state_bucket(
    dev: Environment, account: Account
) -> None:
    kubeconfig = dev.directory / "kubeconfig"
    led = {"name": NAME, "context": {"cluster": "somebody-else-s", "user": "somebody"}}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "contexts": [led]}))
    dev.destroy()
    # It may have led elsewhere before: what is emptied is the cluster of this environment.
    (leads,) = yaml.safe_load(kubeconfig.read_text())["contexts"]
    ours = f"arn:aws:eks:{REGION}:{ACCOUNT_ID}:cluster/{NAME}"
    assert (leads["name"], leads["context"]["cluster"]) == (NAME, ours)
    assert dev.state() == []
    assert leftovers(account, NAME) == {}
