"""A world to attack: the cache itself, real servers, and strangers with the public account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.worlds.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.register_assert_rewrite("testkit.hostile")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "world") as world:
        yield world
