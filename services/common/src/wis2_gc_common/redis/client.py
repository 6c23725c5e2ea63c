"""What the registry and the queue on Redis have in common: verified TLS, and what errors mean."""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import TYPE_CHECKING

import redis.asyncio
import redis.connection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    DataError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.settings import REDIS_URL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wis2_gc_common.errors import Part

_MAX_DETAIL_CHARS = 200

#: What Redis answers while it, or its cluster, cannot serve anybody. A busy or loading server, and
#: one that has no room for a client, are `ConnectionError` to redis-py.
_OUTAGES = (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
#: The same where redis-py has no class for it, and where an older server wraps it in the error of
#: the script that met it ("ERR Error running script …: -OOM command not allowed …"). A code that we
#: do not know is a state of the server: those of commands are few, and mostly "ERR", which redis-py
#: takes away.
_OUTAGE_TEXT = re.compile(
    r"^(?!(?:WRONGTYPE|CROSSSLOT|NOGROUP|BUSYGROUP) )[A-Z]{3,} "
    r"|[ :]-(?:MISCONF|NOREPLICAS|BUSY|UNKILLABLE|LOADING|OOM|READONLY|MASTERDOWN|CLUSTERDOWN"
    r"|TRYAGAIN|MOVED|ASK|NOAUTH|NOPERM|WRONGPASS) |^unknown command ",
    re.ASCII,
)
#: "Protocol error: unauthenticated multibulk length": before a login Redis takes ten words at most.
_UNAUTHENTICATED = "unauthenticated"


_TLS = (redis.connection.SSLConnection, redis.asyncio.SSLConnection)


def verify_certificates(pool: redis.ConnectionPool | redis.asyncio.ConnectionPool) -> None:
    """Verify certificate and host name, whatever the URL says; it may name an authority.

    `pool`: before its first connection.
    """
    if issubclass(pool.connection_class, _TLS):
        pool.connection_kwargs.update(ssl_cert_reqs="required", ssl_check_hostname=True)


@contextlib.contextmanager
def closed_is_lost() -> Iterator[None]:
    """Raise ConnectionError of redis-py where uvloop says that the connection is closed.

    It was cut after it was made and before redis-py, which expects an OSError, sent anything.
    """
    try:
        yield
    except RuntimeError as error:
        if "handler is closed" not in str(error):
            raise
        raise RedisConnectionError("connection closed") from error


def translate(part: Part, error: BaseException) -> Unavailable | PartError:
    """Return what an error of redis-py is to who sent the command.

    PartError: Redis is well, and refuses this very command (a script's bug, a value that it
    cannot take). Everything else is an outage, see `unavailable`.
    """
    if isinstance(error, DataError) or (
        isinstance(error, ResponseError)
        and not isinstance(error, _OUTAGES)
        and not _OUTAGE_TEXT.search(str(error))
        and _UNAUTHENTICATED not in str(error)
    ):
        return PartError(part, str(error)[:_MAX_DETAIL_CHARS])
    return unavailable(part, error)


def unavailable(part: Part, error: BaseException) -> Unavailable:
    """Return what an error of redis-py is to us. Its text names host and port, never a password."""
    cause = _os_error(error)
    if cause is not None:
        text = os_words(cause)
    elif isinstance(error, AskError | MovedError):
        text = "another node of its cluster has this key"
    else:
        text = str(error) or "no answer in time"
    problem = ""
    if (verdict := _verdict(error)) is not None:
        problem = (
            f"the TLS certificate is not valid for us ({verdict[:100]}); check the host in the "
            "URL, and the authority (ssl_ca_certs in it)"
        )
    elif isinstance(error, AuthenticationError) or _UNAUTHENTICATED in text:
        problem = "Redis refuses us; check user and password in the URL"
    elif isinstance(error, NoPermissionError):
        problem = f"Redis forbids it to our user; check its access rules ({text[:100]})"
    if problem:
        return Misconfigured(part, REDIS_URL.name, problem)
    return Unavailable(part, text[:_MAX_DETAIL_CHARS])


def _os_error(error: BaseException | None) -> OSError | None:
    """Return what the operating system says, if that is what it was."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _verdict(error: BaseException | None) -> str | None:
    """Return what is wrong with a certificate, if that is what it was."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "no reason given"
        error = error.__cause__ or error.__context__
    return None
