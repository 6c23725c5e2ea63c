"""What must hold before anything is touched. Reads only."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from deploy.environment import CHART
from deploy.errors import DeployError, Refused

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from deploy.session import Session

Version = tuple[int, ...]

#: The programs, the least version of each, and how it tells its own.
TOOLS: dict[str, tuple[Version, tuple[str, ...]]] = {
    "git": ((2, 25), ("git", "--version")),
    "aws": ((2,), ("aws", "--version")),
    "terraform": ((1, 11), ("terraform", "version", "-json")),
    "docker": ((23,), ("docker", "version", "--format", "{{.Server.Version}}")),
    "kubectl": ((1, 30), ("kubectl", "version", "--client", "-o", "json")),
    "helm": ((3, 14), ("helm", "version", "--template", "{{.Version}}")),
}
ALL_TOOLS = tuple(TOOLS)

#: Quotas of EC2: code, and name in the console.
_ADDRESSES = ("L-0263D0A3", "EC2-VPC Elastic IPs")
_VCPUS = ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances")
_STANDARD_FAMILIES = frozenset("acdhimrtz")
#: Of node groups, and of Auto Mode.
_CLUSTER_TAGS = ("aws:eks:cluster-name", "eks:eks-cluster-name")
#: Those that terraform/modules/secrets makes, whatever is deployed; a test compares.
SECRETS = ("broker", "deployment", "registry")
_VERSION = re.compile(r"(\d+(?:\.\d+)+)")


def check(
    session: Session,
    *,
    tools: Collection[str],
    wants_clean_tree: bool,
    wants_state: bool,
    is_whole: bool,
) -> None:
    """Look at everything that the coming steps rely on.

    `wants_clean_tree`: what a commit says is deployed, or made by Terraform.
    `wants_state`: of a step that uses Terraform, whether the bucket of its state must be there.
    `is_whole`: the release is one of the steps, so that what it will require is looked at now.
    Raises Refused with one line that says what to mend.
    """
    _check_tools(session, tools)
    if "docker" in tools:
        _check_builder(session)
    principal = _check_account(session)
    if "terraform" in tools:
        _check_variables(session)
    if is_whole:
        _check_admin(session, principal)
        _check_brokers(session)
        _check_quotas(session)
        _tell_of_verification(session)
    if "terraform" in tools and wants_state:
        _check_state(session)
    if wants_clean_tree and session.environment.is_guarded:
        _check_tree(session)
    if "terraform" in tools and wants_clean_tree:
        check_secrets(session)
    if "kubectl" in tools and session.environment.kubeconfig.exists():
        check_context(session)


def version_of(text: str) -> Version:
    """Return the first version number in what a program says of itself; empty: there is none."""
    found = _VERSION.search(text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _check_tools(session: Session, tools: Collection[str]) -> None:
    missing = [tool for tool in TOOLS if tool in tools and not session.commands.find(tool)]
    if missing:
        raise Refused(f"not installed: {', '.join(missing)}; docs/deploy.md says where from")
    for tool in tools:
        least, command = TOOLS[tool]
        try:
            version = version_of(session.commands.read(*command))
        except DeployError as error:
            if tool == "docker":
                raise Refused(f"the Docker engine does not answer ({error})") from None
            raise Refused(str(error)) from None
        if version < least:
            wanted, found = (".".join(map(str, v)) for v in (least, version))
            raise Refused(f"{tool} is version {found or 'unknown'}; {wanted} or later is needed")


def _check_builder(session: Session) -> None:
    """Refuse a builder that cannot attach what is pushed with every image: the whole build fails.

    The engine's own builder can only where images lie in containerd's store.
    """
    again = "`docker buildx create --use --driver docker-container`, then again"
    try:
        builder = session.commands.read("docker", "buildx", "inspect")
        store = session.commands.read("docker", "info", "--format", "{{.DriverStatus}}")
    except DeployError as error:
        raise Refused(f"docker has no buildx that answers ({error}); docs/deploy.md") from None
    if re.search(r"^Driver: +docker$", builder, re.MULTILINE) and "containerd" not in store:
        raise Refused(f"docker's builder attaches no bill of materials to an image; {again}")


def _tell_of_verification(session: Session) -> None:
    """Say that an account without a CloudFront distribution may have to be verified first.

    Nothing but an attempt to make one shows whether it is.
    """
    try:
        count = session.commands.read(
            "aws", "cloudfront", "list-distributions", "--output", "text",
            "--query", "length(DistributionList.Items || `[]`)",
        )  # fmt: skip
    except DeployError:
        return
    if count == "0":
        session.say(
            "note: this account has no CloudFront distribution yet. Where Terraform says that it "
            '"must be verified", ask AWS Support (Account → CloudFront), then repeat the step'
        )


def _check_account(session: Session) -> str:
    """Return who we are to AWS."""
    environment = session.environment
    try:
        answer = session.commands.read("aws", "sts", "get-caller-identity", "--output", "json")
    except DeployError as error:
        raise Refused(
            f"AWS knows no login here; `aws sso login`, or set AWS_PROFILE ({error})"
        ) from (None)
    identity = json.loads(answer)
    account = identity["Account"]
    if account != environment.account_id:
        raise Refused(
            f"the AWS login is for account {account}; {environment.name} belongs to "
            f"{environment.account_id} (terraform/environments/{environment.name}.tfvars)"
        )
    return str(identity["Arn"])


def _check_admin(session: Session, principal: str) -> None:
    """Refuse whom the new cluster would shut out: it lets in those named, its maker or not."""
    if _who(principal) not in map(_who, session.environment.admins):
        raise Refused(
            f"the AWS login is {principal}, whom the cluster will not let in: its role or user is "
            f"not in cluster_admin_arns (terraform/environments/{session.environment.name}.tfvars)"
        )


def _who(arn: str) -> tuple[str, str]:
    """Return kind and name of a role or user, without its path: a session does not tell it."""
    kind, _, path = arn.rpartition(":")[2].partition("/")
    if kind == "assumed-role":
        return "role", path.partition("/")[0]
    return kind, path.rpartition("/")[2]


def _check_brokers(session: Session) -> None:
    environment = session.environment
    if not environment.global_brokers and not names_brokers(environment.values):
        raise Refused(no_broker(environment.name))


def names_brokers(values: Path) -> bool:
    """Whether the chart's values have a list of Global Brokers."""
    found = re.search(r"^brokers:(?! *\[ *\])", values.read_text(encoding="utf-8"), re.MULTILINE)
    return found is not None


