"""What S3's refusals mean: try again, look for other credentials, or tell the operator. Pure.

Only the code of an answer is passed on: S3's texts quote keys and signatures.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from wis2_gc_common.errors import CacheError, Misconfigured, Unavailable, UnusableKey
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.settings.catalogue import CA_FILE, STORE_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wis2_gc_manager.store.s3.place import BucketPlace

_CODE = re.compile(rb"<Code>([A-Za-z0-9._-]{1,64})</Code>")
_BUCKET_REGION = re.compile(rb"<Region>([a-z0-9-]{1,40})</Region>")
_REGION_HEADER = "x-amz-bucket-region"

#: Answers to HEAD have no text: the most likely meaning of their status.
_CODE_OF_STATUS = {
    301: "PermanentRedirect",
    400: "BadRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    503: "SlowDown",
}
#: Errors that are soon over; data that was damaged on the way is sent again.
_TRANSIENT = frozenset(
    {
        "BadDigest",
        "Busy",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_DENIED = frozenset(
    {"AccessDenied", "AccessForbidden", "AllAccessDisabled", "AccountProblem", "Forbidden"}
)
_OTHER_REGION = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    }
)
_NO_BUCKET = frozenset({"InvalidBucketName", "NoSuchBucket"})
_NO_KEY = frozenset(
    {"InvalidObjectName", "InvalidURI", "KeyTooLongError", "XMinioInvalidObjectName"}
)
_REDIRECTS = frozenset({301, 302, 307, 308})
#: Statuses of servers that are not S3.
_NO_S3 = frozenset({401, 405, 501})
#: The permissions of IAM that each kind of request requires.
_ACTIONS = {
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",
    "HEAD": "s3:GetObject and s3:ListBucket",
    "DELETE": "s3:DeleteObject and s3:AbortMultipartUpload",
}


@dataclass(frozen=True, slots=True)
class S3Refusal:
    """An answer that is not a success."""

    status: int
    code: str
    bucket_region: str = ""
    """The region of the bucket, if S3 names it."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request will probably succeed in a moment."""
        return self.code in _TRANSIENT or self.status in _TRANSIENT_STATUS

    @property
    def blames_credentials(self) -> bool:
        """Whether other credentials might help; the answer to a HEAD is only status 400."""
        return self.code in _CREDENTIALS or self.code == "BadRequest"

    def __str__(self) -> str:
        return f"status {self.status}, {self.code}"


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> S3Refusal:
    """Return the refusal that an answer contains."""
    code = _CODE.search(body)
    region = _BUCKET_REGION.search(body)
    return S3Refusal(
        status,
        code[1].decode() if code else _CODE_OF_STATUS.get(status, "no code"),
        headers.get(_REGION_HEADER, "")[:40] or (region[1].decode() if region else ""),
    )


def refused(refusal: S3Refusal, place: BucketPlace, method: str) -> CacheError:
    """Return what a refusal means for the caller: Misconfigured, Unavailable or UnusableKey."""
    code = refusal.code
    if code in _NO_KEY:
        return UnusableKey(f"S3 says {code}")
    variable, problem = _problem(refusal, place, method)
    if problem:
        return Misconfigured("store", variable, f"{place}: {problem}")
    if code == "RequestTimeTooSkewed":
        return Unavailable("store", f"{place}: the clock of this machine is wrong by over 15 min")
    return Unavailable("store", f"{place}: {method} failed, {refusal}")


def _problem(refusal: S3Refusal, place: BucketPlace, method: str) -> tuple[str, str]:
    """Return (variable, problem) if it stays until a setting is changed, otherwise ("", "")."""
    code, status = refusal.code, refusal.status
    variable, problem = STORE_URL.name, ""
    if code in _NO_BUCKET:
        problem = "there is no such bucket; check its name, and AWS_REGION"
    elif refusal.bucket_region not in ("", place.region):
        variable = "AWS_REGION"
        problem = f"it is in {refusal.bucket_region}, not in {place.region}"
    elif code in _OTHER_REGION or status in _REDIRECTS:
        variable = place.endpoint_variable or "AWS_REGION"
        problem = f"it is in another region than {place.region}; check {variable}"
    elif code in _CREDENTIALS:
        variable = "AWS_ACCESS_KEY_ID"
        problem = f"the AWS credentials are refused ({code}); check the role, profile or keys"
    elif code in _DENIED:
        problem = (
            f"{method} is denied; check that the role has {_ACTIONS[method]}, "
            "and the policies of the bucket and of its key"
        )
    elif code.startswith("KMS."):
        problem = f"its encryption key cannot be used ({code}); check the key's policy"
    elif status in _NO_S3:
        variable = place.endpoint_variable or STORE_URL.name
        problem = f"the server answers {status}, as no S3 does; check host and port"
    return variable, problem


def not_answered(error: Exception, place: BucketPlace) -> Unavailable:
    """Return the error for a request without an answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = error.certificate_error
        verdict = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else ""
        if "mismatch" in verdict.lower() or "not valid for" in verdict.lower():
            variable = place.endpoint_variable or STORE_URL.name
            return Misconfigured(
                "store", variable, f"{place}: its TLS certificate is for another host name"
            )
        return Misconfigured(
            "store",
            CA_FILE.name,
            f"{place}: its TLS certificate is not trusted ({verdict[:80] or 'no reason given'}); "
            "name its authority here or in AWS_CA_BUNDLE",
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        named_by = place.endpoint_variable or "AWS_REGION"
        return Unavailable("store", f"{place}: the name cannot be resolved; check {named_by}")
    if isinstance(error, TimeoutError):
        return Unavailable("store", f"{place}: no answer in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable("store", f"{place}: cannot be connected to ({no_answer_words(error)})")
    return Unavailable("store", f"{place}: no answer ({no_answer_words(error)})")


def no_answer_words(error: Exception) -> str:
    """Return why there was no answer."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return os_words(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ends too early, or never"
    if isinstance(error, OSError):
        return os_words(error)
    return "the answer is not HTTP"
