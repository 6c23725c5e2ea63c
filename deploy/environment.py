"""One environment: its name, its files, its AWS account."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hcl2
from lark.exceptions import LarkError

from deploy.session import Declined

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The Helm release's name; Terraform's variable service_account_prefix must have the same value.
RELEASE = "wis2-global-cache"
CHART = "helm/wis2-global-cache"
SERVICES = ("listener", "manager", "metrics")

#: Example values in terraform/environments, which each operator must replace.
_EXAMPLES = ("123456789012", "192.0.2.0/24", "example.org", "xx-example-")
_ZONES = 3


@dataclass(frozen=True, slots=True)
class Environment:
    """The files and the account of one environment. It never calls AWS."""

    name: str
    root: Path
    """The checkout."""
    account_id: str
    region: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    """All variables of its tfvars file."""

    @property
    def is_guarded(self) -> bool:
        """Whether changes require a clean tree and a confirmation: everywhere except dev."""
        return self.name != "dev"

    @property
    def vcpu_count(self) -> int:
        """The vCPUs of the nodes that the pods require; a test compares it with docs/costs.md."""
        return 12 if self.is_guarded else 4

    @property
    def address_count(self) -> int:
        """Elastic IPs that terraform/main makes: for NAT gateways and for the broker."""
        given = self.variables.get
        nat = 0 if given("existing_vpc_id") else 1 if given("one_nat_gateway") else _ZONES
        return nat + int(given("broker_address_count") or _ZONES)

    @property
    def tfvars(self) -> Path:
        """Terraform's variables."""
        return self.root / "terraform" / "environments" / f"{self.name}.tfvars"

    @property
    def values(self) -> Path:
        """The chart's values that Terraform does not know."""
        return self.root / CHART / "values" / f"{self.name}.yaml"

    @property
    def directory(self) -> Path:
        """A deployment's files on this machine; all of them can be made again."""
        return self.root / ".deploy" / self.name

    @property
    def kubeconfig(self) -> Path:
        """Our own file: we neither use nor change the operator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def state_bucket(self) -> str:
        """The bucket of Terraform's state, as terraform/bootstrap names it."""
        return f"wis2-gc-state-{self.account_id}-{self.region}"

    @property
    def cluster_name(self) -> str:
        """As terraform/main names it."""
        return f"wis2-gc-{self.name}"


def open_environment(root: Path, name: str) -> Environment:
    """Return the environment `name` of this checkout.

    Raises Declined: no name, an unknown name, or files that contradict it.
    """
    known = sorted(path.stem for path in (root / "terraform" / "environments").glob("*.tfvars"))
    choices = " or ".join(f"ENV={each}" for each in known) or "a file in terraform/environments"
    if not name:
        raise Declined(f"name the environment: {choices}")
    if name not in known:
        raise Declined(f"there is no environment {name!r}: {choices}")
    if not (root / f"{CHART}/values/{name}.yaml").is_file():
        raise Declined(f"{CHART}/values/{name}.yaml is missing: the chart's values of {name}")
    where = f"terraform/environments/{name}.tfvars"
    variables = read_variables(root / where)
    declaring = "terraform/main/variables.tf"
    declared = re.findall(r'^variable "(\w+)"', (root / declaring).read_text("utf-8"), re.MULTILINE)
    # Terraform would only warn, and use the default of the intended variable.
    if unknown := [variable for variable in variables if variable not in declared]:
        raise Declined(f"{where}: there is no variable {unknown[0]}; {declaring} lists all")
    named = {name for name, value in variables.items() if value}
    if missing := {"environment", "account_id", "region"} - named:
        raise Declined(f"{where} does not set {', '.join(sorted(missing))}")
    if variables["environment"] != name:
        raise Declined(f'{where} says environment = "{variables["environment"]}"')
    for variable, given in variables.items():
        for value in given if isinstance(given, list) else [given]:
            if any(example in str(value) for example in _EXAMPLES):
                raise Declined(f"{where} still has the example's {variable} {value}; replace it")
    if variables.get("service_account_prefix", RELEASE) != RELEASE:
        raise Declined(
            f"{where}: service_account_prefix must be {RELEASE}, the name of the release"
        )
    return Environment(name, root, str(variables["account_id"]), variables["region"], variables)


def read_variables(path: Path) -> dict[str, Any]:
    """Return the variables of a tfvars file. Raises Declined: it is not in Terraform's language."""
    options = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False)
    try:
        return hcl2.loads(path.read_text(encoding="utf-8"), serialization_options=options)
    except LarkError as error:
        line = str(error).partition("\n")[0]
        raise Declined(f"{path.parent.name}/{path.name} cannot be read: {line}") from None
