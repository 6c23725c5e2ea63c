"""Builds the images for tests: as `make images` does, or by `docker build` alone.

Debian 12 packages an engine without buildx; and bake's files know no network before buildx 0.17,
where an engine of our own has none but the machine's (NETWORK).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.environment import SERVICES
from testkit.deployment.docker import has_buildx
from testkit.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A `docker` whose `buildx bake OPTION… SERVICE…` is its `build`. A build argument without a value
#: is taken from the environment.
_CLASSIC = """#!/bin/sh
set -eu
shift 2
for service; do
    case $service in
        -*) ;;
        *)
            arguments="SERVICE=$service"
            for name in BASE BUILD_BASE VERSION REVISION CREATED SOURCE \\
                HTTP_PROXY HTTPS_PROXY NO_PROXY; do arguments="$arguments $name"; done
            set --
            for each in $arguments; do set -- "$@" --build-arg "$each"; done
            %s build --file images/Dockerfile --target "$service" "$@" \\
                ${NETWORK:+--network "$NETWORK"} --tag "${REGISTRY}wis2-gc-$service:$TAG" .
            ;;
    esac
done
"""


def build(
    services: Sequence[str] = SERVICES, given: Mapping[str, str] = os.environ, *options: str
) -> dict[str, str]:
    """Return each image's name; it is in the engine, or where `options` of bake have it put."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.environ["PATH"]
        if given.get("NETWORK") or not has_buildx():
            classic = Path(folder) / "docker"
            classic.write_text(_CLASSIC % shutil.which("docker"))
            classic.chmod(0o755)
            path = f"{folder}:{path}"
        printed = subprocess.run(
            ["images/build.sh", *options, *services], cwd=ROOT, env={**given, "PATH": path},
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip
    return dict(zip(services, printed.split(), strict=True))
