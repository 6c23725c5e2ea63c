"""A name server that says nothing, for the processes that we start and for nobody else."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.support.name_server import answer

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = ("127.0.53.53", 53)
#: The one name that it knows: 127.0.0.1.
KNOWN = "data.canary.test"
_HEADER_BYTES = 12
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_PRIVATE_ALL = 0x1000, 0x4000 | 0x40000


class NameServer:
    """Answers questions for `KNOWN`, and no others. Raises OSError: it may not have its port."""

    def __init__(self) -> None:
        self.unanswered = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(ADDRESS)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                question, sender = self._socket.recvfrom(4096)
                found = answer_to(question)
                if found:
                    self._socket.sendto(found, sender)
                else:
                    self.unanswered += 1

    def close(self) -> None:
        self._socket.close()


def answer_to(question: bytes) -> bytes:
    """Return the answer of DNS to a question for `KNOWN`, nothing to any other."""
    name = b"".join(bytes([len(label)]) + label.encode() for label in KNOWN.split(".")) + b"\0"
    if not question[_HEADER_BYTES:].lower().startswith(name):
        return b""
    return answer(question, "127.0.0.1")


def ask_only_ours(resolver_file: Path) -> None:
    """Let this process and those it starts ask `NameServer` alone. For root; raises OSError.

    Others see the machine's /etc/resolv.conf as it is.
    """
    resolver_file.write_text(f"nameserver {ADDRESS[0]}\n", encoding="ascii")
    libc = ctypes.CDLL(None, use_errno=True)
    # One after the other: nothing is mounted where others see it.
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, _MS_PRIVATE_ALL, None)
        or libc.mount(os.fsencode(resolver_file), b"/etc/resolv.conf", None, _MS_BIND, None)
    ):
        raise OSError(ctypes.get_errno(), "no name server of our own")
