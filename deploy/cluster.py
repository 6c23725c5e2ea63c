"""Access to the cluster, Helm 3 and 4, and the add-ons that the cache requires."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import terraform
from deploy.checks import version_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.session import Session

TIMEOUT = "15m"
_ADD_ONS = Path(__file__).with_name("addons.json")
_APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=wis2-gc-deploy", "-f-")


def write_kubeconfig(session: Session) -> None:
    """Write our own kubeconfig and check that the cluster answers."""
    reach(session)
    session.read(*session.kubectl("get", "--raw", "/readyz"))
    session.say(f"the cluster {session.environment.cluster_name} answers")


def reach(session: Session) -> None:
    """Make our kubeconfig point to this environment's cluster; it may have pointed elsewhere."""
    environment = session.environment
    session.read(
        "aws", "eks", "update-kubeconfig", "--region", environment.region,
        "--name", environment.cluster_name, "--alias", environment.cluster_name,
        "--kubeconfig", environment.kubeconfig,
    )  # fmt: skip
    environment.kubeconfig.chmod(0o600)


def waiting(session: Session) -> tuple[str, ...]:
    """Return the options with which Helm waits for its changes.

    By default Helm 4 waits in another way, which ends at a Deployment's progress deadline, and
    applies on the server, where it conflicts with others that change a field. The options make it
    act as Helm 3.
    """
    version = version_of(session.read("helm", "version", "--template", "{{.Version}}"))
    return ("--wait=legacy", "--server-side=false") if version >= (4,) else ("--wait",)


def upgrade(session: Session, name: str, *options: str | Path, timeout: str = TIMEOUT) -> None:
    """Install or upgrade a release; if that fails, Helm rolls it back. Safe to repeat."""
    how = waiting(session)
    back = "--atomic" if how == ("--wait",) else "--rollback-on-failure"
    session.run(*session.helm(
        "upgrade", "--install", name, back, *how, "--timeout", timeout, *options,
    ))  # fmt: skip


def uninstall(session: Session, name: str, namespace: str) -> None:
    """Remove a release, and what Kubernetes made in AWS for it. Safe to repeat."""
    session.run(*session.helm(
        "uninstall", name, "--namespace", namespace, "--ignore-not-found", "--wait",
        "--timeout", TIMEOUT,
    ))  # fmt: skip


def apply_manifests(session: Session, manifests: list[dict[str, Any]]) -> None:
    """Apply objects that are not in a chart. Safe to repeat."""
    if manifests:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        session.run(*session.kubectl(*_APPLY), stdin=text.encode())


def install_add_ons(session: Session) -> None:
    """Install or update the add-ons, then the objects that require them. Safe to repeat."""
    reach(session)
    add_ons = load_add_ons(session, terraform.outputs(session))
    apply_manifests(session, add_ons["first"])
    for each in add_ons["charts"]:
        chart = (each["chart"], "--repo", each["repository"], "--version", each["version"])
        # A Helm upgrade does not update a chart's custom resource definitions.
        if definitions := session.read("helm", "show", "crds", *chart):
            session.run(*session.kubectl(*_APPLY), stdin=definitions.encode())
        values = session.environment.directory / f"add-on-{each['name']}.json"
        values.write_text(json.dumps(each["values"], indent=2) + "\n", encoding="utf-8")
        upgrade(
            session, each["name"], *chart, "--namespace", each["namespace"], "--create-namespace",
            "--history-max", "5", "--values", values, timeout="10m",
        )  # fmt: skip
    apply_manifests(session, add_ons["manifests"])


def load_add_ons(session: Session, outputs: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the add-ons that this environment requires, with its names filled in."""
    names = outputs | {
        "cluster": session.environment.cluster_name,
        "region": session.environment.region,
        "metrics_domain": outputs["helm_values"]["domain"]["metrics"],
        "node_subnets": [{"id": each} for each in outputs["private_subnet_ids"]],
        "load_balancer_tags": [{"key": k, "value": v} for k, v in outputs["tags"].items()],
    }
    return select_add_ons(
        _ADD_ONS.read_text(encoding="utf-8"),
        compute=outputs["compute"], environment=session.environment.name, names=names,
    )  # fmt: skip


def select_add_ons(
    catalogue: str, *, compute: str, environment: str, names: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Return the parts of addons.json that apply: the `first` manifests, `charts`, `manifests`.

    `names` gives the values for `${…}`; a text that is only `${…}` becomes a value of any type.
    Raises KeyError: an unknown name.
    """
    whole = re.sub(r'"\$\{(\w+)\}"', lambda name: json.dumps(names[name[1]]), catalogue)
    found = json.loads(string.Template(whole).substitute(names))

    chosen: dict[str, list[dict[str, Any]]] = {"first": [], "charts": [], "manifests": []}
    for kind in ("charts", "manifests"):
        for entry in found[kind]:
            when = entry.get("when", {})
            if (
                compute in when.get("compute", [compute])
                and environment not in when.get("not_in", [])
                and when.get("given", True)
            ):
                chosen["first" if entry.get("first") else kind].append(entry.get("manifest", entry))
    return chosen
