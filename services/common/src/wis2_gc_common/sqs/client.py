"""Calls of SQS through boto3: their address, their time-outs, and what their errors mean.

Who retries: botocore, each call once, within its time-outs (throttling, 5xx, broken connections).
SQS may have executed a call that got no answer: all our calls may be sent twice.

Credentials come from the SDK's own chain (EKS Pod Identity, IRSA, instance role, profile,
environment), which also renews them. Our errors only say that they are wrong.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from wis2_gc_common.errors import Misconfigured, SettingsError, Unavailable
from wis2_gc_common.runtime.aws_causes import (
    NO_CREDENTIALS,
    SETTINGS_ERRORS,
    no_answer,
    settings_problem,
)
from wis2_gc_common.runtime.logs import silence_aws_sdk

if TYPE_CHECKING:
    from wis2_gc_common.settings.catalogue import Setting
    from wis2_gc_common.settings.values import QueueUrl

#: Longest single wait for messages, in whole seconds. SQS allows 20. But messages that arrive after
#: the manager has stopped are hidden from the others, so a stopping manager waits for its last
#: call.
LONG_POLL_S = 2
#: Seconds that SQS has to accept a connection, and to answer, without the long poll.
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
ATTEMPTS = 2
#: For a server outside AWS, when no region is set.
_ANY_REGION = "us-east-1"
_AWS_HOST = re.compile(r"(^|\.)(amazonaws\.com|amazonaws\.com\.cn|api\.aws)$")
_REGION = re.compile(r"[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}")
_LEGACY_HOST = "queue.amazonaws.com"
_PUBLIC_HOST = re.compile(
    r"sqs\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|([a-z0-9-]+\.)?queue\.amazonaws\.com(\.cn)?"
)

#: The IAM action that each call requires.
_ACTIONS = {
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
    "start_message_move_task": "sqs:StartMessageMoveTask",
    "list_message_move_tasks": "sqs:ListMessageMoveTasks",
}
_MISSING = {"NonExistentQueue", "QueueDoesNotExist"}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "KmsAccessDenied"}
_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_ADDRESS = {"InvalidAddress"}
#: Statuses of servers that are not SQS.
_NO_SQS = {"301", "302", "307", "308", "401", "403", "404", "405", "501"}
#: How OpenSSL, and urllib3 for the host name, begin an error about a certificate.
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "doesn't match")
_LOCAL_PROBLEMS = (
    *SETTINGS_ERRORS,
    boto.InvalidRegionError,
    boto.UnknownSignatureVersionError,
)


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """One SQS queue."""

    url: str
    name: str
    host: str
    region: str | None
    """From the AWS host name; None for other servers."""
    variable: str
    """The setting that names it."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def __str__(self) -> str:
        return f"queue {self.name} at {self.host}"


def parse_place(setting: Setting[QueueUrl], url: QueueUrl) -> QueuePlace:
    """Return where the queue is. Raises SettingsError: the URL does not name a queue we can use."""
    if url.kind != "sqs":
        raise SettingsError(setting.name, "requires an SQS queue URL, as the other queue has")
    parts = urlsplit(url.name)
    if parts.username is not None or parts.query:
        raise SettingsError(setting.name, "requires an SQS queue URL without '@' and '?'")
    host = parts.hostname or ""
    name = parts.path.rstrip("/").rpartition("/")[2]
    if name.endswith(".fifo"):
        raise SettingsError(setting.name, f"{name} is a FIFO queue; a standard queue is required")
    region = None
    if _AWS_HOST.search(host):
        regions = [label for label in host.split(".") if _REGION.fullmatch(label)]
        region = regions[0] if regions else _ANY_REGION
        if not regions and host != _LEGACY_HOST:
            raise SettingsError(setting.name, f"{host} names no region of AWS")
    return QueuePlace(url.name, name, host, region, setting.name)


def check_pair(queue: QueuePlace, dead_letters: QueuePlace) -> None:
    """Raise SettingsError unless one client reaches both and SQS can move messages between them."""
    if queue.url == dead_letters.url:
        raise SettingsError(dead_letters.variable, f"is the same as {queue.variable}")
    if queue.region != dead_letters.region or (
        queue.region is None and queue.origin != dead_letters.origin
    ):
        raise SettingsError(
            dead_letters.variable,
            f"is at {dead_letters.host}, {queue.variable} at {queue.host}; both queues must be "
            "in one region",
        )


