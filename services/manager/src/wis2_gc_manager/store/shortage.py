"""What we lack ourselves, such as open files: waited for in place, and no outage of the store."""

from __future__ import annotations

import errno

#: Between two tries; others end meanwhile, and give back what they hold.
PAUSE_S = 0.5
#: After so many tries it is no passing shortage: the operator has to see it.
TRIES = 60

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error says that this process, or machine, has no more files, buffers or ports."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES
