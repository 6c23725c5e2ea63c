"""Which answers of Redis are an outage, and which are an error of the command alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wis2_gc_common.errors import CacheError, Misconfigured, PartError, Unavailable
from wis2_gc_common.redis.connection import Connections, closed_is_lost
from wis2_gc_common.redis.errors import translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection


def translated(text: str) -> CacheError:
    """Return what the answer `text` of a server is to us."""
    parse: Callable[[str], Exception] = BaseParser.parse_error
    return translate("registry", parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "OOM command not allowed when used memory > 'maxmemory'. script: f00, on @user_script:9.",
        "ERR Error running script (call to f_0): @user_script:9: -OOM command not allowed when",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "ERR Error running script (call to f_0): @user_script: 1: -READONLY You can't write",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
        "UNKILLABLE Sorry the script already executed write commands",
        "UNBLOCKED the stream key no longer exists",
        "EXECABORT Transaction discarded because of previous errors.",
        "NOSCRIPT No matching script. Please use EVAL.",
        "ERR max number of clients reached",
        "DENIED Redis is running in protected mode because protected mode is enabled",
        "REDIRECT 127.0.0.1:6381",
        "NEWCODE that a later server may know",
        "ERR unknown command 'EVALSHA', with args beginning with: 'f00'",
    ],
)
def test_a_server_that_cannot_serve_anybody_is_away(text: str) -> None:
    assert type(translated(text)) is Unavailable


@pytest.mark.parametrize(
    "text",
    [
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
    ],
)
def test_a_server_that_refuses_our_user_is_away_and_says_which_setting_is_wrong(text: str) -> None:
    assert isinstance(translated(text), Misconfigured)


@pytest.mark.parametrize(
    "text",
    [
        "ERR increment or decrement would overflow script: f00, on @user_script:50.",
        "ERR hash value is not an integer script: f00, on @user_script:50.",
        "ERR user_script:12: attempt to concatenate a boolean value script: f00",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "ERR value is not an integer or out of range",
        "ERR a data_id that reads ASKED, OOMPH and BUSYBODY is not an outage",
    ],
)
def test_an_error_of_one_command_is_not_an_outage(text: str) -> None:
    error = translated(text)
    assert isinstance(error, PartError)
    assert error.part == "registry"


def test_a_value_that_cannot_be_sent_is_not_an_outage() -> None:
    assert isinstance(translate("queue", DataError("Invalid input of type: 'NoneType'")), PartError)


@pytest.mark.parametrize(
    "error",
    [RedisConnectionError("reset"), RedisTimeoutError("late"), OSError("refused"), TimeoutError()],
)
def test_a_server_that_is_not_reached_is_away(error: Exception) -> None:
    assert type(translate("registry", error)) is Unavailable


def test_a_connection_that_is_cut_before_anything_is_sent_is_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of uvloop's, which the manager runs on: its RuntimeError is not an item's."""
    connections = Connections("redis://127.0.0.1/0", "registry")
    make = connections._new_connection
    made = 0

    def make_one_that_is_cut() -> AbstractConnection:
        nonlocal made
        made += 1
        connection = make()
        connect: Callable[[], Awaitable[None]] = connection.connect

        async def connect_and_be_cut() -> None:
            await connect()
            assert connection._writer is not None
            connection._writer.transport.abort()
            await asyncio.sleep(0)

        monkeypatch.setattr(connection, "connect", connect_and_be_cut)
        return connection

    async def ask() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        connections._factory.connection_kwargs["port"] = server.sockets[0].getsockname()[1]
        async with server:
            await connections.exchange([("PING",)])

    monkeypatch.setattr(connections, "_new_connection", make_one_that_is_cut)
    with pytest.raises(Unavailable, match="closed"):
        uvloop.run(ask())
    assert made == 1


def test_other_runtime_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="a bug"), closed_is_lost():
        raise RuntimeError("a bug")
