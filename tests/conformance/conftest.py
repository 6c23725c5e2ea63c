"""One world for the whole suite; every test has a centre of its own, so counters are exact."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from testkit.messages.wnm import unique_data_id
from testkit.worlds.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longer than a test holds an answer back, also on a busy machine.
PATIENT = {"GC_CONNECT_TIMEOUT": "20", "GC_IDLE_TIMEOUT": "50"}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world"), **PATIENT) as world:
        yield world


@pytest.fixture
def centre(request: pytest.FixtureRequest) -> str:
    """A centre-id nobody else uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:44].strip("-")
    return f"tt-{name}-{unique_data_id()[-4:]}"


@pytest.fixture
def topic(centre: str) -> str:
    return f"origin/a/wis2/{centre}/data/core/weather/surface-based-observations/synop"


@pytest.fixture
def data_id() -> str:
    return unique_data_id()
