"""The time limits of a download, and how to stop or shorten them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a download, in seconds."""

    connect_s: float
    """DNS, TCP and TLS together."""
    idle_s: float
    """Between two reads, and for the whole conversation before the first byte of data."""
    total_s: float
    """The whole download, redirects included."""


@contextlib.contextmanager
def stopped(deadline: asyncio.Timeout) -> Iterator[None]:
    """Stop a deadline's clock while the source waits for us and we do not wait for it."""
    loop = asyncio.get_running_loop()
    when, since = deadline.when(), loop.time()
    deadline.reschedule(None)
    try:
        yield
    finally:
        if when is not None:
            deadline.reschedule(when + loop.time() - since)


@contextlib.contextmanager
def sooner(deadline: asyncio.Timeout, seconds: float) -> Iterator[None]:
    """Shorten a deadline for one step, if `seconds` from now is earlier."""
    when = deadline.when()
    step_by = asyncio.get_running_loop().time() + seconds
    if when is None or step_by < when:
        deadline.reschedule(step_by)
    yield
    # Not after an error: the deadline may have expired, and the step is the last one anyway.
    deadline.reschedule(when)
