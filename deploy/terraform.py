"""Terraform: makes the bucket of the state, plans and applies terraform/main.

It has a data directory of its own for each environment: they cannot be mixed up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError

if TYPE_CHECKING:
    from deploy.session import Session

#: Exit codes of `plan -detailed-exitcode`.
_NOTHING_TO_DO, _CHANGES = 0, 2
_MAIN = "terraform/main"
#: Of `init`: the provider is the one of the lock file, which stays as it was committed.
READONLY = "-lockfile=readonly"


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of terraform/main that the later steps read; a test compares."""

    helm_values: dict[str, Any]
    namespace: str
    compute: str
    """`auto` or `node_groups`."""
    vpc_id: str
    public_subnet_ids: list[str]
    private_subnet_ids: list[str]
    tags: dict[str, str]
    alarm_topic: str
    image_repositories: dict[str, str]
    secret_names: dict[str, str]
    """Of each secret its name in Secrets Manager."""
    egress_addresses: list[str]
    broker_addresses: list[str]

    def addresses(self) -> list[str]:
        """Return what others admit us by, a line each."""
        return [
            f"egress addresses: {', '.join(self.egress_addresses) or 'none'}",
            f"broker addresses: {', '.join(self.broker_addresses) or 'none'}",
        ]


NAMES = tuple(field.name for field in fields(Outputs))


class Changes(NamedTuple):
    """What a plan would do, counted; and the addresses of what it would take away."""

    created: int
    changed: int
    destroyed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.created} to add, {self.changed} to change, {len(self.destroyed)} to destroy"


def summarize(plan: dict[str, Any]) -> Changes:
    """Return the counts of a plan in Terraform's JSON. A replacement is one of each."""
    changes = [
        (each["change"]["actions"], each["address"]) for each in plan.get("resource_changes", [])
    ]
    return Changes(
        sum("create" in actions for actions, _ in changes),
        sum(actions == ["update"] for actions, _ in changes),
        tuple(address for actions, address in changes if "delete" in actions),
    )


class Terraform:
    """Runs Terraform in terraform/main."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._environment = session.environment
        self._plan_file = self._environment.directory / "plan"

    def init(self) -> None:
        """Find state and providers. Safe to repeat."""
        environment = self._environment
        self._run(
            "init", "-input=false", "-reconfigure", READONLY,
            f"-backend-config=bucket={environment.state_bucket}",
            f"-backend-config=region={environment.region}",
            f"-backend-config=key={environment.name}.tfstate",
        )  # fmt: skip

    def change(self, *options: str, is_confirmed: bool = False) -> None:
        """Plan, ask where that is due, apply."""
        name = self._environment.name
        try:
            code = self._run(
                "plan", "-input=false", "-lock-timeout=5m", "-detailed-exitcode",
                f"-var-file={self._environment.tfvars}", f"-out={self._plan_file}", *options,
                codes=(_NOTHING_TO_DO, _CHANGES),
            )  # fmt: skip
            if code == _NOTHING_TO_DO:
                self._session.say("nothing to change")
                return
            changes = summarize(json.loads(self.read("show", "-json", str(self._plan_file))))
            for address in changes.destroyed:
                self._session.say(f"will be destroyed or replaced: {address}")
            if self._environment.is_guarded and not is_confirmed:
                self._session.confirm(f"Terraform on {name}: {changes}", word=name)
            self._run("apply", "-input=false", "-lock-timeout=5m", str(self._plan_file))
        finally:
            # A plan may hold what the state holds, and is of no use a second time.
            self._plan_file.unlink(missing_ok=True)

    def output(self) -> dict[str, Any]:
        """Return all outputs that the state has."""
        found = json.loads(self.read("output", "-json"))
        return {name: output["value"] for name, output in found.items()}

    def outputs(self) -> Outputs:
        """Return the outputs. Raises DeployError: the infrastructure is not there yet."""
        found = self.output()
        for missing in NAMES:
            if missing not in found:
                name = self._environment.name
                raise DeployError(
                    f"the infrastructure of {name} is not there yet (no output {missing}); "
                    f"first `make deploy-infra ENV={name}`"
                )
        return Outputs(**{name: found[name] for name in NAMES})

    def forget(self, addresses: list[str]) -> None:
        """Take resources out of the state; they stay in the account."""
        self._run("state", "rm", "-lock-timeout=5m", *addresses)

    def read(self, *words: str) -> str:
        """Return what Terraform prints."""
        return self._session.commands.read("terraform", f"-chdir={_MAIN}", *words)

    def _run(self, *words: str, codes: tuple[int, ...] = (0,)) -> int:
        return self._session.commands.run("terraform", f"-chdir={_MAIN}", *words, codes=codes)


def bootstrap(session: Session) -> None:
    """Make the bucket that keeps the state, once for each account and region.

    Its own state stays on this machine, and is needed only to finish what was begun here: where
    somebody else made the bucket, nothing is done.
    """
    environment = session.environment
    state, bucket = environment.directory / "bootstrap.tfstate", environment.state_bucket
    there = session.commands.read(
        "aws", "s3api", "list-buckets",
        "--query", f"Buckets[?Name=='{bucket}'].Name", "--output", "text",
    )  # fmt: skip
    if there == bucket and not state.exists():
        session.say(f"the state bucket {bucket} is there already")
        return
    if environment.is_guarded:
        what = f"The state bucket {bucket} is made in account {environment.account_id}"
        session.confirm(what, word=environment.name)
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
    terraform.change()
    for line in terraform.outputs().addresses():
        session.say(line)
