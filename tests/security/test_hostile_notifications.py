"""Hostile notifications of many kinds, each with an innocent centre's items beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hostile.all_kinds import NOTIFICATIONS
from tests.support.hostile.attacked import OPTIONS, Attacked
from tests.support.world import open_world

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


@pytest.mark.parametrize("kind", NOTIFICATIONS)
def test_it_harms_nobody(attacked: Attacked, kind: str) -> None:
    number = list(NOTIFICATIONS).index(kind)
    place = attacked.place(kind, number)
    attacked.attack(NOTIFICATIONS[kind](place), place.centre)
