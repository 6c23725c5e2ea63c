"""What an error of redis-py means: a part is away, refuses us, or refuses one command. Pure."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any

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
    RedisError,
    ResponseError,
    TryAgainError,
)

from wis2_gc_common.errors import Misconfigured, PartError, Unavailable
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.settings.catalogue import REDIS_URL

if TYPE_CHECKING:
    from wis2_gc_common.errors import Part

_MAX_DETAIL_CHARS = 200

#: Answers of a Redis, or a Redis cluster, that cannot serve anybody. redis-py raises
#: `ConnectionError` for a server that is busy, loading or has no room for a client.
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
#: The same errors where redis-py has no class for them, and where an older server wraps them in the
#: error of a script ("ERR Error running script …: -OOM command not allowed …"). An unknown code is
#: a state of the server: commands have few codes, mostly "ERR", which redis-py removes.
_OUTAGE_TEXT = re.compile(
    r"^(?!(?:WRONGTYPE|CROSSSLOT|NOGROUP|BUSYGROUP) )[A-Z]{3,} "
    r"|[ :]-(?:MISCONF|NOREPLICAS|BUSY|UNKILLABLE|LOADING|OOM|READONLY|MASTERDOWN|CLUSTERDOWN"
    r"|TRYAGAIN|MOVED|ASK|NOAUTH|NOPERM|WRONGPASS) |^unknown command ",
    re.ASCII,
)
_REPLICA = (ReadOnlyError, MasterDownError)
#: "Protocol error: unauthenticated multibulk length": before a login Redis takes at most ten words.
_UNAUTHENTICATED = "unauthenticated"


def ours(part: Part, answer: Any) -> Any:
    """Return an answer of Redis; if it is an error, return what that means to the sender."""
    if not isinstance(answer, RedisError):
        return answer
    error = translate(part, answer)
    error.__cause__ = answer
    return error


def checked(part: Part, answer: Any) -> Any:
    """Return an answer of Redis; if it is an error, raise what that means to the sender."""
    answer = ours(part, answer)
    if isinstance(answer, Exception):
        raise answer
    return answer


def is_elsewhere(answer: Any) -> bool:
    """Whether another server may serve us by now, under the same name: this one is a replica.

    A primary that was cut off from its replicas says NOREPLICAS.
    """
    return isinstance(answer, ResponseError) and (
        isinstance(answer, _REPLICA) or str(answer).startswith("NOREPLICAS ")
    )


def translate(part: Part, error: BaseException) -> Unavailable | PartError:
    """Return what an error of redis-py means to the sender of the command.

    PartError: Redis is healthy and refuses this command (a bug in a script, a value that it cannot
    take). Everything else is an outage, see `unavailable`.
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
    """Return what an error of redis-py means to us. The text names host and port, no password."""
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
    """Return the operating system's error behind `error`, or None."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _verdict(error: BaseException | None) -> str | None:
    """Return what is wrong with the certificate, or None if that is not the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "no reason given"
        error = error.__cause__ or error.__context__
    return None
