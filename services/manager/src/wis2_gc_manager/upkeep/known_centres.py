"""The centre-ids of the WIS2 registry, from a file that the operator keeps up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_common.wis2.topic import is_centre_id

if TYPE_CHECKING:
    from pathlib import Path

#: The list of the WIS2 registry has 20 kB.
MAX_BYTES = 1_000_000

log = get_logger(__name__)


def read_known_centres(path: Path | None) -> frozenset[str] | None:
    """Return the centre-ids in the first column of a CSV file; None: no list, keep the last one.

    A heading, and everything else that is not a centre-id, is ignored. Never raises: if the list is
    just being replaced, the next read, five minutes later, finds it.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        log.warning("known_centres_unreadable", path=str(path), error=error.strerror)
        return None
    names = (line.partition(",")[0].strip().strip('"\ufeff') for line in text.splitlines())
    known = frozenset(name for name in names if is_centre_id(name))
    if not known:
        log.warning("known_centres_empty", path=str(path))
        return None
    return known
