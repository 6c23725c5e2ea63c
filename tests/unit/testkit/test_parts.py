"""The switch between native servers and servers in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.deployment.docker import DockerError
from testkit.servers import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = "20.10"


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., parts.Choice]]:
    """Choose again, with this PARTS, engine ("" for none) and images it holds."""

    def choose(asked: str, *, engine: str = "", held: tuple[str, ...] = ()) -> parts.Choice:
        def version() -> str:
            if not engine:
                raise DockerError("docker is not installed")
            return engine

        monkeypatch.setenv("PARTS", asked)
        monkeypatch.setattr(parts, "engine_version", version)
        monkeypatch.setattr(parts, "has_image", lambda image: image in held)
        parts.choice.cache_clear()
        return parts.choice()

    yield choose
    parts.choice.cache_clear()


def test_without_an_engine_the_servers_are_native_and_the_line_says_why(
    choose: Callable[..., parts.Choice],
) -> None:
    choice = choose("")
    assert not choice.in_containers
    assert str(choice) == (
        "Redis, mosquitto, SQS and S3 as native processes "
        "(no Docker engine answers: docker is not installed)"
    )


def test_with_engine_and_images_they_are_in_containers(choose: Callable[..., parts.Choice]) -> None:
    choice = choose("", engine=ENGINE, held=(*parts.images().values(),))
    assert choice.in_containers
    assert all(image in str(choice) for image in parts.images().values())


@pytest.mark.parametrize("absent", parts.OFFICIAL)
def test_one_absent_image_is_named_and_keeps_them_native(
    choose: Callable[..., parts.Choice], absent: str
) -> None:
    images = parts.images()
    lacking = images.pop(absent)
    choice = choose("", engine=ENGINE, held=(*images.values(),))
    assert not choice.in_containers
    assert lacking in str(choice)
    assert not [image for image in images.values() if image in str(choice)]


def test_native_is_native_also_with_an_engine(choose: Callable[..., parts.Choice]) -> None:
    held = (*parts.images().values(),)
    assert not choose("native", engine=ENGINE, held=held).in_containers


@pytest.mark.parametrize("engine", ["", ENGINE])
def test_containers_asked_for_and_not_to_be_had_are_an_error(
    choose: Callable[..., parts.Choice], engine: str
) -> None:
    with pytest.raises(parts.WrongChoice, match="PARTS=containers, but "):
        choose("containers", engine=engine)


def test_a_misspelt_choice_is_an_error(choose: Callable[..., parts.Choice]) -> None:
    with pytest.raises(parts.WrongChoice, match="'container'"):
        choose("container")


def test_other_images_can_be_named(
    choose: Callable[..., parts.Choice], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sqs", "s3"):
        monkeypatch.setenv(parts.variable(name), "registry.example/two-of-them")
    monkeypatch.setenv("PARTS_REDIS_IMAGE", "valkey:8")
    monkeypatch.setenv("PARTS_MOSQUITTO_IMAGE", "")
    images = parts.images()
    assert images == {
        "redis": "valkey:8",
        "mosquitto": parts.OFFICIAL["mosquitto"],
        "sqs": "registry.example/two-of-them",
        "s3": "registry.example/two-of-them",
    }
    choice = choose("", engine=ENGINE, held=(*images.values(),))
    assert choice.in_containers
    assert str(choice).count("two-of-them") == 1
