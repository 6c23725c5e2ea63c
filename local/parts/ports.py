"""Free TCP ports, and whether a process listens on them (Linux)."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Below the kernel's range for outgoing connections (32768 to 60999): a server that is killed and
#: started again finds its port free.
_CANDIDATES = range(20_000, 32_768)
_LISTEN = "0A"


def _in_any_order(candidates: range) -> Iterator[int]:
    return itertools.cycle(random.sample(candidates, len(candidates)))


#: No port is given out twice before all others: its first user may not listen on it yet.
_next = _in_any_order(_CANDIDATES)


def take_share(number: int, of: int) -> None:
    """From now on give out only share `number` (from 0) of `of` shares.

    For processes that run at the same time: each takes another share, so no port is given out
    twice.
    """
    global _next  # noqa: PLW0603
    _next = _in_any_order(_CANDIDATES[number::of])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `host` and `port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port counts as free while its old connections are still closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # On Linux two sockets with SO_REUSEADDR can bind; only one can listen.
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on. Raises OSError: there is none.

    Another process may take it first: then the parts try again with another port.
    """
    for port in itertools.islice(_next, 1000):
        if is_free(port, host):
            return port
    raise OSError("no free port found")


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return `count` different free ports."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port(host))
    return sorted(ports)


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports that this process itself listens on; empty if it is gone."""
    process = Path(f"/proc/{pid}")
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (process / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTEN and columns[9] in inodes:
                    ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports
