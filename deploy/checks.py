"""What must be true before a deployment changes anything. Reads only."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from deploy.environment import CHART
from deploy.session import Declined, DeployError

if TYPE_CHECKING:
    from collections.abc import Collection

    from deploy.main import Step
    from deploy.session import Session

Version = tuple[int, ...]

#: The programs, the oldest allowed version of each, and the arguments that print it.
TOOLS: dict[str, tuple[Version, tuple[str, ...]]] = {
    "git": ((2, 25), ("git", "--version")),
    "aws": ((2,), ("aws", "--version")),
    "terraform": ((1, 11), ("terraform", "version", "-json")),
    "docker": ((23,), ("docker", "version", "--format", "{{.Server.Version}}")),
    "kubectl": ((1, 34), ("kubectl", "version", "--client", "-o", "json")),
    "helm": ((3, 17), ("helm", "version", "--template", "{{.Version}}")),
}
#: The secrets that terraform/modules/secrets always makes; a test compares.
SECRETS = ("broker", "deployment", "registry")
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def check(session: Session, step: Step, *, is_whole: bool) -> None:
    """Check everything that the next steps rely on.

    `is_whole`: the release is one of the steps, so check its requirements now.
    Raises Declined with one line that says what to correct.
    """
    _check_tools(session, step.tools)
    if "docker" in step.tools:
        _check_builder(session)
    principal = _check_account(session)
    if is_whole:
        _check_admin(session, principal)
        check_brokers(session, session.environment.variables.get("global_brokers"))
        _check_quotas(session)
        _tell_of_verification(session)
    if "terraform" in step.tools and step.requires_state:
        _check_state(session)
    if step.requires_clean_tree and session.environment.is_guarded:
        _check_tree(session)
    if "terraform" in step.tools and step.requires_clean_tree:
        _check_secrets(session)


def version_of(text: str) -> Version:
    """Return the first version number in a program's output; empty: there is none."""
    found = _VERSION.search(text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _check_tools(session: Session, tools: Collection[str]) -> None:
    path = session.variables.get("PATH", "")
    missing = [tool for tool in TOOLS if tool in tools and not shutil.which(tool, path=path)]
    if missing:
        raise Declined(f"not installed: {', '.join(missing)}; docs/deploy.md says where from")
    for tool in tools:
        least, command = TOOLS[tool]
        try:
            version = version_of(session.read(*command))
        except DeployError as error:
            raise Declined(f"{tool} does not answer ({error})") from None
        if version < least:
            wanted, found = (".".join(map(str, v)) for v in (least, version))
            raise Declined(f"{tool} is version {found or 'unknown'}; {wanted} or later is needed")


def _check_builder(session: Session) -> None:
    """Refuse a builder that cannot attach what we push with every image: the build would fail.

    The engine's own builder can do it only if images are in containerd's store.
    """
    again = "run `docker buildx create --use --driver docker-container`, then repeat the step"
    try:
        builder = session.read("docker", "buildx", "inspect")
        store = session.read("docker", "info", "--format", "{{.DriverStatus}}")
    except DeployError as error:
        raise Declined(f"docker has no buildx that answers ({error}); docs/deploy.md") from None
    if re.search(r"^Driver: +docker$", builder, re.MULTILINE) and "containerd" not in store:
        raise Declined(f"docker's builder cannot attach a bill of materials to an image; {again}")


def _tell_of_verification(session: Session) -> None:
    """Warn that AWS may have to verify an account without a CloudFront distribution first.

    Only an attempt to make one shows whether the account is verified.
    """
    query = "length(DistributionList.Items || `[]`)"
    if session.ask_aws("cloudfront", "list-distributions", "--query", query) == 0:
        session.say(
            "note: this account has no CloudFront distribution yet. If Terraform says that it "
            '"must be verified", ask AWS Support (Account → CloudFront), then repeat the step'
        )


def _check_account(session: Session) -> str:
    """Return our principal in AWS."""
    environment = session.environment
    try:
        identity = session.aws("sts", "get-caller-identity")
    except DeployError as error:
        raise Declined(
            f"there is no AWS login; run `aws sso login`, or set AWS_PROFILE ({error})"
        ) from None
    if identity["Account"] != environment.account_id:
        raise Declined(
            f"the AWS login is for account {identity['Account']}; {environment.name} belongs to "
            f"{environment.account_id} (terraform/environments/{environment.name}.tfvars)"
        )
    return str(identity["Arn"])


def _check_admin(session: Session, principal: str) -> None:
    """Refuse a principal that the new cluster would not admit: it admits only those named."""
    admins = session.environment.variables.get("cluster_admin_arns") or []
    # A session does not contain the path of its role.
    who = re.search(r":(?:assumed-(role)/([^/]+)|(user)/(?:.+/)?([^/]+)$)", principal)
    kind, name = filter(None, who.groups()) if who else ("root", "")
    named = re.compile(rf"[^/]+:{kind}/(?:.+/)?{re.escape(name)}")
    if not any(map(named.fullmatch, admins)):
        raise Declined(
            f"the AWS login is {principal}, without access to the cluster: its role or user is "
            f"not in cluster_admin_arns (terraform/environments/{session.environment.name}.tfvars)"
        )


def check_brokers(session: Session, named: Collection[object] | None) -> None:
    """Raise Declined if neither Terraform (`named`) nor the chart's values name a broker."""
    environment = session.environment
    values = environment.values.read_text(encoding="utf-8")
    if not named and not re.search(r"^brokers:(?! *\[ *\])", values, re.MULTILINE):
        raise Declined(
            f"no Global Broker is named: global_brokers in {environment.name}.tfvars, "
            f"or brokers in {CHART}/values/{environment.name}.yaml (docs/deploy.md)"
        )


def _check_quotas(session: Session) -> None:
    """Refuse a region with too small quotas for us: Terraform would stop halfway.

    A new account has five of each; pods wait silently for a missing node.
    """
    environment, name = session.environment, session.environment.cluster_name
    given = [environment.variables.get(f"existing_{of}_allocation_ids") for of in ("nat", "broker")]
    held = json.dumps([each for ids in given for each in ids or []])
    addresses = session.ask_aws(
        "ec2", "describe-addresses", "--query",
        f"length(Addresses[?!(Tags[?Key=='Name' && starts_with(Value, '{name}-')] "
        f"|| contains(`{held}`, AllocationId))])",
    )  # fmt: skip
    instances = session.ask_aws(
        "ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=pending,running",
        "--query", "Reservations[].Instances[].[InstanceType, CpuOptions, "
        f"Tags[?contains(Key, 'eks:') && Value=='{name}'] || `[]`]",
    )  # fmt: skip
    vcpus = sum(
        cpu["CoreCount"] * cpu["ThreadsPerCore"]
        for kind, cpu, ours in instances or []
        if not ours and re.match(r"(?!dl|hpc|inf|trn)[acdhimrtz]", kind)
    )
    for what, code, label, used, required in (
        ("elastic IPs", "L-0263D0A3", "EC2-VPC Elastic IPs", addresses or 0,
         environment.address_count),
        ("vCPUs of EC2", "L-1216C47A",
         "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", vcpus,
         environment.vcpu_count),
    ):  # fmt: skip
        quota = ("--service-code", "ec2", "--quota-code", code, "--query", "Quota.Value")
        most = session.ask_aws("service-quotas", "get-service-quota", *quota)
        if most is not None and used + required > most:
            raise Declined(
                f"{what}: the quota of {environment.region} is {most:.0f}, others use {used}; "
                f'{environment.name} requires {required} (Service Quotas: "{label}")'
            )


def _check_secrets(session: Session) -> None:
    """Refuse names of secrets that an earlier deployment has deleted but AWS can still restore.

    Raises Declined, with the command to type: Terraform would make many resources, and then fail.
    """
    environment = session.environment
    prefix, given = f"{environment.cluster_name}/", environment.variables.get
    deleted = session.ask_aws(
        "secretsmanager", "list-secrets", "--include-planned-deletion",
        "--filters", f"Key=name,Values={prefix}", "--query", "SecretList[?DeletedDate].Name",
    )  # fmt: skip
    names = {
        *SECRETS,
        *(f"global-brokers/{broker}" for broker in given("global_brokers") or []),
        *(f"accounts/{account}" for account in given("broker_accounts") or []),
    }
    if held := sorted({prefix + name for name in names}.intersection(deleted or [])):
        raise Declined(
            f"secrets of a former {environment.name} keep their names until AWS deletes them "
            f"(secret_recovery_days): {', '.join(held)}. To delete them now, without a way back: "
            f"for secret in {' '.join(held)}; do aws secretsmanager delete-secret --region "
            f"{environment.region} --force-delete-without-recovery --secret-id $secret; done"
        )


def _check_state(session: Session) -> None:
    environment = session.environment
    try:
        where = ("--bucket", environment.state_bucket, "--region", environment.region)
        session.read("aws", "s3api", "head-bucket", *where)
    except DeployError as error:
        raise Declined(
            f"Terraform's state cannot be reached, in {environment.state_bucket} ({error}); if "
            f"there is no such bucket yet, run `make deploy-bootstrap ENV={environment.name}`"
        ) from None


def _check_tree(session: Session) -> None:
    if changed := session.read("git", "status", "--porcelain").splitlines():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Declined(
            f"{session.environment.name} is deployed from a clean checkout only; "
            f"commit or remove {changed[0][3:]}{more}"
        )
