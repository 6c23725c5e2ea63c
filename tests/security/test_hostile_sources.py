"""Links that lead astray, servers that misbehave, and an innocent centre's items beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.hostile.all_kinds import SOURCES

if TYPE_CHECKING:
    from testkit.hostile.attacked import Attacked

pytest_plugins = ("testkit.hostile.fixture",)

#: Of the hostile servers, whose clients hang up: those of the cache are in other processes.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("kind", SOURCES)
def test_it_harms_nobody(attacked: Attacked, kind: str) -> None:
    number = list(SOURCES).index(kind)
    place = attacked.place(kind, number)
    attacked.attack(SOURCES[kind](place), place.centre)
