"""The settings of `make run`: variables of make or of the environment."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.parts.mosquitto import BRIDGE_USERNAME, MANAGER_USERNAME, PUBLIC_USERNAME
from local.world.mix import Mix, parse_mix
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import Reader, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wis2_gc_common.settings.catalogue import Setting

DEFAULT_CENTRE_ID = "xx-local-global-cache"
LOOPBACK = "127.0.0.1"
ALL_ADDRESSES = "0.0.0.0"
_MAX_PORT = 65_535
_MAX_RATE = 5000
_MAX_MANAGERS = 64
#: The variables of `make run`, besides the settings of the services.
VARIABLES = (
    "STATE", "BROKERS", "LISTEN", "STATUS_PORT", "DATA_PORT", "BROKER_PORT", "BROKER_TLS_PORT",
    "BROKER_WSS_PORT", "REDIS_PORT", "QUEUE", "STORE", "MANAGERS", "RATE", "MIX", "SEED", "ITEMS",
    "DATA_CONNECTIONS", "BROKER_ACCOUNTS", "BROKER_ACCOUNTS_PORT", "WORLD",
)  # fmt: skip
#: Settings of the services, and of the AWS SDK in them.
_PASSED_ON = ("GC_", "AWS_")

#: Strangers can try without limit.
_MIN_PASSWORD = 12
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: The account on our broker that is not a Global Broker's.
WORLD_USERNAME = "simulated-world"
_TAKEN_ACCOUNTS = (PUBLIC_USERNAME, MANAGER_USERNAME, BRIDGE_USERNAME, WORLD_USERNAME)

#: Settings that have another value in each process.
_PER_PROCESS = {
    "GC_GLOBAL_BROKER_URL": "name the Global Brokers with BROKERS='fr=mqtts://… br=mqtts://…'",
    "GC_GLOBAL_BROKER_URL_FILE": "name the Global Brokers with BROKERS='fr=mqtts://…'",
    "GC_GLOBAL_BROKER_NAME": "name the Global Brokers with BROKERS='fr=mqtts://… br=mqtts://…'",
    "GC_HTTP_PORT": "the port of the status page is STATUS_PORT",
    "GC_INSTANCE": "the managers are named manager-1, manager-2, …",
}


@dataclass(frozen=True, slots=True)
class PortSetting:
    """A port, and whether the user requested it."""

    variable: str
    port: int
    is_explicit: bool


@dataclass(frozen=True, slots=True)
class NamedBroker:
    """One Global Broker to listen to."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """A Global Broker's account on our own broker."""

    name: str
    password: str | None = field(repr=False)
    """None: the run makes one and keeps it in the state directory."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of one `make run`."""

    state: Path
    keeps_both_worlds: bool
    """Go on with a state directory that perhaps holds a simulated world and the real one."""
    listen: str
    """Address for other machines: data, status page, MQTT over TLS and WebSocket."""
    status_port: PortSetting
    broker_port: PortSetting
    broker_tls_port: PortSetting
    broker_wss_port: PortSetting
    data_port: PortSetting
    redis_port: PortSetting
    data_connections: int
    """Downloads at once for one client address; 0: no limit."""
    brokers: tuple[NamedBroker, ...]
    """Empty: the simulated world."""
    broker_accounts: tuple[BrokerAccount, ...]
    """Empty: no Global Broker has an account of its own, and its port is closed."""
    broker_accounts_port: PortSetting
    managers: int
    rate: float
    """Data items per second that the simulated world publishes."""
    mix: Mix
    seed: int
    items: int
    """The simulated world stops publishing after this many; 0: never."""
    queue: str
    """`redis-stream`, or `sqs`: a local server with its API."""
    store: str
    """`file`, or `s3`: a local server with its API."""
    overrides: Mapping[str, str]
    """`GC_…` settings for all services; they win over ours."""
    unknown: tuple[str, ...]
    """`GC_…` variables that are not settings, perhaps misspelt."""

    @property
    def is_simulated(self) -> bool:
        """Whether the WIS2 around the cache is simulated."""
        return not self.brokers

    @property
    def ports(self) -> tuple[PortSetting, ...]:
        """All ports that clients on this machine know."""
        return (
            self.status_port,
            self.data_port,
            self.broker_port,
            self.broker_tls_port,
            self.broker_wss_port,
            self.redis_port,
            *((self.broker_accounts_port,) if self.broker_accounts else ()),
        )

    def is_overridden(self, setting: Setting[Any]) -> bool:
        """Whether the user gave this setting, directly or as a file."""
        return bool(self.override_name(setting))

    def override_name(self, setting: Setting[Any]) -> str:
        """Return the variable in which the user gave this setting; "" if none."""
        names = (setting.name, f"{setting.name}_FILE")
        return next((name for name in names if name in self.overrides), "")


