"""The roles in terraform/modules/identity may do what the adapters do, call by call, and no more.

Every method of every adapter is run against servers that keep what they were asked; each call is
taken for the permissions that AWS documents for it, and the sum is compared with services.tf.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testkit.servers.scripted_s3 import BUCKET, ScriptedS3
from testkit.servers.scripted_sqs import DEAD_PATH, ScriptedSqs, refusal
from testkit.servers.sqs_server import set_credentials
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.ports import queue as queue_base
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.settings.catalogue import QUEUE_URL, STORE_URL
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store import port as store_base

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from testkit.servers.scripted_s3 import Seen
    from testkit.servers.scripted_sqs import Answer
    from wis2_gc_manager.store.port import ObjectStore

SERVICES = Path(__file__).parents[2] / "terraform/modules/identity/services.tf"
MEBIBYTE = 1024 * 1024

#: A permission is an action and what it is done to.
Permission = tuple[str, str]
QUEUE, DEAD, OBJECTS, THE_BUCKET = "queue", "dead letters", "objects", "bucket"
#: Of a bucket that is encrypted with a key of KMS; ours is not.
KEY = "key"
#: What the expressions in services.tf stand for.
RESOURCES = {
    "var.queue_arn": QUEUE,
    "var.dead_letter_queue_arn": DEAD,
    '"${var.bucket_arn}/${var.object_prefix}*"': OBJECTS,
    "var.bucket_arn": THE_BUCKET,
    "var.bucket_key_arn": KEY,
}
#: SQS asks for more than the call itself: who moves messages must be allowed to take them, too.
MOVES = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")


def needed_by_sqs(action: str, body: dict[str, Any]) -> set[Permission]:
    """Return what AWS requires for one call: a batch requires what a single one does."""

    def place(name: str) -> str:
        return DEAD if body[name].endswith("dead-letters") else QUEUE

    if action == "ListMessageMoveTasks":
        source = place("SourceArn")
        return {(name, source) for name in ("sqs:ListMessageMoveTasks", *MOVES)}
    if action == "StartMessageMoveTask":
        source = place("SourceArn")
        return {(name, source) for name in ("sqs:StartMessageMoveTask", *MOVES)} | {
            ("sqs:SendMessage", place("DestinationArn"))
        }
    return {(f"sqs:{action.removesuffix('Batch')}", place("QueueUrl"))}


#: With one of these in a request S3 requires more than the right to put the object.
DEMANDING_HEADERS = (
    "x-amz-acl", "x-amz-copy-source", "x-amz-grant", "x-amz-object-lock",
    "x-amz-server-side-encryption", "x-amz-tagging",
)  # fmt: skip


def needed_by_s3(seen: Seen, *, is_there: bool) -> set[Permission]:
    """Return what AWS requires for one request."""
    assert not [name for name in seen.headers if name.lower().startswith(DEMANDING_HEADERS)]
    is_object = seen.path.startswith(f"/{BUCKET}/") and len(seen.path) > len(BUCKET) + 2
    assert is_object, f"{seen.method} {seen.path} is of the bucket: say what it requires"
    if seen.method in {"PUT", "POST"}:
        # S3 opens what it has of an upload when it adds to it.
        opens = {("kms:Decrypt", KEY)} if "uploadId" in seen.query else set()
        return {("s3:PutObject", OBJECTS), ("kms:GenerateDataKey", KEY)} | opens
    if seen.method == "DELETE":
        name = "s3:AbortMultipartUpload" if "uploadId" in seen.query else "s3:DeleteObject"
        return {(name, OBJECTS)}
    assert seen.method in {"GET", "HEAD"}
    # Who may not list gets a 403 where there is nothing, and could not tell it from being shut out.
    return {("s3:GetObject", OBJECTS)} | (set() if is_there else {("s3:ListBucket", THE_BUCKET)})


COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Messages:
    """Answers as SQS does, well enough for every call to be made."""

    def __init__(self) -> None:
        self._waiting: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        self._receipts = itertools.count()
        self._hidden: dict[str, dict[str, Any]] = {}

    def __call__(self, action: str, body: dict[str, Any]) -> Answer:
        if action == "SendMessageBatch" and not body["Entries"]:
            return refusal("EmptyBatchRequest")
        return 200, self._obey(action, body)

    def _obey(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        waiting = self._waiting[body.get("QueueUrl", "").endswith(DEAD_PATH)]
        entries = body.get("Entries", [])
        answer: dict[str, Any] = {"Successful": [{"Id": one["Id"]} for one in entries]}
        if action == "SendMessage":
            waiting.append(body)
            answer = {"MessageId": "m"}
        elif action == "SendMessageBatch":
            waiting += entries
        elif action == "ChangeMessageVisibilityBatch":
            shown = [one["ReceiptHandle"] for one in entries if one["VisibilityTimeout"] == 0]
            waiting += [self._hidden.pop(receipt) for receipt in shown]
        elif action == "ReceiveMessage":
            answer = {"Messages": [self._delivery(waiting.pop(0)) for _ in waiting[:1]]}
        elif action == "GetQueueAttributes":
            arn = f"arn:aws:sqs:eu-west-3:123456789012:{body['QueueUrl'].rpartition('/')[2]}"
            answer = {"Attributes": {"QueueArn": arn, **dict.fromkeys(COUNTS, "1")}}
        elif action == "StartMessageMoveTask":
            answer = {"TaskHandle": "task"}
        elif action == "ListMessageMoveTasks":
            done = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 1}
            answer = {"Results": [{"TaskHandle": "task", **done}]}
        return answer

    def _delivery(self, sent: dict[str, Any]) -> dict[str, Any]:
        number = next(self._receipts)
        self._hidden[f"r{number}"] = sent
        return {
            "MessageId": f"m{number}",
            "ReceiptHandle": f"r{number}",
            "Body": sent["MessageBody"],
            "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1764000000000"},
            "MessageAttributes": sent.get("MessageAttributes", {}),
        }


@pytest.fixture(autouse=True)
def _sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


@pytest.fixture
def sqs() -> Iterator[ScriptedSqs]:
    server = ScriptedSqs(Messages())
    yield server
    server.close()


@pytest.fixture
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedS3]:
    server = ScriptedS3()
    await server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    yield server
    await server.stop()


def envelope() -> Envelope:
    topic = "cache/a/wis2/xx-example/data/core/weather/surface-based-observations/synop"
    return Envelope(topic, b"{}", "global-broker", 1_764_000_000_000)


def urls(sqs: ScriptedSqs) -> tuple[Any, Any]:
    return QUEUE_URL.parse(sqs.queue_url), QUEUE_URL.parse(sqs.dead_letter_queue_url)


def send(sqs: ScriptedSqs) -> set[str]:
    """Do all that the listener does; return the adapter's methods that were called."""
    sender = open_sender(urls(sqs)[0], redis_url="redis://127.0.0.1:1", max_length=1)
    sender.check()
    assert sender.send([envelope()] * sender.max_batch) == [Sent.ACCEPTED] * sender.max_batch
    sender.close()
    return {"check", "send", "max_batch", "close"}


