"""A TCP proxy that does to connections what networks and broken servers do.

`Proxies` and `Origins` run in processes of their own: their threads do not wait for the test's.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.managers import BaseManager
from typing import Literal
from weakref import WeakKeyDictionary

from testkit.servers.tcp_proxy import TcpProxy

Kind = Literal[
    "hold",  # a request does not arrive; nor does what follows it
    "hold reply",  # it arrives, and its reply does not
    "lose",  # some replies are lost, and the connection with each
    "slow",  # each reply takes its time
    "halve",  # half of a request arrives, then the connection breaks
    "answer",  # a request is answered by the proxy
]


@dataclass
class Rule:
    """What happens from now on. `match`: to requests that have one of these in them; (): to all."""

    kind: Kind
    match: tuple[bytes, ...] = ()
    share: float = 1.0
    delay_s: float = 0.0
    reply: bytes = b""
    most: int = 1_000_000
    """So often."""
    hits: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class Proxy(TcpProxy):
    """Listens on a port of its own, on 127.0.0.1, for a server on this machine."""

    def __init__(self, target_port: int, target_host: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._rule: Rule | None = None
        self._asked: WeakKeyDictionary[socket.socket, Rule] = WeakKeyDictionary()
        """By client: the rule whose request has passed on its connection."""
        super().__init__(target_port, target_host)

    def port(self) -> int:
        """Return its port."""
        return self._port

    def begin(self, kind: Kind, **options: object) -> None:
        """Let a rule hold; `options` are those of `Rule`."""
        self.calm()
        self._rule = Rule(kind, **options)  # type: ignore[arg-type]

    def hits(self) -> int:
        """Return how often the rule has done something."""
        return 0 if self._rule is None else self._rule.hits

    def calm(self) -> None:
        """End the rule. What it holds is lost, with its connection."""
        rule, self._rule = self._rule, None
        if rule is not None:
            rule.over.set()

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        pairs = self._pairs()
        for pair in pairs:
            _reset(*pair)
        return len(pairs)

    def refuse(self) -> int:
        """Refuse new connections and reset the others, until `accept`."""
        self._stop_listening()
        return self.cut()

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._listen()

    def close(self) -> None:
        """End all."""
        self.calm()
        self.refuse()

    def _applies(self, *kinds: Kind, data: bytes = b"") -> Rule | None:
        rule = self._rule
        if rule is None or rule.kind not in kinds:
            return None
        with self._lock:
            if rule.hits >= rule.most or self._random.random() >= rule.share:
                return None
            if data and rule.match and not any(match in data for match in rule.match):
                return None
            if rule.kind != "hold reply":
                rule.hits += 1
        return rule

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            rule = self._applies("hold", "hold reply", "halve", "answer", data=data)
            if rule is None:
                server.sendall(data)
            elif rule.kind == "hold reply":
                self._asked.setdefault(client, rule)
                server.sendall(data)
            elif rule.kind == "hold":
                rule.over.wait(120)
                break
            elif rule.kind == "halve":
                server.sendall(data[: len(data) // 2])
                break
            else:
                client.sendall(rule.reply)
                break

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        while data := server.recv(65536):
            asked = self._asked.get(client)
            if asked is not None:
                asked.hits += 1
                asked.over.wait(120)
                break
            rule = self._applies("lose", "slow")
            if rule is not None and rule.kind == "lose":
                break
            if rule is not None:
                rule.over.wait(rule.delay_s)
            client.sendall(data)


def _reset(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)


def reply_of(status: str, media_type: str, body: str) -> bytes:
    """Return an answer of HTTP, after which the connection ends."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Proxies(BaseManager):
    """A process in which proxies run; `Proxy(port)` makes one."""

    Proxy: type[Proxy]


Proxies.register("Proxy", Proxy)
