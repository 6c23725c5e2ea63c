"""How often Python's garbage collector runs in the processes that handle notifications."""

from __future__ import annotations

import gc

#: Container objects made before it runs. The objects of a notification have no cycles: ten thousand
#: runs a minute would find nothing.
_THRESHOLD = 20_000


def let_collector_rest() -> None:
    """Make the collector run rarely and skip all present objects. Call it after set-up."""
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
