"""Where queues are, what errors of SQS mean, and what is never said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from testkit.servers.scripted_sqs import ScriptedSqs, refusal
from testkit.servers.sqs_server import set_credentials
from wis2_gc_common.errors import Misconfigured, SettingsError, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.runtime.logs import configure_logging
from wis2_gc_common.settings.catalogue import DEAD_LETTER_QUEUE_URL, QUEUE_URL
from wis2_gc_common.settings.values import QueueUrl
from wis2_gc_common.sqs.client import SqsClient, error_code, parse_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testkit.servers.scripted_sqs import Answer

SECRET = "c2VjcmV0LWtleS1vZi1vdXJz"


def place(url: str) -> Any:
    return parse_place(QUEUE_URL, QUEUE_URL.parse(url))


@pytest.fixture(autouse=True)
def _sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


@pytest.fixture
def script() -> Iterator[Callable[..., ScriptedSqs]]:
    servers: list[ScriptedSqs] = []

    def start(answer: Callable[[str, dict[str, Any]], Answer]) -> ScriptedSqs:
        servers.append(ScriptedSqs(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def open_() -> Iterator[Callable[[str], SqsClient]]:
    clients: list[SqsClient] = []

    def open_one(url: str) -> SqsClient:
        clients.append(SqsClient(place(url), connections=1))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()


def send(client: SqsClient, url: str) -> dict[str, Any]:
    return client.call("send_message_batch", place(url), Entries=[])


# Where


@pytest.mark.parametrize(
    ("url", "region", "name"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/1/q", "eu-central-1", "q"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q/", "cn-north-1", "q"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1", "q"),
        ("https://eu-west-3.queue.amazonaws.com/1/q", "eu-west-3", "q"),
        ("https://queue.amazonaws.com/1/q", "us-east-1", "q"),
        ("https://vpce-0a1-b2.sqs.eu-west-1.vpce.amazonaws.com/1/q", "eu-west-1", "q"),
        ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1", "q"),
        ("http://127.0.0.1:9324/queue/q", None, "q"),
        ("http://sqs.example/q", None, "q"),
    ],
)
def test_the_region_is_that_of_the_url(url: str, region: str | None, name: str) -> None:
    assert (place(url).region, place(url).name) == (region, name)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/1/q.fifo", "FIFO"),
        ("https://sqs.amazonaws.com/1/q", "no region"),
        ("https://user:hunter2@sqs.eu-central-1.amazonaws.com/1/q", "without '@'"),
        ("https://sqs.eu-central-1.amazonaws.com/1/q?token=hunter2", "without '@' and '?'"),
    ],
)
def test_urls_that_name_no_queue_of_ours_are_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"GC_QUEUE_URL: .*{problem}") as caught:
        place(url)
    assert "hunter2" not in str(caught.value)


AWS = "https://sqs.eu-central-1.amazonaws.com/1/q"


@pytest.mark.parametrize(
    ("queue", "dead", "problem"),
    [
        (AWS, AWS, "same"),
        (AWS, "https://sqs.eu-west-1.amazonaws.com/1/d", "one region"),
        ("http://127.0.0.1:1/1/q", "http://127.0.0.1:2/1/d", "one region"),
        (AWS, "redis-stream:d", "SQS queue URL"),
        ("redis-stream:q", AWS, "redis-stream:NAME"),
    ],
)
def test_two_queues_that_do_not_go_together_are_refused(
    queue: str, dead: str, problem: str
) -> None:
    urls = QUEUE_URL.parse(queue), DEAD_LETTER_QUEUE_URL.parse(dead)
    with pytest.raises(SettingsError, match=f"GC_DEAD_LETTER_QUEUE_URL: .*{problem}"):
        open_queue(*urls, redis_url="redis://", consumer="a", visibility_s=30)
    with pytest.raises(SettingsError, match="GC_DEAD_LETTER_QUEUE_URL"):
        open_dead_letters(*urls, redis_url="redis://")


def test_opening_connects_to_nothing() -> None:
    nowhere = QueueUrl("sqs", "http://127.0.0.1:1/1/q")
    dead = QueueUrl("sqs", "http://127.0.0.1:1/1/d")
    open_sender(nowhere, redis_url="", max_length=1).close()
    open_queue(nowhere, dead, redis_url="", consumer="a", visibility_s=30)
    open_dead_letters(nowhere, dead, redis_url="").close()


# What errors mean


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (refusal("QueueDoesNotExist"), "no such queue"),
        (refusal("AWS.SimpleQueueService.NonExistentQueue"), "no such queue"),
        (refusal("AccessDenied", status=403), "sqs:SendMessage is denied"),
        (refusal("KmsAccessDenied"), "denied"),
        (refusal("InvalidClientTokenId", status=403), "credentials are refused"),
        (refusal("SignatureDoesNotMatch", status=403), "the clock"),
        (refusal("ExpiredToken", status=403), "credentials are refused"),
        (refusal("InvalidAddress"), "another region"),
        ((404, b"<html>not here</html>"), "404, as no SQS does"),
        ((403, b"Forbidden"), "403, as no SQS does"),
    ],
)
def test_what_only_a_setting_can_mend_says_which(
    script: Callable[..., ScriptedSqs],
    open_: Callable[[str], SqsClient],
    answer: Answer,
    problem: str,
) -> None:
    server = script(lambda *_: answer)
    with pytest.raises(Misconfigured, match=problem) as caught:
        send(open_(server.queue_url), server.queue_url)
    assert caught.value.variable == "GC_QUEUE_URL"
    assert caught.value.part == "queue"
    assert caught.value.detail.startswith("queue notifications at 127.0.0.1: ")
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        refusal("RequestThrottled"),
        refusal("OverLimit", status=403),
        refusal("InternalError", status=500),
        refusal("ServiceUnavailable", status=503),
        refusal("SomethingNew"),
        (502, b"<html>bad gateway</html>"),
    ],
)
def test_what_passes_by_itself_is_an_outage(
    script: Callable[..., ScriptedSqs], open_: Callable[[str], SqsClient], answer: Answer
) -> None:
    server = script(lambda *_: answer)
    with pytest.raises(Unavailable) as caught:
        send(open_(server.queue_url), server.queue_url)
    assert not isinstance(caught.value, Misconfigured)


def test_a_throttled_call_is_made_once_more(
    script: Callable[..., ScriptedSqs], open_: Callable[[str], SqsClient]
) -> None:
    answers: list[tuple[int, Any]] = [
        refusal("RequestThrottled"),
        (200, {"Successful": [], "Failed": []}),
    ]
    server = script(lambda *_: answers.pop(0))
    send(open_(server.queue_url), server.queue_url)
    assert server.actions() == ["SendMessageBatch"] * 2


def test_nobody_there_is_an_outage(open_: Callable[[str], SqsClient]) -> None:
    url = "http://127.0.0.1:1/123456789012/notifications"
    with pytest.raises(Unavailable, match=r"queue notifications at 127\.0\.0\.1: no answer"):
        send(open_(url), url)


def test_credentials_that_come_later_are_found(
    script: Callable[..., ScriptedSqs],
    open_: Callable[[str], SqsClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = script(lambda *_: (200, {}))
    client = open_(server.queue_url)
    key = "AWS_SECRET_ACCESS_KEY"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv(key)
    with pytest.raises(Misconfigured, match="no AWS credentials"):
        send(client, server.queue_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "late")
    with pytest.raises(Misconfigured, match=r"own settings are wrong: half of the credentials"):
        send(client, server.queue_url)
    monkeypatch.setenv(key, "late")
    assert "Successful" not in send(client, server.queue_url)
    assert error_code(Unavailable("queue")) == ""


def test_a_profile_that_does_not_exist_is_a_wrong_setting(
    open_: Callable[[str], SqsClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Misconfigured, match="no such profile"):
        send(open_(AWS), AWS)


# What is never said


def test_no_credential_and_no_payload_shows_in_errors_and_logs(
    script: Callable[..., ScriptedSqs],
    open_: Callable[[str], SqsClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOURS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    answers = [
        refusal("SignatureDoesNotMatch", status=403, message=f"AKIAOURS {SECRET}"),
        refusal("InternalError", status=500, message="the payload"),
        refusal("InternalError", status=500, message="the payload"),
        refusal("AccessDenied", status=403, message="arn:aws:iam::123456789012:role/ours"),
    ]
    server = script(lambda *_: answers.pop(0))
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    configure_logging(level="debug", log_format="json", service="test")
    said = ""
    try:
        client = open_(server.queue_url)
        entries = [{"Id": "0", "MessageBody": "the payload"}]
        while answers:
            with pytest.raises(Unavailable) as caught:
                client.call("send_message_batch", place(server.queue_url), Entries=entries)
            said += f"{caught.value}{caught.value!r}{caught.value.detail}"
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    said += "".join(capsys.readouterr())
    for secret in ("AKIAOURS", SECRET, "session-token", "the payload", "Signature=", "role/ours"):
        assert secret not in said
