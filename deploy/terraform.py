"""Terraform, with a data directory of its own for each environment: they cannot be mixed up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.session import Session

#: Exit codes of `plan -detailed-exitcode`.
_NOTHING_TO_DO, _CHANGES = 0, 2
_MAIN = "terraform/main"
#: Of `init`: the provider is the one of the lock file, which stays as it was committed.
READONLY = "-lockfile=readonly"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What terraform/main tells the later steps."""

    helm_values: dict[str, Any]
    namespace: str
    compute: str
    """`auto` or `node_groups`."""
    vpc_id: str
    public_subnet_ids: tuple[str, ...]
    alarm_topic: str
    image_repositories: dict[str, str]
    secret_names: dict[str, str]
    """Of each secret its name in Secrets Manager."""
    egress_addresses: tuple[str, ...]
    broker_addresses: tuple[str, ...]


#: The outputs of terraform/main that are read here; a test compares.
NAMES = (
    "helm_values",
    "namespace",
    "compute",
    "vpc_id",
    "public_subnet_ids",
    "alarm_topic",
    "image_repositories",
    "secret_names",
    "egress_addresses",
    "broker_addresses",
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a plan would do, counted; and the addresses of what it would take away."""

    created: int
    changed: int
    destroyed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.created} to add, {self.changed} to change, {len(self.destroyed)} to destroy"


def summarize(plan: dict[str, Any]) -> Changes:
    """Return the counts of a plan in Terraform's JSON. A replacement is one of each."""
    created, changed, destroyed = 0, 0, []
    for resource in plan.get("resource_changes", []):
        actions = resource["change"]["actions"]
        created += "create" in actions
        changed += actions == ["update"]
        if "delete" in actions:
            destroyed.append(resource["address"])
    return Changes(created, changed, tuple(destroyed))


class Terraform:
    """Runs Terraform in terraform/main."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._environment = session.environment

    def init(self) -> None:
        """Find state and providers. Safe to repeat."""
        environment = self._environment
        self._run(
            "init", "-input=false", "-reconfigure", READONLY,
            f"-backend-config=bucket={environment.state_bucket}",
            f"-backend-config=region={environment.region}",
            f"-backend-config=key={environment.name}.tfstate",
        )  # fmt: skip

    def plan(self, *options: str) -> Changes | None:
        """Write a plan to `plan_file` and return what it would do; None: nothing."""
        code = self._run(
            "plan", "-input=false", "-lock-timeout=5m", "-detailed-exitcode",
            f"-var-file={self._environment.tfvars}", f"-out={self.plan_file}", *options,
            codes=(_NOTHING_TO_DO, _CHANGES),
        )  # fmt: skip
        if code == _NOTHING_TO_DO:
            return None
        return summarize(json.loads(self._read("show", "-json", str(self.plan_file))))

    def apply(self) -> None:
        """Do what `plan` wrote."""
        self._run("apply", "-input=false", "-lock-timeout=5m", str(self.plan_file))

    @property
    def plan_file(self) -> Path:
        """The plan that is about to be applied."""
        return self._environment.directory / "plan"

    def output(self) -> dict[str, Any]:
        """Return all outputs that the state has."""
        text = self._read("output", "-json")
        return {name: output["value"] for name, output in json.loads(text).items()}

    def outputs(self) -> Outputs:
        """Return the outputs. Raises DeployError: the infrastructure is not there yet."""
        found = self.output()
        missing = [name for name in NAMES if name not in found]
        if missing:
            name = self._environment.name
            raise DeployError(
                f"the infrastructure of {name} is not there yet (no output {missing[0]}); "
                f"first `make deploy-infra ENV={name}`"
            )
        return Outputs(
            helm_values=found["helm_values"],
            namespace=found["namespace"],
            compute=found["compute"],
            vpc_id=found["vpc_id"],
            public_subnet_ids=tuple(found["public_subnet_ids"]),
            alarm_topic=found["alarm_topic"],
            image_repositories=found["image_repositories"],
            secret_names=found["secret_names"],
            egress_addresses=tuple(found["egress_addresses"]),
            broker_addresses=tuple(found["broker_addresses"]),
        )

    def state_list(self) -> list[str]:
        """Return the addresses of everything in the state."""
        return self._read("state", "list").splitlines()

    def forget(self, addresses: list[str]) -> None:
        """Take resources out of the state; they stay in the account."""
        self._run("state", "rm", "-lock-timeout=5m", *addresses)

    def _run(self, *words: str, codes: tuple[int, ...] = (0,)) -> int:
        return self._session.commands.run("terraform", f"-chdir={_MAIN}", *words, codes=codes)

    def _read(self, *words: str) -> str:
        return self._session.commands.read("terraform", f"-chdir={_MAIN}", *words)
