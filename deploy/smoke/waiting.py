"""Waiting for what takes a while after a deployment: DNS, load balancers, pods."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class NotYet(Exception):
    """It is not so; it may become so. One line says what is the matter."""


class Failed(Exception):
    """It was not so until the deadline. One line says what was the matter last."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for each check, and how."""

    seconds: float
    interval_s: float = 3.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, check: Callable[[], str]) -> str:
        """Return what `check` returns once it raises NotYet no more. Raises Failed."""
        deadline = self.now() + self.seconds
        while True:
            try:
                return check()
            except NotYet as problem:
                if self.now() >= deadline:
                    raise Failed(f"{problem} (waited {self.seconds:g} s)") from None
            self.sleep(self.interval_s)
