from __future__ import annotations

import ssl
import stat
from typing import TYPE_CHECKING

from local.parts.certificates import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path


def test_a_later_run_finds_the_same_authority_and_certificates(tmp_path: Path) -> None:
    first = CertificateAuthority(tmp_path)
    certificate = first.certificate("broker")
    texts = first.ca_file.read_bytes(), certificate.chain_file.read_bytes()
    again = CertificateAuthority(tmp_path)
    assert (
        again.ca_file.read_bytes(),
        again.certificate("broker").chain_file.read_bytes(),
    ) == texts


def test_a_certificate_of_a_later_run_is_trusted_with_the_first_file(tmp_path: Path) -> None:
    ca_file = CertificateAuthority(tmp_path).ca_file
    certificate = CertificateAuthority(tmp_path).certificate("later")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate.chain_file, certificate.key_file)
    for name in ("localhost", "127.0.0.1"):
        assert _handshake(server, ssl.create_default_context(cafile=ca_file), name)


def test_only_we_can_read_the_keys(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    for path in (tmp_path / "ca.key", authority.certificate("broker").key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str) -> bool:
    """Whether client and server agree, over memory instead of a network."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    done = {"client": False, "server": False}
    for _ in range(10):
        for side, connection in (("client", client), ("server", server)):
            try:
                connection.do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                continue
        if all(done.values()):
            return True
    return False