def no_broker(name: str) -> str:
    """Return where Global Brokers are named."""
    return (
        f"no Global Broker is named: global_brokers in {name}.tfvars, "
        f"or brokers in {CHART}/values/{name}.yaml (docs/deploy.md)"
    )


def _check_quotas(session: Session) -> None:
    """Refuse a region that has no room for us: a new account has five of either."""
    environment = session.environment
    ours = f"Addresses[?Tags[?Key=='Name' && starts_with(Value, '{environment.cluster_name}-')]]"
    addresses = ("describe-addresses", "--query", f"[length(Addresses), length({ours})]")
    vcpus = (
        *("describe-instances", "--filters", "Name=instance-state-name,Values=pending,running"),
        *("--query", "Reservations[].Instances[].[InstanceType, CpuOptions, Tags]"),
    )
    for what, (code, name), words, wanted in (
        ("elastic IPs", _ADDRESSES, addresses, environment.address_count),
        ("vCPUs of EC2", _VCPUS, vcpus, environment.vcpu_count),
    ):
        aws = ("--region", environment.region, "--output", "json")
        try:
            allowed, found = (
                json.loads(session.commands.read("aws", *asked, *aws))
                for asked in (
                    ("service-quotas", "get-service-quota", "--service-code", "ec2",
                     "--quota-code", code, "--query", "Quota.Value"),
                    ("ec2", *words),
                )
            )  # fmt: skip
        except (DeployError, ValueError):
            # Not to be allowed to look at quotas is no reason not to deploy.
            continue
        used, owned = found if words is addresses else _vcpus(found, environment.cluster_name)
        more = max(wanted - owned, 0)
        if allowed is not None and more and used + more > allowed:
            raise Refused(
                f"{what}: the quota of {environment.region} is {allowed:.0f} and {used} are in "
                f'use; {environment.name} requires {more} more (Service Quotas: "{name}")'
            )


