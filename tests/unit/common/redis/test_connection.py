"""When a connection to Redis is used again, and when it is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.redis import connection as connection_module
from wis2_gc_common.redis.connection import Connections, SyncConnection
from wis2_gc_common.redis.errors import ours
from wis2_gc_common.redis.scripts import Script, exchanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wis2_gc_common.redis.scripts import Call

#: A server that closes the connection where it should answer.
CUT = b""
REPLICA = [
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    b"-NOREPLICAS Not enough good replicas to write.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
]


class Server:
    """A server whose answers the test gives, in order; it notes what came, by connection."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        self.seen: list[tuple[int, tuple[bytes, ...]]] = []
        self.answers: list[bytes | threading.Event] = []
        self.pongs: dict[int, bytes] = {}
        """By connection: what it answers to PING, if not PONG."""
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            number = len(self._connections)
            self._threads.append(threading.Thread(target=self._serve, args=(number, connection)))
            self._threads[-1].start()

    def _serve(self, number: int, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    if command == [b"PING"]:  # of redis-py, on a new connection
                        connection.sendall(self.pongs.get(number, b"+PONG\r\n"))
                        continue
                    self.seen.append((number, tuple(command)))
                    answer = self.answers.pop(0) if self.answers else b"+OK\r\n"
                    if isinstance(answer, threading.Event):
                        answer.wait(30)
                        answer = b"+late\r\n"
                    if answer == CUT:
                        return
                    connection.sendall(answer)

    def close(self) -> None:
        # A thread that accepts does not notice that its socket is closed.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class OfThread:
    """A `SyncConnection` that is called as `Connections` are."""

    def __init__(self, url: str) -> None:
        self._connection = SyncConnection(url, "queue")

    async def command(self, *command: str) -> Any:
        return await asyncio.to_thread(self._connection.command, *command)

    async def close(self) -> None:
        self._connection.close()


def of_loop(url: str) -> Connections:
    return Connections(url, "queue")


BOTH = pytest.mark.parametrize("connect", [of_loop, OfThread])


@BOTH
async def test_what_breaks_on_a_used_connection_is_sent_once_more_on_a_new_one(
    server: Server, connect: Callable[[str], Connections]
) -> None:
    connections = connect(server.url)
    server.answers = [b"+one\r\n", CUT, b"+two\r\n", CUT, CUT]
    assert await connections.command("A") == b"one"
    assert await connections.command("B") == b"two"
    with pytest.raises(Unavailable) as raised:
        await connections.command("C")
    assert raised.value.part == "queue"
    assert server.seen == [
        (1, (b"A",)),
        (1, (b"B",)),
        (2, (b"B",)),
        (2, (b"C",)),
        (3, (b"C",)),
    ]
    await connections.close()


@BOTH
async def test_what_breaks_on_a_new_connection_is_not_sent_again(
    server: Server, connect: Callable[[str], Connections]
) -> None:
    connections = connect(server.url)
    server.answers = [CUT]
    with pytest.raises(Unavailable):
        await connections.command("A")
    assert await connections.command("B") == b"OK"
    assert server.seen == [(1, (b"A",)), (2, (b"B",))]
    await connections.close()


async def several_idle(connections: Connections) -> int:
    """Make connections that wait for use; return how many."""
    await asyncio.gather(*(connections.command("FIRST") for _ in range(4)))
    return 4


async def test_a_silent_server_costs_one_time_out_however_many_connections_there_are(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.5)
    connections = of_loop(server.url)
    idle = await several_idle(connections)
    hung = threading.Event()
    server.answers = [hung]
    with pytest.raises(Unavailable):
        await connections.command("A")
    assert await connections.command("B") == b"OK"
    assert server.seen[-1] == (idle + 1, (b"B",))
    hung.set()
    await connections.close()


async def test_a_replica_that_says_so_to_ping_costs_one_command(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_HEALTH_CHECK_S", 1e-9)
    connections = of_loop(server.url)
    idle = await several_idle(connections)
    server.pongs = dict.fromkeys(range(1, idle + 1), REPLICA[1])
    with pytest.raises(Unavailable):
        await connections.command("A")
    assert await connections.command("B") == b"OK"
    assert server.seen[-1] == (idle + 1, (b"B",))
    await connections.close()


async def test_what_must_not_reach_redis_twice_is_sent_once(server: Server) -> None:
    receiver = Connections(server.url, "queue", sends_twice=False)
    server.answers = [b"+one\r\n", CUT]
    assert await receiver.command("A") == b"one"
    with pytest.raises(Unavailable):
        await receiver.command("B")
    assert await receiver.command("C") == b"OK"
    assert server.seen == [(1, (b"A",)), (1, (b"B",)), (2, (b"C",))]
    await receiver.close()


@BOTH
@pytest.mark.parametrize("answer", REPLICA)
async def test_after_a_failover_the_next_command_goes_where_the_name_points(
    server: Server, connect: Callable[[str], Connections], answer: bytes
) -> None:
    connections = connect(server.url)
    server.answers = [b"+one\r\n", answer, *[answer] * answer.startswith(b"-LOADING")]
    await connections.command("A")
    with pytest.raises(Unavailable):
        await connections.command("B")
    await connections.command("C")
    assert server.seen[-1][0] == server.seen[-2][0] + 1
    await connections.close()


@BOTH
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", PartError),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", Unavailable),
        (b"-NOPERM User cache has no permissions to run the 'info' command\r\n", Unavailable),
    ],
)
async def test_a_command_that_a_healthy_server_refuses_costs_no_connection(
    server: Server, connect: Callable[[str], Connections], answer: bytes, error: type[Exception]
) -> None:
    connections = connect(server.url)
    server.answers = [answer]
    with pytest.raises(error):
        await connections.command("A")
    await connections.command("B")
    assert [number for number, _ in server.seen] == [1, 1]
    await connections.close()


