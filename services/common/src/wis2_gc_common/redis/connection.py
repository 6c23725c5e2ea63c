"""Connections to Redis: verified TLS for all, and those of the registry.

The pipelines of redis-py cost two to three times the CPU of its connections alone. So we use its
connections directly, and hiredis packs the commands: redis-py's asyncio connections would pack a
script's twenty arguments in Python. Every error is Unavailable("registry"), or
PartError("registry") when Redis answers and refuses one command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import hiredis
from redis import ConnectionPool as SyncConnectionPool
from redis.asyncio import ConnectionPool, SSLConnection
from redis.connection import SSLConnection as SyncSSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from wis2_gc_common.redis import errors as redis_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio.connection import AbstractConnection
    from redis.connection import ConnectionInterface

    from wis2_gc_common.errors import PartError, Unavailable
    from wis2_gc_common.redis.scripts import Script

Command = tuple[str | bytes | int, ...]
#: A script, its keys and its arguments.
Call = tuple["Script", Sequence[str], Sequence[str | int]]

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
_HEALTH_CHECK_S = 15
_MAX_CONNECTIONS = 8


_TLS = (SyncSSLConnection, SSLConnection)


def verify_certificates(pool: SyncConnectionPool | ConnectionPool) -> None:
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


def unavailable(error: BaseException) -> Unavailable:
    """Return what an error of redis-py means to a reader of the registry."""
    return redis_errors.unavailable("registry", error)


def translate(error: BaseException) -> Unavailable | PartError:
    """Return what an error of redis-py means to the sender of a script to the registry."""
    return redis_errors.translate("registry", error)


class Connections:
    """A few connections of one event loop; each carries one exchange at a time.

    `url`: `redis://`, `rediss://` (certificate and host name are always verified; `ssl_ca_certs`
    may name a private authority) or `unix://`.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        # One time-out per exchange is cheaper than one per reply.
        self._factory: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
            health_check_interval=_HEALTH_CHECK_S,
            driver_info=None,
        )
        self._answer_timeout_s = answer_timeout_s
        self._idle: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        verify_certificates(self._factory)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send `commands` in one write and return their answers, as bytes, in order.

        If Redis answers one command with an error, that error is an element of the list. The
        commands may reach Redis twice when a connection breaks. Raises Unavailable("registry").
        """
        async with self._slots:
            if self._idle:
                try:
                    return await self._exchange(self._idle.pop(), commands)
                except RedisConnectionError:
                    # It may have broken long ago, like the other idle ones; try a new one.
                    await self._drop_idle()
                except (RedisError, OSError, TimeoutError) as error:
                    raise unavailable(error) from error
            try:
                return await self._exchange(self._new_connection(), commands)
            except (RedisError, OSError, TimeoutError) as error:
                raise unavailable(error) from error

    def _new_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def close(self) -> None:
        """Close idle connections. Never raises."""
        await self._drop_idle()

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
            is_reusable = not any(isinstance(answer, ReadOnlyError) for answer in answers)
        finally:
            if is_reusable:
                self._idle.append(connection)
            else:
                await _drop(connection)
        if not is_reusable:
            # After a failover the server behind these connections is a replica; new ones go where
            # the name points now.
            await self._drop_idle()
        return answers

    async def _drop_idle(self) -> None:
        while self._idle:
            await _drop(self._idle.pop())


class SyncConnection:
    """One connection for one thread without an event loop; `url` as for `Connections`.

    It does not use redis-py's own pool: that takes the session tickets that TLS 1.3 sends after the
    handshake for a stray reply, and refuses the connection.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        pool = SyncConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=answer_timeout_s,
            socket_connect_timeout=connect_timeout_s,
            health_check_interval=_HEALTH_CHECK_S,
            driver_info=None,
        )
        verify_certificates(pool)
        self._connection: ConnectionInterface = pool.make_connection()
        self._is_used = False

    def run(self, *calls: Call) -> list[Any]:
        """Send scripts in one write; return one answer, or one error of ours, for each, in order.

        Raises Unavailable("registry") when there are no answers. The scripts may reach Redis twice
        when the connection breaks.
        """
        try:
            try:
                answers = self._run(calls)
            except RedisConnectionError:
                if not self._is_used:
                    raise
                # It may have broken long ago; try a new one.
                self._disconnect()
                answers = self._run(calls)
        except (RedisError, OSError) as error:
            # A late reply must never be taken for the reply to the next command.
            self._disconnect()
            raise unavailable(error) from error
        if any(isinstance(answer, RedisError) for answer in answers):
            # After a failover the name may point to another server.
            self._disconnect()
        return [translate(a) if isinstance(a, RedisError) else a for a in answers]

    def close(self) -> None:
        """Close the connection. Never raises."""
        self._disconnect()

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        commands = [
            ("EVALSHA", script.sha, len(keys), *keys, *args) for script, keys, args in calls
        ]
        answers = self._exchange(commands)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # A script that Redis does not know has done nothing yet; later ones may depend on it.
            first = unknown[0]
            loads: list[Command] = [("SCRIPT", "LOAD", calls[at][0].source) for at in unknown]
            answers[first:] = self._exchange([*loads, *commands[first:]])[len(loads) :]
        return answers

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        self._connection.connect()  # type: ignore[no-untyped-call]
        self._connection.send_packed_command([_packed(commands)])  # type: ignore[no-untyped-call]
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(self._connection.read_response())
            except ResponseError as error:
                answers.append(error)
        self._is_used = True
        return answers

    def _disconnect(self) -> None:
        self._is_used = False
        with contextlib.suppress(RedisError, OSError):
            self._connection.disconnect()  # type: ignore[no-untyped-call]


def _packed(commands: Sequence[Command]) -> bytes:
    # hiredis' own types allow only commands with one argument.
    return b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]


async def _drop(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)