def _vcpus(instances: list[tuple[str, dict[str, int], list[dict[str, str]] | None]],
           cluster_name: str) -> tuple[int, int]:  # fmt: skip
    """Return how many vCPUs of the quota are in use, and how many of them by our nodes."""
    counted = [
        (cpu["CoreCount"] * cpu["ThreadsPerCore"],
         any(tag["Key"] in _CLUSTER_TAGS and tag["Value"] == cluster_name for tag in tags or []))
        for kind, cpu, tags in instances
        if kind[0] in _STANDARD_FAMILIES and not kind.startswith(("inf", "trn", "dl", "hpc"))
    ]  # fmt: skip
    return sum(count for count, _ in counted), sum(count for count, own in counted if own)


def check_secrets(session: Session) -> None:
    """Refuse names of secrets that a former deployment holds: deleted, and still to be restored.

    Raises Refused, with what to type: Terraform would make much, and then fail.
    """
    environment = session.environment
    prefix = f"{environment.cluster_name}/"
    try:
        answer = session.commands.read(
            "aws", "secretsmanager", "list-secrets", "--region", environment.region,
            "--include-planned-deletion", "--filters", f"Key=name,Values={prefix}",
            "--query", "SecretList[?DeletedDate].Name", "--output", "json",
        )  # fmt: skip
        deleted = set(json.loads(answer))
    except (DeployError, ValueError):
        return
    names = {
        *SECRETS,
        *(f"global-brokers/{broker}" for broker in environment.global_brokers),
        *(f"accounts/{account}" for account in environment.broker_accounts),
    }
    held = sorted(deleted & {prefix + name for name in names})
    if held:
        raise Refused(
            f"secrets of a former {environment.name} keep their names until AWS deletes them "
            f"(secret_recovery_days): {', '.join(held)}. To give up what is in them now: "
            f"for secret in {' '.join(held)}; do aws secretsmanager delete-secret --region "
            f"{environment.region} --force-delete-without-recovery --secret-id $secret; done"
        )


def _check_state(session: Session) -> None:
    environment = session.environment
    try:
        session.commands.read(
            "aws", "s3api", "head-bucket", "--bucket", environment.state_bucket,
            "--region", environment.region,
        )  # fmt: skip
    except DeployError as error:
        if "404" in str(error):
            raise Refused(
                f"there is no bucket {environment.state_bucket} for Terraform's state yet; "
                f"first `make deploy-bootstrap ENV={environment.name}`"
            ) from None
        raise Refused(f"the bucket {environment.state_bucket} is out of reach ({error})") from None


def _check_variables(session: Session) -> None:
    """Refuse a mistyped name: Terraform would take its default."""
    script = session.environment.root / "terraform" / "check.sh"
    try:
        session.commands.read(script, "tfvars", session.environment.tfvars)
    except DeployError as error:
        raise Refused(str(error).partition("error: ")[2] or str(error)) from None


def _check_tree(session: Session) -> None:
    changed = session.commands.read("git", "status", "--porcelain").splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Refused(
            f"{session.environment.name} is deployed from a clean checkout only; "
            f"commit or remove {changed[0][3:]}{more}"
        )


def check_context(session: Session) -> None:
    """Hold our kubeconfig against the cluster it should be for.

    Raises Refused: there is none, or its context is of another cluster.
    """
    environment = session.environment
    again = f"`make deploy-kubeconfig ENV={environment.name}`"
    if not environment.kubeconfig.exists():
        raise Refused(f"the cluster of {environment.name} is not known here yet; first {again}")
    view = session.commands.read(
        "kubectl", "config", "view", "--minify", "--context", environment.cluster_name, "-o", "json"
    )
    contexts = json.loads(view).get("contexts") or [{}]
    cluster = contexts[0].get("context", {}).get("cluster", "none")
    if cluster != environment.cluster_arn:
        raise Refused(
            f"{environment.kubeconfig} points at {cluster}, not at {environment.cluster_arn}; "
            f"remove the file, then {again}"
        )
