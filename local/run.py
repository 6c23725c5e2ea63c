"""`make run`: the whole cache on this machine, with a simulated or the real WIS2 around it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from local.console import Console
from local.kept_world import take_for, world_of
from local.log_files import LogFiles
from local.parts.certificates import LOCAL_NAMES, CertificateAuthority
from local.parts.local_server import write_private
from local.parts.mosquitto import (
    PUBLIC_PASSWORD,
    PUBLIC_USERNAME,
    CacheBroker,
    PublicBroker,
    SimulatedGlobalBroker,
)
from local.parts.nginx import Nginx
from local.parts.ports import free_port, is_free
from local.parts.process import stop_with_parent
from local.parts.redis_server import RedisServer
from local.parts.s3_server import S3Server
from local.parts.sqs_server import SqsServer
from local.plan import (
    PartAddresses,
    ServicePlan,
    centre_id,
    common_environment,
    half_of_memory_mb,
    operator_file,
    plan_services,
    process_environment,
    without_chosen,
)
from local.service import Service
from local.settings import (
    ALL_ADDRESSES,
    LOOPBACK,
    WORLD_USERNAME,
    NamedBroker,
    RunSettings,
    check_given,
    read_settings,
)
from local.state import StateDirectory
from local.summary import SummaryReader
from local.supervisor import Stage, Supervisor
from local.world.centres import CENTRES
from local.world.settings import WorldSettings, to_environment
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.parsers import parse_broker_url
from wis2_gc_common.settings.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.parts.local_server import LocalServer
    from local.settings import PortSetting

_WRONG_SETTING = 2
_SUMMARY_ON_TERMINAL_S = 1.0
_SUMMARY_ELSEWHERE_S = 10.0
#: Managers drain, then hand back the rest.
_SERVICE_STOP_S = 8.0
_SIMULATED_BROKERS = ("alpha", "beta")
_ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of this run, and remarks about them for the user."""

    status: int
    data: int
    broker: int
    broker_tls: int
    broker_wss: int
    broker_accounts: int | None
    """None: nobody has an account for it."""
    redis: int
    world: tuple[int, ...]
    """Of the simulated Global Brokers."""
    remarks: tuple[str, ...]


def choose_ports(run: RunSettings) -> Ports:
    """Return free ports: the requested ones, or the defaults, or others if a default is taken.

    Raises SettingsError: a requested port is taken.
    """
    remarks: list[str] = []
    used = {port.port for port in run.ports if port.is_explicit}

    def choose(port: PortSetting) -> int:
        is_taken = not _is_free(port, run)
        if port.is_explicit:
            if is_taken:
                raise SettingsError(port.variable, f"port {port.port} is taken")
            return port.port
        number = port.port
        if is_taken or number in used:
            number = _another_port(run, used)
            remarks.append(f"port {port.port} is taken: {port.variable} is {number}")
        used.add(number)
        return number

    numbers = {port.variable: choose(port) for port in run.ports}
    return Ports(
        status=numbers["STATUS_PORT"],
        data=numbers["DATA_PORT"],
        broker=numbers["BROKER_PORT"],
        broker_tls=numbers["BROKER_TLS_PORT"],
        broker_wss=numbers["BROKER_WSS_PORT"],
        broker_accounts=numbers.get("BROKER_ACCOUNTS_PORT"),
        redis=numbers["REDIS_PORT"],
        world=tuple(choose_for_world(run, used) for _ in _SIMULATED_BROKERS),
        remarks=tuple(remarks),
    )


def choose_for_world(run: RunSettings, used: set[int]) -> int:
    """Return a port for a simulated Global Broker, and add it to `used`."""
    number = _another_port(run, used)
    used.add(number)
    return number


def _is_free(port: PortSetting, run: RunSettings) -> bool:
    hosts = {LOOPBACK, run.listen}
    return all(is_free(port.port, host) for host in hosts)


def _another_port(run: RunSettings, not_these: set[int]) -> int:
    number = free_port(run.listen)
    while number in not_these:
        number = free_port(run.listen)
    return number


class Run:
    """One run: its parts, its services, its stages."""

    def __init__(
        self,
        run: RunSettings,
        state: StateDirectory,
        ports: Ports,
        inherited: Mapping[str, str],
        left_out: Sequence[str] = (),
    ) -> None:
        """`inherited`: the environment from which that of the services is made.

        `left_out`: variables that an earlier run chose, for the greeting.
        """
        self.settings = run
        self.inherited = inherited
        self.left_out = tuple(left_out)
        self.state = state
        self.ports = ports
        self.centre_id = centre_id(run, state.secret("name", 4))
        self.authority = CertificateAuthority(state.path / "tls")
        self.redis = self._redis()
        self.sqs = self._sqs()
        self.broker = self._broker()
        self.public_broker = None if self.broker is None else self._public_broker(self.broker)
        self.store = self._store()
        self.s3 = self._s3()
        self.nginx = None if self.store is None else self._nginx(self.store)
        self.global_brokers = self._global_brokers()
        self.brokers = run.brokers or tuple(
            NamedBroker(broker.name, broker.url) for broker in self.global_brokers
        )
        self.addresses = self._addresses()
        self.environment = common_environment(
            run, self.addresses, self.brokers, our_centre_id=self.centre_id
        )

    @property
    def log_directory(self) -> Path:
        """Where every process has its log, NAME.log."""
        return self.state.path / "log"

    def _log(self, name: str) -> Path:
        return self.log_directory / f"{name}.log"

    def _redis(self) -> RedisServer | None:
        if self.settings.is_overridden(settings.REDIS_URL):
            return None
        return RedisServer(
            self.state.path / "redis",
            port=self.ports.redis,
            password=self.state.secret("redis"),
            max_memory=f"{half_of_memory_mb()}mb",
            log_file=self._log("redis"),
        )

    def _sqs(self) -> SqsServer | None:
        if self.settings.queue != "sqs" or self.settings.is_overridden(settings.QUEUE_URL):
            return None
        return SqsServer(self.state.path / "sqs", log_file=self._log("sqs"))

    def _broker(self) -> CacheBroker | None:
        if self.settings.is_overridden(settings.LOCAL_BROKER_URL):
            return None
        return CacheBroker(
            self.state.path / "broker",
            accounts=self._broker_accounts(),
            accounts_port=self.ports.broker_accounts,
            host=self.settings.listen,
            authority=self.authority if self.settings.broker_accounts else None,
            manager_password=self.state.secret("manager"),
            bridge_password=self.state.secret("bridge"),
            log_file=self._log("broker"),
        )

    def _broker_accounts(self) -> dict[str, str]:
        accounts = {
            account.name: account.password or self.state.secret(f"account-{account.name}")
            for account in self.settings.broker_accounts
        }
        if self.settings.is_simulated:
            accounts[WORLD_USERNAME] = self.state.secret("world")
        return accounts

    def _public_broker(self, source: CacheBroker) -> PublicBroker:
        return PublicBroker(
            self.state.path / "public-broker",
            source=source,
            port=self.ports.broker,
            tls_port=self.ports.broker_tls,
            websocket_port=self.ports.broker_wss,
            host=self.settings.listen,
            authority=self.authority,
            log_file=self._log("public-broker"),
        )

    def _store(self) -> Path | None:
        """Return the directory to serve; None if the user's store is elsewhere."""
        url = self.settings.overrides.get(settings.STORE_URL.name)
        if url is None:
            return self.state.path / "data"
        return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None

    def _s3(self) -> S3Server | None:
        if self.settings.store != "s3" or self.settings.is_overridden(settings.STORE_URL):
            return None
        # A directory of its own: the files in `data` have markers in their names.
        root = self.state.path / "buckets"
        return S3Server(self.state.path / "s3", root=root, log_file=self._log("s3"))

    def _nginx(self, store: Path) -> Nginx:
        return Nginx(
            self.state.path / "nginx",
            root=None if self.s3 else store,
            bucket_url="" if self.s3 is None else self.s3.bucket_url,
            port=self.ports.data,
            host=self.settings.listen,
            log_file=self._log("nginx"),
            connections_per_address=self.settings.data_connections,
        )

    def _global_brokers(self) -> list[SimulatedGlobalBroker]:
        """One with TLS and one without: both ways are in use."""
        if not self.settings.is_simulated:
            return []
        return [
            SimulatedGlobalBroker(
                self.state.path / "world" / name,
                port=self.ports.world[index],
                authority=self.authority if index == 0 else None,
                publisher_password=self.state.secret("world"),
                name=name,
                log_file=self._log(name),
            )
            for index, name in enumerate(_SIMULATED_BROKERS)
        ]

    def _addresses(self) -> PartAddresses:
        store = self.store or self.state.path / "data"
        base_url = "" if self.nginx is None else self.nginx.base_url
        return PartAddresses(
            redis_url="" if self.redis is None else self.redis.url,
            manager_broker_url="" if self.broker is None else self.broker.manager_url,
            store=store,
            data_base_url=self.settings.overrides.get(settings.DATA_BASE_URL.name, base_url),
            status_url=f"http://{_reachable(self.settings.listen)}:{self.ports.status}",
            status_port=self.ports.status,
            ca_file=self._trusted_file() if self.settings.is_simulated else None,
            queue_settings={} if self.sqs is None else self.sqs.environment,
            store_settings=self._store_settings(),
            deployment_secret=self._deployment_secret(),
        )

    def _deployment_secret(self) -> str:
        if self.settings.is_overridden(settings.DEPLOYMENT_SECRET):
            return ""
        return self.state.secret("deployment")

    def _store_settings(self) -> dict[str, str]:
        if self.s3 is None:
            return {}
        retention = Reader(self.settings.overrides)(settings.RETENTION_HOURS)
        return {
            settings.STORE_URL.name: self.s3.store_url,
            # As many days as the retention requires: we make the rule of this bucket.
            settings.STORE_EXPIRATION_DAYS.name: str(-(-retention // 24)),
            **self.s3.environment,
        }

    def _trusted_file(self) -> Path:
        """Return our authority's file, joined with the user's."""
        given = self.settings.overrides.get(settings.CA_FILE.name)
        if given is None:
            return self.authority.ca_file
        path = self.state.path / "tls" / "trusted.pem"
        texts = (Path(given).read_text(encoding="utf-8"), self.authority.ca_file.read_text())
        path.write_text("\n".join(texts), encoding="utf-8")
        return path

    def stages(self) -> list[Stage]:
        """Return the children in order of their start; they stop in the reverse order."""
        metrics, managers, listeners = plan_services(
            self.settings, self.addresses, self.brokers, self.environment
        )
        parts: list[LocalServer] = [
            part
            for part in (
                self.redis, self.sqs, self.s3, self.nginx, self.broker, self.public_broker,
            )
            if part is not None
        ]  # fmt: skip
        parts += self.global_brokers
        for part in parts:
            part.inherited = (self.state.lock_descriptor,)
        stages = [Stage([part]) for part in parts]
        if self.s3 is not None:
            stages.append(Stage([self._service(self._lifecycle(self.s3))], _SERVICE_STOP_S))
        stages += [
            Stage([self._service(plan) for plan in plans], _SERVICE_STOP_S)
            for plans in (metrics, managers, listeners)
        ]
        if self.settings.is_simulated:
            stages.append(Stage([self._service(self._world())], _SERVICE_STOP_S))
        return stages

    def _service(self, plan: ServicePlan) -> Service:
        return Service(
            plan.name,
            plan.command,
            process_environment(plan, self.inherited),
            inherited=(self.state.lock_descriptor,),
        )

    def _lifecycle(self, s3: S3Server) -> ServicePlan:
        """Return the process that makes objects expire, as a real bucket's rule does."""
        days = Reader(self.environment)(settings.STORE_EXPIRATION_DAYS)
        command = (sys.executable, "-m", "local.s3_lifecycle", str(s3.objects), str(days))
        return ServicePlan("s3-lifecycle", command, {})

    def _world(self) -> ServicePlan:
        addresses = tuple(centre.address for centre in CENTRES if centre.is_https)
        certificate = self.authority.certificate("world", (*LOCAL_NAMES, *addresses))
        publishers = {
            broker.name: broker.url.replace(
                f"{PUBLIC_USERNAME}:{PUBLIC_PASSWORD}",
                f"{broker.publisher_username}:{broker.publisher_password}",
            )
            for broker in self.global_brokers
        }
        world = WorldSettings(
            directory=self.state.path / "world",
            global_brokers=publishers,
            ca_file=self.authority.ca_file,
            tls_chain_file=certificate.chain_file,
            tls_key_file=certificate.key_file,
            centre_id=self.centre_id,
            cache_broker_url="" if self.broker is None else self.broker.url(WORLD_USERNAME),
            data_base_url=self.addresses.data_base_url,
            ready_url=f"{self.addresses.status_url}/readyz",
            rate=self.settings.rate,
            mix=str(self.settings.mix),
            seed=self.settings.seed,
            items=self.settings.items,
        )
        return ServicePlan("world", (sys.executable, "-m", "local.world"), to_environment(world))

    def greeting(self) -> str:
        """Return the addresses, and one command to watch the announcements."""
        account = f"{PUBLIC_USERNAME}/{PUBLIC_PASSWORD}"
        lines = [
            "",
            f"  WIS2 Global Cache {self.centre_id}, state in {_shown(self.state.path)}",
            "",
            f"  status page     {self.addresses.status_url}/",
            f"  metrics         {self.addresses.status_url}/metrics",
            f"  data            {self.addresses.data_base_url}/",
        ]
        if self.public_broker is not None:
            public = self.public_broker
            lines += [
                f"  broker          mqtts://localhost:{public.tls_port}",
                f"                  wss://localhost:{public.websocket_port}/mqtt",
                f"                  mqtt://{LOOPBACK}:{public.port} (this machine only)",
                f"                  account {account}, CA file {_shown(self.authority.ca_file)}",
            ]
        if self.settings.broker_accounts:
            lines.append(f"  accounts        mqtts://localhost:{self.ports.broker_accounts}")
            lines += [f"                  {text}" for text in self._account_texts()]
        lines.append(f"  Global Brokers  {self._global_broker_text()}")
        if self.sqs is not None:
            lines.append(f"  queue           {self.sqs.queue_url} (plays SQS, in memory)")
        if self.s3 is not None:
            lines.append(f"  store           {self.s3.bucket_url} (plays S3, files below buckets/)")
        if self.settings.is_simulated:
            lines.append(
                f"  publishing      {self.settings.rate:g} items per second (RATE=…, MIX=…, SEED=…)"
            )
        lines += [f"  not started here: {text}" for text in self._not_started()]
        remarks = self._remarks()
        if remarks:
            lines += ["", *(f"  Note: {remark}" for remark in remarks)]
        if self.public_broker is not None:
            lines += ["", "  Watch what it announces:", f"    {self._watch_command()}"]
        lines += [
            "",
            "  Ctrl-C stops it; the state stays for the next run.",
            "  Enter, on a terminal, prints this again.",
            "",
        ]
        return "\n".join(lines)

    def _account_texts(self) -> list[str]:
        """Return a line about each Global Broker's account, without its password."""
        secrets = self.state.path / "secrets"
        return [
            account.name
            if account.password is not None
            else f"{account.name}, password in {_shown(secrets / f'account-{account.name}')}"
            for account in self.settings.broker_accounts
        ]

    def _not_started(self) -> list[str]:
        """Return the servers that the user runs elsewhere, and how we know."""
        nginx_and_store = "nginx, s3" if self.settings.store == "s3" else "nginx"
        servers: list[tuple[str, settings.Setting[Any], bool]] = [
            ("redis", settings.REDIS_URL, self.redis is None),
            ("sqs", settings.QUEUE_URL, self.settings.queue == "sqs" and self.sqs is None),
            ("broker", settings.LOCAL_BROKER_URL, self.broker is None),
            (nginx_and_store, settings.STORE_URL, self.nginx is None),
        ]
        return [
            f"{name} ({self.settings.override_name(setting)} is set)"
            for name, setting, is_elsewhere in servers
            if is_elsewhere
        ]

    def _global_broker_text(self) -> str:
        if self.settings.is_simulated:
            return f"{', '.join(broker.name for broker in self.brokers)} (simulated)"
        return ", ".join(f"{broker.name} {parse_broker_url(broker.url)}" for broker in self.brokers)

    def _watch_command(self) -> str:
        if self.public_broker is None:
            return ""
        ca_file = shlex.quote(_shown(self.authority.ca_file))
        if shutil.which("mosquitto_sub"):
            return (
                f"mosquitto_sub -h localhost -p {self.public_broker.tls_port} --cafile {ca_file} "
                f"-u {PUBLIC_USERNAME} -P {PUBLIC_PASSWORD} -t 'cache/a/wis2/#' -v"
            )
        url = f"mqtts://{PUBLIC_USERNAME}:{PUBLIC_PASSWORD}@localhost:{self.public_broker.tls_port}"
        python = shlex.quote(_shown(Path(sys.executable)))
        return f"{python} -m local.subscribe --ca {ca_file} {url}"

    def _remarks(self) -> list[str]:
        remarks = list(self.ports.remarks)
        if self.left_out:
            remarks.append(
                "left out, because an earlier run chose them and this shell has read its "
                f"environment file: {', '.join(self.left_out)}; to use one, give it behind "
                "make run (NAME=VALUE)"
            )
        remarks += [f"{name} is not a setting of the services" for name in self.settings.unknown]
        if self.settings.listen == ALL_ADDRESSES and (
            settings.DATA_BASE_URL.name not in self.settings.overrides
        ):
            remarks.append(
                f"the announced links begin with {self.addresses.data_base_url}; give "
                f"{settings.DATA_BASE_URL.name} the address under which others reach this machine"
            )
        return remarks


def _reachable(host: str) -> str:
    return LOOPBACK if host == ALL_ADDRESSES else host


def _shown(path: Path) -> str:
    """Return the path as a user would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main(environment: Mapping[str, str] | None = None, given: Sequence[str] = ()) -> int:
    """Run until Ctrl-C; return the exit code, 2 for a wrong setting.

    `given`: the names of the variables on make's command line.
    """
    if "MAKELEVEL" in os.environ:
        stop_with_parent(signal.SIGTERM)  # make was killed: Ctrl-C could not stop us
    try:
        check_given(given)
        inherited, left_out = without_chosen(
            os.environ if environment is None else environment, given
        )
        run_settings = read_settings(inherited)
        check_address(run_settings)
        state = StateDirectory(run_settings.state)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return _WRONG_SETTING
    try:
        return _run(run_settings, state, inherited, left_out)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return _WRONG_SETTING
    finally:
        state.close()


def check_address(run: RunSettings) -> None:
    """Raise SettingsError: this machine does not have the address to listen on."""
    with socket.socket() as probe:
        try:
            probe.bind((run.listen, 0))
        except OSError as error:
            problem = f"cannot listen on {run.listen}: {error.strerror}"
            raise SettingsError("LISTEN", problem) from None


def _run(
    run_settings: RunSettings,
    state: StateDirectory,
    inherited: Mapping[str, str],
    left_out: Sequence[str],
) -> int:
    our_centre_id = centre_id(run_settings, state.secret("name", 4))
    world = world_of(run_settings, our_centre_id)
    take_for(state.path, world, keeps_both=run_settings.keeps_both_worlds)
    run = Run(run_settings, state, choose_ports(run_settings), inherited, left_out)
    write_private(state.path / _ENVIRONMENT, operator_file(run.environment, run_settings.overrides))
    stages = run.stages()
    names = [child.name for stage in stages for child in stage.children]
    shows_json = Reader(run.environment)(settings.LOG_FORMAT) == "json"
    console = Console(sys.stdout, ["supervisor", *names], shows_json=shows_json)
    console.plain(run.greeting())
    logs = LogFiles(run.log_directory)
    summary = SummaryReader(run.addresses.status_url, columns=console.columns)
    try:
        every_s = _SUMMARY_ON_TERMINAL_S if console.is_terminal else _SUMMARY_ELSEWHERE_S
        supervisor = Supervisor(
            stages,
            console,
            logs=logs,
            summary=summary.text,
            summary_every_s=every_s,
            on_enter=lambda: console.plain(run.greeting()),
        )
        return supervisor.run()
    finally:
        summary.close()
        logs.close()


if __name__ == "__main__":
    sys.exit(main(given=sys.argv[1:]))
