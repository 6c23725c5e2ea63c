"""Pushing images, and locking the digests of bases, against a registry on this machine."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from images.build import bases, build, lock
from tests.support.containers import require_engine
from tests.support.docker import docker, has_buildx
from tests.support.image_registry import ImageRegistry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    require_engine()
    with ImageRegistry() as registry:
        yield registry


def push_small_image(registry: ImageRegistry, name: str) -> str:
    """Return what the registry calls it: its digest."""
    reference = f"{registry.address}/{name}"
    docker("build", "--tag", reference, "-", data=b"FROM scratch\nLABEL small=yes\nCMD []\n")
    docker("push", "--quiet", reference)
    docker("rmi", reference)
    repository, _, tag = name.rpartition(":")
    return digest_of(registry.manifests[repository, tag][1])


def test_bases_are_locked_by_the_registry_s_digests_and_what_is_not_there_stays(
    registry: ImageRegistry, tmp_path: Path
) -> None:
    digest = push_small_image(registry, "library/small:1.0-slim")
    there, gone = (f"{registry.address}/{name}" for name in ("library/small:1.0-slim", "gone:1"))
    old = f"sha256:{'0' * 64}"
    file = tmp_path / "bases.json"
    given = {"BASE": f"{there}@{old}", "BUILD_BASE": f"{gone}@{old}", "NEVER": gone}
    variables = {name: {"default": image} for name, image in given.items()}
    file.write_text(json.dumps({"variable": variables}))
    problems = lock(file)
    assert len(problems) == 2
    assert problems[0].startswith(f"BUILD_BASE stays {gone}@{old}: ")
    assert bases(file) == {**given, "BASE": f"{there}@{digest}"}


def test_a_pushed_image_is_known_by_its_digest_and_can_be_run_by_it(
    registry: ImageRegistry, tmp_path: Path
) -> None:
    if not has_buildx():
        pytest.skip("this docker has no buildx, which alone pushes")
    base, build_base = require_engine()
    given = {
        **os.environ, "TAG": "pushed", "BASE": base, "BUILD_BASE": build_base,
        "REGISTRY": f"{registry.address}/folder/",
    }  # fmt: skip
    # Not attested: what does that is an image that this machine need not have.
    noted = tmp_path / "metadata.json"
    names = build(["listener"], given, "--push", "--metadata-file", str(noted))
    assert names == {"listener": f"{registry.address}/folder/wis2-gc-listener:pushed"}
    digest = json.loads(noted.read_text())["listener"]["containerimage.digest"]
    assert digest == digest_of(registry.manifests["folder/wis2-gc-listener", "pushed"][1])
    reference = f"{registry.address}/folder/wis2-gc-listener@{digest}"
    command = ("run", "--rm", "--network", "none", "--entrypoint", "wis2-gc")
    assert "Usage" in docker(*command, reference, "--help").title()
    docker("rmi", reference)
