"""Builds the images for tests: as `make images` does, or without buildx by the classic builder.

Debian 12 packages an engine without buildx.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from images import build as bake
from images.build import ROOT, SERVICES
from tests.support.docker import has_buildx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ARGUMENTS = ("BASE", "BUILD_BASE", "VERSION", "REVISION", "CREATED", "SOURCE", *bake._PROXIES)


def build(
    services: Sequence[str] = SERVICES, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return each image's name; it is in the engine."""
    if has_buildx():
        return bake.build(services, given)
    told = bake.variables(given)
    names = {name: f"{told['REGISTRY']}wis2-gc-{name}:{told['TAG']}" for name in services}
    network = ("--network", told["NETWORK"]) if told.get("NETWORK") else ()
    # Without a value: docker takes it from its own environment.
    known = [word for name in _ARGUMENTS if told.get(name) for word in ("--build-arg", name)]
    for service, name in names.items():
        subprocess.run(
            ["docker", "build", "--file", "images/Dockerfile", "--target", service, "--tag", name,
             *network, "--build-arg", f"SERVICE={service}", *known, "."],
            cwd=ROOT, env={**os.environ, **told}, stdout=sys.stderr, check=True,
        )  # fmt: skip
    return names
