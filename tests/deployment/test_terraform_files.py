"""Terraform's files as they are written: what `terraform test` cannot see."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.environment import RELEASE, read_variables
from testkit.deployment import chart, terraform_plans
from wis2_gc_common.settings.catalogue import CENTRE_ID

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
CHECK = TERRAFORM / "check.sh"
MODULES = sorted(path for path in (TERRAFORM / "modules").iterdir())
ROOTS = [TERRAFORM / "main", TERRAFORM / "bootstrap"]
NAMES = sorted(path.stem for path in (TERRAFORM / "tests" / "helm_values").glob("*.json"))


def _blocks(folder: Path, kind: str) -> dict[str, str]:
    """Return the top-level blocks of `kind` in a folder's files, by their last label."""
    text = "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.tf")))
    found = re.finditer(
        rf'^{kind} (?:"[^"]*" )*"(?P<name>[^"]+)" \{{\n(?P<body>.*?)^\}}',
        text,
        re.DOTALL | re.MULTILINE,
    )
    return {match["name"]: match["body"] for match in found}


@pytest.mark.parametrize("folder", [*ROOTS, *MODULES], ids=lambda path: path.name)
def test_every_variable_has_a_type_and_a_description(folder: Path) -> None:
    variables = _blocks(folder, "variable")
    assert variables
    for name, body in variables.items():
        assert re.search(r"^  type +=", body, re.MULTILINE), name
        assert re.search(r'^  description += "\S', body, re.MULTILINE), name


@pytest.mark.parametrize("folder", [*ROOTS, *MODULES], ids=lambda path: path.name)
def test_every_output_has_a_description(folder: Path) -> None:
    outputs = _blocks(folder, "output")
    assert outputs
    for name, body in outputs.items():
        assert re.search(r'^  description += "\S', body, re.MULTILINE), name


@pytest.mark.parametrize(
    ("folder", "tests"),
    [
        (TERRAFORM / "main", TERRAFORM / "tests" / "rejects.tftest.hcl"),
        (TERRAFORM / "bootstrap", TERRAFORM / "bootstrap" / "tests" / "bootstrap.tftest.hcl"),
    ],
    ids=["main", "bootstrap"],
)
def test_every_variable_refuses_a_mistake_by_its_name(folder: Path, tests: Path) -> None:
    tried = set(re.findall(r"expect_failures = \[var\.(\w+)\]", tests.read_text("utf-8")))
    for name, body in _blocks(folder, "variable").items():
        if re.search(r"^  type +=\s*bool$", body, re.MULTILINE):
            continue  # true or false: its type refuses the rest
        messages = re.findall(r'error_message = "([^"]*)', body)
        assert messages, f"{name} has no validation"
        assert all(message.startswith(f"{name} ") for message in messages), name
        assert name in tried, f"no run reject_{name}_… in {tests.name}"


@pytest.mark.parametrize("folder", [TERRAFORM / "main"], ids=["main"])
def test_variables_are_flat(folder: Path) -> None:
    """Terraform drops what it does not know in an object, so a typing error would be silent."""
    for name, body in _blocks(folder, "variable").items():
        assert not re.search(r"^  type +=.*\b(object|any)\b", body, re.MULTILINE), name


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (TERRAFORM / "modules" / "addresses" / "main.tf", 'resource "aws_eip" "protected"'),
        (TERRAFORM / "bootstrap" / "main.tf", 'resource "aws_s3_bucket" "state"'),
    ],
    ids=["addresses", "state"],
)
def test_what_cannot_be_had_back_is_protected_from_destruction(path: Path, resource: str) -> None:
    body = path.read_text("utf-8").split(resource)[1].split("\n}\n")[0]
    assert re.search(r"lifecycle \{\s+prevent_destroy = true\s+\}", body)


def test_every_exception_from_checkov_gives_its_reason() -> None:
    for path in TERRAFORM.rglob("*.tf"):
        for line in path.read_text("utf-8").splitlines():
            if "checkov:skip" in line:
                assert re.search(r"#checkov:skip=CKV2?_AWS_\d+:\S.{10,}", line), f"{path}: {line}"


def test_one_provider_is_locked_within_one_major_version() -> None:
    folders = [*ROOTS, *MODULES]
    texts = [(folder / "versions.tf").read_text("utf-8") for folder in folders]
    (wanted,) = {found for text in texts for found in re.findall(r" version = (.*)", text)}
    locks = {(root / ".terraform.lock.hcl").read_text("utf-8") for root in ROOTS}
    (lock,) = locks
    (locked,) = re.findall(r'^  version +="? ?"(.*)"', lock, re.MULTILINE)
    assert f"constraints = {wanted}" in lock
    assert wanted == f'"~> {locked.rpartition(".")[0]}"'
    # Those of each platform's archive, and of the manifest.
    assert len(set(re.findall(r'"zh:[0-9a-f]{64}"', lock))) == 15


def test_only_the_provider_of_aws_is_used() -> None:
    for path in TERRAFORM.rglob("*.tf"):
        sources = re.findall(r'^\s+source\s+= "([^"]+)"', path.read_text("utf-8"), re.MULTILINE)
        assert all(s == "hashicorp/aws" or s.startswith("../modules/") for s in sources), path


@pytest.mark.parametrize("name", NAMES)
def test_the_chart_takes_what_terraform_puts_out(name: str) -> None:
    """`helm_values` as check.sh found it in the plan: refused values would raise."""
    told = json.loads((TERRAFORM / "tests" / "helm_values" / f"{name}.json").read_text("utf-8"))
    sizes = chart.values_file("dev" if name == "dev" else "prod")
    named = {} if told["brokers"] else chart.BROKERS
    manifests = chart.manifests(chart.merged(told, named, sizes), release=RELEASE)
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
    assert {account["name"] for account in told["serviceAccounts"].values()} <= accounts


def test_a_broker_that_terraform_takes_is_one_that_the_chart_takes() -> None:
    """What only the chart refused would show after the infrastructure is there."""
    body = _blocks(TERRAFORM / "main", "variable")["global_brokers"]
    schema = json.loads(chart.SCHEMA.read_text("utf-8"))
    pattern = schema["definitions"]["globalBroker"]["properties"]["name"]["pattern"]
    assert f'can(regex("{pattern}", name))' in body


@pytest.mark.parametrize(
    ("centre_id", "is_good"),
    [
        ("fr-meteofrance-global-cache", True),
        ("int-a_b-1-global-cache", True),
        (f"fr-{'a' * 48}-global-cache", True),
        (f"fr-{'a' * 49}-global-cache", False),
        ("xx-name-global-cache-test", True),
        (f"fr-{'a' * 43}-global-cache-test", True),
        (f"fr-{'a' * 44}-global-cache-test", False),
        ("xx-name-global-cache-tests", False),
        ("xx-name-global-cache-", False),
        ("fr-meteofrance", False),
        ("FR-meteofrance-global-cache", False),
    ],
)
def test_terraform_chart_and_services_know_the_same_centre_ids(
    centre_id: str, is_good: bool
) -> None:
    body = _blocks(TERRAFORM / "main", "variable")["centre_id"]
    pattern = re.search(r'regex\("([^"]+)", var\.centre_id\)', body)
    longest = re.search(r"length\(var\.centre_id\) <= (\d+)", body)
    assert pattern is not None
    assert longest is not None
    by_terraform = re.fullmatch(pattern[1], centre_id) and len(centre_id) <= int(longest[1])
    schema = json.loads(chart.SCHEMA.read_text("utf-8"))
    by_chart = re.fullmatch(schema["properties"]["centreId"]["pattern"], centre_id)
    try:
        by_services = CENTRE_ID.parse(centre_id)
    except ValueError:
        by_services = None
    assert [bool(by_terraform), bool(by_chart), bool(by_services)] == [is_good] * 3


# terraform/check.sh


def _check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHECK), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


def test_every_name_in_our_tfvars_is_a_variables() -> None:
    """Terraform only warns; for the environments of others `make deploy` looks."""
    variables = (TERRAFORM / "main/variables.tf").read_text("utf-8")
    declared = set(re.findall(r'^variable "(\w+)"', variables, re.MULTILINE))
    files = [*TERRAFORM.glob("environments/*.tfvars"), *TERRAFORM.glob("tests/*.tfvars")]
    assert len(files) > 2
    for file in files:
        assert read_variables(file).keys() <= declared, file


def test_every_test_of_terraform_is_run_by_the_check() -> None:
    called = set(re.findall(r"run_(?:test|plan) (\w+)", CHECK.read_text("utf-8"))) | {"twice"}
    assert {path.name.partition(".")[0] for path in TERRAFORM.glob("tests/*.tftest.hcl")} == called


