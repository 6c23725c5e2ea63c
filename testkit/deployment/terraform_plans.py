"""What must hold in every plan.

    python testkit/deployment/terraform_plans.py NAME FILE
    python testkit/deployment/terraform_plans.py --twice NAME FILE

FILE: what `terraform test -json -verbose` printed of the test NAME.
Prints what is broken, a line each, and ends with 1. Also compares the output `helm_values` with
terraform/tests/helm_values/NAME.json, which the tests of the chart use; UPDATE=1 writes it again.

`--twice`: FILE is of an apply, with the state it left, and of the plan after it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What testkit/deployment/terraform_passwords.py gives to everybody.
PASSWORD_MARK = "NoPlanMayContainThis"
HELM_VALUES = Path(__file__).parents[2] / "terraform" / "tests" / "helm_values"
EVERYWHERE = ("0.0.0.0/0", "::/0")
#: What everybody is to reach: the broker, over TLS.
OPEN = "module.balancer.aws_vpc_security_group_ingress_rule.world["
#: Without each of these a bucket is not ours alone.
BUCKET_GUARDS = (
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_policy",
    "aws_s3_bucket_public_access_block",
    "aws_s3_bucket_server_side_encryption_configuration",
)


def plans_in(text: str) -> list[dict[str, Any]]:
    """Return the plans in what `terraform test -json -verbose` printed."""
    messages = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [message["test_plan"] for message in messages if message.get("type") == "test_plan"]


def broken_rules(plan: dict[str, Any], *, requires_protection: bool) -> Iterator[str]:
    """Yield a line for each rule that a plan breaks."""
    resources = [
        (change["address"], change["type"], change["change"]["after"])
        for change in plan["resource_changes"]
        if change["mode"] == "managed" and change["change"]["after"] is not None
    ]
    for address, kind, after in resources:
        for attribute, value in after.items():
            if isinstance(value, str) and '"Statement"' in value:
                yield from _broken_in_policy(f"{address}: {attribute}", json.loads(value))
        if (
            kind == "aws_vpc_security_group_ingress_rule"
            and (after.get("cidr_ipv4") in EVERYWHERE or after.get("cidr_ipv6") in EVERYWHERE)
            and not address.startswith(OPEN)
        ):
            yield f"{address}: is open to everybody"
        if requires_protection and kind == "aws_eip" and ".aws_eip.protected[" not in address:
            yield f"{address}: may be destroyed, and Nodes admit us by it"
    counts = Counter(kind for _, kind, _ in resources)
    for guard in BUCKET_GUARDS:
        if counts[guard] < counts["aws_s3_bucket"]:
            yield f"{counts['aws_s3_bucket']} aws_s3_bucket, but {counts[guard]} {guard}"


def _broken_in_policy(where: str, policy: dict[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        if statement["Effect"] != "Allow":
            continue
        actions = statement.get("Action", [])
        for action in [actions] if isinstance(actions, str) else actions:
            if "*" in action:
                yield f"{where}: allows {action}"
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            yield f"{where}: allows everything but something"
        if statement.get("Principal") in ("*", {"AWS": "*"}):
            yield f"{where}: allows everybody"


def broken_twice(text: str) -> Iterator[str]:
    """Yield a line for each rule that an apply and the plan after it break."""
    if '"type":"test_state"' not in text:
        yield "there is no state: nothing was applied"
    plans = plans_in(text)
    if len(plans) != 1:
        yield f"requires one plan after the apply, and found {len(plans)}"
    for plan in plans:
        for change in (*plan["resource_changes"], *_outputs(plan)):
            if change["change"]["actions"] not in (["no-op"], ["read"]):
                yield f"{change['address']}: would change again: {change['change']['actions']}"
    if PASSWORD_MARK in text:
        yield "a password is in the state or the plan"


def _outputs(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"address": f"output {name}", "change": change}
        for name, change in plan.get("output_changes", {}).items()
    ]


def main_twice(name: str, path: str) -> int:
    """Check an apply and the plan after it; return the exit code."""
    broken = list(broken_twice(Path(path).read_text(encoding="utf-8")))
    for line in broken:
        sys.stdout.write(f"{name}: {line}\n")
    return 1 if broken else 0


def main(name: str, path: str) -> int:
    """Check one test's plans; return the exit code."""
    text = Path(path).read_text(encoding="utf-8")
    plans = plans_in(text)
    if len(plans) != 1:
        sys.stdout.write(f"{name}: requires one plan, and found {len(plans)}\n")
        return 1
    broken = list(broken_rules(plans[0], requires_protection=name == "prod"))
    if PASSWORD_MARK in text:
        broken.append("a password is in the plan")
    values = plans[0]["output_changes"]["helm_values"]["after"]
    golden = HELM_VALUES / f"{name}.json"
    written = json.dumps(values, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(written, encoding="utf-8")
    elif not golden.exists() or golden.read_text(encoding="utf-8") != written:
        broken.append(
            f"helm_values is not tests/helm_values/{name}.json; "
            "look at the difference, then UPDATE=1 terraform/check.sh"
        )
    for line in broken:
        sys.stdout.write(f"{name}: {line}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    if sys.argv[1] == "--twice":
        sys.exit(main_twice(*sys.argv[2:4]))
    sys.exit(main(*sys.argv[1:3]))
