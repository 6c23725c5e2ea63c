"""Runs a command with a Docker engine and a base image: `python -m testkit.deployment.engine -- …`.

The engine that answers is used. Where none does and we are root, one is started for the time of
the command: its files in `.tools/images`, no network of its own and no firewall rule, so that
nothing of the machine is changed. With `--bridges` it has both, in a network namespace of its own,
where the command runs too: what is to be built or fetched has to be there before. Where the
official base cannot be pulled, one is made with debootstrap. The command gets DOCKER_HOST, BASE,
BUILD_BASE and NETWORK (not with `--bridges`).

Where nothing of this is possible the command does not run: one loud line, exit code 0, or 1 with
`--required`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local.parts.process import die_with_parent
from testkit.deployment.docker import DockerError, docker, engine_version, has_image
from testkit.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STATE = ROOT / ".tools/images"
OWN_BASE = "wis2-gc-base:bookworm"
OWN_BUILD_BASE = "wis2-gc-build-base:bookworm"
_SUITE = "bookworm"
_START_S = 60.0
_STOP_S = 60.0
_PULL_S = 600.0
_CLONE_NEWNET = 0x40000000

#: What a base of the size of the official slim one lacks.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/log",
             "var/cache/apt", "var/lib/apt/lists", "var/cache/debconf")  # fmt: skip


class NotPossible(Exception):
    """No engine or no base image, and why."""


def _say(text: str) -> None:
    sys.stderr.write(f"images: {text}\n")


@contextlib.contextmanager
def engine(*, bridges: bool = False) -> Iterator[None]:
    """Have DOCKER_HOST name an engine that answers. Raises NotPossible."""
    try:
        version = engine_version()
    except DockerError as error:
        if os.environ.get("DOCKER_HOST"):
            raise NotPossible(f"the engine of DOCKER_HOST does not answer: {error}") from None
    else:
        _say(f"engine {version} answers")
        yield
        return
    if os.geteuid() != 0:
        raise NotPossible("no Docker engine answers, and only root can start one")
    _install("dockerd", "docker.io")
    options = ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
    if bridges:
        _install("ip", "iproute2")
        _leave_the_network()
        options = []
    else:
        os.environ["NETWORK"] = "host"
    with _own_engine(options):
        yield


def _leave_the_network() -> None:
    """Go into a network namespace that has loopback only. Raises NotPossible."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise NotPossible(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def _own_engine(options: Sequence[str]) -> Iterator[None]:
    STATE.mkdir(parents=True, exist_ok=True)
    log = STATE / "dockerd.log"
    # Short, because the name of a socket may have no more than 107 characters.
    with tempfile.TemporaryDirectory(prefix="wis2-gc-") as run, log.open("wb") as output:
        address = f"unix://{run}/docker.sock"
        process = subprocess.Popen(
            [
                "dockerd", "--host", address, "--data-root", str(STATE / "docker"),
                "--exec-root", f"{run}/exec", "--pidfile", f"{run}/dockerd.pid",
                "--log-level", "warn", *options,
            ],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - runs C only
        )  # fmt: skip
        os.environ.update(DOCKER_HOST=address)
        try:
            version = _wait_for(process, log)
            _say(f"started an engine of our own, {version}, its files in {STATE}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # dockerd leaves its network namespace mounted.
            subprocess.run(
                ["umount", f"{run}/exec/netns/default"], capture_output=True, check=False
            )


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(DockerError):
            return engine_version()
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise NotPossible(f"dockerd does not start: {lines[-1] if lines else 'no log'}")
        time.sleep(0.1)


def _install(program: str, package: str) -> None:
    """Install a Debian package unless its program is there. Raises NotPossible."""
    if shutil.which(program):
        return
    if shutil.which("apt-get") is None:
        raise NotPossible(f"{program} is not installed, and this is not a Debian system")
    _say(f"installing the Debian package {package}")
    # Exit code 101 keeps the package's own engine from being started.
    guard = Path("/usr/sbin/policy-rc.d")
    is_ours = not guard.exists()
    if is_ours:
        guard.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        guard.chmod(0o755)
    try:
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(
                ["apt-get", "-qq", *arguments],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
    except subprocess.CalledProcessError:
        raise NotPossible(f"the Debian package {package} cannot be installed") from None
    finally:
        if is_ours:
            guard.unlink()


def bases() -> tuple[str, str]:
    """Return what images run on and what they are built on. Raises NotPossible."""
    if base := os.environ.get("BASE"):
        return base, os.environ.get("BUILD_BASE", base)
    named = json.loads((ROOT / "images/bases.json").read_text("utf-8"))["variable"]
    official = {name: variable["default"] for name, variable in named.items()}
    try:
        for image in official.values():
            if not has_image(image):
                docker("pull", "--quiet", image, timeout_s=_PULL_S)
    except DockerError as error:
        _say(f"the official base cannot be had ({error})")
    else:
        return official["BASE"], official["BUILD_BASE"]
    if not has_image(OWN_BASE):
        if os.geteuid() != 0:
            raise NotPossible("no base can be pulled, and only root can make one")
        _install("debootstrap", "debootstrap")
        _make_base()
    if not has_image(OWN_BUILD_BASE):
        _make_build_base()
    _say(f"building on {OWN_BASE}, made here with debootstrap, INSTEAD OF {official['BASE']}")
    return OWN_BASE, OWN_BUILD_BASE


def _make_base() -> None:
    _say(f"making {OWN_BASE} with debootstrap; this takes a minute")
    with tempfile.TemporaryDirectory(prefix="wis2-gc-base-", dir=STATE.parent) as directory:
        tree = Path(directory) / "tree"
        log = Path(directory) / "log"
        with log.open("wb") as output:
            code = subprocess.run(
                ["debootstrap", "--variant=minbase", "--include=python3,ca-certificates",
                 _SUITE, str(tree)],
                stdout=output, stderr=output, check=False,
            ).returncode  # fmt: skip
        if code:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise NotPossible(f"debootstrap fails: {lines[-1] if lines else 'no log'}")
        for name in _LEFT_OUT:
            for path in (tree / name).glob("*"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                ["docker", "import", "-", OWN_BASE],
                stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip


def _make_build_base() -> None:
    """Add what builds, and the authorities this machine trusts: those never get into an image."""
    _say(f"making {OWN_BUILD_BASE}")
    trusted = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    with tempfile.TemporaryDirectory(prefix="wis2-gc-") as directory:
        context = Path(directory)
        shutil.copyfile(trusted, context / "machine-ca.pem")
        (context / "Dockerfile").write_text(
            f"""\
FROM {OWN_BASE}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends binutils python3-venv
COPY machine-ca.pem /etc/ssl/machine-ca.pem
ENV PIP_CERT=/etc/ssl/machine-ca.pem
""",
            encoding="utf-8",
        )
        network = ["--network", os.environ["NETWORK"]] if os.environ.get("NETWORK") else []
        docker("build", *network, "--tag", OWN_BUILD_BASE, str(context))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="engine", description="See the text above.")
    parser.add_argument("--required", action="store_true", help="fail where there is none")
    parser.add_argument(
        "--bridges", action="store_true", help="an engine of ours has networks, and no other"
    )
    parser.add_argument("command", nargs="+", metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    # dockerd is stopped in `finally`, also when we are asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with engine(bridges=options.bridges):
            base, build_base = bases()
            environment = {**os.environ, "BASE": base, "BUILD_BASE": build_base}
            return subprocess.run(options.command, env=environment, check=False).returncode
    except (NotPossible, DockerError) as error:
        bar = "!" * 78
        _say(f"\n{bar}\n{'FAILED' if options.required else 'SKIPPED'}: {error}\n{bar}")
        return 1 if options.required else 0


if __name__ == "__main__":
    sys.exit(main())
