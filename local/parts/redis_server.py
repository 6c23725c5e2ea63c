"""redis-server: the registry and the queue of one machine."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

from local.parts.local_server import LocalServer, write_private

if TYPE_CHECKING:
    from pathlib import Path

_PROBE_TIMEOUT_S = 2


class RedisServer(LocalServer):
    """A redis-server with an append-only file; acknowledged writes survive `kill`.

    A crash of the whole machine may cost the last second (`appendfsync everysec`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        password: str | None = None,
        max_memory: str = "1gb",
        log_file: Path | None = None,
    ) -> None:
        self.name = "redis"
        super().__init__(directory, host=host, ports={"redis": port}, log_file=log_file)
        self.password = password
        self.max_memory = max_memory

    @property
    def port(self) -> int:
        """TCP port."""
        return self._ports["redis"]

    @property
    def url(self) -> str:
        """`GC_REDIS_URL` of this server."""
        account = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{account}{self.host}:{self.port}/0"

    def configuration(self) -> str:
        """Return the text of redis.conf."""
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            "protected-mode yes",
            f'dir "{self.directory}"',
            "daemonize no",
            f'logfile "{self.log_file}"',
            "loglevel notice",
            # The append-only file has every change; snapshots would only cost forks.
            "appendonly yes",
            "appendfsync everysec",
            "aof-load-truncated yes",
            'save ""',
            # Eviction would silently forget what was announced: writes must fail instead
            # (architecture.md#registry).
            "maxmemory-policy noeviction",
            f"maxmemory {self.max_memory}",
            # A node is freed once all its messages are deleted: with small nodes the memory follows
            # the queue.
            "stream-node-max-entries 32",
            "stream-node-max-bytes 16384",
            "tcp-backlog 511",
            "timeout 0",
            "tcp-keepalive 60",
            "lazyfree-lazy-expire yes",
            "lazyfree-lazy-user-del yes",
            "enable-debug-command no",
            "shutdown-timeout 5",
            # We stop it ourselves, and nobody reads the logo or the process title.
            "always-show-logo no",
        ]
        if self.password:
            lines.append(f'requirepass "{self.password}"')
        return "\n".join(lines) + "\n"

    def _configure(self) -> list[str]:
        path = self.directory / "redis.conf"
        write_private(path, self.configuration())
        return ["redis-server", str(path)]

    def _answers(self) -> bool:
        commands = b"PING\r\n"
        if self.password:
            commands = f"AUTH {self.password}\r\n".encode() + commands
        try:
            with socket.create_connection((self.host, self.port), _PROBE_TIMEOUT_S) as connection:
                connection.sendall(commands + b"QUIT\r\n")
                answer = b""
                while chunk := connection.recv(4096):
                    answer += chunk
        except OSError:
            return False
        return b"+PONG" in answer  # -LOADING while the append-only file is read
