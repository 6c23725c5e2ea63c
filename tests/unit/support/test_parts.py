"""The switch between native servers and servers in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from images.docker import DockerError
from tests.support import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = "20.10"


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., parts.Choice]]:
    """Choose anew, with this PARTS, engine ("" for none) and images it holds."""

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


def test_without_an_engine_the_servers_are_native_and_the_line_says_why(choose) -> None:
    choice = choose("")
    assert not choice.in_containers
    assert str(choice) == (
        "Redis and mosquitto as native processes "
        "(no Docker engine answers: docker is not installed)"
    )


def test_with_engine_and_images_they_are_in_containers(choose) -> None:
    choice = choose("", engine=ENGINE, held=parts.images())
    assert choice.in_containers
    assert all(image in str(choice) for image in parts.images())


def test_one_absent_image_is_named_and_keeps_them_native(choose) -> None:
    redis, mosquitto = parts.images()
    choice = choose("", engine=ENGINE, held=(redis,))
    assert not choice.in_containers
    assert mosquitto in str(choice)
    assert redis not in str(choice)


def test_native_is_native_whatever_is_at_hand(choose) -> None:
    assert not choose("native", engine=ENGINE, held=parts.images()).in_containers


@pytest.mark.parametrize("engine", ["", ENGINE])
def test_containers_asked_for_and_not_to_be_had_are_an_error(choose, engine: str) -> None:
    with pytest.raises(parts.WrongChoice, match="PARTS=containers, but "):
        choose("containers", engine=engine)


def test_a_misspelt_choice_is_an_error(choose) -> None:
    with pytest.raises(parts.WrongChoice, match="'container'"):
        choose("container")


def test_other_images_can_be_named(choose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTS_REDIS_IMAGE", "valkey:8")
    monkeypatch.setenv("PARTS_MOSQUITTO_IMAGE", "")
    assert parts.images() == ("valkey:8", parts.MOSQUITTO_IMAGE)
    assert choose("", engine=ENGINE, held=parts.images()).in_containers
