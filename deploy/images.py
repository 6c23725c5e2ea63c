"""Builds the images, pushes them, and notes the digests under which they will run."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING

from deploy.environment import SERVICES
from deploy.errors import DeployError
from deploy.infrastructure import apply_plan
from deploy.terraform import Terraform

if TYPE_CHECKING:
    from deploy.session import Session

_SHORT_COMMIT = 12
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: Of the nodes; terraform/main admits no other kind.
_PLATFORM = "linux/amd64"


def build_and_push(session: Session) -> None:
    """Have every service's image in the registry, and its digest in `images_file`.

    Tags never move: what a clean commit was built into once is not built again.
    """
    environment = session.environment
    registry = _registry(session)
    tag = _tag(session)
    found = {service: _digest(session, registry, service, tag) for service in SERVICES}
    missing = [service for service in SERVICES if found[service] is None]
    if missing:
        session.commands.pipe(
            ("aws", "ecr", "get-login-password", "--region", environment.region),
            ("docker", "login", "--username", "AWS", "--password-stdin", environment.registry_host),
        )
        session.commands.run(
            sys.executable, "-m", "images.build", "--push", "--platforms", _PLATFORM, *missing,
            variables={"REGISTRY": registry, "TAG": tag},
        )  # fmt: skip
    digests = {
        service: found[service] or _digest(session, registry, service, tag) for service in SERVICES
    }
    for service, digest in digests.items():
        if digest is None:
            raise DeployError(f"{registry}/wis2-gc-{service}:{tag} was pushed, but is not there")
    environment.images_file.write_text(
        json.dumps({"tag": tag, "digests": digests}, indent=2) + "\n", encoding="utf-8"
    )
    session.say(
        f"images {tag}: {len(missing)} pushed, {len(SERVICES) - len(missing)} there already"
    )


def _registry(session: Session) -> str:
    """Return `host/folder` of the repositories; before the first apply, make these alone."""
    terraform = Terraform(session)
    terraform.init()
    repositories = terraform.output().get("image_repositories")
    if repositories is None:
        session.say("no image repositories yet: Terraform makes them first, and nothing else")
        apply_plan(session, terraform, "-target=module.images")
        repositories = terraform.output()["image_repositories"]
    registries = {repositories[service].removesuffix(f"/wis2-gc-{service}") for service in SERVICES}
    if len(registries) != 1:
        raise DeployError(
            "Terraform's image_repositories do not end in wis2-gc-listener and so on, "
            "as the chart and `make images` name them"
        )
    return str(registries.pop())


def _tag(session: Session) -> str:
    """Return the commit; with what a dirty tree (dev only) adds, a tag of its own."""
    commit = session.commands.read("git", "rev-parse", "HEAD")[:_SHORT_COMMIT]
    if not session.commands.read("git", "status", "--porcelain"):
        return commit
    return f"{commit}-dirty-{time.strftime('%Y%m%d%H%M%S', time.gmtime(session.now()))}"


def _digest(session: Session, registry: str, service: str, tag: str) -> str | None:
    """Return the digest of an image in the registry; None: it is not there.

    By the list of tags: that asks for no kind of manifest, and a tag with attestations is an index.
    """
    answer = session.commands.read(
        "aws", "ecr", "list-images", "--region", session.environment.region,
        "--repository-name", f"{registry.split('/', 1)[1]}/wis2-gc-{service}",
        "--filter", "tagStatus=TAGGED",
        "--query", f"imageIds[?imageTag=='{tag}'].imageDigest", "--output", "text",
    )  # fmt: skip
    found = _DIGEST.search(answer)
    return found[0] if found else None
