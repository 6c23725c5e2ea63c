"""Where the tests' Redis and MQTT brokers run: as native processes, or in containers.

`PARTS=native` or `PARTS=containers` says which. Without it: containers where a Docker engine
answers and holds the images, else native. The same tests, the same classes; only what a server's
process is differs. nginx, SQS and S3 are always native.

`PARTS_REDIS_IMAGE`, `PARTS_MOSQUITTO_IMAGE`: other images than the official ones; each needs its
server, `sh` and (mosquitto) `mosquitto_passwd` on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from images.docker import DockerError, engine_version, has_image
from local.parts.mosquitto import CacheBroker, GlobalBroker, Mosquitto
from local.parts.part import Part
from local.parts.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REDIS_IMAGE = "redis:7.2"
MOSQUITTO_IMAGE = "eclipse-mosquitto:2.0"


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
            return f"Redis and mosquitto in containers of {' and '.join(images())} ({self.why})"
        return f"Redis and mosquitto as native processes ({self.why})"


def images() -> tuple[str, str]:
    """Return the images of Redis and mosquitto."""
    return (
        os.environ.get("PARTS_REDIS_IMAGE") or REDIS_IMAGE,
        os.environ.get("PARTS_MOSQUITTO_IMAGE") or MOSQUITTO_IMAGE,
    )


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
    absent = [image for image in images() if not has_image(image)]
    return f"the engine does not hold {' and '.join(absent)}" if absent else ""


def is_at_hand(program: str) -> bool:
    """Whether the server can be started."""
    return choice().in_containers or shutil.which(program, path=_PATH) is not None


_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def launch(command: Sequence[str], directory: Path, log_file: Path) -> ServerProcess:
    """Run a server. `directory`: all the files it needs; `log_file`, in it: what it prints."""
    if choice().in_containers:
        from tests.support.container_process import ContainerProcess

        return ContainerProcess(_image(command[0]), command, directory, log_file)
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
        from tests.support.container_process import run_once

        run_once(_image(command[0]), command, directory)
        return
    subprocess.run(command, check=True, capture_output=True)


def _image(program: str) -> str:
    redis, mosquitto = images()
    return redis if program.startswith("redis") else mosquitto


class _InContainer(Part):
    """A part of `make run` whose process is in a container."""

    def launch(self) -> None:
        self.kill()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        process = launch(self._configure(), self.directory, self.log_file)
        self._process = process  # type: ignore[assignment]


class _MosquittoInContainer(_InContainer, Mosquitto):
    def _plugin_path(self) -> Path:
        from tests.support.container_process import find

        return find(images()[1], super()._plugin_path().name)


class _RedisServerInContainer(_InContainer, RedisServer):
    pass


class _GlobalBrokerInContainer(_MosquittoInContainer, GlobalBroker):
    pass


class _CacheBrokerInContainer(_MosquittoInContainer, CacheBroker):
    pass


def redis_server(directory: Path) -> RedisServer:
    """Return a Redis that is not started."""
    return (_RedisServerInContainer if choice().in_containers else RedisServer)(directory)


def global_broker(directory: Path) -> GlobalBroker:
    """Return a Global Broker that is not started."""
    return (_GlobalBrokerInContainer if choice().in_containers else GlobalBroker)(directory)


def cache_broker(directory: Path) -> CacheBroker:
    """Return a cache's own broker that is not started."""
    return (_CacheBrokerInContainer if choice().in_containers else CacheBroker)(directory)
