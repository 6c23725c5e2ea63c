"""Runs tests against servers in containers: `python -m images.engine -- python -m images.parts …`.

Where the official images of Redis and mosquitto cannot be pulled, one image with Debian's packages
of both stands in for them, on the base that BASE names.
"""

# ruff: noqa: S603 - the command given, and docker
from __future__ import annotations

import os
import subprocess
import sys

from images.docker import DockerError, docker, has_image
from tests.support.parts import images

_OWN = "wis2-gc-test-parts:bookworm"
_DOCKERFILE = """\
FROM {base}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends redis-server mosquitto
"""


def environment() -> dict[str, str]:
    """Return what the tests are to be told. Raises DockerError."""
    try:
        for image in images():
            if not has_image(image):
                docker("pull", "--quiet", image)
    except DockerError as error:
        sys.stderr.write(f"images: no official image of a server can be had ({error})\n")
    else:
        return {"PARTS": "containers"}
    if not has_image(_OWN):
        sys.stderr.write(f"images: making {_OWN} instead\n")
        network = ["--network", os.environ["NETWORK"]] if os.environ.get("NETWORK") else []
        dockerfile = _DOCKERFILE.format(base=os.environ["BASE"])
        docker("build", *network, "--tag", _OWN, "-", data=dockerfile.encode())
    return {"PARTS": "containers", "PARTS_REDIS_IMAGE": _OWN, "PARTS_MOSQUITTO_IMAGE": _OWN}


if __name__ == "__main__":
    sys.exit(
        subprocess.run(sys.argv[1:], env={**os.environ, **environment()}, check=False).returncode
    )
