"""A world for each test: these break it on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.worlds.world import World, open_world
from tests.faults.load import PATIENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "world", **PATIENT) as world:
        yield world
