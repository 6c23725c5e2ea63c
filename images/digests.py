"""`make lock-images`: the digests of the images we build upon, in one file.

A tag may be moved to another image at any time, a digest cannot. A digest that nobody has looked
up yet is null: the tag is then used as it is, and every build says so.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from images.docker import DockerError, docker

FILE = Path(__file__).with_name("base-digests.json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Digests = dict[str, str | None]


def read(file: Path = FILE) -> Digests:
    """Return digest by image. Raises ValueError: the file holds what is no digest."""
    digests: Digests = json.loads(file.read_text(encoding="utf-8"))
    for image, digest in digests.items():
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise ValueError(f"{file.name}: {image}: {digest!r} is no digest")
    return digests


def pinned(image: str, digests: Digests) -> str:
    """Return `image@digest` where the digest is known, else the image as it is."""
    digest = digests.get(image)
    return image if digest is None else f"{image}@{digest}"


def look_up(image: str) -> str:
    """Return the digest that the registry has for the tag now. Raises DockerError."""
    docker("pull", "--quiet", image)
    found = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", image))
    # For a tag of several platforms this is the digest of the list, so it serves all of them.
    repository = image.rpartition(":")[0]
    for reference in found:
        name, _, digest = reference.rpartition("@")
        if name.endswith(repository) and _DIGEST.fullmatch(digest):
            return str(digest)
    raise DockerError(f"no digest of {image} among {found}")


def lock(file: Path = FILE) -> list[str]:
    """Look every image of the file up; return what went wrong, and keep what was known then."""
    digests, problems = read(file), []
    for image, known in digests.items():
        try:
            digests[image] = digest = look_up(image)
        except DockerError as error:
            problems.append(f"{image} stays {known or 'without a digest'}: {error}")
            continue
        sys.stderr.write(f"{image}: {digest}{'' if digest == known else ' (new)'}\n")
    file.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    return problems


if __name__ == "__main__":
    failed = lock()
    for line in failed:
        sys.stderr.write(f"{line}\n")
    sys.exit(1 if failed else 0)
