"""mosquitto: our own broker, and the Global Brokers of the simulated world and the tests.

Accounts and their rights are kept by mosquitto's dynamic security plugin rather than by an ACL
file: with an ACL file, mosquitto 2.0 grants every subscription and drops the messages later, and
a client whose subscription can never deliver anything is not told so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from local.parts.part import Part, StartFailed, current_user, write_private

if TYPE_CHECKING:
    from local.parts.certificates import Certificate, CertificateAuthority

PUBLIC_USERNAME = "everyone"
PUBLIC_PASSWORD = "everyone"  # noqa: S105 - known to the whole world, on purpose (SPEC.md 25)
CACHE_TOPICS = ("cache/a/wis2/#", "monitor/a/wis2/#")
WIS2_TOPICS = ("origin/a/wis2/#", *CACHE_TOPICS)

_PLUGIN = "mosquitto_dynamic_security.so"
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
#: PBKDF2 is paid at every connect; the passwords are random, or public.
_ITERATIONS = 1000
_PROBE_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a broker, who may do this and nothing else."""

    username: str
    password: str
    subscribes: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listener:
    """One port mosquitto listens on; `host` "" means all addresses."""

    port: int
    host: str = "127.0.0.1"
    certificate: Certificate | None = None
    is_websocket: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How much mosquitto holds for its clients."""

    max_inflight_messages: int
    """Unacknowledged messages in each direction; also the receive maximum told to publishers."""
    max_queued_messages: int
    """Messages kept for one client that is away or slow; beyond it, mosquitto drops the newest."""
    message_size_bytes: int
    """Largest payload that is accepted."""
    max_queued_bytes: int = 0
    """The same in bytes of payload; 0: no limit."""
    memory_bytes: int | None = None
    """Heap of the broker. At the limit it disconnects whoever publishes or reads (mosquitto.conf
    says so), which beats the system ending it; None: no limit."""
    max_connections: int = -1
    """At the same time, on each listener; -1: no limit. Roughly: mosquitto 2.0.11 counts one off
    too many at every refused login."""
    persistent_client_expiration: str = "2d"
    """How long the session of a client that is away is kept, and its messages with it."""


def dynamic_security(accounts: tuple[Account, ...]) -> str:
    """Return the plugin's configuration: what is not allowed here is denied."""
    clients, roles = [], []
    for account in accounts:
        salt = os.urandom(12)
        digest = hashlib.pbkdf2_hmac("sha512", account.password.encode(), salt, _ITERATIONS)
        clients.append(
            {
                "username": account.username,
                "roles": [{"rolename": account.username}],
                "salt": base64.b64encode(salt).decode(),
                "password": base64.b64encode(digest).decode(),
                "iterations": _ITERATIONS,
            }
        )
        rights = [("subscribePattern", topic) for topic in account.subscribes]
        rights += [("publishClientReceive", topic) for topic in account.subscribes]
        rights += [("publishClientSend", topic) for topic in account.publishes]
        roles.append(
            {
                "rolename": account.username,
                "acls": [
                    {"acltype": kind, "topic": topic, "priority": 0, "allow": True}
                    for kind, topic in rights
                ],
            }
        )
    denied = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe"), False)
    return json.dumps(
        {
            "defaultACLAccess": {**denied, "unsubscribe": True},
            "clients": clients,
            "groups": [],
            "roles": roles,
        },
        indent=1,
    )


def plugin_path() -> Path:
    """Return where the dynamic security plugin is. Raises StartFailed: nowhere."""
    for library in _LIBRARIES:
        # Debian keeps it in a folder named for the architecture.
        for path in (Path(library) / _PLUGIN, *Path(library).glob(f"*-linux-gnu*/{_PLUGIN}")):
            if path.is_file():
                return path
    raise StartFailed(f"mosquitto has no {_PLUGIN} in {', '.join(_LIBRARIES)}")