async def work(sqs: ScriptedSqs) -> set[str]:
    """Do all that the manager does with the queue."""
    queue = open_queue(*urls(sqs), redis_url="redis://127.0.0.1:1", consumer="one", visibility_s=60)
    # The last one is held until the end, and handed over then.
    given_back, done, dead, dead_too, _ = [(await queue.receive(1, wait_s=1))[0] for _ in range(5)]
    await queue.extend([given_back.receipt])
    await queue.put_back(given_back, delay_s=5, attempts=1)
    await queue.delete([done.receipt])
    for received in (dead, dead_too):
        await queue.dead_letter(received, reason="gone", last_error="404")
    await queue.depth()
    await queue.close()
    return {"receive", "extend", "put_back", "dead_letter", "delete", "depth", "close"}


async def look(sqs: ScriptedSqs) -> None:
    """Do all that the metrics service does with the queue."""
    queue = open_queue(*urls(sqs), redis_url="redis://127.0.0.1:1", consumer="", visibility_s=60)
    assert (await queue.depth()).ready == 1
    await queue.close()


def operate(sqs: ScriptedSqs) -> set[str]:
    """Do all that `wis2-gc` does with dead letters; it is run in a manager's pod."""
    letters = open_dead_letters(*urls(sqs), redis_url="redis://127.0.0.1:1")
    assert letters.redrive(1) == 1
    assert [letter.reason for letter in letters.list(1)] == ["gone"]
    assert letters.redrive() == 1
    letters.close()
    return {"list", "redrive", "close"}


