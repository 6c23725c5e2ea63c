"""The end of a process."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from wis2_gc_common.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator


def leave(code: int) -> NoReturn:
    """End the process with this exit code, now. Call it when everything important is closed.

    A normal exit waits for the threads of all pools, and one of them may wait for SQS, a name
    look-up or a disk that does not answer.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def wrong_settings_end(command: str) -> Iterator[None]:
    """End the process at a SettingsError: with exit code 2, and a line that names `command`."""
    try:
        yield
    except SettingsError as error:
        sys.stderr.write(f"{command}: {error}\n")
        leave(2)
