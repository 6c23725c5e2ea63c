"""Causes of failures in plain words, for events, the list of failures and logs. Pure.

Never the text of a library's error: it can repeat URLs, which contain passwords and signatures.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl

#: The text for a bug: the log has the error and its traceback.
BUG = "an error of ours, see the log"
#: Errors that mean that this machine has run out of something: files, memory, ports.
SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
#: Errors that end an open connection.
RESETS = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
#: Source: openssl-verify(1), diagnostics.
_CERTIFICATE = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's authority is not one we trust",
    20: "the server sends an incomplete certificate chain, or its authority is not one we trust",
    21: "the server sends an incomplete certificate chain",
    23: "the certificate has been revoked",
    62: "the certificate is for another host name",
    64: "the certificate is for another IP address",
}
_TLS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port",
    "UNEXPECTED_EOF_WHILE_READING": "the server ended the TLS handshake",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
}
#: In asyncio's text for several addresses that all fail; that error has no number of its own.
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def os_words(error: OSError) -> str:
    """Return the operating system's words, for example `connection refused`."""
    if isinstance(error, ssl.SSLError):
        return tls_words(error)
    if isinstance(error, socket.gaierror | socket.herror):
        text = error.strerror or "name look-up failed"
    elif isinstance(error, TimeoutError):
        text = "connection timed out"
    elif number := error.errno or _first_errno(error):
        text = os.strerror(number)
    elif isinstance(error, ConnectionRefusedError):
        text = "connection refused"
    elif isinstance(error, ConnectionResetError | BrokenPipeError):
        text = "connection reset"
    else:
        text = "connection lost"
    return text[:1].lower() + text[1:200]


def _first_errno(error: OSError) -> int:
    found = _ERRNO.search(str(error))
    return int(found[1]) if found else 0


def tls_words(error: ssl.SSLError) -> str:
    """Return why the TLS connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = _CERTIFICATE.get(error.verify_code)
        return text or f"the certificate is not accepted: {error.verify_message}"[:200]
    reason = error.reason or ""
    return _TLS.get(reason) or reason.lower().replace("_", " ")[:200] or "TLS failed"
