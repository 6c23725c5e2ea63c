from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from deploy.environment import SERVICES
from images.lock import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
DIGEST = f"sha256:{'a1' * 32}"
DOCKERFILE = (ROOT / "images/Dockerfile").read_text()
BASES = {
    name: variable["default"]
    for name, variable in json.loads((ROOT / "images/bases.json").read_text())["variable"].items()
}
BAKE = (ROOT / "images/docker-bake.hcl").read_text()


def test_the_file_of_the_bases_and_the_dockerfile_name_the_same() -> None:
    for name, image in BASES.items():
        assert f"\nARG {name}={image.partition('@')[0]}\n" in DOCKERFILE


def test_every_argument_is_in_the_dockerfile_the_bake_file_and_here() -> None:
    wanted = {"BASE", "BUILD_BASE", "VERSION", "REVISION", "CREATED", "SOURCE", "SERVICE"}
    assert set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE)) == wanted
    given = set(re.findall(r"^    (\w+) +=", BAKE, re.MULTILINE))
    assert given == wanted | PROXIES
    declared = set(re.findall(r'^variable "(\w+)"', BAKE, re.MULTILINE))
    assert given - {"SERVICE"} <= declared
    script = (ROOT / "images/build.sh").read_text()
    exported = set(re.findall(r"^export (.*)", script, re.MULTILINE)[0].split())
    assert exported | {"PLATFORM"} == declared


def test_all_services_have_the_version_that_the_images_are_labelled_with(docker: Path) -> None:
    projects = [path.read_text() for path in ROOT.glob("services/*/pyproject.toml")]
    assert len(projects) > len(SERVICES)
    versions = {tomllib.loads(project)["project"]["version"] for project in projects}
    assert versions == {told(docker)["VERSION"]}


def test_the_engine_gets_all_that_the_dockerfile_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert "services/${SERVICE}/" in copied
    for path in copied:
        for service in SERVICES:
            assert "!" + path.replace("${SERVICE}", service).rstrip("/") in ignored


def test_the_dockerfile_needs_no_buildkit() -> None:
    for word in ("--mount", "<<", "COPY --link", "COPY --chmod"):
        assert word not in DOCKERFILE


def test_the_user_is_a_number_and_the_commands_are_not_of_a_shell() -> None:
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["65532:65532"]
    stages = re.findall(r"^FROM service AS (\w+)\nENTRYPOINT (.*)", DOCKERFILE, re.MULTILINE)
    assert [(name, json.loads(entry)) for name, entry in stages] == [
        (service, [f"/opt/wis2-gc/bin/wis2-gc-{service}"]) for service in SERVICES
    ]
    assert not re.search(r"^CMD", DOCKERFILE, re.MULTILINE)


def test_no_lock_of_a_service_holds_what_only_builds() -> None:
    for service in SERVICES:
        names = re.findall(
            r"^([\w.-]+)==", (ROOT / f"requirements/{service}.txt").read_text(), re.MULTILINE
        )
        assert not {"hatchling", "pip", "setuptools", "editables", "pytest"} & set(names)


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """Return a folder with a docker that writes down what it is run with."""
    script = tmp_path / "docker"
    script.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/words\nenv >{tmp_path}/told\n')
    script.chmod(0o755)
    return tmp_path


def run(docker: Path, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    path = f"{docker}:{os.environ['PATH']}"
    return subprocess.run(
        ["images/build.sh", *words], cwd=ROOT, env={"PATH": path, **given}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def told(docker: Path, *words: str, **given: str) -> dict[str, str]:
    """Return the variables that bake is told."""
    done = run(docker, *words, **given)
    assert done.returncode == 0, done.stderr
    lines = (docker / "told").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_another_base_is_also_what_it_is_built_on_unless_told_otherwise(docker: Path) -> None:
    def bases(**given: str) -> dict[str, str]:
        return {name: value for name, value in told(docker, **given).items() if name in BASES}

    assert bases() == bases(BASE="", BUILD_BASE="") == BASES
    assert bases(BASE="mine:1") == {"BASE": "mine:1", "BUILD_BASE": "mine:1"}
    own = {"BASE": "mine:1", "BUILD_BASE": "mine:build"}
    assert bases(**own) == own


def test_the_commit_is_in_tag_and_labels(docker: Path) -> None:
    """A git of the test's: what the checkout has changed is nobody's business here."""
    git = docker / "git"
    git.write_text(
        "#!/bin/sh\ncase $1 in rev-parse) echo 0123456789abcdef ;; "
        'status) [ ! -e changed ] || echo " M services/x.py" ;; esac\n'.replace(
            "changed", str(docker / "changed"), 1
        )
    )
    git.chmod(0o755)
    version = told(docker)["VERSION"]
    assert told(docker)["REVISION"] == "0123456789abcdef"
    assert told(docker)["TAG"] == f"{version}-g012345678"
    assert told(docker)["CREATED"] == told(docker)["SOURCE"] == "unknown"
    (docker / "changed").touch()
    assert told(docker)["REVISION"] == "0123456789abcdef-changed"
    assert told(docker)["TAG"] == f"{version}-g012345678-changed"


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("", "wis2-gc-metrics:t1"),
        ("registry.example/gc", "registry.example/gc/wis2-gc-metrics:t1"),
        ("registry.example:5000/", "registry.example:5000/wis2-gc-metrics:t1"),
    ],
)
def test_an_image_is_named_for_its_service_in_the_registry(
    docker: Path, registry: str, name: str
) -> None:
    done = run(docker, "metrics", REGISTRY=registry, TAG="t1")
    assert done.stdout == f"{name}\n"
    assert (docker / "words").read_text().split()[-2:] == ["--load", "metrics"]
    variables = told(docker, "metrics", REGISTRY=registry, TAG="t1")
    assert f"{variables['REGISTRY']}wis2-gc-metrics:{variables['TAG']}" == name


