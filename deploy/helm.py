"""Helm 3 and 4, and objects that no chart makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.checks import version_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.session import Session

TIMEOUT = "15m"


def waiting(session: Session) -> tuple[str, ...]:
    """Return the options with which a Helm waits for what it changes.

    Helm 4 otherwise waits in another way, which ends at a Deployment's progress deadline, and
    applies on the server, where it conflicts with who else changes a field: both as Helm 3 does.
    """
    version = version_of(session.commands.read("helm", "version", "--template", "{{.Version}}"))
    return ("--wait=legacy", "--server-side=false") if version >= (4,) else ("--wait",)


def upgrade(
    session: Session, name: str, chart: str, *options: str | Path, timeout: str = TIMEOUT
) -> None:
    """Install or upgrade a release; where that fails, Helm takes it back. Safe to repeat."""
    how = waiting(session)
    back = "--atomic" if how == ("--wait",) else "--rollback-on-failure"
    session.commands.run(
        *session.helm, "upgrade", "--install", name, chart, back, *how, "--timeout", timeout,
        *options,
    )  # fmt: skip


def uninstall(session: Session, name: str, namespace: str, timeout: str = TIMEOUT) -> None:
    """Take a release away, and what Kubernetes made in AWS for it. Safe to repeat."""
    session.commands.run(
        *session.helm, "uninstall", name, "--namespace", namespace,
        "--ignore-not-found", "--wait", "--timeout", timeout,
    )  # fmt: skip


def apply_manifests(session: Session, name: str, manifests: Sequence[dict[str, Any]]) -> None:
    """Apply objects that no chart makes. Safe to repeat."""
    path = session.environment.directory / f"{name}.json"
    listing = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    path.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    session.commands.run(
        *session.kubectl(), "apply",
        "--server-side", "--force-conflicts", "--field-manager=wis2-gc-deploy", "-f", path,
    )  # fmt: skip
