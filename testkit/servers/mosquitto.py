"""A private mosquitto on ports the system picks, in a directory of its own.

Its limits are raised so that a test loses nothing by accident. `stop` and `kill` end this very
process only; `restart` keeps ports and stored sessions.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from local.parts.ports import free_port
from testkit.servers import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HOST = "127.0.0.1"
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """One user: password, and what `acl_file` says of it (`read cache/#`, `write origin/#`)."""

    password: str
    acl: tuple[str, ...] = ("readwrite #",)


class Mosquitto:
    """One broker; use as a context manager, or call `start` and `stop`.

    `port` speaks plain MQTT 3.1.1 and 5; `tls_port` and `websocket_port` are 0 unless asked for.
    `accounts` empty: everybody may do everything. `authority`: who signs the TLS certificate
    (a new one unless given); `ca_file` is its PEM file. `options` are further lines of the
    configuration, after our own (the last one counts).
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        websocket: bool = False,
        accounts: Mapping[str, Account] | None = None,
        persistence: bool = False,
        authority: trustme.CA | None = None,
        certificate_names: Sequence[str] = ("localhost", HOST),
        options: Sequence[str] = (),
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gc-mosquitto-"))
        self.port = free_port()
        self.tls_port = free_port() if tls else 0
        self.websocket_port = free_port() if websocket else 0
        self.ca_file = self.directory / "ca.pem"
        self.log_file = self.directory / "mosquitto.log"
        self._process: parts.ServerProcess | None = None
        self._accounts = dict(accounts or {})
        self._persistence = persistence
        self._options = tuple(options)
        if tls:
            authority = authority or trustme.CA()
            authority.cert_pem.write_to_path(str(self.ca_file))
            certificate = authority.issue_cert(*certificate_names)
            certificate.private_key_pem.write_to_path(str(self.directory / "key.pem"))
            for index, blob in enumerate(certificate.cert_chain_pems):
                blob.write_to_path(str(self.directory / "cert.pem"), append=index > 0)
        self._write_configuration()

    @property
    def url(self) -> str:
        """`mqtt://127.0.0.1:PORT`."""
        return f"mqtt://{HOST}:{self.port}"

    @property
    def tls_url(self) -> str:
        """`mqtts://localhost:PORT`."""
        return f"mqtts://localhost:{self.tls_port}"

    @property
    def websocket_url(self) -> str:
        """`ws://127.0.0.1:PORT/mqtt`."""
        return f"ws://{HOST}:{self.websocket_port}/mqtt"

    @property
    def pid(self) -> int:
        """The running process."""
        if self._process is None:
            raise RuntimeError("mosquitto is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start, and return once every port answers."""
        if self._process is not None:
            raise RuntimeError("mosquitto is running already")
        command = ["mosquitto", "-c", str(self.directory / "mosquitto.conf")]
        self._process = parts.launch(command, self.directory, self.log_file)
        deadline = time.monotonic() + _START_S
        for port in filter(None, (self.port, self.tls_port, self.websocket_port)):
            while not _answers(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log_text = self.log_file.read_text(errors="replace")[-2000:]
                    self.stop()
                    raise RuntimeError(f"mosquitto did not start:\n{log_text}")
                time.sleep(0.02)
        return self

    def stop(self) -> None:
        """End it in an orderly way (sessions are stored); no-op when it does not run."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(lambda process: process.kill())

    def restart(self) -> None:
        """Stop and start on the same ports; with `persistence`, sessions survive."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and remove the directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that trusts this broker and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _end(self, how: Callable[[parts.ServerProcess], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            how(process)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_configuration(self) -> None:
        lines = [
            "per_listener_settings false",
            "log_type error",
            "log_type warning",
            "log_dest stdout",
            # Limits that lose nothing within a test.
            "max_queued_messages 200000",
            "max_inflight_messages 1000",
            "max_packet_size 10000000",
        ]
        if self._persistence:
            lines += [
                "persistence true",
                f"persistence_location {self.directory}/",
                "autosave_interval 1",
            ]
        if self._accounts:
            passwords, acl = self.directory / "passwords", self.directory / "acl"
            passwords.touch(mode=0o600)
            for user, account in self._accounts.items():
                parts.run(
                    ["mosquitto_passwd", "-b", str(passwords), user, account.password],
                    self.directory,
                )
            acl.write_text(
                "".join(
                    f"user {user}\n" + "".join(f"topic {rule}\n" for rule in account.acl)
                    for user, account in self._accounts.items()
                )
            )
            acl.chmod(0o600)
            lines += ["allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}"]
        else:
            lines += ["allow_anonymous true"]
        lines += self._options
        lines += [f"listener {self.port} {HOST}"]
        if self.tls_port:
            lines += [
                f"listener {self.tls_port} {HOST}",
                f"certfile {self.directory}/cert.pem",
                f"keyfile {self.directory}/key.pem",
            ]
        if self.websocket_port:
            # A broker with WebSocket listeners only would refuse to start: the plain one is there.
            # Without its socket_domain, it would listen on every address.
            lines += [
                f"listener {self.websocket_port} {HOST}",
                "socket_domain ipv4",
                "protocol websockets",
            ]
        # Started by root (a container), mosquitto would change to an account that cannot read this.
        lines += ["user root"]
        (self.directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False
