"""A server where no stranger's link may lead us: at 127.0.0.2 and ::1, which no world admits."""

from __future__ import annotations

import contextlib
import socket
import threading


class InnerNetwork:
    """Listens on one port of each address; `visitors` is who came."""

    def __init__(self) -> None:
        self.visitors: list[str] = []
        first = socket.create_server(("127.0.0.2", 0))
        self.port = int(first.getsockname()[1])
        self._servers = [first]
        for family, host in ((socket.AF_INET, "127.0.0.3"), (socket.AF_INET6, "::1")):
            with contextlib.suppress(OSError):  # a machine without IPv6
                self._servers.append(socket.create_server((host, self.port), family=family))
        self._threads = [
            threading.Thread(target=self._accept, args=(server,), daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            self.visitors.append(str(address))
            connection.close()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        for thread in self._threads:
            thread.join(10)