def check_given(names: Sequence[str]) -> None:
    """Raise SettingsError for a name on make's command line that nobody reads.

    Otherwise `BROKER=…` for `BROKERS=…` would silently start the simulated world.
    """
    for name in names:
        if name not in VARIABLES and not name.startswith(_PASSED_ON):
            known = " ".join(VARIABLES)
            raise SettingsError(name, f"is not known to make run; these are: {known} GC_… AWS_…")


def read_settings(environment: Mapping[str, str]) -> RunSettings:
    """Return the settings in `environment`. Raises SettingsError naming the variable."""
    read = _Reader(environment)
    brokers = parse_brokers(environment.get("BROKERS", ""))
    overrides = _overrides(environment)
    result = RunSettings(
        state=Path(environment.get("STATE") or ".state"),
        keeps_both_worlds=read.one_of("WORLD", "checked", "keep") == "keep",
        # A simulated world is private to this machine; a real cache serves others.
        listen=read.address("LISTEN", ALL_ADDRESSES if brokers else LOOPBACK),
        status_port=read.port("STATUS_PORT", 8080),
        broker_port=read.port("BROKER_PORT", 1883),
        broker_tls_port=read.port("BROKER_TLS_PORT", 8883),
        broker_wss_port=read.port("BROKER_WSS_PORT", 8443),
        data_port=read.port("DATA_PORT", 8081),
        redis_port=read.port("REDIS_PORT", 6380),
        data_connections=int(read.number("DATA_CONNECTIONS", 100, 0, 10_000, int)),
        brokers=brokers,
        broker_accounts=parse_accounts(environment.get("BROKER_ACCOUNTS", "")),
        broker_accounts_port=read.port("BROKER_ACCOUNTS_PORT", 8884),
        managers=int(read.number("MANAGERS", 2, 1, _MAX_MANAGERS, int)),
        rate=read.number("RATE", 5, 0.01, _MAX_RATE, float),
        mix=parse_mix(environment.get("MIX", "")),
        seed=int(read.number("SEED", 1, 0, 2**32, int)),
        items=int(read.number("ITEMS", 0, 0, 10**9, int)),
        queue=read.one_of("QUEUE", "redis-stream", "sqs"),
        store=read.one_of("STORE", "file", "s3"),
        overrides=overrides,
        unknown=tuple(unknown_settings(environment)),
    )
    broker_elsewhere = result.override_name(settings.LOCAL_BROKER_URL)
    if result.broker_accounts and broker_elsewhere:
        problem = f"requires a broker of this run; {broker_elsewhere} is set, so none is started"
        raise SettingsError("BROKER_ACCOUNTS", problem)
    _check_ports_differ(result)
    return result


