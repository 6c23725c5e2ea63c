"""Connections to Redis: the only ones that queue and registry have. TLS is always verified.

The clients and pipelines of redis-py cost two to three times the CPU of its connections alone. So
we use its connections directly, and hiredis packs the commands: redis-py's asyncio connections
would pack a script's twenty arguments in Python. Every error is Unavailable, or PartError when
Redis answers and refuses one command (`errors`).

Who retries: what fails on a connection that was used before is sent once more, at once, on a new
one. So commands may reach Redis twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import hiredis
from redis import ConnectionPool as SyncConnectionPool
from redis.asyncio import ConnectionPool, SSLConnection
from redis.connection import SSLConnection as SyncSSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from wis2_gc_common.redis.errors import checked, is_elsewhere, ours, unavailable
from wis2_gc_common.redis.scripts import exchanges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection
    from redis.connection import ConnectionInterface

    from wis2_gc_common.errors import Part
    from wis2_gc_common.redis.scripts import Argument, Call, Command, Script

#: Seconds that Redis has to accept a connection, and to answer.
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
_HEALTH_CHECK_S = 15
#: Exchanges at once; each has a connection. A further one waits until one ends: a lack of
#: connections must not look like an outage.
_MAX_CONNECTIONS = 8
_TLS = (SyncSSLConnection, SSLConnection)


class Connections:
    """A few connections of one event loop; each carries one exchange at a time.

    `url`: `redis://`, `rediss://` (certificate and host name are always verified; `ssl_ca_certs`
    may name a private authority) or `unix://`. `longest_wait_s`: how long a command may block in
    Redis. `sends_twice`: False for commands that must not reach Redis twice; then every broken
    connection is Unavailable. Who makes one exchange after the other gets the same connection each
    time, until one fails.
    """

    def __init__(
        self, url: str, part: Part, *, longest_wait_s: float = 0.0, sends_twice: bool = True
    ) -> None:
        self._part: Part = part
        # One time-out per exchange is cheaper than one per reply.
        self._factory: ConnectionPool = ConnectionPool.from_url(url, **_options(None))
        self._answer_timeout_s = longest_wait_s + ANSWER_TIMEOUT_S
        self._sends_twice = sends_twice
        self._idle: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        _verify_certificates(self._factory)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send `commands` in one write and return their answers, as bytes, in order.

        If Redis answers one command with an error, that error is an element of the list. Raises
        Unavailable.
        """
        try:
            async with self._slots:
                if self._idle:
                    try:
                        return await self._exchange(self._idle.pop(), commands)
                    except (RedisError, OSError) as error:
                        # It may have broken long ago, like the other idle ones; try a new one. A
                        # server that is silent is not asked twice.
                        await self.close()
                        if not self._sends_twice or not isinstance(error, RedisConnectionError):
                            raise
                return await self._exchange(self._new_connection(), commands)
        except (RedisError, OSError) as error:
            raise unavailable(self._part, error) from error

    async def command(self, *command: Argument) -> Any:
        """Return the answer to one command. Raises Unavailable, PartError."""
        (answer,) = await self.exchange([command])
        return checked(self._part, answer)

    async def run(self, *calls: Call) -> list[Any]:
        """Send scripts in one write; return one answer, or one error of ours, for each, in order.

        Raises Unavailable when there are no answers. The scripts must not depend on each other.
        """
        steps = exchanges(calls, in_order=False)
        commands = next(steps)
        while True:
            try:
                commands = steps.send(await self.exchange(commands))
            except StopIteration as end:
                return [ours(self._part, answer) for answer in end.value]

    async def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the answer of one script. Raises Unavailable, PartError."""
        (answer,) = await self.run((script, keys, arguments))
        return checked(self._part, answer)

    async def close(self) -> None:
        """Close idle connections. Never raises."""
        while self._idle:
            await _drop(self._idle.pop())

    def _new_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _exchange(
        self, connection: AbstractConnection, commands: Sequence[Command]
    ) -> list[Any]:
        answers: list[Any] = []
        is_reusable = False
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                with closed_is_lost():
                    if not connection.is_connected:
                        await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_packed_command(_packed(commands))
                for _ in commands:
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
            is_reusable = not any(map(is_elsewhere, answers))
        finally:
            # A late answer must never be taken for the answer to the next command.
            if is_reusable:
                self._idle.append(connection)
            else:
                await _drop(connection)
        if not is_reusable:
            # After a failover the server behind these connections is a replica; new ones go where
            # the name points now.
            await self.close()
        return answers


class SyncConnection:
    """One connection for one thread without an event loop; `url` as for `Connections`.

    It does not use redis-py's own pool: that takes the session tickets that TLS 1.3 sends after the
    handshake for a stray reply, and refuses the connection.
    """

    def __init__(self, url: str, part: Part) -> None:
        self._part: Part = part
        pool = SyncConnectionPool.from_url(url, **_options(ANSWER_TIMEOUT_S))
        _verify_certificates(pool)
        self._connection: ConnectionInterface = pool.make_connection()
        self._is_used = False

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """See `Connections.exchange`."""
        try:
            if self._is_used:
                with contextlib.suppress(RedisConnectionError):
                    return self._exchange(commands)
                # It may have broken long ago; try a new one.
            return self._exchange(commands)
        except (RedisError, OSError) as error:
            raise unavailable(self._part, error) from error

    def command(self, *command: Argument) -> Any:
        """See `Connections.command`."""
        (answer,) = self.exchange([command])
        return checked(self._part, answer)

    def run(self, *calls: Call) -> list[Any]:
        """See `Connections.run`. A script may depend on those before it."""
        steps = exchanges(calls, in_order=True)
        commands = next(steps)
        while True:
            try:
                commands = steps.send(self.exchange(commands))
            except StopIteration as end:
                return [ours(self._part, answer) for answer in end.value]

    def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """See `Connections.call`."""
        (answer,) = self.run((script, keys, arguments))
        return checked(self._part, answer)

    def close(self) -> None:
        """Close the connection. Never raises."""
        self._is_used = False
        with contextlib.suppress(RedisError, OSError):
            self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        is_reusable = False
        try:
            self._connection.connect()  # type: ignore[no-untyped-call]
            self._connection.send_packed_command([_packed(commands)])  # type: ignore[no-untyped-call]
            for _ in commands:
                try:
                    answers.append(self._connection.read_response())
                except ResponseError as error:
                    answers.append(error)
            is_reusable = not any(map(is_elsewhere, answers))
        finally:
            if is_reusable:
                self._is_used = True
            else:
                self.close()
        return answers


def _options(answer_timeout_s: float | None) -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": answer_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "health_check_interval": _HEALTH_CHECK_S,
        "driver_info": None,
    }


def _verify_certificates(pool: SyncConnectionPool | ConnectionPool) -> None:
    """Make `pool` verify certificate and host name, also against the URL, which may name a CA.

    Call it before the first connection of `pool`.
    """
    if issubclass(pool.connection_class, _TLS):
        pool.connection_kwargs.update(ssl_cert_reqs="required", ssl_check_hostname=True)


@contextlib.contextmanager
def closed_is_lost() -> Iterator[None]:
    """Raise redis-py's ConnectionError when uvloop says that the connection is closed.

    The connection was cut before redis-py sent anything on it; redis-py expects an OSError then.
    """
    try:
        yield
    except RuntimeError as error:
        if "handler is closed" not in str(error):
            raise
        raise RedisConnectionError("connection closed") from error


def _packed(commands: Sequence[Command]) -> bytes:
    # hiredis' own types allow only commands with one argument.
    return b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]


async def _drop(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)
