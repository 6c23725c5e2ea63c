"""A server process in a container, by testcontainers, with the interface of `subprocess.Popen`.

The container shares the machine's network and process ids, runs as our own user and sees the
server's directory under its own name: so configuration files, ports, process ids and signals are
what they are for a native process.
"""

from __future__ import annotations

import os
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors  # type: ignore[import-untyped]
import requests
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from testkit.deployment.docker import has_image

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The library's watchdog ends containers whose test run was killed. It is an image of its own.
testcontainers_config.ryuk_disabled = not has_image(testcontainers_config.ryuk_image)

#: What the image's own entry point would do (change owner and user) is not wanted.
_RUN = ["sh", "-c", 'exec "$@" >>"$LOG" 2>&1', "sh"]


def _container(
    image: str, directory: Path, further: Sequence[Path] = (), **options: Any
) -> DockerContainer:
    container = DockerContainer(image)
    for path in (directory, *further):
        container.with_volume_mapping(str(path), str(path), "rw")
    return container.with_kwargs(
        network_mode="host", pid_mode="host", user=f"{os.getuid()}:{os.getgid()}",
        working_dir=str(directory), **options,
    )  # fmt: skip


class ContainerProcess:
    """Started when it is made; its container is gone when it has been waited for."""

    def __init__(
        self,
        image: str,
        command: Sequence[str],
        directory: Path,
        log_file: Path,
        further: Sequence[Path] = (),
    ) -> None:
        container = _container(image, directory, further, entrypoint=[*_RUN, *command])
        container.with_env("LOG", str(log_file.absolute()))
        self._container = container.start()
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        self._wrapped = wrapped
        self.pid = int(wrapped.attrs["State"]["Pid"])
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._wrapped.reload()
            state = self._wrapped.attrs["State"]
            if not state["Running"]:
                self._end(state["ExitCode"])
        return self._code

    def send_signal(self, sig: int) -> None:
        if self._code is not None:
            return
        try:
            self._wrapped.kill(signal=int(sig))
        except docker.errors.APIError as error:
            # It has ended and nobody has looked yet: nothing happens, as with Popen.
            if error.status_code != requests.codes.conflict:
                raise

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            try:
                answer = self._wrapped.wait(timeout=timeout)
            except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
                assert timeout is not None
                raise subprocess.TimeoutExpired(self._wrapped.name, timeout) from None
            self._end(int(answer["StatusCode"]))
        assert self._code is not None
        return self._code

    def _end(self, code: int) -> None:
        # A shell's way to say which signal it was, and Popen's.
        self._code = 128 - code if code > 128 else code
        self._container.stop()


def run_once(image: str, command: Sequence[str], directory: Path) -> str:
    """Run a command to its end; return what it prints. Raises CalledProcessError."""
    container = _container(image, directory, entrypoint=list(command)).start()
    try:
        wrapped = container.get_wrapped_container()
        code = int(wrapped.wait()["StatusCode"])
        printed: str = wrapped.logs().decode(errors="replace")
    finally:
        container.stop()
    if code:
        raise subprocess.CalledProcessError(code, list(command), printed)
    return printed


@cache
def find(image: str, name: str) -> Path:
    """Return where an image has a file of this name."""
    container = DockerContainer(image).with_kwargs(
        network_mode="none", entrypoint=["find", "/usr", "-name", name]
    )
    with container:
        wrapped = container.get_wrapped_container()
        wrapped.wait()
        found = wrapped.logs(stderr=False).decode().split()
    assert found, f"{image} has no {name}"
    return Path(found[0])
