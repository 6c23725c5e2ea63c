"""Builds the images, pushes them, and notes the digests under which they will run."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from deploy import terraform
from deploy.environment import SERVICES
from deploy.session import DeployError

if TYPE_CHECKING:
    from deploy.session import Session

_SHORT_COMMIT = 12
#: Of the nodes; terraform/main admits no other kind.
_PLATFORM = "linux/amd64"
#: In the environment's directory: written by the step `images`, read by the step `release`.
_NOTED = "images.json"


def build_and_push(session: Session) -> None:
    """Have every service's image in the registry, and its digest noted.

    Tags never move: what a clean commit was built into once is not built again.
    """
    registry, tag = _registry(session), _tag(session)
    missing = [name for name, digest in _digests(session, registry, tag).items() if not digest]
    if missing:
        password = session.read(
            "aws", "ecr", "get-login-password", "--region", session.environment.region
        )
        session.run(
            "docker", "login", "--username", "AWS", "--password-stdin", registry.partition("/")[0],
            stdin=password.encode(),
        )  # fmt: skip
        session.run(
            "images/build.sh", "--push", *missing,
            variables={"REGISTRY": registry, "TAG": tag, "PLATFORM": _PLATFORM},
        )  # fmt: skip
    digests = _digests(session, registry, tag)
    for service, digest in digests.items():
        if not digest:
            raise DeployError(f"{registry}/wis2-gc-{service}:{tag} was pushed, but is not there")
    noted = json.dumps({"registry": registry, "tag": tag, "digests": digests}, indent=2)
    (session.environment.directory / _NOTED).write_text(f"{noted}\n", encoding="utf-8")
    session.say(
        f"images {tag}: {len(missing)} pushed, {len(SERVICES) - len(missing)} there already"
    )


def noted_digests(session: Session) -> dict[str, str]:
    """Return the digests to release, after a look that the registry has them.

    An image that cannot be pulled would silence what it is of.
    Raises DeployError: none was pushed from here, or of another commit, or it was expired.
    """
    path = session.environment.directory / _NOTED
    again = f"`make deploy-images ENV={session.environment.name}`"
    if not path.is_file():
        raise DeployError(f"no image was pushed from here yet; first {again}")
    noted = json.loads(path.read_text(encoding="utf-8"))
    registry, tag, digests = noted["registry"], noted["tag"], dict(noted["digests"])
    if not session.read("git", "rev-parse", "HEAD").startswith(tag.split("-", 1)[0]):
        raise DeployError(f"the images pushed last are of commit {tag}, not of this one; {again}")
    for service, digest in _digests(session, registry, tag).items():
        if digest != digests[service]:
            raise DeployError(
                f"{registry}/wis2-gc-{service}:{tag} is not in the registry any more; {again}"
            )
    return digests


def _digests(session: Session, registry: str, tag: str) -> dict[str, str | None]:
    """Return each service's digest in the registry; None: the tag is not there.

    By the list of tags: that asks for no kind of manifest, and a tag with attestations is an index.
    """
    return {
        service: session.aws(
            "ecr", "list-images", "--filter", "tagStatus=TAGGED",
            "--repository-name", f"{registry.partition('/')[2]}/wis2-gc-{service}",
            "--query", f"imageIds[?imageTag=='{tag}'].imageDigest | [0]",
        )
        for service in SERVICES
    }  # fmt: skip


def _registry(session: Session) -> str:
    """Return `host/folder` of the repositories; before the first apply, make these alone."""
    terraform.init(session)
    repositories = terraform.known_outputs(session).get("image_repositories")
    if repositories is None:
        session.say("no image repositories yet: Terraform makes them first, and nothing else")
        terraform.change(session, "-target=module.images")
        repositories = terraform.known_outputs(session)["image_repositories"]
    # They are named as the chart and `make images` name them; a test compares.
    return str(repositories["listener"]).removesuffix("/wis2-gc-listener")


def _tag(session: Session) -> str:
    """Return the commit; with what a dirty tree (dev only) adds, a tag of its own."""
    commit = session.read("git", "rev-parse", "HEAD")[:_SHORT_COMMIT]
    if not session.read("git", "status", "--porcelain"):
        return commit
    return f"{commit}-dirty-{time.strftime('%Y%m%d%H%M%S', time.gmtime(session.now()))}"
