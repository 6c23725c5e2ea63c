"""A private SQS stand-in per test run, with new queues for each test.

Use it with `pytest_plugins = ("testkit.servers.sqs_server",)` in a test module (fixture `sqs`), or
make one of one's own (`parts.sqs_server`) where it is to be stopped. It is faithful in
what it stores, not in every fine print: the tests with moto look at that.

PYTEST_DONT_REWRITE: pytest warns when a plugin was imported before by another test module.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from local.parts.local_server import StartFailed
from local.parts.sqs_server import CREDENTIALS
from testkit.servers import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.parts.sqs_server import SqsServer


class _Starts(Protocol):
    def start(self) -> None: ...


_Server = TypeVar("_Server", bound=_Starts)


def start_or_skip(server: _Server) -> _Server:
    """Start it; skip where it is not installed, but fail in CI, and where QUEUE asks for it."""
    is_wanted = os.environ.get("CI") or os.environ.get("QUEUE") == "sqs"
    try:
        server.start()
    except StartFailed as error:
        if "not installed" in str(error) and not is_wanted:
            pytest.skip(str(error))
        raise
    return server


def set_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of this machine's own AWS set-up reach the SDK."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name, text)


@pytest.fixture(scope="session")
def sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqsServer]:
    """One server for the whole run; not to be stopped by those who share it."""
    server = start_or_skip(parts.sqs_server(tmp_path_factory.mktemp("sqs")))
    yield server
    server.stop()


@dataclass(frozen=True)
class Queues:
    """A queue and its dead letter queue, nobody else's."""

    server: SqsServer
    queue_url: str
    dead_letter_queue_url: str

    @property
    def settings(self) -> dict[str, str]:
        """What a service has to be told."""
        return {
            **CREDENTIALS,
            "GC_QUEUE_URL": self.queue_url,
            "GC_DEAD_LETTER_QUEUE_URL": self.dead_letter_queue_url,
        }


def make_queues(server: SqsServer, *, max_receive_count: int = 1000) -> Queues:
    """Return two new queues; a message goes over after `max_receive_count` deliveries."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    dead = _call(server, "CreateQueue", QueueName=f"{name}-dead")["QueueUrl"]
    arn = _call(server, "GetQueueAttributes", QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {
        "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
        "maxReceiveCount": max_receive_count,
    }
    attributes = {"RedrivePolicy": json.dumps(policy)}
    queue = _call(server, "CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]
    return Queues(server, queue, dead)


def _call(server: SqsServer, action: str, **parameters: object) -> dict[str, Any]:
    status, body = server.request(action, parameters)
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.fixture
def sqs(sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Two new queues on the shared server, and the SDK's settings for it."""
    set_credentials(monkeypatch)
    return make_queues(sqs_server)
