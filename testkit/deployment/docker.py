"""The docker command line: what tests need of an engine."""

from __future__ import annotations

import subprocess


class DockerError(Exception):
    """docker refused, or there is none; one line saying what it said."""


def docker(*arguments: str, timeout_s: float = 1800, data: bytes | None = None) -> str:
    """Run `docker ARGUMENTS`, return what it prints. Raises DockerError."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except FileNotFoundError:
        raise DockerError("docker is not installed") from None
    except subprocess.TimeoutExpired:
        raise DockerError(f"docker {arguments[0]} takes longer than {timeout_s:g} s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()
        raise DockerError(f"docker {arguments[0]}: {said}") from None
    return done.stdout.decode(errors="replace").strip()


def engine_version() -> str:
    """Return the version of the engine that answers. Raises DockerError: none does."""
    return docker("version", "--format", "{{.Server.Version}}", timeout_s=30)


def has_image(reference: str) -> bool:
    """Whether the engine holds the image."""
    try:
        docker("image", "inspect", "--format", "{{.Id}}", reference)
    except DockerError:
        return False
    return True


def has_buildx() -> bool:
    """Whether this docker builds with BuildKit; else it is the classic builder."""
    try:
        docker("buildx", "version", timeout_s=30)
    except DockerError:
        return False
    return True