async def test_the_late_answer_to_a_cancelled_command_is_never_that_to_the_next(
    server: Server,
) -> None:
    connections = of_loop(server.url)
    late = threading.Event()
    server.answers = [b"+one\r\n", late]
    await connections.command("A")
    asking = asyncio.create_task(connections.command("B"))
    while len(server.seen) < 2:  # noqa: ASYNC110 - a thread notes it
        await asyncio.sleep(0.001)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    late.set()
    assert await connections.command("C") == b"OK"
    assert server.seen[-1] == (2, (b"C",))
    await connections.close()


def calls(*names: str) -> list[Call]:
    return [(Script(name, f"source of {name}", f"sha of {name}"), (), ()) for name in names]


@pytest.mark.parametrize(
    ("in_order", "again", "found"),
    [(False, ["b", "d"], ["1", "2b", "3", "2d"]), (True, ["b", "c", "d"], ["1", "2b", "2c", "2d"])],
)
def test_a_script_that_redis_does_not_know_is_loaded_and_called_again(
    in_order: bool, again: list[str], found: list[str]
) -> None:
    steps = exchanges(calls("a", "b", "c", "d"), in_order=in_order)
    assert [command[1] for command in next(steps)] == [f"sha of {name}" for name in "abcd"]
    commands = steps.send(["1", NoScriptError("none"), "3", NoScriptError("none")])
    assert commands == [
        ("SCRIPT", "LOAD", "source of b"),
        ("SCRIPT", "LOAD", "source of d"),
        *(("EVALSHA", f"sha of {name}", 0) for name in again),
    ]
    with pytest.raises(StopIteration) as end:
        steps.send([b"sha", b"sha", *(f"2{name}" for name in again)])
    assert end.value.value == found


def test_a_source_is_sent_once_and_an_answer_may_be_an_error() -> None:
    steps = exchanges(calls("a", "a"), in_order=False)
    next(steps)
    commands = steps.send([NoScriptError("none")] * 2)
    assert [command[0] for command in commands] == ["SCRIPT", "EVALSHA", "EVALSHA"]
    refused = ResponseError("no")
    with pytest.raises(StopIteration) as end:
        steps.send([b"sha", refused, b"2"])
    assert end.value.value == [refused, b"2"]


def test_a_user_that_may_load_no_script_is_told_so() -> None:
    steps = exchanges(calls("a"), in_order=False)
    next(steps)
    steps.send([NoScriptError("none")])
    refused = NoPermissionError("User x has no permissions to run the 'script|load' command")
    with pytest.raises(StopIteration) as end:
        steps.send([refused, NoScriptError("none")])
    assert end.value.value == [refused]
    assert isinstance(ours("queue", refused), Misconfigured)
