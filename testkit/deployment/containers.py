"""The three commands in containers, as locked down as the chart runs them."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from testkit.deployment.docker import DockerError, docker
from testkit.worlds.world import Process, World

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Nothing but what a service needs: no writable file, no capability, no way to get one.
HARDENING = (
    "--read-only", "--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=64m", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges", "--pids-limit", "200", "--memory", "1g",
)  # fmt: skip
GRACE_S = 25


class Container(Process):
    """A service in a container on the host's network, with the interface of a process."""

    def __init__(
        self,
        image: str,
        environment: Mapping[str, str],
        log: Path,
        *options: str,
        hardening: Sequence[str] = HARDENING,
    ) -> None:
        self._image, self._options = image, (*hardening, *options)
        self.name = f"wis2-gc-test-{uuid.uuid4().hex[:12]}"
        super().__init__(image, dict(environment), log)

    def start(self) -> None:
        command = ["run", "--detach", "--name", self.name, "--network", "host"]
        for name, value in self._environment.items():
            command += ["--env", f"{name}={value}"]
        docker(*command, *self._options, self._image)

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("container", "inspect", self.name))[0]
        return found

    @property
    def is_alive(self) -> bool:
        return bool(self.inspect()["State"]["Running"])

    @property
    def started_at(self) -> float:
        """Wall-clock time, in seconds."""
        # Nanoseconds and "Z", which Python 3.11 does not read both.
        text = self.inspect()["State"]["StartedAt"].rstrip("Z")[:26]
        return datetime.fromisoformat(f"{text}+00:00").timestamp()

    @property
    def pid(self) -> int:
        return int(self.inspect()["State"]["Pid"])

    def kill(self) -> None:
        docker("kill", self.name)

    def execute(self, *command: str) -> str:
        """Run a command inside; raises DockerError with what it said."""
        return docker("exec", self.name, *command)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code: 137 when the grace period was not enough."""
        try:
            docker("stop", "--time", str(GRACE_S), self.name)
            code = int(self.inspect()["State"]["ExitCode"])
            self._log.write_text(self._logs(), encoding="utf-8")
        finally:
            docker("rm", "--force", "--volumes", self.name)
        return code

    def _logs(self) -> str:
        # docker's own two streams; the services write to standard error.
        done = subprocess.run(
            ["docker", "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        )
        return done.stdout.decode(errors="replace")

    @property
    def log(self) -> str:
        try:
            return self._logs()
        except subprocess.CalledProcessError:
            return super().log


class ContainerWorld(World):
    """The same world; the cache in it runs from images."""

    def __init__(self, directory: Path, images: Mapping[str, str], **options: Any) -> None:
        self._images = images
        self.containers: dict[str, Container] = {}
        super().__init__(directory, **options)

    def _start(self, stack: contextlib.ExitStack, name: str, command: str, **own: str) -> None:
        service = command.removeprefix("wis2-gc-")
        if service == "manager" and self.environment["GC_STORE_URL"].startswith("file:"):
            give_away(self.store, self._images[service])
        container = Container(
            self._images[service], {**self.environment, **own}, self.directory / f"{name}.log",
            "--volume", f"{self.store}:{self.store}", *(("--hostname", name)),
        )  # fmt: skip
        stack.callback(self._end, container)
        self.containers[name] = self.processes[name] = container

    def _is_ready_or_dead(self) -> bool:
        for name, container in self.containers.items():
            assert container.is_alive, f"{name} ended by itself:\n{container.log[-3000:]}"
        return self.is_ready()

    @staticmethod
    def _end(container: Container) -> None:
        try:
            container.stop()
        except DockerError as error:
            # The test stopped it itself.
            if "No such container" not in str(error):
                raise


def give_away(directory: Path, image: str, *, owner: str = "65532:65532") -> None:
    """Let the images' user own a directory, also where we are not root ourselves."""
    docker(
        "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{directory}:{directory}",
        "--entrypoint", "chown", image, "-R", owner, str(directory),
    )  # fmt: skip


def require_engine() -> tuple[str, str]:
    """Return (BASE, BUILD_BASE) as `make test-images` gives them; skip without."""
    import pytest

    from testkit.deployment.docker import engine_version

    base = os.environ.get("BASE")
    if not base:
        pytest.skip("needs a Docker engine and a base image: make test-images has both")
    engine_version()
    return base, os.environ.get("BUILD_BASE", base)
