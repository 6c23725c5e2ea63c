from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from images import digests
from images.build import BASE, BUILD_BASE, ROOT, SERVICES, main, plan, public_url

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = f"sha256:{'a1' * 32}"


def dockerfile(service: str) -> str:
    return (ROOT / f"services/{service}/Dockerfile").read_text()


def test_the_dockerfiles_differ_in_name_and_title_only() -> None:
    def without_name(service: str) -> str:
        text = re.sub(r"# The .*\. Build it", "# Build it", dockerfile(service))
        text = re.sub(r'image\.description=".*"', "image.description=", text)
        return text.replace(service, "SERVICE")

    assert without_name("listener") == without_name("manager") == without_name("metrics")


@pytest.mark.parametrize("service", SERVICES)
def test_a_dockerfile_stands_on_the_bases_that_are_locked(service: str) -> None:
    assert f"\nARG BASE={BASE}\nARG BUILD_BASE={BUILD_BASE}\n" in dockerfile(service)
    assert set(digests.read()) >= {BASE, BUILD_BASE}


@pytest.mark.parametrize("service", SERVICES)
def test_a_dockerfile_needs_no_buildkit(service: str) -> None:
    text = dockerfile(service)
    assert "--mount" not in text
    assert "<<" not in text
    assert "COPY --link" not in text
    assert "COPY --chmod" not in text


@pytest.mark.parametrize("service", SERVICES)
def test_the_user_is_a_number_and_the_commands_are_no_shell_s(service: str) -> None:
    text = dockerfile(service)
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == ["65532:65532"]
    entry = re.findall(r"^ENTRYPOINT (.*)", text, re.MULTILINE)
    assert [json.loads(e) for e in entry] == [[f"/opt/wis2-gc/bin/wis2-gc-{service}"]]
    assert not re.search(r"^CMD", text, re.MULTILINE)


def test_no_lock_of_a_service_holds_what_only_builds() -> None:
    for service in SERVICES:
        names = re.findall(
            r"^([\w.-]+)==", (ROOT / f"requirements/{service}.txt").read_text(), re.MULTILINE
        )
        assert not {"hatchling", "pip", "setuptools", "editables", "pytest"} & set(names)


def test_a_base_whose_digest_is_known_is_pinned_by_it() -> None:
    planned = plan("manager", {}, {BASE: DIGEST, BUILD_BASE: None})
    assert planned.base == f"{BASE}@{DIGEST}"
    assert planned.build_base == BUILD_BASE


def test_another_base_is_also_what_it_is_built_on_unless_told_otherwise() -> None:
    assert plan("manager", {"BASE": "mine:1"}, {BASE: DIGEST}).build_base == "mine:1"
    given = plan("manager", {"BASE": "mine:1", "BUILD_BASE": "mine:build"}, {})
    assert (given.base, given.build_base) == ("mine:1", "mine:build")


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("", "wis2-gc-metrics:t1"),
        ("registry.example/gc", "registry.example/gc/wis2-gc-metrics:t1"),
        ("registry.example:5000/", "registry.example:5000/wis2-gc-metrics:t1"),
    ],
)
def test_an_image_is_named_for_its_service_in_the_registry(registry: str, name: str) -> None:
    planned = plan("metrics", {"REGISTRY": registry, "TAG": "t1"}, {})
    assert planned.name == name
    assert planned.repository == name.removesuffix(":t1")


def test_a_proxy_is_named_and_its_password_is_not() -> None:
    secret = "http://user:hunter2@proxy.example:3128"
    planned = plan("listener", {"HTTPS_PROXY": secret, "NETWORK": "host"}, {})
    arguments = planned.arguments()
    assert "HTTPS_PROXY" in arguments
    assert "hunter2" not in " ".join(arguments)
    assert arguments[arguments.index("--network") + 1] == "host"


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
def test_the_source_label_shows_no_login_and_no_folder_of_ours(remote: str, url: str) -> None:
    assert public_url(remote) == url


def test_pushing_without_a_registry_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REGISTRY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["--push"])
    assert ended.value.code == 2
    assert "REGISTRY" in capsys.readouterr().err


def test_an_unknown_service_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["broker"])
    assert ended.value.code == 2
    assert "no such service: broker" in capsys.readouterr().err


def test_no_engine_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["listener"]) == 1
    assert capsys.readouterr().err == "error: docker is not installed\n"


@pytest.mark.parametrize("tag", ["bad tag", "-x", "a/b", "a:b", "ä", "x" * 129, "x\n"])
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_tag_that_docker_would_refuse_is_said_before_anything_is_built(
    tag: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("TAG", tag)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"TAG={tag!r} is no tag" in capsys.readouterr().err


def test_a_check_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("TAG", "v1.2.3_x-y")
    assert main(["--check"]) == 0


@pytest.mark.parametrize("files", ["/srv/checkout/.tools/images/docker", ""])
def test_whoever_has_no_engine_is_told_where_the_images_are(
    files: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("TAG", "t1")
    monkeypatch.setenv("OWN_ENGINE_FILES", files)
    assert main(["listener"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "wis2-gc-listener:t1\n"
    last = captured.err.splitlines()[-1]
    assert (f"they lie in {files}" in last) == bool(files)
