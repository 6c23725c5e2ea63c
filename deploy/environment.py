"""One environment: what it is called, where its files are, which account it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Helm's release; Terraform's variable service_account_prefix must say the same.
RELEASE = "wis2-global-cache"
CHART = "helm/wis2-global-cache"
SERVICES = ("listener", "manager", "metrics")

#: What terraform/environments holds until somebody puts in their own.
_EXAMPLES = ("123456789012", "192.0.2.0/24", "example.org", "xx-example-")
_ZONES = 3
_NAME = re.compile(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", re.ASCII)
_LIST = re.compile(r"^(?P<name>[a-z0-9_]+)[ \t]*=[ \t]*\[(?P<words>[^\]]*)\]", re.MULTILINE)
_WORD = re.compile(r'"([^"\\\n]*)"')
_COMMENT = re.compile(r"(?m)(?:#|//).*$")
_ASSIGNMENT = re.compile(
    r'^(?P<name>[a-z0-9_]+)[ \t]*=[ \t]*(?:"(?P<text>[^"\\\n]*)"|(?P<word>[a-z0-9.]+))',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The files and the account of one environment. Nothing in here touches AWS."""

    name: str
    root: Path
    """The checkout."""
    account_id: str
    region: str
    admins: tuple[str, ...] = ()
    """ARNs of roles and users that the cluster lets in."""
    global_brokers: tuple[str, ...] = ()
    """Those whose login lies in Secrets Manager."""
    broker_accounts: tuple[str, ...] = ()
    """Those who have an account on our broker."""
    address_count: int = 0
    """Elastic IPs that Terraform makes for it."""
    is_disposable: bool = False
    """Whether bucket and image repositories may be destroyed with what is in them."""

    @property
    def is_guarded(self) -> bool:
        """Whether changes want a clean tree and a confirmation: everywhere but in dev."""
        return self.name != "dev"

    @property
    def vcpu_count(self) -> int:
        """The vCPUs of the nodes that the pods need; a test holds it against docs/costs.md."""
        return 12 if self.is_guarded else 4

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
        """What a deployment keeps on this machine; all of it can be made again."""
        return self.root / ".deploy" / self.name

    @property
    def kubeconfig(self) -> Path:
        """A file of our own: what the operator's kubectl points at is neither used nor changed."""
        return self.directory / "kubeconfig"

    @property
    def images_file(self) -> Path:
        """The digests, written by the step `images` and read by the step `release`."""
        return self.directory / "images.json"

    @property
    def registry_host(self) -> str:
        """Host of the account's container registry."""
        return f"{self.account_id}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def state_bucket(self) -> str:
        """Where Terraform keeps the state, as terraform/bootstrap names it."""
        return f"wis2-gc-state-{self.account_id}-{self.region}"

    @property
    def cluster_name(self) -> str:
        """As terraform/main names it."""
        return f"wis2-gc-{self.name}"

    @property
    def cluster_arn(self) -> str:
        """By this name the AWS CLI writes the cluster into a kubeconfig."""
        return f"arn:aws:eks:{self.region}:{self.account_id}:cluster/{self.cluster_name}"


def open_environment(root: Path, name: str) -> Environment:
    """Return the environment `name` of this checkout.

    Raises Refused: no name, an unknown one, or files that contradict it.
    """
    known = sorted(path.stem for path in (root / "terraform" / "environments").glob("*.tfvars"))
    choices = " or ".join(f"ENV={each}" for each in known) or "a file in terraform/environments"
    if not name:
        raise Refused(f"say which environment: {choices}")
    if not _NAME.fullmatch(name) or name not in known:
        raise Refused(f"there is no environment {name!r}: {choices}")
    if not (root / f"{CHART}/values/{name}.yaml").is_file():
        raise Refused(f"{CHART}/values/{name}.yaml is missing: the chart's values of {name}")
    text = (root / f"terraform/environments/{name}.tfvars").read_text(encoding="utf-8")
    tfvars, listed = assignments(text), lists(text)
    where = f"terraform/environments/{name}.tfvars"
    for variable in ("environment", "account_id", "region"):
        if not tfvars.get(variable):
            raise Refused(f"{where} sets no {variable}")
    if tfvars["environment"] != name:
        raise Refused(f'{where} says environment = "{tfvars["environment"]}"')
    for variable, value in (*tfvars.items(), *((n, v) for n, vs in listed.items() for v in vs)):
        if any(example in value for example in _EXAMPLES):
            raise Refused(f"{where} still holds the example's {variable} {value}; put in yours")
    if tfvars.get("service_account_prefix", RELEASE) != RELEASE:
        raise Refused(f"{where}: service_account_prefix must be {RELEASE}, the name of the release")
    return Environment(
        name=name,
        root=root,
        account_id=tfvars["account_id"],
        region=tfvars["region"],
        admins=listed.get("cluster_admin_arns", ()),
        global_brokers=listed.get("global_brokers", ()),
        broker_accounts=listed.get("broker_accounts", ()),
        address_count=_address_count(tfvars, listed),
        is_disposable=tfvars.get("disposable") == "true",
    )


def assignments(text: str) -> dict[str, str]:
    """Return the texts, numbers and truths that a tfvars file assigns, each on one line.

    What is null is as good as not assigned.
    """
    return {
        match["name"]: match["word"] if match["text"] is None else match["text"]
        for match in _ASSIGNMENT.finditer(text)
        if match["word"] != "null"
    }


def lists(text: str) -> dict[str, tuple[str, ...]]:
    """Return the lists of texts that a tfvars file assigns."""
    return {
        match["name"]: tuple(_WORD.findall(match["words"]))
        for match in _LIST.finditer(_COMMENT.sub("", text))
    }


def _address_count(tfvars: Mapping[str, str], listed: Mapping[str, tuple[str, ...]]) -> int:
    """Return how many elastic IPs terraform/main makes: for NAT gateways, and for the broker."""
    makes_vpc = "existing_vpc_id" not in tfvars
    nat = 1 if tfvars.get("one_nat_gateway") == "true" else _ZONES
    broker = int(tfvars.get("broker_address_count", _ZONES))
    return (
        nat * (makes_vpc and not listed.get("existing_nat_allocation_ids"))
        + broker * (not listed.get("existing_broker_allocation_ids"))
    )  # fmt: skip
