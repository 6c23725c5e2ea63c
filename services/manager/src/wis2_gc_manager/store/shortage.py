"""Shortages of our own, such as open files: the store waits for them; they are not an outage."""

from __future__ import annotations

import errno

#: Pause between two tries; meanwhile other work ends and gives back what it holds.
PAUSE_S = 0.5
#: After so many tries the shortage will not pass by itself: the operator has to see it.
TRIES = 60

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error says that this process, or machine, has no more files, buffers or ports."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES
