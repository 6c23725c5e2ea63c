"""mosquitto: our own broker, and the Global Brokers of the simulated world and the tests.

mosquitto's dynamic security plugin keeps accounts and their rights, not an ACL file: with an ACL
file, mosquitto 2.0 grants every subscription and drops the messages later, so a client does not
learn that its subscription can never deliver anything.
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

from local.parts.local_server import LocalServer, StartFailed, current_user, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.parts.certificates import Certificate, CertificateAuthority

PUBLIC_USERNAME = "everyone"
PUBLIC_PASSWORD = "everyone"  # noqa: S105 - public on purpose (wis2-rules.md 25)
MANAGER_USERNAME = "wis2-gc-manager"
BRIDGE_USERNAME = "public-broker"
_LOOPBACK = "127.0.0.1"
CACHE_TOPICS = ("cache/a/wis2/#", "monitor/a/wis2/#")
WIS2_TOPICS = ("origin/a/wis2/#", *CACHE_TOPICS)

_PLUGIN = "mosquitto_dynamic_security.so"
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
#: Each connect costs one PBKDF2; the passwords are random, or public.
_ITERATIONS = 1000
_PROBE_TIMEOUT_S = 2
#: No notification and no monitoring event is longer (wis2-rules.md 23).
_MESSAGE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a broker, with all that it may do."""

    username: str
    password: str
    subscribes: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttListener:
    """One port that mosquitto listens on; `host` "" means all addresses."""

    port: int
    host: str = _LOOPBACK
    certificate: Certificate | None = None
    is_websocket: bool = False
    is_id_the_username: bool = False
    """The username replaces the client id: an account has one session and cannot take another."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much mosquitto stores for its clients."""

    max_inflight_messages: int
    """Unacknowledged messages in each direction; also the receive maximum sent to publishers."""
    max_queued_messages: int
    """Messages kept for one client that is away or slow; above this, mosquitto drops the newest."""
    message_size_bytes: int
    """Largest accepted payload."""
    max_queued_bytes: int = 0
    """The same in bytes of payload; 0: no limit."""
    memory_bytes: int | None = None
    """Heap of the broker. At the limit it disconnects clients that publish or read (mosquitto.conf
    says so), which is better than a kill by the system; None: no limit."""
    max_connections: int = -1
    """At the same time, on each listener; -1: no limit. Approximate: mosquitto 2.0.11 subtracts one
    too many at every refused login."""
    persistent_client_expiration: str = "2d"
    """How long to keep the session and the messages of a client that is away. mosquitto's smallest
    unit is the hour."""
    outlives_restart: bool = True
    """Whether to write sessions to disk."""


def dynamic_security(accounts: tuple[Account, ...]) -> str:
    """Return the plugin's configuration: it denies everything that is not allowed here."""
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


def bridge(address: str, password: str) -> list[str]:
    """Return the lines by which a public broker reads the broker at `address` (host:port)."""
    # Anyone who knows a session's name can take it, on both sides: nobody can guess these.
    secret = hashlib.sha256(f"bridge {password}".encode()).hexdigest()[:32]
    return [
        "connection cache",
        f"address {address}",
        *(f"topic {topic} in 1" for topic in CACHE_TOPICS),
        # Announcements wait while this process is away.
        "cleansession false",
        f"remote_clientid {BRIDGE_USERNAME}-{secret}",
        f"local_clientid local-{secret}",
        f"remote_username {BRIDGE_USERNAME}",
        f"remote_password {password}",
        "notifications false",
        "try_private false",
        "keepalive_interval 10",
        "restart_timeout 1",
    ]


def plugin_path() -> Path:
    """Return the path of the dynamic security plugin. Raises StartFailed: not found."""
    for library in _LIBRARIES:
        # Debian has it in a folder named after the architecture.
        for path in (Path(library) / _PLUGIN, *Path(library).glob(f"*-linux-gnu*/{_PLUGIN}")):
            if path.is_file():
                return path
    raise StartFailed(f"mosquitto has no {_PLUGIN} in {', '.join(_LIBRARIES)}")


class Mosquitto(LocalServer):
    """A mosquitto 2.0 with these accounts."""

    #: Whether the log also shows who connects.
    _logs_connections = True
    _log_types: tuple[str, ...] = ("error", "warning", "notice")

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
        # Passwords in clear text stay on this machine.
        return {role: _LOOPBACK if role == "plain" else hosts[role] for role in hosts}

    def listeners(self) -> tuple[MqttListener, ...]:
        """Return its listeners."""
        hosts = self._hosts()
        return tuple(
            MqttListener(
                port,
                hosts[role],
                certificate=None if role == "plain" else self._certificate,
                is_websocket=role == "websocket",
                is_id_the_username=role == "accounts",
            )
            for role, port in self._ports.items()
        )

    def _plugin_path(self) -> Path:
        """Return the plugin's path for the process. Raises StartFailed: not found."""
        return plugin_path()

    def configuration(self) -> str:
        """Return the text of mosquitto.conf."""
        lines = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"plugin {self._plugin_path()}",
            f"plugin_opt_config_file {self.directory / 'accounts.json'}",
            f"user {current_user()}",
            f"persistence {_text(self.limits.outlives_restart)}",
            f"persistence_location {self.directory}/",
            "autosave_interval 30",
            f"persistent_client_expiration {self.limits.persistent_client_expiration}",
            f"max_inflight_messages {self.limits.max_inflight_messages}",
            f"max_queued_messages {self.limits.max_queued_messages}",
            # A message for several clients is stored once, and counts for each of them.
            f"max_queued_bytes {self.limits.max_queued_bytes}",
            "max_inflight_bytes 0",
            f"message_size_limit {self.limits.message_size_bytes}",
            "queue_qos0_messages false",
            # A notification is news, not a state to keep (wis2-rules.md 21).
            "retain_available false",
            "set_tcp_nodelay true",
            "sys_interval 10",
            f"log_dest file {self.log_file}",
            "log_timestamp_format %Y-%m-%dT%H:%M:%S",
            *(f"log_type {kind}" for kind in self._log_types),
            f"connection_messages {_text(self._logs_connections)}",
        ]
        if self.limits.memory_bytes is not None:
            lines.append(f"memory_limit {self.limits.memory_bytes}")
        for listener in self.listeners():
            lines.append(f"listener {listener.port} {listener.host}".rstrip())
            # Per listener: strangers on one listener cannot use up the manager's.
            lines.append(f"max_connections {self.limits.max_connections}")
            if listener.host:
                # Without it, a WebSocket listener ignores an IPv4 address and listens on all
                # (mosquitto 2.0.11 with libwebsockets: its sockets are IPv6 then).
                lines.append(f"socket_domain {'ipv6' if ':' in listener.host else 'ipv4'}")
            lines.append(f"protocol {'websockets' if listener.is_websocket else 'mqtt'}")
            if listener.is_id_the_username:
                lines.append("use_username_as_clientid true")
            if listener.certificate is not None:
                lines += [
                    f"certfile {listener.certificate.chain_file}",
                    f"keyfile {listener.certificate.key_file}",
                    "tls_version tlsv1.2",
                ]
        lines += self._bridge()
        return "\n".join(lines) + "\n"

    def _bridge(self) -> list[str]:
        """Return the lines for another broker that this one reads."""
        return []

    def _configure(self) -> list[str]:
        path = self.directory / "mosquitto.conf"
        write_private(self.directory / "accounts.json", dynamic_security(self.accounts))
        write_private(path, self.configuration())
        return ["mosquitto", "-c", str(path)]

    def _answers(self) -> bool:
        """Whether it answers an MQTT connection (with a refusal: this client has no account)."""
        listener = self.listeners()[0]
        try:
            with socket.create_connection(
                (listener.host or _LOOPBACK, listener.port), _PROBE_TIMEOUT_S
            ) as connection:
                if listener.certificate is None:
                    return _is_mqtt(connection)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                # This checks only whether it answers; it sends nothing secret.
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                with context.wrap_socket(connection) as tls:
                    return _is_mqtt(tls)
        except OSError:
            return False


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of a process of ours in bytes; 0: it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _text(value: bool) -> str:
    return "true" if value else "false"


def _is_mqtt(connection: socket.socket) -> bool:
    # CONNECT of MQTT 3.1.1, clean session, keep-alive 10 s, client id "up".
    connection.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02up")
    return connection.recv(1) == b"\x20"  # CONNACK


