from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from images import build
from images.build import ROOT, SERVICES, public_url, variables

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = f"sha256:{'a1' * 32}"
DOCKERFILE = (ROOT / "images/Dockerfile").read_text()
BAKE = (ROOT / "images/docker-bake.hcl").read_text()


def test_the_file_of_the_bases_and_the_dockerfile_name_the_same() -> None:
    for name, image in build.bases().items():
        assert f"\nARG {name}={image.partition('@')[0]}\n" in DOCKERFILE


def test_every_argument_is_in_the_dockerfile_the_bake_file_and_here() -> None:
    wanted = {"BASE", "BUILD_BASE", "VERSION", "REVISION", "CREATED", "SOURCE", "SERVICE"}
    assert set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE)) == wanted
    given = set(re.findall(r"^    (\w+) +=", BAKE, re.MULTILINE))
    assert given == wanted | set(build._PROXIES)
    declared = set(re.findall(r'^variable "(\w+)"', BAKE, re.MULTILINE))
    assert given - {"SERVICE"} <= declared


def test_all_services_have_the_version_that_the_images_are_labelled_with() -> None:
    projects = [(ROOT / f"services/{s}/pyproject.toml").read_text() for s in SERVICES]
    versions = {tomllib.loads(project)["project"]["version"] for project in projects}
    assert versions == {variables({})["VERSION"]}


def test_the_dockerfile_needs_no_buildkit() -> None:
    for word in ("--mount", "<<", "COPY --link", "COPY --chmod"):
        assert word not in DOCKERFILE


def test_the_user_is_a_number_and_the_commands_are_no_shell_s() -> None:
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


def test_another_base_is_also_what_it_is_built_on_unless_told_otherwise() -> None:
    assert {name: variables({})[name] for name in ("BASE", "BUILD_BASE")} == build.bases()
    assert variables({"BASE": "mine:1"})["BUILD_BASE"] == "mine:1"
    given = variables({"BASE": "mine:1", "BUILD_BASE": "mine:build"})
    assert (given["BASE"], given["BUILD_BASE"]) == ("mine:1", "mine:build")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a docker that writes down what it is run with."""
    script = tmp_path / "docker"
    script.write_text(
        f'#!/bin/sh\n[ "$3" != --help ] || exec echo --allow\necho "$*" >{tmp_path}/words\n'
        f"env >{tmp_path}/told\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


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
    assert build.build(["metrics"], {"REGISTRY": registry, "TAG": "t1"}) == {"metrics": name}
    assert (docker / "words").read_text().split()[-2:] == ["--load", "metrics"]
    told = dict(
        line.split("=", 1) for line in (docker / "told").read_text().splitlines() if "=" in line
    )
    assert f"{told['REGISTRY']}wis2-gc-metrics:{told['TAG']}" == name


def test_a_proxy_is_handed_on_and_its_password_is_in_no_argument(docker: Path) -> None:
    build.build(["listener"], {"https_proxy": "http://u:hunter2@proxy.example", "NETWORK": "host"})
    words = (docker / "words").read_text()
    assert "hunter2" not in words
    assert "--allow network.host" in words
    assert "HTTPS_PROXY=http://u:hunter2@proxy.example" in (docker / "told").read_text()


@pytest.mark.usefixtures("docker")
def test_a_base_without_a_digest_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    build.build(SERVICES, {"BASE": "mine:1", "BUILD_BASE": f"mine:2@{DIGEST}"})
    assert "mine:1 is named by tag only" in (said := capsys.readouterr().err)
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
def test_a_label_shows_an_address_that_anybody_may_see(remote: str, url: str) -> None:
    assert public_url(remote) == url


@pytest.mark.parametrize(
    ("variables", "option", "said"),
    [
        ({"REGISTRY": ""}, "--push", "REGISTRY says where to push to"),
        ({"TAG": "no/tag"}, "", "'no/tag' is no tag"),
    ],
)
def test_what_cannot_work_is_said_before_docker_is_asked(
    tmp_path: Path, variables: dict[str, str], option: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "images.build", *option.split()], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, **variables, "PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