def parse_brokers(text: str) -> tuple[NamedBroker, ...]:
    """Return the brokers in `fr=mqtts://user:password@host:8883 br=…` (separated by blanks).

    Raises SettingsError, without the passwords.
    """
    brokers: dict[str, NamedBroker] = {}
    for entry in text.split():
        name, equals, url = entry.partition("=")
        if not equals:
            raise SettingsError("BROKERS", "requires NAME=URL, as in fr=mqtts://user:password@host")
        try:
            settings.GLOBAL_BROKER_NAME.parse(name)
            settings.GLOBAL_BROKER_URL.parse(url)
        except ValueError as error:
            raise SettingsError("BROKERS", f"{name!r}: {error}") from None
        if name in brokers:
            raise SettingsError("BROKERS", f"{name!r} is named twice")
        brokers[name] = NamedBroker(name, url)
    return tuple(brokers.values())


def parse_accounts(text: str) -> tuple[BrokerAccount, ...]:
    """Return the accounts in `gb-fr gb-br=FILE` (separated by blanks; FILE contains the password).

    Raises SettingsError, without the passwords.
    """
    accounts: dict[str, BrokerAccount] = {}
    for entry in text.split():
        name, equals, file = entry.partition("=")
        if not _ACCOUNT.fullmatch(name):
            problem = f"{name!r}: requires lower-case letters, digits and -, as in gb-fr=FILE"
            raise SettingsError("BROKER_ACCOUNTS", problem)
        if name in _TAKEN_ACCOUNTS:
            raise SettingsError("BROKER_ACCOUNTS", f"{name!r} is an account already")
        if name in accounts:
            raise SettingsError("BROKER_ACCOUNTS", f"{name!r} is named twice")
        password = _account_password(name, Path(file)) if equals else None
        accounts[name] = BrokerAccount(name, password)
    return tuple(accounts.values())


def _account_password(name: str, file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "is not UTF-8"
        raise SettingsError("BROKER_ACCOUNTS", f"{name!r}: {file}: {problem}") from None
    if len(password) < _MIN_PASSWORD or not password.isprintable():
        problem = f"{name!r}: {file} requires one line with a password of {_MIN_PASSWORD} or more"
        raise SettingsError("BROKER_ACCOUNTS", f"{problem} characters")
    return password


def _overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the services' own settings, checked now: otherwise each service would stop later."""
    overrides = {
        name: text for name, text in environment.items() if name.startswith("GC_") and text
    }
    for name in overrides:
        if name in _PER_PROCESS:
            raise SettingsError(name, f"cannot be set for all processes; {_PER_PROCESS[name]}")
    read = Reader(overrides)
    for setting in settings.CATALOGUE:
        if setting.name in overrides or f"{setting.name}_FILE" in overrides:
            read(setting)
    return overrides


def _check_ports_differ(run: RunSettings) -> None:
    seen: dict[int, str] = {}
    for port in run.ports:
        if port.is_explicit:
            other = seen.setdefault(port.port, port.variable)
            if other != port.variable:
                raise SettingsError(port.variable, f"{port.port} is {other} already")


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def number(
        self,
        name: str,
        default: float,
        minimum: float,
        maximum: float,
        parse: Callable[[str], float],
    ) -> float:
        text = self._environment.get(name)
        if not text:
            return default
        try:
            value = parse(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise SettingsError(name, f"{text!r}: requires a number from {minimum} to {maximum}")
        return value

    def address(self, name: str, default: str) -> str:
        text = self._environment.get(name) or default
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            problem = f"{text!r}: requires an IPv4 address, such as {LOOPBACK} or {ALL_ADDRESSES}"
            raise SettingsError(name, problem) from None

    def one_of(self, name: str, *choices: str) -> str:
        """Return the choice; the first is the default."""
        text = self._environment.get(name) or choices[0]
        if text not in choices:
            raise SettingsError(name, f"{text!r}: requires one of {', '.join(choices)}")
        return text

    def port(self, name: str, default: int) -> PortSetting:
        is_explicit = bool(self._environment.get(name))
        return PortSetting(name, int(self.number(name, default, 1, _MAX_PORT, int)), is_explicit)