def _path_without_terraform(folder: Path) -> str:
    for tool in ("dirname",):
        found = next(
            Path(p) / tool for p in os.environ["PATH"].split(":") if (Path(p) / tool).exists()
        )
        (folder / tool).symlink_to(found)
    return str(folder)


def test_without_terraform_the_check_is_skipped_loudly(tmp_path: Path) -> None:
    done = _check(PATH=_path_without_terraform(tmp_path))
    assert done.returncode == 0
    assert "*** SKIPPED: terraform is not installed" in done.stderr
    assert "was NOT checked" in done.stderr


def test_without_terraform_the_check_fails_where_it_is_required(tmp_path: Path) -> None:
    done = _check(PATH=_path_without_terraform(tmp_path), REQUIRE_TERRAFORM="1")
    assert done.returncode == 1
    assert "error: terraform is not installed" in done.stderr


# The rules for every plan (testkit/deployment/terraform_plans.py)


def _plan(address: str, **after: Any) -> dict[str, Any]:
    kind = address.split(".")[-2]
    change = {"address": address, "mode": "managed", "type": kind, "change": {"after": after}}
    return {"resource_changes": [change]}


def _statement(**statement: Any) -> str:
    return json.dumps({"Statement": [statement]})


@pytest.mark.parametrize(
    ("plan", "broken"),
    [
        (
            _plan(
                "aws_iam_role_policy.x",
                policy=_statement(Effect="Allow", Action=["sqs:*"], Resource="q"),
            ),
            "allows sqs:*",
        ),
        (
            _plan(
                "aws_s3_bucket_policy.x",
                policy=_statement(Effect="Allow", Action="s3:GetObject", Principal="*"),
            ),
            "allows everybody",
        ),
        (
            _plan(
                "aws_iam_role_policy.x", policy=_statement(Effect="Allow", NotAction="iam:PassRole")
            ),
            "allows everything but something",
        ),
        (
            _plan("aws_vpc_security_group_ingress_rule.x", cidr_ipv4="0.0.0.0/0"),
            "open to everybody",
        ),
        (_plan('module.nat.aws_eip.disposable["a"]'), "may be destroyed"),
        (_plan("aws_s3_bucket.x"), "0 aws_s3_bucket_public_access_block"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_told(plan: dict[str, Any], broken: str) -> None:
    lines = list(terraform_plans.broken_rules(plan, requires_protection=True))
    assert any(broken in line for line in lines), lines


def test_to_deny_everything_is_not_a_broken_rule() -> None:
    plan = _plan(
        "aws_sqs_queue_policy.x", policy=_statement(Effect="Deny", Action="sqs:*", Principal="*")
    )
    assert list(terraform_plans.broken_rules(plan, requires_protection=True)) == []


def _twice(actions: list[str], *, outputs: list[str] | None = None, state: str = "{}") -> str:
    """What Terraform prints of an apply and the plan after it."""
    plan = {
        "resource_changes": [{"address": "module.a.x.y", "change": {"actions": actions}}],
        "output_changes": {"helm_values": {"actions": outputs or ["no-op"]}},
    }
    said = [{"type": "test_state", "state": state}, {"type": "test_plan", "test_plan": plan}]
    return "\n".join(json.dumps(each, separators=(",", ":")) for each in said)


def test_an_apply_that_leaves_nothing_to_change_breaks_no_rule() -> None:
    assert list(terraform_plans.broken_twice(_twice(["no-op"]))) == []


@pytest.mark.parametrize(
    ("said", "broken"),
    [
        (_twice(["update"]), "module.a.x.y: would change again"),
        (_twice(["delete", "create"]), "module.a.x.y: would change again"),
        (_twice(["no-op"], outputs=["update"]), "output helm_values: would change again"),
        (_twice(["no-op"], state=terraform_plans.PASSWORD_MARK), "a password is in the state"),
        (_twice(["no-op"]).splitlines()[1], "nothing was applied"),
        (_twice(["no-op"]).splitlines()[0], "found 0"),
    ],
)
def test_what_a_second_apply_would_change_is_told(said: str, broken: str) -> None:
    lines = list(terraform_plans.broken_twice(said))
    assert any(broken in line for line in lines), lines
