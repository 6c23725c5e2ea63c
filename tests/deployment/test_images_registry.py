"""Pushing images, and locking the digests of bases, against a registry on this machine."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from images.lock import FILES, IN_PARTS, NAMED, lock
from testkit.deployment.building import build
from testkit.deployment.containers import require_engine
from testkit.deployment.docker import docker, has_buildx
from testkit.deployment.image_registry import ImageRegistry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    require_engine()
    with ImageRegistry() as registry:
        yield registry


def test_images_of_others_are_locked_by_the_registry_s_digests_and_what_is_not_there_stays(
    tmp_path: Path,
) -> None:
    if not has_buildx():
        pytest.skip("this docker has no buildx, which asks registries")
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    }).encode()  # fmt: skip
    old, digest = f"sha256:{'0' * 64}", digest_of(manifest)
    with ImageRegistry() as registry:
        kept = ("application/vnd.oci.image.index.v1+json", manifest)
        for reference in ("1.0-slim", digest):
            registry.manifests["library/small", reference] = kept
        there, gone = (
            f"{registry.address}/library/{name}" for name in ("small:1.0-slim", "gone:1")
        )
        file = tmp_path / "names"
        template = """
    "BASE": {{"default": "{0}"}}, "OTHER": {{"default": "{1}"}}
    image: {0}
    image: ${{REGISTRY}}wis2-gc-listener:${{TAG}}
    image: ${{SMALL:-{1}}} # why
    repository: {2}
    tag: 1.0-slim
    # sha256:…
    digest: "{3}"
"""
        repository = there.rpartition(":")[0]
        file.write_text(template.format(there, f"{gone}@{old}", repository, ""))
        problems = lock([file])
    wanted = template.format(f"{there}@{digest}", f"{gone}@{old}", repository, digest)
    assert file.read_text() == wanted
    assert [line.startswith(f"{gone} stays {old}: ") for line in problems] == [True, True]


def test_every_image_of_others_is_found() -> None:
    named = [match[2] for file in FILES for match in NAMED.finditer(file.read_text())]
    named += [match[2] for file in FILES for match in IN_PARTS.finditer(file.read_text())]
    for name in ("python", "nginx-unprivileged", "eclipse-mosquitto", "emqx/emqx", "valkey"):
        assert any(name in image for image in named), name


def test_a_pushed_image_is_known_by_its_digest_and_can_be_run_by_it(
    registry: ImageRegistry, tmp_path: Path
) -> None:
    if os.environ.get("NETWORK") or not has_buildx():
        pytest.skip("needs buildx, and an engine whose containers have a network: bake pushes")
    base, build_base = require_engine()
    given = {
        **os.environ, "TAG": "pushed", "BASE": base, "BUILD_BASE": build_base,
        "REGISTRY": f"{registry.address}/folder/",
    }  # fmt: skip
    # Not attested: what does that is an image that this machine need not have.
    noted = tmp_path / "metadata.json"
    names = build(["manager"], given, "--set=*.output=type=registry", f"--metadata-file={noted}")
    assert names == {"manager": f"{registry.address}/folder/wis2-gc-manager:pushed"}
    digest = json.loads(noted.read_text())["manager"]["containerimage.digest"]
    assert digest == digest_of(registry.manifests["folder/wis2-gc-manager", "pushed"][1])
    reference = f"{registry.address}/folder/wis2-gc-manager@{digest}"
    command = ("run", "--rm", "--network", "none", "--entrypoint", "wis2-gc")
    assert "Usage" in docker(*command, reference, "--help").title()
    docker("rmi", reference)
