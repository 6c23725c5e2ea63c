"""The last moment of a process."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with this exit code, now. Call it when all that matters is closed.

    An ordinary end waits for the threads of all pools, and one of them may be in a call of SQS, in
    a name look-up or at a disk, where nobody answers.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
