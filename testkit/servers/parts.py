"""Where the tests' Redis, MQTT brokers, SQS and S3 run: as native processes, or in containers.

`PARTS=native` or `PARTS=containers` says which. Without it: containers where a Docker engine
answers and holds the images, else native. The same tests, the same classes; only what a server's
process is differs. nginx is always native.

`PARTS_REDIS_IMAGE`, `PARTS_MOSQUITTO_IMAGE`, `PARTS_SQS_IMAGE`, `PARTS_S3_IMAGE`: other images than
the official ones; each needs `sh` and its program on the PATH: redis-server, mosquitto and
mosquitto_passwd, node (what it runs is mounted), rclone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from local.parts.local_server import LocalServer
from local.parts.mosquitto import CacheBroker, Mosquitto, PublicBroker, SimulatedGlobalBroker
from local.parts.redis_server import RedisServer
from local.parts.s3_server import S3Server
from local.parts.sqs_server import MODULES, PROGRAM, SqsServer
from testkit.deployment.docker import DockerError, engine_version, has_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Image by program.
OFFICIAL: Mapping[str, str] = {
    "redis": "redis:7.2",
    "mosquitto": "eclipse-mosquitto:2.0",
    "sqs": "node:22-bookworm-slim",
    "s3": "rclone/rclone:1.75",
}
_SHOWN = {"redis": "Redis", "mosquitto": "mosquitto", "sqs": "SQS", "s3": "S3"}
_ALL = f"{', '.join(list(_SHOWN.values())[:-1])} and {list(_SHOWN.values())[-1]}"


class ServerProcess(Protocol):
    """What the tests need of a server's process: a part of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class WrongChoice(RuntimeError):
    """PARTS asks for what cannot be had."""


@dataclass(frozen=True)
class Choice:
    """How the servers run, and why so."""

    in_containers: bool
    why: str

    def __str__(self) -> str:
        if self.in_containers:
            named = ", ".join(dict.fromkeys(images().values()))
            return f"{_ALL} in containers of {named} ({self.why})"
        return f"{_ALL} as native processes ({self.why})"


def images() -> dict[str, str]:
    """Return the image of each server."""
    return {name: os.environ.get(variable(name)) or image for name, image in OFFICIAL.items()}


def variable(name: str) -> str:
    """Return the environment variable that names another image for a server."""
    return f"PARTS_{name.upper()}_IMAGE"


@cache
def choice() -> Choice:
    """Return how the servers run. Raises WrongChoice."""
    asked = os.environ.get("PARTS", "")
    if asked not in ("", "native", "containers"):
        raise WrongChoice(f"PARTS is {asked!r}; it may be native or containers")
    if asked == "native":
        return Choice(in_containers=False, why="PARTS=native")
    lacking = _lacking()
    if asked == "containers":
        if lacking:
            raise WrongChoice(f"PARTS=containers, but {lacking}")
        return Choice(in_containers=True, why="PARTS=containers")
    if lacking:
        return Choice(in_containers=False, why=lacking)
    return Choice(in_containers=True, why="engine and images are at hand")


def _lacking() -> str:
    try:
        engine_version()
    except DockerError as error:
        return f"no Docker engine answers: {str(error).splitlines()[0]}"
    absent = [image for image in dict.fromkeys(images().values()) if not has_image(image)]
    return f"the engine does not hold {', '.join(absent)}" if absent else ""


def is_at_hand(program: str) -> bool:
    """Whether the server can be started."""
    return choice().in_containers or shutil.which(program, path=_PATH) is not None


_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def launch(
    command: Sequence[str], directory: Path, log_file: Path, *, further: Sequence[Path] = ()
) -> ServerProcess:
    """Run a server.

    `directory`: the files it needs, and `further` ones; `log_file`, in the first: what it prints.
    """
    if choice().in_containers:
        from testkit.servers.container_process import ContainerProcess

        # Our own rclone is one of Python's packages; an image's is on its PATH.
        inside = [Path(command[0]).name, *command[1:]]
        return ContainerProcess(_image(inside[0]), inside, directory, log_file, further)
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        raise RuntimeError(f"{command[0]} is not installed")
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
        )  # fmt: skip


def run(command: Sequence[str], directory: Path) -> None:
    """Run a server's tool on the files of `directory`."""
    if choice().in_containers:
        from testkit.servers.container_process import run_once

        run_once(_image(command[0]), command, directory)
        return
    subprocess.run(command, check=True, capture_output=True)


def _image(program: str) -> str:
    name = program.partition("-")[0].partition("_")[0]
    return images()[{"node": "sqs", "rclone": "s3"}.get(name, name)]


class _InContainer(LocalServer):
    """A part of `make run` whose process is in a container."""

    def _further(self) -> Sequence[Path]:
        """Return what the server needs besides its directory."""
        return ()

    def launch(self) -> None:
        self.kill()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        process = launch(self._configure(), self.directory, self.log_file, further=self._further())
        self._process = process  # type: ignore[assignment]


class _MosquittoInContainer(_InContainer, Mosquitto):
    def _plugin_path(self) -> Path:
        from testkit.servers.container_process import find

        return find(images()["mosquitto"], super()._plugin_path().name)


class _RedisServerInContainer(_InContainer, RedisServer):
    pass


class _SqsServerInContainer(_InContainer, SqsServer):
    def _further(self) -> Sequence[Path]:
        return (PROGRAM.parent, MODULES.parent)


class _S3ServerInContainer(_InContainer, S3Server):
    def _further(self) -> Sequence[Path]:
        return (self.root,)


class _GlobalBrokerInContainer(_MosquittoInContainer, SimulatedGlobalBroker):
    pass


class _CacheBrokerInContainer(_MosquittoInContainer, CacheBroker):
    pass


class _PublicBrokerInContainer(_MosquittoInContainer, PublicBroker):
    pass


def redis_server(directory: Path, *, password: str | None = None) -> RedisServer:
    """Return a Redis that is not started."""
    kind = _RedisServerInContainer if choice().in_containers else RedisServer
    return kind(directory, password=password)


def sqs_server(directory: Path) -> SqsServer:
    """Return an SQS that is not started."""
    return (_SqsServerInContainer if choice().in_containers else SqsServer)(directory)


def s3_server(
    directory: Path, *, root: Path | None = None, keys: tuple[str, str] | None = None
) -> S3Server:
    """Return an S3 that is not started."""
    kind = _S3ServerInContainer if choice().in_containers else S3Server
    return kind(directory, root=root, keys=keys)


def global_broker(directory: Path) -> SimulatedGlobalBroker:
    """Return a Global Broker that is not started."""
    return (_GlobalBrokerInContainer if choice().in_containers else SimulatedGlobalBroker)(
        directory
    )


def cache_broker(
    directory: Path, *, manager_password: str, accounts: Mapping[str, str]
) -> CacheBroker:
    """Return a cache's own broker that is not started."""
    kind = _CacheBrokerInContainer if choice().in_containers else CacheBroker
    return kind(directory, manager_password=manager_password, accounts=accounts)


def public_broker(directory: Path, source: CacheBroker) -> PublicBroker:
    """Return the broker that everyone reads, not started."""
    kind = _PublicBrokerInContainer if choice().in_containers else PublicBroker
    return kind(directory, source=source)
