"""`make images` and `make lock-images`: what docker-bake.hcl is told, and others' digests.

Environment:
  REGISTRY    where the images belong, `host/folder`; without it they stay on this machine
  TAG         default: version of the listener, and the commit
  BASE        what they run on; default: images/bases.json
  BUILD_BASE  what they are put together on; default: as BASE, or images/bases.json
  SOURCE      URL of the repository, for the label; default: the remote `origin`
  PLATFORM    as linux/amd64; default: this machine's
  NETWORK     network of the build's steps (`host`); default: the engine's own
Proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) are handed on to the build's steps, and not kept.
"""

# ruff: noqa: S603, T201 - docker and git from the PATH; prints what it made
from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
BASES = ROOT / "images/bases.json"
#: What names images of others, by tag or digest.
LOCKED = (BASES, ROOT / "compose.yaml", ROOT / "helm/wis2-global-cache/values.yaml")
_NAMED = re.compile(
    r'("default": "|image: (?:\$\{\w+:-)?)([^\s"@${}]+:[^\s"@${}]+)(?:@(sha256:[0-9a-f]{64}))?'
)
_IN_PARTS = re.compile(r'(repository: (\S+)\n +tag: (\S+)\n(?: +#.*\n)* +digest: )"([^"\n]*)"')
SERVICES = ("listener", "manager", "metrics")
#: What an image is made of; changes elsewhere do not change it.
_SOURCES = ("services", "requirements", "images", ".dockerignore")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def bases() -> dict[str, str]:
    """Return BASE and BUILD_BASE, with their digests once they are locked."""
    variables = json.loads(BASES.read_text("utf-8"))["variable"]
    return {name: str(variable["default"]) for name, variable in variables.items()}


def lock(files: Sequence[Path] = LOCKED) -> list[str]:
    """Pin each image that the files name by the digest that its registry has for the tag now.

    A tag may be moved to another image, a digest cannot: of a tag of several platforms it is that
    of the list. What cannot be looked up stays as it is; returns what went wrong.
    """
    problems = []

    def ask(image: str, known: str) -> str:
        asked = ("docker", "buildx", "imagetools", "inspect", image, "--format")
        done = subprocess.run(
            [*asked, "{{json .Manifest}}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            problems.append(f"{image} stays {known or 'without a digest'}: {done.stderr.strip()}")
        return known if done.returncode else str(json.loads(done.stdout)["digest"])

    def pinned(found: re.Match[str]) -> str:
        before, image, known = found.groups()
        digest = ask(image, known or "")
        return f"{before}{image}{'@' if digest else ''}{digest}"

    for file in files:
        text = _NAMED.sub(pinned, file.read_text("utf-8"))
        # EMQX's three parts.
        text = _IN_PARTS.sub(lambda m: f'{m[1]}"{ask(f"{m[2]}:{m[3]}", m[4])}"', text)
        file.write_text(text, encoding="utf-8")
    return problems


def variables(given: Mapping[str, str]) -> dict[str, str]:
    """Return what docker-bake.hcl is told: `given`, completed from git and bases.json."""
    project = tomllib.loads((ROOT / "services/listener/pyproject.toml").read_text("utf-8"))
    version = project["project"]["version"]
    revision = _git("rev-parse", "HEAD")
    changed = "-changed" if revision and _git("status", "--porcelain", "--", *_SOURCES) else ""
    base = given.get("BASE")
    found = {
        "TAG": f"{version}-g{revision[:9]}{changed}" if revision else version,
        **bases(),
        "VERSION": version,
        "REVISION": f"{revision}{changed}" or "unknown",
        "CREATED": _git("log", "-1", "--format=%cI") or "unknown",
        "SOURCE": public_url(_git("remote", "get-url", "origin")) or "unknown",
        **({"BUILD_BASE": base} if base else {}),
        **{name.upper(): value for name, value in given.items() if name.upper() in _PROXIES},
    }
    found |= {name: value for name, value in given.items() if value}
    found["REGISTRY"] = f"{given['REGISTRY'].rstrip('/')}/" if given.get("REGISTRY") else ""
    return found


def build(
    services: Sequence[str] = SERVICES, given: Mapping[str, str] = os.environ, *options: str
) -> dict[str, str]:
    """Build, and return each image's name; kept in the engine unless `options` push them.

    Raises CalledProcessError: docker has said why.
    """
    told = variables(given)
    for base in sorted({told["BASE"], told["BUILD_BASE"]}):
        if "@sha256:" not in base:
            print(f"note: {base} is named by tag only, no digest is known", file=sys.stderr)
    files = ("--file=images/docker-bake.hcl", "--file=images/bases.json")
    command = ["docker", "buildx", "bake", *files]
    # Of buildx since 0.17, and needed by it since 0.20.
    if told.get("NETWORK") == "host" and "--allow" in _output("docker", "buildx", "bake", "--help"):
        command += ["--allow", "network.host"]
    subprocess.run([*command, *(options or ("--load",)), *services], cwd=ROOT,
                   env={**os.environ, **told}, stdout=2, check=True)  # fmt: skip
    return {name: f"{told['REGISTRY']}wis2-gc-{name}:{told['TAG']}" for name in services}


def public_url(remote: str) -> str:
    """Return a remote's address without who may read it; "" for a folder of this machine."""
    # git@host:owner/name
    short = re.fullmatch(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", remote)
    parts = urlsplit(f"ssh://{short[1]}/{short[2]}" if short else remote)
    if parts.scheme not in ("https", "http", "ssh", "git") or not parts.hostname:
        return ""
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}"


def _output(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _git(*arguments: str) -> str:
    return _output("git", *arguments)


def main() -> int:
    """Build what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="images.build", description="Build the images.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=", ".join(SERVICES))
    parser.add_argument("--push", action="store_true", help="to REGISTRY, with SBOM and provenance")
    parser.add_argument("--metadata-file", default="", help="with --push: bake's, with the digests")
    parser.add_argument("--lock", action="store_true", help="pin others' images by digest, no more")
    options = parser.parse_args()
    if options.push and not os.environ.get("REGISTRY"):
        parser.error("REGISTRY says where to push to; it is not set")
    if (tag := os.environ.get("TAG")) and not _TAG.fullmatch(tag):
        parser.error(f"TAG={tag!r} is no tag: up to 128 letters, digits, '_', '.' and '-'")
    try:
        if options.lock:
            problems = lock()
            print(*problems, sep="\n", file=sys.stderr)
            return 1 if problems else 0
        attested = ("--push", "--sbom=true", "--provenance=mode=max") if options.push else ()
        noted = ("--metadata-file", options.metadata_file) if options.metadata_file else ()
        names = build(options.services or SERVICES, os.environ, *attested, *noted)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*names.values(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
