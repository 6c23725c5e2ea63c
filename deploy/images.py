"""Builds the images, pushes them, and tells the digests under which they will run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import terraform
from deploy.environment import SERVICES
from deploy.session import DeployError

if TYPE_CHECKING:
    from deploy.session import Session

_SHORT_COMMIT = 12
#: Of the nodes; terraform/main admits no other kind.
_PLATFORM = "linux/amd64"


def build_and_push(session: Session) -> None:
    """Have every service's image in the registry.

    Tags never move: what a clean commit was built into once is not built again.
    """
    terraform.init(session)
    registry = terraform.outputs(session)["helm_values"]["image"]["registry"]
    tag = _tag(session)
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
    session.say(
        f"images {tag}: {len(missing)} pushed, {len(SERVICES) - len(missing)} there already"
    )


def pushed_digests(session: Session, registry: str) -> dict[str, str]:
    """Return the digest of each service's image of this checkout. `registry`: `host/folder`.

    An image that cannot be pulled would silence what it is of.
    Raises DeployError: the registry does not have one, or not any more.
    """
    tag = _tag(session)
    found = _digests(session, registry, tag)
    for service, digest in found.items():
        if not digest:
            raise DeployError(
                f"{registry}/wis2-gc-{service}:{tag}, of what is checked out, is not in the "
                f"registry; first `make deploy-images ENV={session.environment.name}`"
            )
    return found


def _digests(session: Session, registry: str, tag: str) -> dict[str, str]:
    """Return each service's digest in the registry; empty: the tag is not there.

    By the list of tags: that asks for no kind of manifest, and a tag with attestations is an index.
    """
    return {
        service: session.aws(
            "ecr", "list-images", "--filter", "tagStatus=TAGGED",
            "--repository-name", f"{registry.partition('/')[2]}/wis2-gc-{service}",
            "--query", f"imageIds[?imageTag=='{tag}'].imageDigest | [0]",
        ) or ""
        for service in SERVICES
    }  # fmt: skip


def _tag(session: Session) -> str:
    """Return the commit; with what a dirty tree (dev only) holds, a tag of its own."""
    commit = session.read("git", "rev-parse", "HEAD")[:_SHORT_COMMIT]
    if not session.read("git", "status", "--porcelain"):
        return commit
    # All files as they are, by an index that is not the operator's.
    index = {"GIT_INDEX_FILE": str(session.environment.directory / "index")}
    session.run("git", "add", "--all", variables=index)
    tree = session.read("git", "write-tree", variables=index)
    return f"{commit}-dirty-{tree[:_SHORT_COMMIT]}"
