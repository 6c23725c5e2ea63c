"""Runs tests against servers in containers, after `python -m testkit.deployment.engine -- `.

`python -m testkit.deployment.parts_in_containers COMMAND`.

Where the official images cannot be pulled, one image stands in for them, on the base that BASE
names: Debian's packages of Redis, mosquitto and Node.js, and the rclone of our own tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from local.parts.s3_server import PROGRAM as RCLONE
from testkit.deployment.docker import DockerError, docker, has_image
from testkit.servers.parts import images, variable

_OWN = "wis2-gc-test-parts:bookworm-2"
_DOCKERFILE = """\
FROM {base}
RUN apt-get update -qq \
 && apt-get install -qq --no-install-recommends redis-server mosquitto nodejs
COPY rclone /usr/local/bin/rclone
"""


def environment() -> dict[str, str]:
    """Return what the tests are to be told. Raises DockerError."""
    wanted = images()
    try:
        for image in dict.fromkeys(wanted.values()):
            if not has_image(image):
                docker("pull", "--quiet", image)
    except DockerError as error:
        sys.stderr.write(f"images: no official image of a server can be had ({error})\n")
    else:
        return {"PARTS": "containers"}
    if not has_image(_OWN):
        sys.stderr.write(f"images: making {_OWN} instead\n")
        _make_own()
    return {"PARTS": "containers", **{variable(name): _OWN for name in wanted}}


def _make_own() -> None:
    network = ["--network", os.environ["NETWORK"]] if os.environ.get("NETWORK") else []
    with tempfile.TemporaryDirectory(prefix="wis2-gc-") as directory:
        context = Path(directory)
        shutil.copy(RCLONE, context / "rclone")
        (context / "Dockerfile").write_text(_DOCKERFILE.format(base=os.environ["BASE"]))
        docker("build", *network, "--tag", _OWN, str(context))


if __name__ == "__main__":
    sys.exit(
        subprocess.run(sys.argv[1:], env={**os.environ, **environment()}, check=False).returncode
    )