class Mosquitto(Part):
    """A mosquitto 2.0 with these accounts; sessions and queues survive a clean stop."""

    def __init__(
        self,
        directory: Path,
        *,
        name: str,
        accounts: tuple[Account, ...],
        limits: Limits,
        ports: dict[str, int | None],
        host: str,
        certificate: Certificate | None,
        log_file: Path | None,
    ) -> None:
        self.name = name
        self.accounts = accounts
        self.limits = limits
        self._certificate = certificate
        super().__init__(directory, host=host, ports=ports, log_file=log_file)

    def _hosts(self) -> dict[str, str]:
        hosts = super()._hosts()
        # Passwords in the clear stay on this machine.
        return {role: "127.0.0.1" if role == "plain" else hosts[role] for role in hosts}

    def listeners(self) -> tuple[Listener, ...]:
        """Return what it listens on."""
        hosts = self._hosts()
        return tuple(
            Listener(
                port,
                hosts[role],
                certificate=None if role == "plain" else self._certificate,
                is_websocket=role == "websocket",
            )
            for role, port in self._ports.items()
        )

    def _plugin_path(self) -> Path:
        """Return where the process will find the plugin. Raises StartFailed: nowhere."""
        return plugin_path()

    def configuration(self) -> str:
        """Return the text of mosquitto.conf."""
        lines = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"plugin {self._plugin_path()}",
            f"plugin_opt_config_file {self.directory / 'accounts.json'}",
            f"user {current_user()}",
            "persistence true",
            f"persistence_location {self.directory}/",
            "autosave_interval 30",
            f"persistent_client_expiration {self.limits.persistent_client_expiration}",
            f"max_inflight_messages {self.limits.max_inflight_messages}",
            f"max_queued_messages {self.limits.max_queued_messages}",
            # What waits for several clients is stored once, and counts for each of them.
            f"max_queued_bytes {self.limits.max_queued_bytes}",
            "max_inflight_bytes 0",
            f"message_size_limit {self.limits.message_size_bytes}",
            "queue_qos0_messages false",
            # A notification is news, never a state to keep (SPEC.md 21).
            "retain_available false",
            "set_tcp_nodelay true",
            "sys_interval 10",
            f"log_dest file {self.log_file}",
            "log_timestamp_format %Y-%m-%dT%H:%M:%S",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "connection_messages true",
        ]
        if self.limits.memory_bytes is not None:
            lines.append(f"memory_limit {self.limits.memory_bytes}")
        for listener in self.listeners():
            lines.append(f"listener {listener.port} {listener.host}".rstrip())
            # Of each listener: what strangers take up on one leaves the manager's alone.
            lines.append(f"max_connections {self.limits.max_connections}")
            if listener.host:
                # Without it, a WebSocket listener takes no notice of an IPv4 address and listens
                # on all (mosquitto 2.0.11 with libwebsockets: its sockets are IPv6 then).
                lines.append(f"socket_domain {'ipv6' if ':' in listener.host else 'ipv4'}")
            lines.append(f"protocol {'websockets' if listener.is_websocket else 'mqtt'}")
            if listener.certificate is not None:
                lines += [
                    f"certfile {listener.certificate.chain_file}",
                    f"keyfile {listener.certificate.key_file}",
                    "tls_version tlsv1.2",
                ]
        return "\n".join(lines) + "\n"

    def _configure(self) -> list[str]:
        path = self.directory / "mosquitto.conf"
        write_private(self.directory / "accounts.json", dynamic_security(self.accounts))
        write_private(path, self.configuration())
        return ["mosquitto", "-c", str(path)]

    def _answers(self) -> bool:
        """Whether a MQTT connection is answered (refused: this one has no account)."""
        listener = self.listeners()[0]
        try:
            with socket.create_connection(
                (listener.host or "127.0.0.1", listener.port), _PROBE_TIMEOUT_S
            ) as connection:
                if listener.certificate is None:
                    return _is_mqtt(connection)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                # Only whether it answers: nothing is sent that would need a trusted reader.
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                with context.wrap_socket(connection) as tls:
                    return _is_mqtt(tls)
        except OSError:
            return False


def _is_mqtt(connection: socket.socket) -> bool:
    # CONNECT of MQTT 3.1.1, clean session, keep-alive 10 s, client id "up".
    connection.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02up")
    return connection.recv(1) == b"\x20"  # CONNACK


