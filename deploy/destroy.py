"""Takes an environment away, and says what stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.checks import check_context
from deploy.cluster import uninstall_add_ons
from deploy.environment import RELEASE
from deploy.errors import Refused
from deploy.helm import TIMEOUT, uninstall
from deploy.terraform import Terraform

if TYPE_CHECKING:
    from deploy.session import Session

_PROTECTED = "aws_eip.protected"


def destroy(session: Session) -> None:
    """Remove release, add-ons and infrastructure. Safe to repeat after a failure.

    Raises Refused before anything is touched: not confirmed, or not `disposable`.
    """
    environment = session.environment
    if environment.is_guarded and session.ask is None:
        raise Refused(f"{environment.name} is destroyed from a terminal only")
    if not environment.is_disposable:
        raise Refused(
            f"{environment.name}.tfvars does not say `disposable = true`: a bucket and image "
            "repositories that hold something would stop Terraform halfway; set it, "
            f"`make deploy-infra ENV={environment.name}`, then come again"
        )
    terraform = Terraform(session)
    terraform.init()
    state = terraform.read("state", "list").splitlines()
    protected = [address for address in state if _PROTECTED in address]
    session.say(f"will be destroyed: all of {environment.cluster_name} in {environment.account_id}")
    for address in protected:
        session.say(f"stays, an address that others admit: {address}")
    session.say(f"stays: the state bucket {environment.state_bucket}, and what you put outside")
    if environment.is_guarded:
        session.confirm(
            f"{environment.cluster_name} and all its data are destroyed",
            word=f"destroy {environment.cluster_name}",
            is_typed=True,
        )
    if any("aws_eks_cluster." in address for address in state):
        _empty_cluster(session, terraform.outputs().namespace)
    if protected:
        _keep_addresses(session, terraform, protected)
    # Confirmed above, for everything.
    terraform.change("-destroy", is_confirmed=True)
    session.say(
        "AWS keeps encryption keys for up to 30 days, and secrets for secret_recovery_days, "
        "before they are gone for good"
    )


def _empty_cluster(session: Session, namespace: str) -> None:
    """Take away what Kubernetes made in AWS: without the cluster nobody would."""
    check_context(session)
    kubectl = session.kubectl()
    uninstall(session, RELEASE, namespace)
    session.commands.run(
        *kubectl, "delete", "namespace", namespace, "monitoring",
        "--ignore-not-found", f"--timeout={TIMEOUT}",
    )  # fmt: skip
    volumes = session.commands.read(*kubectl, "get", "persistentvolume", "-o", "name").split()
    if volumes:
        session.commands.run(*kubectl, "wait", "--for=delete", f"--timeout={TIMEOUT}", *volumes)
    uninstall_add_ons(session)


def _keep_addresses(session: Session, terraform: Terraform, protected: list[str]) -> None:
    """Take the protected addresses out of Terraform's hands, and say how to give them back."""
    outputs = terraform.outputs()
    kept = {
        variable: addresses
        for variable, addresses, module in (
            ("existing_nat_allocation_ids", outputs.egress_addresses, "nat"),
            ("existing_broker_allocation_ids", outputs.broker_addresses, "broker"),
        )
        if any(address.startswith(f"module.{module}_addresses.") for address in protected)
    }
    answer = session.commands.read(
        *("aws", "ec2", "describe-addresses", "--region", session.environment.region),
        *("--public-ips", *(address for addresses in kept.values() for address in addresses)),
        *("--query", "Addresses[].[PublicIp, AllocationId]", "--output", "json"),
    )
    ids = dict(json.loads(answer))
    lines = [
        f"{variable} = {json.dumps([ids[address] for address in addresses])}"
        for variable, addresses in kept.items()
    ]
    path = session.environment.directory / "kept-addresses.tfvars"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    terraform.forget(protected)
    session.say(f"kept (each costs by the hour): {', '.join(f'{a} {i}' for a, i in ids.items())}")
    session.say(f"to use them again, put into {session.environment.name}.tfvars:")
    for line in lines:
        session.say(f"  {line}")
    session.say(f"(also in {path})")
