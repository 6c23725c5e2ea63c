"""The client side of TLS, the same for brokers, data servers and stores."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class _TidySocket(ssl.SSLSocket):
    """A socket that closes when its handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def client_context(ca_file: Path | str | None = None) -> ssl.SSLContext:
    """Return a context that verifies against the system's authorities and those of `ca_file`.

    It takes tens of milliseconds: make it once. Raises OSError (ssl.SSLError is one): `ca_file` is
    not a PEM file of certificates.
    """
    context = ssl.create_default_context()
    context.sslsocket_class = _TidySocket
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
