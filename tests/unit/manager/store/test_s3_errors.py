from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from wis2_gc_common.errors import Misconfigured, Unavailable, UnusableKey
from wis2_gc_manager.store.s3.errors import S3Refusal, not_answered, read_refusal, refused
from wis2_gc_manager.store.s3.place import BucketPlace

AWS = BucketPlace("bucket", "", "eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com", "", "")
OTHER = BucketPlace("bucket", "", "us-east-1", "http://minio:9000", "/bucket", "AWS_ENDPOINT_URL")


def test_a_refusal_is_its_code_and_the_buckets_region() -> None:
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region></Error>"
    assert read_refusal(400, {}, body) == S3Refusal(
        400, "AuthorizationHeaderMalformed", "us-west-2"
    )
    headers = {"x-amz-bucket-region": "us-west-2"}
    assert read_refusal(301, headers, b"") == S3Refusal(301, "PermanentRedirect", "us-west-2")


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NoSuchKey"), (403, "AccessDenied"), (400, "BadRequest"), (503, "SlowDown")],
)
def test_an_answer_without_text_is_taken_by_its_status(status: int, code: str) -> None:
    assert read_refusal(status, {}, b"").code == code


def test_a_code_is_never_free_text() -> None:
    assert read_refusal(400, {}, b"<Code>the key AKIA was refused</Code>").code == "BadRequest"
    assert read_refusal(418, {}, b"<Code>" + b"x" * 65 + b"</Code>").code == "no code"


@pytest.mark.parametrize(
    ("refusal", "is_transient"),
    [
        (S3Refusal(503, "SlowDown"), True),
        (S3Refusal(500, "anything"), True),
        (S3Refusal(400, "BadDigest"), True),
        (S3Refusal(400, "RequestTimeout"), True),
        (S3Refusal(409, "OperationAborted"), True),
        (S3Refusal(501, "NotImplemented"), False),
        (S3Refusal(403, "AccessDenied"), False),
        (S3Refusal(400, "InvalidArgument"), False),
        (S3Refusal(403, "RequestTimeTooSkewed"), False),
    ],
)
def test_only_what_may_pass_in_a_moment_is_repeated(refusal: S3Refusal, is_transient: bool) -> None:
    assert refusal.is_transient is is_transient


@pytest.mark.parametrize(
    ("place", "refusal", "variable"),
    [
        (AWS, S3Refusal(400, "BadRequest", "us-west-2"), "AWS_REGION"),
        (AWS, S3Refusal(400, "AuthorizationHeaderMalformed"), "AWS_REGION"),
        (OTHER, S3Refusal(400, "AuthorizationHeaderMalformed"), "AWS_ENDPOINT_URL"),
        (AWS, S3Refusal(404, "NoSuchBucket", "eu-west-1"), "GC_STORE_URL"),
        (OTHER, S3Refusal(405, "no code"), "AWS_ENDPOINT_URL"),
        (AWS, S3Refusal(403, "AccessDenied", "eu-west-1"), "GC_STORE_URL"),
    ],
)
def test_what_stays_wrong_names_the_setting_to_look_at(
    place: BucketPlace, refusal: S3Refusal, variable: str
) -> None:
    error = refused(refusal, place, "PUT")
    assert isinstance(error, Misconfigured)
    assert error.variable == variable


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SlowDown", "BadRequest", "no code"])
def test_the_rest_is_an_outage(code: str) -> None:
    error = refused(S3Refusal(400, code), AWS, "PUT")
    assert isinstance(error, Unavailable)
    assert not isinstance(error, Misconfigured)


def test_a_key_that_s3_cannot_hold_is_poison() -> None:
    assert isinstance(refused(S3Refusal(400, "KeyTooLongError"), AWS, "PUT"), UnusableKey)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (aiohttp.ServerDisconnectedError(), "no answer (the connection was closed)"),
        (aiohttp.ClientPayloadError("x"), "no answer (the answer ends too early, or never)"),
        (aiohttp.ClientOSError(104, "connection reset by peer"), "connection reset by peer"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ClientError(), "no answer (the answer is not HTTP)"),
    ],
)
def test_the_detail_of_an_outage_says_why_and_names_no_class(error: Any, cause: str) -> None:
    detail = not_answered(error, AWS).detail
    assert cause in detail
    assert type(error).__name__ not in detail
