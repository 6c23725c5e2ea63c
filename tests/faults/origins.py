"""Data servers of the long run, in a process of their own."""

from __future__ import annotations

import hashlib
from multiprocessing.managers import BaseManager
from urllib.parse import urlsplit

from testkit.servers.nodes import Answer, Node


def body_of(name: str, size: int) -> bytes:
    """Return the data of an item."""
    digest = hashlib.sha256(name.encode()).digest()
    return (digest * (size // len(digest) + 1))[:size]


class Origin(Node):
    """Answers `/{name}?{size}` with the data of that item, unless told otherwise."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.first: list[Answer] = []

    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def host_name(self) -> str:
        return self.host

    def port_number(self) -> int:
        return self.port

    def fail_first(self, *answers: Answer) -> None:
        """Let every item answer these first."""
        self.first = list(answers)

    def asked(self) -> int:
        """Return how many requests there were."""
        return sum(self.requests.values())

    def _next_answer(self, path: str) -> Answer:
        parts = urlsplit(path)
        with self._lock:
            self.requests[path] += 1
            turn = self.requests[path] - 1
        if turn < len(self.first):
            answer = self.first[turn]
            if answer.announced_length == CUT_SHORT:
                body = body_of(parts.path[1:], int(parts.query))
                return Answer(body[: len(body) // 2], announced_length=len(body))
            return answer
        return Answer(body_of(parts.path[1:], int(parts.query)))


#: `Answer.announced_length`: half of the data, then the end of the connection.
CUT_SHORT = -1


class Origins(BaseManager):
    """A process in which data servers run; `Origin(host)` makes one."""

    Origin: type[Origin]


Origins.register("Origin", Origin)
