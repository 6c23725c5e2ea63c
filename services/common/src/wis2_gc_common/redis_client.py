"""What the registry and the queue on Redis have in common: verified TLS, and what errors mean."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import redis.asyncio
import redis.connection
from redis.exceptions import AuthenticationError, NoPermissionError

from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.settings import REDIS_URL

if TYPE_CHECKING:
    from wis2_gc_common.errors import Part

_MAX_DETAIL_CHARS = 200


_TLS = (redis.connection.SSLConnection, redis.asyncio.SSLConnection)


def verify_certificates(pool: redis.ConnectionPool | redis.asyncio.ConnectionPool) -> None:
    """Verify certificate and host name, whatever the URL says; it may name an authority.

    `pool`: before its first connection.
    """
    if issubclass(pool.connection_class, _TLS):
        pool.connection_kwargs.update(ssl_cert_reqs="required", ssl_check_hostname=True)


def unavailable(part: Part, error: BaseException) -> Unavailable:
    """Return what an error of redis-py is to us. Its text names host and port, never a password."""
    text = str(error) or "no answer in time"
    problem = ""
    if (verdict := _verdict(error)) is not None:
        problem = (
            f"the TLS certificate is not valid for us ({verdict[:100]}); check the host in the "
            "URL, and the authority (ssl_ca_certs in it)"
        )
    elif isinstance(error, AuthenticationError):
        problem = "Redis refuses us; check user and password in the URL"
    elif isinstance(error, NoPermissionError):
        problem = f"Redis forbids it to our user; check its access rules ({text[:100]})"
    if problem:
        return Misconfigured(part, REDIS_URL.name, problem)
    return Unavailable(part, f"{type(error).__name__}: {text}"[:_MAX_DETAIL_CHARS])


def _verdict(error: BaseException | None) -> str | None:
    """Return what is wrong with a certificate, if that is what it was."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "no reason given"
        error = error.__cause__ or error.__context__
    return None
