"""Plans and applies terraform/main."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.terraform import READONLY, Terraform

if TYPE_CHECKING:
    from deploy.session import Session


def bootstrap(session: Session) -> None:
    """Make the bucket that keeps the state, once for each account and region.

    Its own state stays on this machine, and is needed only to finish what was begun here: where
    somebody else made the bucket, nothing is done.
    """
    environment = session.environment
    state = environment.directory / "bootstrap.tfstate"
    there = session.commands.read(
        "aws", "s3api", "list-buckets",
        "--query", f"Buckets[?Name=='{environment.state_bucket}'].Name", "--output", "text",
    )  # fmt: skip
    if there == environment.state_bucket and not state.exists():
        session.say(f"the state bucket {environment.state_bucket} is there already")
        return
    if environment.is_guarded:
        session.confirm(
            f"The state bucket {environment.state_bucket} is made in account "
            f"{environment.account_id}",
            word=environment.name,
        )
    # The data directory of terraform/main remembers another backend.
    variables = {"TF_DATA_DIR": str(environment.directory / "bootstrap")}
    terraform = ("terraform", "-chdir=terraform/bootstrap")
    session.commands.run(*terraform, "init", "-input=false", READONLY, variables=variables)
    session.commands.run(
        *terraform, "apply", "-input=false", "-auto-approve", f"-state={state}",
        f"-var=account_id={environment.account_id}", f"-var=region={environment.region}",
        variables=variables,
    )  # fmt: skip


def apply(session: Session) -> None:
    """Bring the infrastructure to what the configuration says. Applying twice changes nothing."""
    terraform = Terraform(session)
    terraform.init()
    apply_plan(session, terraform)
    outputs = terraform.outputs()
    session.say(f"egress addresses: {', '.join(outputs.egress_addresses) or 'none'}")
    session.say(f"broker addresses: {', '.join(outputs.broker_addresses) or 'none'}")


def apply_plan(
    session: Session, terraform: Terraform, *options: str, is_confirmed: bool = False
) -> None:
    """Plan, ask where that is due, apply."""
    environment = session.environment
    try:
        changes = terraform.plan(*options)
        if changes is None:
            session.say("nothing to change")
            return
        for address in changes.destroyed:
            session.say(f"will be destroyed or replaced: {address}")
        if environment.is_guarded and not is_confirmed:
            session.confirm(f"Terraform on {environment.name}: {changes}", word=environment.name)
        terraform.apply()
    finally:
        # A plan may hold what the state holds, and is of no use a second time.
        terraform.plan_file.unlink(missing_ok=True)
