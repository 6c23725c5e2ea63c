"""The way to the cluster, and what has to run in it before the cache can."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.checks import check_context
from deploy.helm import apply_manifests, uninstall, upgrade
from deploy.terraform import Outputs, Terraform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.session import Session

_ADD_ONS = Path(__file__).with_name("addons.json")
_TIMEOUT = "10m"
_NAME = re.compile(r"\$\{([a-z_]+)\}")


class AddOn(NamedTuple):
    """A chart of somebody else, at one version."""

    name: str
    namespace: str
    repository: str
    chart: str
    version: str
    values: dict[str, Any]


class AddOns(NamedTuple):
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
    session.commands.read(*session.kubectl(), "get", "--raw", "/readyz")
    session.say(f"the cluster {environment.cluster_name} answers")


def install_add_ons(session: Session) -> None:
    """Install or update the add-ons, then what they make possible. Safe to repeat."""
    check_context(session)
    add_ons = load_add_ons(session, Terraform(session).outputs())
    if add_ons.first:
        apply_manifests(session, "before-add-ons", add_ons.first)
    for each in add_ons.charts:
        source = (each.chart, "--repo", each.repository, "--version", each.version)
        # An upgrade of Helm leaves a chart's definitions of resources as they are.
        if definitions := session.commands.read("helm", "show", "crds", *source):
            session.commands.run(
                *session.kubectl(), "apply", "--server-side", "--force-conflicts", "-f", "-",
                stdin=definitions.encode(),
            )  # fmt: skip
        values = session.environment.directory / f"add-on-{each.name}.json"
        values.write_text(json.dumps(each.values, indent=2) + "\n", encoding="utf-8")
        upgrade(
            session, each.name, *source, "--namespace", each.namespace, "--create-namespace",
            "--history-max", "5", "--values", values, timeout=_TIMEOUT,
        )  # fmt: skip
    if add_ons.manifests:
        apply_manifests(session, "add-ons", add_ons.manifests)


def uninstall_add_ons(session: Session) -> None:
    """Take the add-ons away again, the last first."""
    add_ons = load_add_ons(session, Terraform(session).outputs())
    for add_on in reversed(add_ons.charts):
        uninstall(session, add_on.name, add_on.namespace, timeout=_TIMEOUT)


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
            "public_subnets": outputs.public_subnet_ids,
            "node_subnets": [{"id": each} for each in outputs.private_subnet_ids],
            "tags": outputs.tags,
            "load_balancer_tags": [{"key": k, "value": v} for k, v in outputs.tags.items()],
        },
    )


def select_add_ons(
    catalogue: dict[str, Any], *, compute: str, environment: str, names: Mapping[str, Any]
) -> AddOns:
    """Return what of addons.json applies: `when` names a compute mode or environments.

    `${…}` in it is replaced by `names`; a text that is nothing else, by a value of any kind.
    Raises KeyError: a name that is not there.
    """

    def applying(kind: str) -> list[dict[str, Any]]:
        return [
            _filled(entry, names)
            for entry in catalogue[kind]
            for when in (entry.get("when", {}),)
            if compute in when.get("compute", [compute])
            and environment not in when.get("not_in", [])
        ]

    manifests = applying("manifests")
    return AddOns(
        tuple(each["manifest"] for each in manifests if each.get("first")),
        tuple(AddOn(*(each[name] for name in AddOn._fields)) for each in applying("charts")),
        tuple(each["manifest"] for each in manifests if not each.get("first")),
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
