"""Which revision of the release runs, which one to go back to, and whether Helm is at work."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Helm writes this into the description of a rollback, also of the one that `--atomic` makes.
_ROLLBACK = re.compile(r"Rollback to (\d+)")


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of `helm history`."""

    number: int
    status: str
    description: str
    updated_s: float
    """Seconds since 1970."""

    @property
    def is_pending(self) -> bool:
        """Whether a Helm is at work on it, or was ended before it had finished."""
        return self.status.startswith("pending-")


def read_history(text: str) -> list[Revision]:
    """Return the revisions of `helm history -o json`, the oldest first."""
    return sorted(
        (
            Revision(
                int(entry["revision"]),
                str(entry["status"]),
                str(entry.get("description", "")),
                datetime.fromisoformat(entry["updated"]).timestamp(),
            )
            for entry in json.loads(text)
        ),
        key=lambda revision: revision.number,
    )


def revision_before(history: Sequence[Revision]) -> int | None:
    """Return the revision to go back to, or None where there is none.

    Helm's own choice is the last number minus one, also where that one failed. Pure.

    - The last one failed, or was interrupted: the one that ran before it.
    - Otherwise: the newest one that ran and is not what runs now under another number.
    """
    running = [r for r in history if r.status in ("deployed", "superseded")]
    if not running:
        return None
    if history[-1].status != "deployed":
        return running[-1].number
    now = _original(running[-1], history)
    for revision in reversed(running[:-1]):
        if _original(revision, history) != now:
            return revision.number
    return None


def _original(revision: Revision, history: Sequence[Revision]) -> int:
    """Return the number under which this content was installed first, as far as history tells."""
    by_number = {r.number: r for r in history}
    number = revision.number
    while number in by_number and (back := _ROLLBACK.search(by_number[number].description)):
        number = int(back.group(1))
    return number
