"""How often Python's garbage collector looks, in the processes that notifications go through."""

from __future__ import annotations

import gc

#: Container objects made before it looks: what a notification makes holds no cycles, and looking
#: at all of it ten thousand times a minute finds nothing.
_THRESHOLD = 20_000


def let_collector_rest() -> None:
    """Look seldom from now on, and never at what is there already. Call it when all is set up."""
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
