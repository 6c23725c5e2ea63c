"""The end of a process."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with this exit code, now. Call it when everything important is closed.

    A normal exit waits for the threads of all pools, and one of them may wait for SQS, a name
    look-up or a disk that does not answer.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
