"""Sends name look-ups to our own name server, only for the processes that we start."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The only known name.
KNOWN = "data.canary.test"
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_PRIVATE_ALL = 0x1000, 0x4000 | 0x40000


def ask_only(host: str, resolver_file: Path) -> None:
    """Make this process and those it starts ask only the name server at `host`.

    Other processes still see the machine's /etc/resolv.conf. Requires root; raises OSError.
    """
    resolver_file.write_text(f"nameserver {host}\n", encoding="ascii")
    libc = ctypes.CDLL(None, use_errno=True)
    # In this order: no other process sees the mount.
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, _MS_PRIVATE_ALL, None)
        or libc.mount(os.fsencode(resolver_file), b"/etc/resolv.conf", None, _MS_BIND, None)
    ):
        raise OSError(ctypes.get_errno(), "no name server of our own")
