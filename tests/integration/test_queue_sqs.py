"""What is particular to the queue on SQS; what all queues do is in `test_queue.py`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from local.parts.sqs_server import SqsServer
from testkit.servers import parts
from testkit.servers.sqs_server import Queues, make_queues, set_credentials, start_or_skip
from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wis2_gc_common.ports.queue import DeadLetters, Queue, Received, Sender

pytest_plugins = ("testkit.servers.sqs_server",)

BIN = Path(sys.executable).parent


def envelope(number: int = 0, *, payload: bytes = b"{}") -> Envelope:
    topic = f"origin/a/wis2/de-dwd-{number}/data/core"
    return Envelope(topic=topic, payload=payload, broker="fr", arrived_ms=number)


def sender_of(queues: Queues) -> Sender:
    return open_sender(QueueUrl("sqs", queues.queue_url), redis_url="", max_length=1)


def queue_of(queues: Queues, *, visibility_s: float = 60) -> Queue:
    return open_queue(
        QueueUrl("sqs", queues.queue_url),
        QueueUrl("sqs", queues.dead_letter_queue_url),
        redis_url="",
        consumer="",
        visibility_s=visibility_s,
    )


def dead_letters_of(queues: Queues) -> DeadLetters:
    return open_dead_letters(
        QueueUrl("sqs", queues.queue_url),
        QueueUrl("sqs", queues.dead_letter_queue_url),
        redis_url="",
    )


def send(queues: Queues, *envelopes: Envelope) -> None:
    sender = sender_of(queues)
    try:
        for start in range(0, len(envelopes), sender.max_batch):
            batch = envelopes[start : start + sender.max_batch]
            assert sender.send(batch) == [Sent.ACCEPTED] * len(batch)
    finally:
        sender.close()


async def receive(queue: Queue, count: int) -> list[Received]:
    messages: list[Received] = []
    async with asyncio.timeout(60):
        while len(messages) < count:
            messages += await queue.receive(count - len(messages), wait_s=2)
    return messages


# What SQS does by itself


async def test_what_dies_with_its_managers_becomes_a_dead_letter_and_new_again(
    sqs: Queues,
) -> None:
    queues = make_queues(sqs.server, max_receive_count=2)
    sent = replace(envelope(), attempts=3)
    send(queues, sent)
    queue = queue_of(queues, visibility_s=1)
    for delivery in (1, 2):
        [message] = await receive(queue, 1)
        assert message.deliveries == delivery
    assert await queue.receive(1, wait_s=2) == []

    letters = dead_letters_of(queues)
    [letter] = await asyncio.to_thread(letters.list, 10)
    assert (letter.reason, letter.envelope) == ("unexpected", sent)
    assert abs(letter.died_ms / 1000 - time.time()) < 60
    assert await asyncio.to_thread(letters.redrive) == 1
    letters.close()
    [again] = await receive(queue, 1)
    assert (again.envelope.uid, again.deliveries) == (sent.uid, 1)
    await queue.close()


async def test_a_redriven_message_that_dies_again_tells_its_new_reason(sqs: Queues) -> None:
    send(sqs, envelope())
    queue, letters = queue_of(sqs), dead_letters_of(sqs)
    for reason in ("dns", "timeout"):
        [message] = await receive(queue, 1)
        assert message.envelope.attempts == 0
        tried = replace(message, envelope=replace(message.envelope, attempts=5))
        await queue.dead_letter(tried, reason=reason, last_error=f"it was {reason}")
        [letter] = await asyncio.to_thread(letters.list, 10)
        assert (letter.reason, letter.last_error) == (reason, f"it was {reason}")
        assert letter.envelope.attempts == 5
        assert await asyncio.to_thread(letters.redrive, 1 if reason == "dns" else None) == 1
    await receive(queue, 1)
    letters.close()
    await queue.close()


async def test_looking_at_dead_letters_hides_them_from_nobody_afterwards(sqs: Queues) -> None:
    send(sqs, *[envelope(number) for number in range(25)])
    queue, letters = queue_of(sqs), dead_letters_of(sqs)
    for message in await receive(queue, 25):
        await queue.dead_letter(message, reason="dns", last_error="")
    for _ in range(2):
        assert len(await asyncio.to_thread(letters.list, 100)) == 25
    assert (await queue.depth()).dead == 25
    letters.close()
    await queue.close()


# Away


@pytest.fixture
def own_sqs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsServer]:
    """A server of this test alone, to be paused and stopped."""
    set_credentials(monkeypatch)
    server = start_or_skip(parts.sqs_server(tmp_path / "sqs"))
    yield server
    if server.is_running:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()


async def test_a_server_that_goes_away_is_an_outage_and_comes_back(
    own_sqs: SqsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wis2_gc_common.sqs.client.ANSWER_TIMEOUT_S", 3.0)
    monkeypatch.setattr("wis2_gc_common.sqs.client.ATTEMPTS", 1)
    monkeypatch.setattr("wis2_gc_common.sqs.client.LONG_POLL_S", 0.2)
    queues = make_queues(own_sqs)
    send(queues, *[envelope(number) for number in range(3)])
    queue, sender = queue_of(queues), sender_of(queues)
    sender.check()
    done, returned, dead = await receive(queue, 3)

    os.kill(own_sqs.pid, signal.SIGSTOP)
    problems = await asyncio.gather(
        queue.receive(10, wait_s=0),
        queue.extend([done.receipt]),
        queue.delete([done.receipt]),
        queue.put_back(returned, delay_s=0, attempts=1),
        queue.dead_letter(dead, reason="dns", last_error=""),
        queue.depth(),
        asyncio.to_thread(sender.send, [envelope(9)]),
        return_exceptions=True,
    )
    problems += await asyncio.gather(asyncio.to_thread(sender.check), return_exceptions=True)
    for problem in problems:
        assert isinstance(problem, Unavailable)
        assert not isinstance(problem, Misconfigured)
        assert "no answer" in str(problem)

    os.kill(own_sqs.pid, signal.SIGCONT)
    await queue.delete([done.receipt])
    await queue.put_back(returned, delay_s=0, attempts=1)
    await queue.dead_letter(dead, reason="dns", last_error="")
    assert await asyncio.to_thread(sender.send, [envelope(9)]) == [Sent.ACCEPTED]
    # What the paused server had got already it does now: at least once, each with its uid.
    uids = {message.envelope.uid for message in await receive(queue, 2)}
    assert returned.envelope.uid in uids
    depth = await queue.depth()
    assert depth.dead >= 1
    sender.close()
    await queue.close()


async def test_closing_takes_seconds_only_when_nobody_answers(
    own_sqs: SqsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wis2_gc_common.sqs.client.ANSWER_TIMEOUT_S", 60.0)
    monkeypatch.setattr("wis2_gc_common.sqs.queue.CLOSE_S", 1.0)
    queues = make_queues(own_sqs)
    send(queues, envelope())
    queue = queue_of(queues)
    await receive(queue, 1)
    os.kill(own_sqs.pid, signal.SIGSTOP)
    before = time.monotonic()
    await queue.close()
    assert time.monotonic() - before < 30  # the answer itself would be waited for longer
    os.kill(own_sqs.pid, signal.SIGCONT)


# The fine print, as moto knows it


@pytest.fixture
def moto_queues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Queues]]:
    set_credentials(monkeypatch)
    with mock_aws():
        client = boto3.client("sqs", region_name="eu-central-1")

        def make(**attributes: str) -> Queues:
            queue = client.create_queue(QueueName="q", Attributes=attributes)["QueueUrl"]
            dead = client.create_queue(QueueName="d")["QueueUrl"]
            return Queues(SqsServer(tmp_path), queue, dead)

        yield make


async def test_aws_takes_what_we_send_and_gives_it_back(
    moto_queues: Callable[..., Queues],
) -> None:
    queues = moto_queues()
    payloads = [
        b"{}",
        b"",
        b"\x00\xff",
        "\ufffe\uffff \U0001f300".encode(),
        b"a\r\nb\tc",
        b"x" * 8192,
    ]
    sent = [
        replace(envelope(n, payload=p), topic=f"o/a/wis2/\x01{n}") for n, p in enumerate(payloads)
    ]
    sent += [envelope(n, payload=p) for n, p in enumerate(payloads)]
    sender = sender_of(queues)
    sender.check()
    assert sender.send(sent[:10]) == [Sent.ACCEPTED] * 10
    assert sender.send(sent[10:]) == [Sent.ACCEPTED] * 2
    sender.close()

    queue = queue_of(queues)
    messages = await receive(queue, 12)
    assert {m.envelope.uid: m.envelope for m in messages} == {one.uid: one for one in sent}
    assert (await queue.depth()).in_flight == 12
    await queue.extend([message.receipt for message in messages])
    await queue.delete([message.receipt for message in messages[2:]])
    await queue.put_back(messages[0], delay_s=60, attempts=1)
    await queue.dead_letter(messages[1], reason="dns", last_error="\x00")
    depth = await queue.depth()
    assert (depth.ready, depth.in_flight, depth.delayed, depth.dead) == (0, 0, 1, 1)
    await queue.close()

    letters = dead_letters_of(queues)
    [letter] = await asyncio.to_thread(letters.list, 10)
    assert (letter.reason, letter.last_error) == ("dns", "\ufffd")
    assert letter.envelope == messages[1].envelope
    letters.close()


def test_a_message_beyond_the_queues_own_limit_is_poison(
    moto_queues: Callable[..., Queues],
) -> None:
    sender = sender_of(moto_queues(MaximumMessageSize="1024"))
    large = envelope(payload=b"x" * 2000)
    assert sender.send([envelope(1), large, envelope(2)]) == [
        Sent.ACCEPTED,
        Sent.POISON,
        Sent.ACCEPTED,
    ]
    sender.close()


async def test_a_queue_that_does_not_exist_is_said_to(moto_queues: Callable[..., Queues]) -> None:
    queues = moto_queues()
    queues = replace(queues, queue_url=f"{queues.queue_url}-gone")
    sender, queue = sender_of(queues), queue_of(queues)
    for step in (lambda: asyncio.to_thread(sender.check), queue.depth):
        with pytest.raises(Misconfigured, match="there is no such queue") as caught:
            await step()
        assert caught.value.variable == "GC_QUEUE_URL"
    sender.close()
    await queue.close()


# The commands


@pytest.mark.parametrize("command", ["wis2-gc-listener", "wis2-gc-manager"])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"GC_QUEUE_URL": "{origin}/123456789012/no-such"}, "there is no such queue; check"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials are found"),
        ({"AWS_PROFILE": "nobody"}, "no such profile"),
    ],
)
def test_a_wrong_setting_ends_a_command_with_one_line(
    sqs: Queues, tmp_path: Path, command: str, changes: dict[str, str], problem: str
) -> None:
    origin = f"http://127.0.0.1:{sqs.server.port}"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GC_")}
    environment |= {
        "GC_CENTRE_ID": "xx-test-global-cache",
        "GC_REDIS_URL": "redis://127.0.0.1:1",
        "GC_QUEUE_URL": sqs.queue_url,
        "GC_DEAD_LETTER_QUEUE_URL": sqs.dead_letter_queue_url,
        "GC_STORE_URL": tmp_path.as_uri(),
        "GC_DATA_BASE_URL": "http://127.0.0.1/data",
        "GC_LOCAL_BROKER_URL": "mqtt://user:hunter2@127.0.0.1:1",
        "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
        "GC_GLOBAL_BROKER_URL": "mqtt://user:hunter2@127.0.0.1:1",
        "GC_GLOBAL_BROKER_NAME": "fr",
        "GC_HTTP_HOST": "127.0.0.1",
        "GC_HTTP_PORT": "0",
        "GC_LOG_LEVEL": "error",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        **{name: text.format(origin=origin) for name, text in changes.items()},
    }
    ended = subprocess.run(
        [str(BIN / command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{command}: GC_QUEUE_URL: queue ")
    assert problem in last
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr + ended.stdout
