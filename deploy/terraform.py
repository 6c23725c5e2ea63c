"""Terraform: makes the bucket of the state, plans and applies terraform/main.

Each environment has its own data directory: nobody can confuse them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.session import DeployError

if TYPE_CHECKING:
    from deploy.session import Session

#: Exit codes of `plan -detailed-exitcode`.
_NOTHING_TO_DO, _CHANGES = 0, 2
MAIN = ("terraform", "-chdir=terraform/main")
#: Arguments of `init`: use the lock file's provider, and leave the committed lock file unchanged.
_INIT = ("init", "-input=false", "-lockfile=readonly")
#: The outputs of terraform/main that the later steps read; a test compares.
OUTPUTS = (
    "alarm_topic", "broker_addresses", "certificate_arn", "compute", "egress_addresses",
    "helm_values", "namespace", "pod_log_group", "private_subnet_ids",
    "public_subnet_ids", "secret_names", "tags", "vpc_id",
)  # fmt: skip


def init(session: Session) -> None:
    """Connect to the state and install providers. Safe to repeat."""
    environment = session.environment
    session.run(
        *MAIN, *_INIT, "-reconfigure",
        f"-backend-config=bucket={environment.state_bucket}",
        f"-backend-config=region={environment.region}",
        f"-backend-config=key={environment.name}.tfstate",
    )  # fmt: skip


def change(session: Session, *options: str, is_confirmed: bool = False) -> None:
    """Plan, ask if that is required, apply."""
    environment = session.environment
    plan = environment.directory / "plan"
    try:
        code = session.run(
            *MAIN, "plan", "-input=false", "-lock-timeout=5m", "-detailed-exitcode",
            f"-var-file={environment.tfvars}", f"-out={plan}", *options,
            codes=(_NOTHING_TO_DO, _CHANGES),
        )  # fmt: skip
        if code == _NOTHING_TO_DO:
            session.say("nothing to change")
            return
        changes = session.read_json(*MAIN, "show", "-json", plan).get("resource_changes", [])
        # A replacement counts as a destruction and an addition.
        added, changed, destroyed = (
            [each["address"] for each in changes if verb in each["change"]["actions"]]
            for verb in ("create", "update", "delete")
        )
        for address in destroyed:
            session.say(f"will be destroyed or replaced: {address}")
        if environment.is_guarded and not is_confirmed:
            counts = f"{len(added)} to add, {len(changed)} to change, {len(destroyed)} to destroy"
            session.confirm(f"Terraform on {environment.name}: {counts}", word=environment.name)
        session.run(*MAIN, "apply", "-input=false", "-lock-timeout=5m", plan)
    finally:
        # A plan may contain the state's secrets, and nobody needs it again.
        plan.unlink(missing_ok=True)


def outputs(session: Session) -> dict[str, Any]:
    """Return the outputs. Raises DeployError: the infrastructure does not exist yet."""
    found, name = session.read_json(*MAIN, "output", "-json"), session.environment.name
    if missing := [output for output in OUTPUTS if output not in found]:
        raise DeployError(
            f"the infrastructure of {name} does not exist yet (no output {missing[0]}); "
            f"run `make deploy-infra ENV={name}` first"
        )
    return {output: entry["value"] for output, entry in found.items()}


def say_addresses(session: Session, found: dict[str, Any]) -> None:
    """Show the addresses that others must admit."""
    for kind in ("egress", "broker"):
        session.say(f"{kind} addresses: {', '.join(found[f'{kind}_addresses']) or 'none'}")


def bootstrap(session: Session) -> None:
    """Make the bucket for the state, once for each account and region.

    The bucket's own state stays on this machine, and is needed only to finish what began here. If
    somebody else made the bucket, this does nothing.
    """
    environment = session.environment
    state, bucket = environment.directory / "bootstrap.tfstate", environment.state_bucket
    there = session.aws("s3api", "list-buckets", "--query", f"Buckets[?Name=='{bucket}'].Name")
    if there and not state.exists():
        session.say(f"the state bucket {bucket} is there already")
        return
    if environment.is_guarded:
        what = f"The state bucket {bucket} is made in account {environment.account_id}"
        session.confirm(what, word=environment.name)
    # The data directory of terraform/main has another backend.
    variables = {"TF_DATA_DIR": str(environment.directory / "bootstrap")}
    terraform = ("terraform", "-chdir=terraform/bootstrap")
    session.run(*terraform, *_INIT, variables=variables)
    session.run(
        *terraform, "apply", "-input=false", "-auto-approve", f"-state={state}",
        f"-var=account_id={environment.account_id}", f"-var=region={environment.region}",
        variables=variables,
    )  # fmt: skip


def apply(session: Session) -> None:
    """Make the infrastructure match the configuration. A second call changes nothing."""
    init(session)
    change(session)
    say_addresses(session, outputs(session))