class CacheBroker(Mosquitto):
    """Our own broker for clients with an account of their own (wis2-rules.md 25).

    Managers publish, and the Global Brokers' `accounts` (password by name) subscribe. `port`: MQTT,
    on loopback only. `accounts_port`, with an `authority`: MQTT over TLS on `host`, where an
    account's name is its client id. Strangers have no account here: see `PublicBroker`.
    """

    _log_types = (*Mosquitto._log_types, "subscribe")

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        accounts: Mapping[str, str] | None = None,
        accounts_port: int | None = None,
        host: str = _LOOPBACK,
        authority: CertificateAuthority | None = None,
        manager_password: str = "manager",  # noqa: S107 - `make run` gives a random one
        bridge_password: str = "bridge",  # noqa: S107 - the same
        log_file: Path | None = None,
    ) -> None:
        self._passwords = {
            **(accounts or {}),
            MANAGER_USERNAME: manager_password,
            BRIDGE_USERNAME: bridge_password,
        }
        ports = {"plain": port}
        if authority is not None:
            ports["accounts"] = accounts_port
        super().__init__(
            directory,
            name="broker",
            accounts=tuple(
                Account(name, password, publishes=CACHE_TOPICS)
                if name == MANAGER_USERNAME
                else Account(name, password, subscribes=CACHE_TOPICS)
                for name, password in self._passwords.items()
            ),
            limits=Limits(
                max_inflight_messages=1000,
                # A Global Broker that was away for most of a day still gets everything.
                max_queued_messages=1_000_000,
                max_queued_bytes=512 * 1024**2,
                memory_bytes=2 * 1024**3,
                max_connections=1000,
                persistent_client_expiration="1d",
                message_size_bytes=_MESSAGE_BYTES,
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
    def accounts_port(self) -> int:
        """Port of MQTT over TLS for accounts. Raises KeyError without an authority."""
        return self._ports["accounts"]

    @property
    def manager_url(self) -> str:
        """`GC_LOCAL_BROKER_URL` for this broker."""
        return self.url(MANAGER_USERNAME)

    def url(self, account: str) -> str:
        """Return the URL of an account, on loopback. Raises KeyError: no such account."""
        password = quote(self._passwords[account], safe="")
        return f"mqtt://{account}:{password}@{_LOOPBACK}:{self.port}"

    def password(self, account: str) -> str:
        """Return the password of an account. Raises KeyError: no such account."""
        return self._passwords[account]


class PublicBroker(Mosquitto):
    """Our own broker for everyone (wis2-rules.md 25): a bridge brings the messages of `source`.

    Strangers who use up resources here (sessions, queues, memory, names of sessions) take them only
    from other strangers. `port`: MQTT, on loopback only. With an `authority` there are `tls_port`
    and `websocket_port` (secure), on `host`.
    """

    #: The supervisor (`exit_code`) ends the process above this. At mosquitto's own limit it would
    #: serve nobody until the oldest sessions expire; after a restart it has no sessions.
    full_bytes = 512 * 1024**2
    # Strangers must not fill the disk with log lines.
    _logs_connections = False

    def __init__(
        self,
        directory: Path,
        *,
        source: CacheBroker,
        port: int | None = None,
        tls_port: int | None = None,
        websocket_port: int | None = None,
        host: str = _LOOPBACK,
        authority: CertificateAuthority | None = None,
        log_file: Path | None = None,
    ) -> None:
        self._source = source
        ports = {"plain": port}
        if authority is not None:
            ports |= {"tls": tls_port, "websocket": websocket_port}
        super().__init__(
            directory,
            name="public-broker",
            accounts=(Account(PUBLIC_USERNAME, PUBLIC_PASSWORD, subscribes=CACHE_TOPICS),),
            limits=Limits(
                # 1000 messages a second to a reader that answers within 0.2 s.
                max_inflight_messages=200,
                # Half a minute of the real WIS2; 16,000 abandoned sessions with as many messages
                # fit into the memory.
                max_queued_messages=300,
                max_queued_bytes=1024**2,
                max_connections=5000,
                persistent_client_expiration="1h",
                outlives_restart=False,
                message_size_bytes=_MESSAGE_BYTES,
            ),
            ports=ports,
            host=host,
            certificate=None if authority is None else authority.certificate("broker"),
            log_file=log_file,
        )

    def exit_code(self) -> int | None:
        """Return how the process ended, None while it lives; end it if strangers filled it."""
        if self.is_running and _resident_bytes(self.pid) > self.full_bytes:
            self.kill()
        return super().exit_code()

    def _bridge(self) -> list[str]:
        source = self._source
        return bridge(f"{_LOOPBACK}:{source.port}", source.password(BRIDGE_USERNAME))

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


class SimulatedGlobalBroker(Mosquitto):
    """A Global Broker of a simulated world: everyone subscribes, the publisher publishes.

    With an `authority` it speaks TLS, else plain MQTT.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        host: str = _LOOPBACK,
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
                # Strangers' messages are unchecked; some exceed the limit.
                message_size_bytes=1024 * 1024,
            ),
            ports={self._role: port},
            host=host,
            certificate=None if authority is None else authority.certificate("global-broker"),
            log_file=log_file,
        )

    @property
    def port(self) -> int:
        """Its only port: MQTT, over TLS with an authority."""
        return self._ports[self._role]

    @property
    def url(self) -> str:
        """`GC_GLOBAL_BROKER_URL` for this broker."""
        scheme = "mqtt" if self._role == "plain" else "mqtts"
        account = f"{PUBLIC_USERNAME}:{PUBLIC_PASSWORD}"
        return f"{scheme}://{account}@{self.host}:{self.port}"
