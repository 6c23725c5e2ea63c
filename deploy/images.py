"""Builds the images, pushes them, and finds the digests with which they will run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import terraform
from deploy.environment import SERVICES
from deploy.session import DeployError

if TYPE_CHECKING:
    from deploy.session import Session

_SHORT_COMMIT = 12
#: The nodes' platform; terraform/main allows no other.
_PLATFORM = "linux/amd64"


def build_and_push(session: Session) -> None:
    """Build every service's image and push it to the registry.

    Tags never move: a clean commit is built only once.
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

    A service whose image cannot be pulled would not run.
    Raises DeployError: the registry does not have one, or no longer has it.
    """
    tag = _tag(session)
    found = _digests(session, registry, tag)
    for service, digest in found.items():
        if not digest:
            raise DeployError(
                f"{registry}/wis2-gc-{service}:{tag}, of this checkout, is not in the registry; "
                f"run `make deploy-images ENV={session.environment.name}` first"
            )
    return found


def _digests(session: Session, registry: str, tag: str) -> dict[str, str]:
    """Return each service's digest in the registry; empty: the tag is not there.

    It reads the list of tags, which asks for no type of manifest: a tag with attestations is an
    index.
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
    """Return the tag: the commit, plus a digest of the changes in a dirty tree (dev only)."""
    commit = session.read("git", "rev-parse", "HEAD")[:_SHORT_COMMIT]
    if not session.read("git", "status", "--porcelain"):
        return commit
    # All files as they are now, through an index that is not the operator's.
    index = {"GIT_INDEX_FILE": str(session.environment.directory / "index")}
    session.run("git", "add", "--all", variables=index)
    tree = session.read("git", "write-tree", variables=index)
    return f"{commit}-dirty-{tree[:_SHORT_COMMIT]}"