def test_what_is_pushed_is_attested(docker: Path) -> None:
    done = run(docker, "--push", "--metadata-file=built.json", REGISTRY="host/x")
    assert len(done.stdout.splitlines()) == 3
    words = (docker / "words").read_text().split()
    assert words[4:8] == ["--push", "--sbom=true", "--provenance=mode=max",
                          "--metadata-file=built.json"]  # fmt: skip
    assert words[8:] == list(SERVICES)


def test_what_is_not_given_is_not_given_to_bake(docker: Path) -> None:
    assert not {"PLATFORM", *PROXIES} & set(told(docker, PLATFORM="", https_proxy=""))


def test_a_proxy_is_handed_on_and_its_password_is_in_no_argument(docker: Path) -> None:
    run(docker, https_proxy="http://u:hunter2@proxy.example")
    words = (docker / "words").read_text()
    assert "hunter2" not in words
    assert "HTTPS_PROXY=http://u:hunter2@proxy.example" in (docker / "told").read_text()


def test_a_base_without_a_digest_is_told(docker: Path) -> None:
    said = run(docker, BASE="mine:1", BUILD_BASE=f"mine:2@{DIGEST}").stderr
    assert "mine:1 is named by tag only" in said
    assert "mine:2" not in said


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://example.org/owner/name.git", "https://example.org/owner/name"),
        ("https://user:token@example.org/owner/name", "https://example.org/owner/name"),
        ("ssh://git@example.org:22/owner/name.git", "https://example.org/owner/name"),
        ("git@example.org:owner/name.git", "https://example.org/owner/name"),
        ("/srv/folder/of/this/machine", ""),
        ("file:///srv/folder", ""),
        ("../name", ""),
        ("", ""),
    ],
)
def test_a_label_shows_an_address_that_anybody_may_see(docker: Path, remote: str, url: str) -> None:
    git = docker / "git"
    git.write_text(f"#!/bin/sh\n[ $1 != remote ] || echo '{remote}'\n")
    git.chmod(0o755)
    assert told(docker)["SOURCE"] == (url or "unknown")


@pytest.mark.parametrize("registry", [{}, {"REGISTRY": ""}])
def test_without_a_registry_nothing_is_pushed(docker: Path, registry: dict[str, str]) -> None:
    done = run(docker, "--push", **registry)
    assert done.returncode != 0
    assert "REGISTRY: says where to push to" in done.stderr
    assert not (docker / "words").exists()


@pytest.mark.parametrize(("name", "code"), [("small:1", 0), ("gone:1", 1)])
def test_make_lock_images_fails_where_an_image_stays_as_it_was(
    tmp_path: Path, name: str, code: int
) -> None:
    docker, file = tmp_path / "docker", tmp_path / "compose.yaml"
    answer = json.dumps({"digest": DIGEST})
    docker.write_text(f"#!/bin/sh\ncase $4 in small:1) echo '{answer}' ;; *) exit 1 ;; esac\n")
    docker.chmod(0o755)
    file.write_text(f"image: {name}\n")
    script = (
        "import pathlib, sys; from images import lock; "
        "sys.exit(lock.main([pathlib.Path(sys.argv[1])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, file], cwd=ROOT, env={"PATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert file.read_text() == ("image: gone:1\n" if code else f"image: small:1@{DIGEST}\n")
    assert (f"{name} stays" in done.stderr) == bool(code)
