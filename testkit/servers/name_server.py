"""A name server that knows every name, or one, and can fall silent."""

from __future__ import annotations

import errno
import random
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_A = b"\x00\x01"
_HEADER_BYTES = 12


def answer(question: bytes, address: str, *, known: str = "") -> bytes:
    """Return the IPv4 address, or that there is none of another type (RFC 1035, 4.1).

    `known`: nothing for other names than this one.
    """
    name = b"".join(bytes([len(label)]) + label.encode() for label in known.split(".") if label)
    if known and not question[_HEADER_BYTES:].lower().startswith(name + b"\0"):
        return b""
    end = question.index(b"\0", _HEADER_BYTES) + 5
    asked = question[_HEADER_BYTES:end]
    has_answer = asked[-4:-2] == _A
    head = question[:2] + b"\x81\x80\x00\x01" + bytes([0, has_answer]) + b"\0\0\0\0"
    # The name asked for, type A, class IN, for a second, of 4 bytes.
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + socket.inet_aton(address)
    return head + asked + (record if has_answer else b"")


class NameServer:
    """Answers on port 53 of `host`, an address of this machine; only root may use that port."""

    def __init__(self, address: str, *, known: str = "") -> None:
        """`address`: the IPv4 address that every name has, or `known` alone.

        Raises OSError: it may not have its port.
        """
        self._address, self._known = address, known
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.host = ""
        while not self.host:
            host = f"127.{random.randrange(1, 255)}.{random.randrange(255)}.53"
            try:
                self._socket.bind((host, 53))
                self.host = host
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        self.is_silent = False
        self.unanswered = 0
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                question, client = self._socket.recvfrom(512)
                found = answer(question, self._address, known=self._known)
                if self.is_silent or not found:
                    self.unanswered += 1
                else:
                    self._socket.sendto(found, client)
