"""What errors of the AWS SDK mean, in plain words. Pure.

Never the SDK's own texts: they can quote settings and the answers of a credential server.
"""

from __future__ import annotations

from botocore import exceptions as boto

from wis2_gc_common.runtime.causes import os_words

#: What the SDK's chain raises for settings of its own that it cannot use.
SETTINGS_ERRORS = (
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.InvalidConfigError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.UnknownCredentialError,
)
NO_CREDENTIALS = (
    "no AWS credentials are found; give the pod or machine a role, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)
_SETTINGS: tuple[tuple[type[Exception], str], ...] = (
    (boto.ConfigNotFound, "a file that they name is not there"),
    (boto.ConfigParseError, "a file that they name cannot be read"),
    (boto.ProfileNotFound, "there is no such profile"),
    (boto.PartialCredentialsError, "half of the credentials is missing"),
    (boto.UnknownCredentialError, "they name an unknown source of credentials"),
    (boto.SSOError, "the single sign-on is not set up, or has ended"),
    (boto.NoRegionError, "they name no region"),
)
_NO_ANSWER: tuple[tuple[type[Exception], str], ...] = (
    (boto.ConnectTimeoutError, "no connection in time"),
    (boto.ReadTimeoutError, "nothing was received in time"),
    (boto.SSLError, "the TLS handshake fails"),
    (boto.ProxyConnectionError, "the proxy cannot be connected to"),
    (boto.ConnectionClosedError, "the server closed the connection"),
)


def settings_problem(error: Exception) -> str:
    """Return what is wrong with settings that the SDK cannot use."""
    why = next(
        (text for kind, text in _SETTINGS if isinstance(error, kind)), "a value is not valid"
    )
    return f"the AWS SDK's own settings are wrong: {why}; check AWS_… and ~/.aws"


def no_answer(error: BaseException) -> str:
    """Return why a server did not answer the SDK."""
    text = next((text for kind, text in _NO_ANSWER if isinstance(error, kind)), "")
    if text:
        return text
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return os_words(cause)
        inner = getattr(cause, "kwargs", {}).get("error")
        inner = inner if isinstance(inner, BaseException) else None
        cause = inner or cause.__cause__ or cause.__context__
    return "the server does not answer as it should"