class SqsClient:
    """One boto3 client for all threads, made at the first call."""

    def __init__(self, queue: QueuePlace, *, connections: int) -> None:
        self._queue = queue
        self._connections = connections
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, place: QueuePlace, **parameters: Any) -> dict[str, Any]:
        """Return the answer of SQS about the queue at `place`.

        Raises Unavailable; Misconfigured: until a setting is changed.
        """
        return self.call_by_arn(operation, place, QueueUrl=place.url, **parameters)

    def close(self) -> None:
        """Release connections. Never raises."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def call_by_arn(self, operation: str, place: QueuePlace, **parameters: Any) -> dict[str, Any]:
        """Do the same for the operations that take no queue URL."""
        code = ""
        try:
            client = self._client or self._open()
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        except boto.ClientError as error:
            cause: Exception = error
            code = _code(error)
            problem = _why_refused(code, operation)
            outage = f"{operation} failed, {code or 'no code'}"
        except (boto.BotoCoreError, ResponseParserError, OSError) as error:
            cause = error
            problem = _why_failed(error)
            outage = f"no answer, {no_answer(error)}"
        else:
            return answer
        if code in _CREDENTIALS or isinstance(cause, boto.NoCredentialsError):
            # A client looks for credentials when it is made: a new one finds later credentials.
            self.close()
        if problem:
            raise Misconfigured("queue", place.variable, f"{place}: {problem}") from cause
        raise Unavailable("queue", f"{place}: {outage}") from cause

    def _open(self) -> Any:
        with self._lock:
            if self._client is None:
                silence_aws_sdk()
                self._client = _make_client(self._queue, self._connections)
            return self._client


def _make_client(queue: QueuePlace, connections: int) -> Any:
    session = boto3.session.Session()
    region = queue.region or session.region_name or _ANY_REGION
    # The SDK finds AWS' public endpoints by itself and obeys its settings (FIPS, AWS_ENDPOINT_URL);
    # for private endpoints and other servers the queue's URL gives the address.
    is_found = _PUBLIC_HOST.fullmatch(queue.host) or "AWS_ENDPOINT_URL_SQS" in os.environ
    return session.client(
        "sqs",
        region_name=region,
        endpoint_url=None if is_found else queue.origin,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=LONG_POLL_S + ANSWER_TIMEOUT_S,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            tcp_keepalive=True,
            # Building the long default each time costs a tenth of every call.
            user_agent="wis2-global-cache",
            # We know what we send; a check would cost a fifth of the call.
            parameter_validation=False,
        ),
    )


def error_code(error: Unavailable) -> str:
    """Return the code of SQS' refusal without its namespace; "" if it was not a refusal."""
    cause = error.__cause__
    return _code(cause) if isinstance(cause, boto.ClientError) else ""


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "")).rpartition(".")[2]


def _why_refused(code: str, operation: str) -> str:
    """Return which setting is wrong by an answer of SQS; "" if none is.

    Without the answer's text, which may quote our request.
    """
    problem = ""
    if code in _MISSING:
        problem = "there is no such queue; check account, region and name in the URL"
    elif code in _DENIED:
        action = _ACTIONS.get(operation, operation)
        problem = f"{action} is denied; check the role's policy and the queue's"
    elif code in _CREDENTIALS:
        problem = f"the AWS credentials are refused ({code}); check them, and the clock"
    elif code in _ADDRESS:
        problem = "it is in another region than the endpoint; check AWS_ENDPOINT_URL_SQS"
    elif code in _NO_SQS:
        problem = f"the server answers {code}, as no SQS does; check the URL's host and port"
    return problem


def _why_failed(error: Exception) -> str:
    """Return which setting is wrong if a call gets no answer; "" if none is."""
    problem = ""
    if isinstance(error, boto.NoCredentialsError):
        problem = NO_CREDENTIALS
    elif isinstance(error, _LOCAL_PROBLEMS):
        problem = settings_problem(error)
    elif isinstance(error, ResponseParserError):
        problem = "the server does not answer as SQS does; check the URL's host and port"
    elif isinstance(error, boto.SSLError) and any(map(str(error).__contains__, _CERTIFICATE)):
        problem = "its TLS certificate is not valid for us; check the URL's host, and AWS_CA_BUNDLE"
    return problem
