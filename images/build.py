"""`make images`: builds the image of each service; `--push` sends them to a registry.

Environment:
  REGISTRY    where the images belong, `host/folder`; without it they stay on this machine
  TAG         default: version of the service, and the commit
  BASE        what they run on; default: BASE of the Dockerfiles, with its digest when known
  BUILD_BASE  what they are put together on; default: as BASE
  SOURCE      URL of the repository, for the label; default: the remote `origin`
  NETWORK     network of the build's steps (`host`); default: the engine's own
  OWN_ENGINE_FILES  where the engine keeps them that images.engine started for this build alone
Proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) are handed on to the build's steps, and not kept.
"""

# ruff: noqa: S603, S607, T201 - docker and git from the PATH; prints what it made
from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from images import digests
from images.docker import DockerError, docker, engine_version, has_buildx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("listener", "manager", "metrics")
#: As in the Dockerfiles (a test compares).
BASE = "python:3.11-slim-bookworm"
BUILD_BASE = "python:3.11-bookworm"
#: What an image is made of; changes elsewhere do not change it.
_SOURCES = ("services", "requirements", "images", ".dockerignore")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build, on what, and what to call it."""

    service: str
    name: str
    """`[REGISTRY/]wis2-gc-SERVICE:TAG`."""
    base: str
    build_base: str
    labels: Mapping[str, str]
    """Build arguments that only labels are made of."""
    network: str = ""
    proxies: tuple[str, ...] = ()

    @property
    def repository(self) -> str:
        """The name without its tag."""
        return self.name.rpartition(":")[0]

    def arguments(self) -> list[str]:
        """Return the arguments that all builders understand, the context last."""
        given = {"BASE": self.base, "BUILD_BASE": self.build_base, **self.labels}
        result = ["--file", f"services/{self.service}/Dockerfile", "--tag", self.name]
        for name, value in given.items():
            result += ["--build-arg", f"{name}={value}"]
        for name in self.proxies:
            # Without a value: docker takes it from its own environment.
            result += ["--build-arg", name]
        if self.network:
            result += ["--network", self.network]
        return [*result, str(ROOT)]


def public_url(remote: str) -> str:
    """Return a remote's address without who may read it; "" for a folder of this machine."""
    if "://" not in remote:
        # git@host:owner/name
        host, colon, path = remote.rpartition("@")[2].partition(":")
        return f"https://{host}/{path.removesuffix('.git')}" if colon and "/" not in host else ""
    parts = urlsplit(remote)
    if parts.scheme not in ("https", "http", "ssh", "git") or not parts.hostname:
        return ""
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def plan(service: str, environment: Mapping[str, str], known: digests.Digests) -> Plan:
    """Return what to build for one service."""
    project = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text("utf-8"))
    version = project["project"]["version"]
    revision = _git("rev-parse", "HEAD")
    changed = "-changed" if revision and _git("status", "--porcelain", "--", *_SOURCES) else ""
    tag = environment.get("TAG") or (f"{version}-g{revision[:9]}{changed}" if revision else version)
    registry = environment.get("REGISTRY", "").rstrip("/")
    base = environment.get("BASE") or digests.pinned(BASE, known)
    return Plan(
        service,
        name=f"{registry}/wis2-gc-{service}:{tag}".removeprefix("/"),
        base=base,
        build_base=environment.get("BUILD_BASE")
        or (base if environment.get("BASE") else digests.pinned(BUILD_BASE, known)),
        labels={
            "VERSION": version,
            "REVISION": f"{revision}{changed}" or "unknown",
            "CREATED": _git("log", "-1", "--format=%cI") or "unknown",
            "SOURCE": environment.get("SOURCE")
            or public_url(_git("remote", "get-url", "origin"))
            or "unknown",
        },
        network=environment.get("NETWORK", ""),
        proxies=tuple(name for name in _PROXIES if environment.get(name)),
    )


def _run(*arguments: str) -> None:
    """Run docker with its output on ours: a build takes minutes."""
    try:
        subprocess.run(["docker", *arguments], cwd=ROOT, stdout=sys.stderr, check=True)
    except FileNotFoundError:
        raise DockerError("docker is not installed") from None
    except subprocess.CalledProcessError as error:
        raise DockerError(f"docker {arguments[0]} ended with {error.returncode}") from None


def build(planned: Plan, *, run: Callable[..., object] = _run) -> None:
    """Build, and keep the image in the engine. Raises DockerError."""
    builder = ("buildx", "build", "--load") if has_buildx() else ("build",)
    run(*builder, *planned.arguments())


def build_and_push(planned: Plan, platforms: str, *, run: Callable[..., object] = _run) -> str:
    """Build, push, and return `repository@digest`. Raises DockerError.

    With BuildKit for all `platforms`, with a bill of materials and the provenance attached;
    the classic builder knows neither, and only its own platform.
    """
    if not has_buildx():
        if platforms:
            raise DockerError("the classic builder builds for its own platform only")
        build(planned, run=run)
        run("push", "--quiet", planned.name)
        found: list[str] = json.loads(
            docker("image", "inspect", "--format", "{{json .RepoDigests}}", planned.name)
        )
        return next(name for name in found if name.startswith(f"{planned.repository}@"))
    with tempfile.TemporaryDirectory() as directory:
        metadata = Path(directory) / "metadata.json"
        attest = ["--sbom=true", "--provenance=mode=max", "--metadata-file", str(metadata)]
        where = ["--platform", platforms] if platforms else []
        run("buildx", "build", "--push", *attest, *where, *planned.arguments())
        digest: str = json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"]
    return f"{planned.repository}@{digest}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="images.build", description="Build the images.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=", ".join(SERVICES))
    parser.add_argument("--push", action="store_true", help="to REGISTRY")
    parser.add_argument("--platforms", default="", help="with --push: linux/amd64,linux/arm64")
    parser.add_argument("--check", action="store_true", help="look at what is given, no more")
    parser.add_argument("--digests", type=Path, help="file to write {service: name@digest} into")
    options = parser.parse_args(arguments)
    if unknown := set(options.services) - set(SERVICES):
        parser.error(f"no such service: {', '.join(sorted(unknown))}")
    if options.push and not os.environ.get("REGISTRY"):
        parser.error("REGISTRY says where to push to; it is not set")
    if (tag := os.environ.get("TAG")) and not _TAG.fullmatch(tag):
        parser.error(f"TAG={tag!r} is no tag: up to 128 letters, digits, '_', '.' and '-'")
    if options.check:
        return 0
    try:
        engine_version()
        made = _build_all(options)
    except DockerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.digests:
        options.digests.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    for reference in made.values():
        print(reference)
    if not options.push and (files := os.environ.get("OWN_ENGINE_FILES")):
        print(
            f"note: the engine that built them ends now; they lie in {files}, where no other "
            "engine finds them. Start a Docker engine and repeat, or push them (REGISTRY=… PUSH=1)",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return 0


def _build_all(options: argparse.Namespace) -> dict[str, str]:
    known = digests.read()
    made: dict[str, str] = {}
    for service in options.services or SERVICES:
        planned = plan(service, os.environ, known)
        for base in sorted({planned.base, planned.build_base}):
            if "@sha256:" not in base:
                print(f"note: {base} is named by tag only, no digest is known", file=sys.stderr)
        if options.push:
            made[service] = build_and_push(planned, options.platforms)
        else:
            build(planned)
            made[service] = planned.name
    return made


if __name__ == "__main__":
    sys.exit(main())