async def keep(store: ObjectStore) -> set[str]:
    """Do all that the manager does with the object store."""
    await store.check()
    await store.put("small", b"small", media_type="application/bufr")
    await store.put("emptied", b"", media_type="application/bufr")
    for is_completed in (True, False):
        upload = await store.open_upload(f"large-{is_completed}", media_type="application/bufr")
        for _ in range(40):
            await upload.write(bytes(MEBIBYTE))
        await (upload.complete() if is_completed else upload.abort())
    assert await store.size("small") == 5
    assert await store.size("not there") is None
    await store.delete("small")
    await store.expire(datetime.now(UTC))
    assert await store.capacity() is None
    await store.close()
    return {
        *("check", "put", "open_upload", "size", "announce_by_ns"),
        *("delete", "expire", "capacity", "close"),
    }


def methods(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def granted() -> dict[str, set[Permission]]:
    """Return what services.tf allows each service."""
    text = SERVICES.read_text("utf-8")
    found: dict[str, set[Permission]] = defaultdict(set)
    for service, body in re.findall(r"(?ms)^    (\w+) = \{\n(.*?)^    \}$", text):
        statements = re.findall(
            r"Action\s+= \[(.*?)\](?:\s*#[^\n]*)?\s+Resource\s+= \[(.*?)\]", body, re.DOTALL
        )
        assert len(statements) == len(re.findall(r"\bAction\b", body)), service
        for actions, resources in statements:
            for resource in re.findall(r'"[^"]+"|[\w.]+', resources):
                found[service] |= {
                    (action, RESOURCES[resource]) for action in re.findall(r'"([^"]+)"', actions)
                }
    return found


async def test_each_role_may_make_exactly_the_calls_that_its_service_makes(
    sqs: ScriptedSqs, s3: ScriptedS3
) -> None:
    done: dict[str, set[Permission]] = defaultdict(set)

    def note(role: str) -> None:
        for action, body in sqs.calls:
            done[role] |= needed_by_sqs(action, body)
        sqs.calls.clear()

    called = send(sqs)
    assert called == methods(queue_base.Sender)
    note("listener")
    called = await work(sqs)
    assert called == methods(queue_base.Queue)
    called = operate(sqs)
    assert called == methods(queue_base.DeadLetters)
    note("manager")
    await look(sqs)
    note("metrics")

    there: set[str] = set()
    store = open_store(STORE_URL.parse(f"s3://{BUCKET}"), retention_hours=24)
    called = await keep(store)
    assert called == methods(store_base.ObjectStore)
    for seen in s3.seen:
        if seen.method in {"PUT", "POST"}:
            there.add(seen.path)
        done["manager"] |= needed_by_s3(seen, is_there=seen.path in there)

    assert granted().keys() == done.keys()
    for role, allowed in granted().items():
        assert (allowed - done[role], done[role] - allowed) == (set(), set()), role


#: Calls that know no resource, as AWS documents them, read what is there and change nothing.
READS = re.compile(r"\w+:(?:Describe|List|Get)\w+")


@pytest.mark.parametrize("name", ["services.tf", "addons.tf"])
def test_no_role_has_a_wildcard_where_a_name_is_possible(name: str) -> None:
    text = re.sub(r"#[^\n]*", "", SERVICES.with_name(name).read_text("utf-8"))
    statements = text.split("Sid ")[1:]
    assert len(statements) == len(re.findall(r"\bEffect\b", text))
    for statement in statements:
        listed = re.search(r"Action\s+= \[(.*?)\]", statement, re.DOTALL)
        resources = re.search(r"Resource\s+= (\[.*?\]|var\.\w+)", statement, re.DOTALL)
        assert listed is not None, statement
        assert resources is not None, statement
        actions = re.findall(r'"([^"]+)"', listed[1])
        assert actions
        assert not [action for action in actions if "*" in action], statement
        # A log group is named with its streams, as AWS documents it.
        named = re.sub(r'(:log-group:[^:*"]+):\*"', r'\1"', resources[1])
        # Where nothing can be named a condition says what is ours.
        if '"*"' in named or ':*"' in named:
            is_bound = "Condition" in statement
            assert is_bound or all(READS.fullmatch(action) for action in actions), statement
