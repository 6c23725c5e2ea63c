"""What takes its time: a thing that passes through one state into another."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Passing:
    """A state that lasts `seconds`, and the one after it."""

    now: str
    then: str
    seconds: float

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def __str__(self) -> str:
        return self.now if time.monotonic() < self._until else self.then
