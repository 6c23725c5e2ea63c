"""The way to the cluster, and what has to run in it before the cache can."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.checks import check_context
from deploy.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.session import Session
    from deploy.terraform import Outputs

_ADD_ONS = Path(__file__).with_name("addons.json")
_ADD_ON_TIMEOUT = "10m"
_NAME = re.compile(r"\$\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class AddOn:
    """A chart of somebody else, at one version."""

    name: str
    namespace: str
    repository: str
    chart: str
    version: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AddOns:
    """What a cluster needs besides the cache."""

    first: tuple[dict[str, Any], ...]
    """What the charts rely on: network policies that are enforced, a class of storage."""
    charts: tuple[AddOn, ...]
    manifests: tuple[dict[str, Any], ...]
    """What the charts make possible: a secret store, a class of ingress."""


def write_kubeconfig(session: Session) -> None:
    """Write our own kubeconfig and see that the cluster answers."""
    environment = session.environment
    session.commands.run(
        "aws", "eks", "update-kubeconfig", "--region", environment.region,
        "--name", environment.cluster_name, "--alias", environment.cluster_name,
        "--kubeconfig", environment.kubeconfig,
    )  # fmt: skip
    environment.kubeconfig.chmod(0o600)
    check_context(session)
    session.commands.read(
        "kubectl", "--context", environment.cluster_name, "get", "--raw", "/readyz"
    )
    session.say(f"the cluster {environment.cluster_name} answers")


def install_add_ons(session: Session) -> None:
    """Install or update the add-ons, then what they make possible. Safe to repeat."""
    check_context(session)
    add_ons = load_add_ons(session, Terraform(session).outputs())
    if add_ons.first:
        apply_manifests(session, "before-add-ons", add_ons.first)
    for add_on in add_ons.charts:
        _install(session, add_on)
    if add_ons.manifests:
        apply_manifests(session, "add-ons", add_ons.manifests)


def uninstall_add_ons(session: Session) -> None:
    """Take the add-ons away again, the last first."""
    add_ons = load_add_ons(session, Terraform(session).outputs())
    for add_on in reversed(add_ons.charts):
        session.commands.run(
            "helm", "--kube-context", session.environment.cluster_name, "uninstall", add_on.name,
            "--namespace", add_on.namespace, "--ignore-not-found", "--wait",
            "--timeout", _ADD_ON_TIMEOUT,
        )  # fmt: skip


def apply_manifests(session: Session, name: str, manifests: tuple[dict[str, Any], ...]) -> None:
    """Apply objects that no chart makes. Safe to repeat."""
    path = session.environment.directory / f"{name}.json"
    listing = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    path.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    session.commands.run(
        "kubectl", "--context", session.environment.cluster_name, "apply",
        "--server-side", "--force-conflicts", "--field-manager=wis2-gc-deploy", "-f", path,
    )  # fmt: skip


def load_add_ons(session: Session, outputs: Outputs) -> AddOns:
    """Return the add-ons that this environment needs, with its own names in them."""
    return select_add_ons(
        json.loads(_ADD_ONS.read_text(encoding="utf-8")),
        compute=outputs.compute,
        environment=session.environment.name,
        names={
            "cluster": session.environment.cluster_name,
            "region": session.environment.region,
            "vpc_id": outputs.vpc_id,
            "metrics_domain": outputs.helm_values["domain"]["metrics"],
            "certificate_arn": outputs.helm_values["broker"]["certificateArn"],
            "alarm_topic": outputs.alarm_topic,
            "public_subnets": list(outputs.public_subnet_ids),
        },
    )


def select_add_ons(
    catalogue: dict[str, Any], *, compute: str, environment: str, names: Mapping[str, Any]
) -> AddOns:
    """Return what of addons.json applies: `when` names a compute mode or environments.

    `${…}` in it is replaced by `names`; a text that is nothing else, by a value of any kind.
    Raises KeyError: a name that is not there.
    """

    def applies(entry: dict[str, Any]) -> bool:
        when = entry.get("when", {})
        return compute in when.get("compute", [compute]) and environment not in when.get(
            "not_in", []
        )

    def manifests(*, first: bool) -> tuple[dict[str, Any], ...]:
        return tuple(
            _filled(entry["manifest"], names)
            for entry in catalogue["manifests"]
            if applies(entry) and entry.get("first", False) is first
        )

    return AddOns(
        first=manifests(first=True),
        charts=tuple(
            AddOn(
                name=entry["name"],
                namespace=entry["namespace"],
                repository=entry["repository"],
                chart=entry["chart"],
                version=entry["version"],
                values=_filled(entry["values"], names),
            )
            for entry in catalogue["charts"]
            if applies(entry)
        ),
        manifests=manifests(first=False),
    )


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, names) for each in value]
    if not isinstance(value, str):
        return value
    if whole := _NAME.fullmatch(value):
        return names[whole[1]]
    return _NAME.sub(lambda found: str(names[found[1]]), value)


def _install(session: Session, add_on: AddOn) -> None:
    values = session.environment.directory / f"add-on-{add_on.name}.json"
    values.write_text(json.dumps(add_on.values, indent=2) + "\n", encoding="utf-8")
    session.commands.run(
        "helm", "--kube-context", session.environment.cluster_name,
        "upgrade", "--install", add_on.name, add_on.chart, "--repo", add_on.repository,
        "--version", add_on.version, "--namespace", add_on.namespace, "--create-namespace",
        "--atomic", "--timeout", _ADD_ON_TIMEOUT, "--history-max", "5", "--values", values,
    )  # fmt: skip
