"""Details of errors name the cause in plain words, from every library."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import redis.exceptions
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions as boto

from testkit.plain_words import assert_plain
from wis2_gc_common.errors import NotAnEnvelope
from wis2_gc_common.redis.errors import translate
from wis2_gc_common.runtime.aws_causes import no_answer, settings_problem
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.sqs.messages import decode_dead_letter, decode_message
from wis2_gc_manager.store.s3.errors import no_answer_words

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 6379)")


def raised_while(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


def connector_error(cause: OSError) -> aiohttp.ClientConnectorError:
    key: Any = ConnectionKey("bucket.test", 443, is_ssl=True, ssl=True, proxy=None,
                             proxy_auth=None, proxy_headers_hash=None)  # fmt: skip
    return aiohttp.ClientConnectorError(key, cause)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, "connection refused"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 443), [Errno 1]"),
            "connection refused",
        ),
        (OSError(), "connection lost"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (OSError(errno.EADDRINUSE, "[Errno 98] x"), "address already in use"),
    ],
)
def test_what_the_operating_system_says_is_said(error: OSError, words: str) -> None:
    assert os_words(error) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            raised_while(
                redis.exceptions.ConnectionError("Error 111 connecting to 10.0.0.1:6379."), REFUSED
            ),
            "connection refused",
        ),
        (redis.exceptions.TimeoutError(), "no answer in time"),
        (redis.exceptions.ConnectionError("Connection closed by server."), "Connection closed"),
        (redis.exceptions.MovedError("3999 10.0.0.1:6381"), "another node of its cluster"),
        (redis.exceptions.ResponseError("ERR user_script:9: no number"), "ERR user_script"),
    ],
)
def test_redis_names_the_cause(error: Exception, words: str) -> None:
    detail = translate("registry", error).detail
    assert words in detail
    assert_plain(detail)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (boto.ConnectTimeoutError(endpoint_url="https://sqs.test"), "no connection in time"),
        (boto.ReadTimeoutError(endpoint_url="https://sqs.test"), "nothing was received in time"),
        (
            boto.EndpointConnectionError(
                endpoint_url="https://sqs.test", error=raised_while(ValueError("new"), REFUSED)
            ),
            "connection refused",
        ),
        (
            boto.ConnectionClosedError(endpoint_url="https://sqs.test"),
            "the server closed the connection",
        ),
        (boto.MetadataRetrievalError(error_msg="a secret"), "does not answer as it should"),
    ],
)
def test_a_service_of_aws_that_does_not_answer_is_described(error: Exception, words: str) -> None:
    assert words in no_answer(error)
    assert_plain(no_answer(error))
    assert "secret" not in no_answer(error)


@pytest.mark.parametrize(
    "error",
    [
        boto.ProfileNotFound(profile="a-secret"),
        boto.PartialCredentialsError(provider="a-secret", cred_var="x"),
        boto.InvalidConfigError(error_msg="a-secret"),
    ],
)
def test_wrong_settings_of_the_sdk_are_described_but_not_quoted(error: Exception) -> None:
    problem = settings_problem(error).replace("AWS SDK", "").replace("AWS_", "")
    assert_plain(problem)
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (connector_error(REFUSED), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection reset by peer"),
        (aiohttp.ServerDisconnectedError(), "the connection was closed"),
    ],
)
def test_a_store_that_does_not_answer_is_described(error: Exception, words: str) -> None:
    assert no_answer_words(error) == words


@pytest.mark.parametrize("decode", [lambda m: decode_message(m, now_ms=0), decode_dead_letter])
@pytest.mark.parametrize("message", [{}, {"Body": 1, "Attributes": SimpleNamespace()}])
def test_a_message_that_is_not_ours_is_described(decode: Any, message: dict[str, Any]) -> None:
    with pytest.raises(NotAnEnvelope) as caught:
        decode(message)
    assert_plain(caught.value.detail)
