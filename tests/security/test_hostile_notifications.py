"""Hostile notifications of many kinds, each with an innocent centre's items beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.hostile.all_kinds import NOTIFICATIONS

if TYPE_CHECKING:
    from testkit.hostile.attacked import Attacked

pytest_plugins = ("testkit.hostile.fixture",)


@pytest.mark.parametrize("kind", NOTIFICATIONS)
def test_it_harms_nobody(attacked: Attacked, kind: str) -> None:
    number = list(NOTIFICATIONS).index(kind)
    place = attacked.place(kind, number)
    attacked.attack(NOTIFICATIONS[kind](place), place.centre)