class CacheBroker(Mosquitto):
    """Our own broker (SPEC.md 25).

    `port`: MQTT, on loopback only. `tls_port` and `websocket_port` (secure) are there when an
    `authority` is given, and listen on `host`. Everyone may subscribe to what a Global Cache
    publishes; the manager may publish it; nobody may do more.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        tls_port: int | None = None,
        websocket_port: int | None = None,
        host: str = "127.0.0.1",
        authority: CertificateAuthority | None = None,
        manager_username: str = "wis2-gc-manager",
        manager_password: str = "manager",  # noqa: S107 - `make run` gives a random one
        log_file: Path | None = None,
    ) -> None:
        self.manager_username = manager_username
        self.manager_password = manager_password
        ports = {"plain": port}
        if authority is not None:
            ports |= {"tls": tls_port, "websocket": websocket_port}
        super().__init__(
            directory,
            name="broker",
            accounts=(
                Account(PUBLIC_USERNAME, PUBLIC_PASSWORD, subscribes=CACHE_TOPICS),
                Account(manager_username, manager_password, publishes=CACHE_TOPICS),
            ),
            limits=Limits(
                max_inflight_messages=1000,
                # A Global Broker that is away for most of a day finds everything on its return.
                # Everyone may leave sessions behind, so there are limits for all of them, too.
                max_queued_messages=1_000_000,
                max_queued_bytes=512 * 1024**2,
                memory_bytes=2 * 1024**3,
                max_connections=5000,
                persistent_client_expiration="1d",
                # Neither a notification nor a monitoring event is longer (SPEC.md 23).
                message_size_bytes=8192,
            ),
            ports=ports,
            host=host,
            certificate=None if authority is None else authority.certificate("broker"),
            log_file=log_file,
        )

    @property
    def port(self) -> int:
        """Port of plain MQTT, on loopback."""
        return self._ports["plain"]

    @property
    def tls_port(self) -> int:
        """Port of MQTT over TLS. Raises KeyError without an authority."""
        return self._ports["tls"]

    @property
    def websocket_port(self) -> int:
        """Port of MQTT over a secure WebSocket. Raises KeyError without an authority."""
        return self._ports["websocket"]

    @property
    def manager_url(self) -> str:
        """`GC_LOCAL_BROKER_URL` for this broker."""
        password = quote(self.manager_password, safe="")
        return f"mqtt://{self.manager_username}:{password}@127.0.0.1:{self.port}"


class GlobalBroker(Mosquitto):
    """A Global Broker of a simulated world: everyone subscribes, the publisher publishes.

    With an `authority` it speaks TLS, else plain MQTT.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        authority: CertificateAuthority | None = None,
        publisher_username: str = "publisher",
        publisher_password: str = "publisher",  # noqa: S107 - listens on loopback only
        max_inflight_messages: int = 100,
        name: str = "global-broker",
        log_file: Path | None = None,
    ) -> None:
        self.publisher_username = publisher_username
        self.publisher_password = publisher_password
        self._role = "plain" if authority is None else "tls"
        super().__init__(
            directory,
            name=name,
            accounts=(
                Account(PUBLIC_USERNAME, PUBLIC_PASSWORD, subscribes=WIS2_TOPICS),
                Account(publisher_username, publisher_password, publishes=WIS2_TOPICS),
            ),
            limits=Limits(
                max_inflight_messages=max_inflight_messages,
                max_queued_messages=1_000_000,
                # Strangers' messages come as they are, those that break the limit too.
                message_size_bytes=1024 * 1024,
            ),
            ports={self._role: port},
            host=host,
            certificate=None if authority is None else authority.certificate("global-broker"),
            log_file=log_file,
        )

    @property
    def port(self) -> int:
        """Its one port: MQTT, over TLS with an authority."""
        return self._ports[self._role]

    @property
    def url(self) -> str:
        """`GC_GLOBAL_BROKER_URL` for this broker."""
        scheme = "mqtt" if self._role == "plain" else "mqtts"
        account = f"{PUBLIC_USERNAME}:{PUBLIC_PASSWORD}"
        return f"{scheme}://{account}@{self.host}:{self.port}"
