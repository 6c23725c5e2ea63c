"""The world that hostile inputs are sent into, one for each test module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.hostile.attacked import OPTIONS, Attacked
from testkit.worlds.world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with open_world(tmp_path_factory.mktemp("world"), **OPTIONS) as world:
        attacked = Attacked(world)
        try:
            yield attacked
            attacked.check_what_is_shown()
        finally:
            attacked.close()
