"""A throw-away certificate authority, kept in the state directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from local.parts.local_server import write_private

if TYPE_CHECKING:
    from pathlib import Path

#: Where clients on this machine find us.
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of one server certificate with its chain, and of its key."""

    chain_file: Path
    key_file: Path


class CertificateAuthority:
    """An authority made on first use; later runs use it again, so clients can keep trusting it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.ca_file = self.directory / "ca.pem"
        key_file = self.directory / "ca.key"
        if self.ca_file.exists() and key_file.exists():
            self._authority = trustme.CA.from_pem(self.ca_file.read_bytes(), key_file.read_bytes())
        else:
            self._authority = trustme.CA()
            self.directory.mkdir(parents=True, exist_ok=True)
            write_private(key_file, self._authority.private_key_pem.bytes().decode())
            self.ca_file.write_bytes(self._authority.cert_pem.bytes())

    def certificate(self, name: str, identities: tuple[str, ...] = LOCAL_NAMES) -> Certificate:
        """Return the certificate `name` for these host names and addresses, made on first use."""
        chain_file = self.directory / f"{name}.pem"
        key_file = self.directory / f"{name}.key"
        if not (chain_file.exists() and key_file.exists()):
            leaf = self._authority.issue_cert(*identities)
            write_private(key_file, leaf.private_key_pem.bytes().decode())
            chain_file.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return Certificate(chain_file, key_file)
