"""Pushing images, and locking the digests of bases, against a registry on this machine."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from images import digests
from images.build import build_and_push, plan
from images.docker import docker
from tests.support.containers import require_engine
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


def test_the_digests_locked_are_the_registry_s(registry: ImageRegistry, tmp_path: Path) -> None:
    digest = push_small_image(registry, "library/small:1.0-slim")
    image = f"{registry.address}/library/small:1.0-slim"
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({image: None}))
    assert digests.lock(file) == []
    assert digests.read(file) == {image: digest}
    assert digests.pinned(image, digests.read(file)) == f"{image}@{digest}"


def test_an_image_that_cannot_be_looked_up_keeps_what_is_known(
    registry: ImageRegistry, tmp_path: Path
) -> None:
    digest = push_small_image(registry, "there:1")
    there, gone, never = (f"{registry.address}/{name}" for name in ("there:1", "gone:1", "new:1"))
    known = f"sha256:{'0' * 64}"
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({gone: known, there: None, never: None}))
    problems = digests.lock(file)
    assert len(problems) == 2
    assert problems[0].startswith(f"{gone} stays {known}: ")
    assert problems[1].startswith(f"{never} stays without a digest: ")
    assert digests.read(file) == {gone: known, there: digest, never: None}


def test_a_pushed_image_is_known_by_its_digest_and_can_be_run_by_it(
    registry: ImageRegistry,
) -> None:
    base, build_base = require_engine()
    environment = {
        **os.environ, "TAG": "pushed", "BASE": base, "BUILD_BASE": build_base,
        "REGISTRY": f"{registry.address}/folder/",
    }  # fmt: skip
    planned = plan("listener", environment, {})
    reference = build_and_push(planned, "", run=docker)
    repository, digest = reference.split("@")
    assert repository == f"{registry.address}/folder/wis2-gc-listener"
    assert digest == digest_of(registry.manifests["folder/wis2-gc-listener", "pushed"][1])
    docker("rmi", planned.name)
    assert (
        "Usage"
        in docker(
            "run", "--rm", "--network", "none", "--entrypoint", "wis2-gc", reference, "--help"
        ).title()
    )
    docker("rmi", reference)
