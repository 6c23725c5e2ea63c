"""Builds the images, pushes them, and notes the digests under which they will run."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING

from deploy.environment import SERVICES
from deploy.errors import DeployError
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
    environment, commands = session.environment, session.commands
    registry, tag = _registry(session), _tag(session)
    missing = [service for service in SERVICES if not digest_of(session, registry, service, tag)]
    if missing:
        password = commands.read("aws", "ecr", "get-login-password", "--region", environment.region)
        commands.run(
            "docker", "login", "--username", "AWS", "--password-stdin", environment.registry_host,
            stdin=password.encode(),
        )  # fmt: skip
        commands.run(
            sys.executable, "-m", "images.build", "--push", *missing,
            variables={"REGISTRY": registry, "TAG": tag, "PLATFORM": _PLATFORM},
        )  # fmt: skip
    digests = {service: digest_of(session, registry, service, tag) for service in SERVICES}
    for service, digest in digests.items():
        if not digest:
            raise DeployError(f"{registry}/wis2-gc-{service}:{tag} was pushed, but is not there")
    noted = json.dumps({"registry": registry, "tag": tag, "digests": digests}, indent=2)
    environment.images_file.write_text(f"{noted}\n", encoding="utf-8")
    session.say(
        f"images {tag}: {len(missing)} pushed, {len(SERVICES) - len(missing)} there already"
    )


def noted_digests(session: Session) -> dict[str, str]:
    """Return the digests to release, after a look that the registry has them.

    An image that cannot be pulled would silence what it is of.
    Raises DeployError: none was pushed from here, or of another commit, or it was expired.
    """
    path = session.environment.images_file
    again = f"`make deploy-images ENV={session.environment.name}`"
    noted = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "registry" not in noted:
        raise DeployError(f"no image was pushed from here yet; first {again}")
    registry, tag, digests = noted["registry"], noted["tag"], noted["digests"]
    if not session.commands.read("git", "rev-parse", "HEAD").startswith(tag.split("-", 1)[0]):
        raise DeployError(f"the images pushed last are of commit {tag}, not of this one; {again}")
    for service in SERVICES:
        if digest_of(session, registry, service, tag) != digests[service]:
            raise DeployError(
                f"{registry}/wis2-gc-{service}:{tag} is not in the registry any more; {again}"
            )
    return {service: str(digests[service]) for service in SERVICES}


def digest_of(session: Session, registry: str, service: str, tag: str) -> str:
    """Return the digest of an image in the registry; empty: it is not there.

    By the list of tags: that asks for no kind of manifest, and a tag with attestations is an index.
    """
    answer = session.commands.read(
        "aws", "ecr", "list-images", "--region", session.environment.region,
        "--repository-name", f"{registry.partition('/')[2]}/wis2-gc-{service}",
        "--filter", "tagStatus=TAGGED",
        "--query", f"imageIds[?imageTag=='{tag}'].imageDigest", "--output", "text",
    )  # fmt: skip
    found = _DIGEST.search(answer)
    return found[0] if found else ""


def _registry(session: Session) -> str:
    """Return `host/folder` of the repositories; before the first apply, make these alone."""
    terraform = Terraform(session)
    terraform.init()
    repositories = terraform.output().get("image_repositories")
    if repositories is None:
        session.say("no image repositories yet: Terraform makes them first, and nothing else")
        terraform.change("-target=module.images")
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
