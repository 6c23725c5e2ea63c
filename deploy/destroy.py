"""Removes an environment, and says what stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy import terraform
from deploy.cluster import TIMEOUT, load_add_ons, reach, uninstall
from deploy.environment import RELEASE
from deploy.session import Declined

if TYPE_CHECKING:
    from deploy.session import Session


def destroy(session: Session) -> None:
    """Remove release, add-ons and infrastructure. Safe to repeat after a failure.

    Raises Declined before any change: not confirmed, or not `disposable`.
    """
    environment = session.environment
    if environment.is_guarded and session.ask is None:
        raise Declined(f"{environment.name} is destroyed from a terminal only")
    if environment.variables.get("disposable") is not True:
        raise Declined(
            f"{environment.name}.tfvars does not say `disposable = true`: a bucket and image "
            "repositories that are not empty would stop Terraform halfway; set it, run "
            f"`make deploy-infra ENV={environment.name}`, then repeat the step"
        )
    terraform.init(session)
    state = session.read(*terraform.MAIN, "state", "list").splitlines()
    protected = [address for address in state if "aws_eip.protected" in address]
    session.say(f"will be destroyed: all of {environment.cluster_name} in {environment.account_id}")
    for address in protected:
        session.say(f"stays, because others admit this address: {address}")
    session.say(f"stays: the state bucket {environment.state_bucket}, and what you put outside")
    if environment.is_guarded:
        session.confirm(
            f"{environment.cluster_name} and all its data are destroyed",
            word=f"destroy {environment.cluster_name}", is_typed=True,
        )  # fmt: skip
    if any("aws_eks_cluster." in address for address in state):
        _empty_cluster(session)
    if protected:
        _keep_addresses(session, protected)
    # The confirmation above is for everything.
    terraform.change(session, "-destroy", is_confirmed=True)
    session.say(
        "AWS deletes encryption keys after up to 30 days, and secrets after secret_recovery_days"
    )


def _empty_cluster(session: Session) -> None:
    """Remove what Kubernetes made in AWS: without the cluster nobody would do it."""
    reach(session)
    outputs = terraform.outputs(session)
    uninstall(session, RELEASE, outputs["namespace"])
    session.run(*session.kubectl(
        "delete", "namespace", outputs["namespace"], "monitoring",
        "--ignore-not-found", f"--timeout={TIMEOUT}",
    ))  # fmt: skip
    if volumes := session.read(*session.kubectl("get", "persistentvolume", "-o", "name")).split():
        session.run(*session.kubectl("wait", "--for=delete", f"--timeout={TIMEOUT}", *volumes))
    for each in reversed(load_add_ons(session, outputs)["charts"]):
        uninstall(session, each["name"], each["namespace"])


def _keep_addresses(session: Session, protected: list[str]) -> None:
    """Remove the protected addresses from Terraform's state, and say how to release them."""
    outputs, lines = terraform.outputs(session), []
    for module, kind in (("nat", "egress"), ("broker", "broker")):
        if any(address.startswith(f"module.{module}_addresses.") for address in protected):
            kept = outputs[f"{kind}_addresses"]
            ids = dict(session.aws(
                "ec2", "describe-addresses", "--public-ips", *kept,
                "--query", "Addresses[].[PublicIp, AllocationId]",
            ))  # fmt: skip
            session.say(f"kept (each costs by the hour): {', '.join(kept)}")
            lines.append(
                f"existing_{module}_allocation_ids = {json.dumps([ids[ip] for ip in kept])}"
            )
    path = session.environment.directory / "kept-addresses.tfvars"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    session.run(*terraform.MAIN, "state", "rm", "-lock-timeout=5m", *protected)
    session.say(f"to use them again, put into {session.environment.name}.tfvars:")
    for line in lines:
        session.say(f"  {line}")
    session.say(f"(also in {path})")
