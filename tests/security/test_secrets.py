"""Nothing secret is said, by any service, in any trouble: the whole cache, at level debug.

Every password, key and payload of this world has a mark of its own, and so have the accounts in
strangers' links. Then things go wrong, and all that the cache says is searched for the marks: log
lines, metrics, status API, monitoring events, the operator's command. (Image layers:
`tests/deployment/test_images.py`.)
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import redis

from testkit.messages.wnm import encoded, inline, integrity_of, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import BIN, World, open_world, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOPIC = "origin/a/wis2/tt-secrets/data/core/weather/surface-based-observations/synop"
MARK = "5ecret"
#: The end of a presigned link: who has it has the object.
SIGNED = (
    f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={MARK}-id%2F20260801"
    f"&X-Amz-Signature={MARK}-signature&token={MARK}"
)
LOGIN = f"user:{MARK}-of-a-link"
PATHS = ("summary", "centres", "brokers", "managers", "queue", "failures")


class TalkativeFtp:
    """Refuses every login, and repeats the password."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.logins = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 hello\r\n")
            for line in lines:
                self.logins += line.startswith(b"PASS")
                code = b"331 and " if line.startswith(b"USER") else b"530 no: "
                lines.write(code + line.strip() + b"\r\n")

    def close(self) -> None:
        self._server.close()


@pytest.fixture(params=["redis-stream and file", "sqs and s3"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    queue, _, store = request.param.partition(" and ")
    monkeypatch.setenv("QUEUE", queue)
    monkeypatch.setenv("STORE", store)
    secrets = {
        "AWS_ACCESS_KEY_ID": f"AKIA{MARK.upper()}",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-key-of-aws",
        "AWS_SESSION_TOKEN": f"{MARK}-token-of-aws",
    }
    with open_world(
        tmp_path / "world",
        redis_password=f"{MARK}-of-redis",
        broker_password=f"{MARK}-of-our-broker",
        GC_LOG_LEVEL="debug",
        **secrets,
    ) as world:
        yield world


@pytest.fixture
def ftp() -> Iterator[TalkativeFtp]:
    ftp = TalkativeFtp()
    yield ftp
    ftp.close()


def test_nothing_secret_is_said_in_any_trouble(world: World, node: Node, ftp: TalkativeFtp) -> None:
    publish_all_kinds(world, node, ftp)
    wait_until(lambda: failures_of(world) >= FAILING, "the bad sources are given up", timeout=60)
    wait_until(lambda: ftp.logins, "the password of a link is tried", timeout=60)
    world.settle(including_delayed=True)
    said = [ask_everything(world)]

    lose_redis_its_password(world)
    lose_the_broker(world, node)
    if hasattr(world, "s3"):
        lose_store_and_queue(world, node)
    spoil_what_metrics_read(world)
    said.append(ask_everything(world))
    for process in world.processes.values():
        assert process.stop() == 0
    logs = {name: process.log for name, process in world.processes.items()}
    assert "Traceback" in logs["metrics"], "none was provoked"

    events = b"".join(event.payload for event in world.events).decode()
    assert "tt-secrets" in events, "no monitoring event was published"
    for where, text in {**logs, "answers": "".join(said), "events": events}.items():
        found = [line for line in text.splitlines() if MARK in line.lower()]
        assert not found, (where, found)


#: How many of the notifications below are given up and on record, at least.
FAILING = 11


def publish_all_kinds(world: World, node: Node, ftp: TalkativeFtp) -> None:
    secret = f"{MARK} in the payload".encode()
    place = f"{LOGIN}@127.0.0.1:{node.port}"
    node.serve("/moved", Answer(status=302, headers={"Location": f"http://{place}/gone"}))
    signed = f"http://127.0.0.1:{node.port}/gone?{SIGNED}"
    node.serve("/moved-to-signed", Answer(status=307, headers={"Location": signed}))
    node.serve("/other", secret)
    bad = [
        f"http://{place}/missing?token={MARK}",
        f"https://{place}/no-tls",
        f"http://{place}/moved",
        f"ftp://{LOGIN}@127.0.0.1:{ftp.port}/a.bufr",
        f"sftp://{LOGIN}@127.0.0.1:{ftp.port}/a.bufr",
        f"http://{LOGIN}@10.1.2.3/forbidden",
        f"http://127.0.0.1:{node.port}/signed?{SIGNED}",
        f"http://127.0.0.1:{node.port}/moved-to-signed",
        f"http://127.0.0.1:{node.port}/a b?key={MARK} and more&{SIGNED}",
        f"https://127.0.0.1:{node.port}/no-tls?{SIGNED}#{MARK}",
    ]
    for href in bad:
        world.publish(TOPIC, wnm(data_id=unique_data_id("bad"), href=href))
    mismatch = wnm(
        data_id=unique_data_id("bad"), href=f"http://{place}/other", integrity=integrity_of(b"x")
    )
    world.publish(TOPIC, mismatch)
    good = unique_data_id("good")
    world.publish(TOPIC, wnm(data_id=good, href=node.serve("/good", secret)), brokers="ab")
    text = unique_data_id("good")
    world.publish(TOPIC, wnm(data_id=text, content=inline(secret, encoding="utf-8")))
    world.announced(good)
    world.announced(text)
    for href in (  # not fetched, and announced or refused as they came
        f"http://127.0.0.1:{node.port}/uncached?{SIGNED}",
        f"http://{LOGIN}@169.254.169.254/?{SIGNED}",
        f"file:///etc/{MARK}?{SIGNED}",
        f"gopher://{LOGIN}@gopher.test/{MARK}",
        f"http://{LOGIN}@:80:80/{MARK}",
        f"http://[{MARK}]/?{SIGNED}",
    ):
        for cache in (True, False):
            message = wnm(data_id=unique_data_id("odd"), href=href, cache=cache)
            world.publish(TOPIC, message)
    large = wnm(
        data_id=unique_data_id("large"),
        href=f"http://{place}/large?{SIGNED}",
        length=2**31,
    )
    world.publish(TOPIC, large)
    wait_until(
        lambda: world.counters("tt-secrets").get("cache_override_total"), "the large one is left"
    )
    # What is none at all, and what is none for one wrong value.
    world.publish(TOPIC, b'{"id": 1, ' + secret)
    world.publish(TOPIC, secret * 500)
    wrong = wnm(data_id=unique_data_id("wrong"), content=inline(secret, encoding="utf-8"))
    for name, value in (("geometry", MARK), ("links", [{"href": MARK}]), ("id", [MARK])):
        world.publish(TOPIC, encoded({**wrong, name: value}))
    for name in ("pubtime", "integrity", "content", "cache", "datetime"):
        properties = {**wrong["properties"], name: {MARK: MARK}}
        world.publish(TOPIC, encoded({**wrong, "properties": properties}))


def failures_of(world: World) -> int:
    _, _, body = world.get(f"http://127.0.0.1:{world.metrics_port}/api/failures")
    found: list[Any] = json.loads(body)["failures"]
    return len(found)


def ask_everything(world: World) -> str:
    """Return what the metrics service and the operator's command answer, headers included."""
    origin = f"http://127.0.0.1:{world.metrics_port}"
    urls = [f"{origin}/{path}" for path in ("metrics", "readyz", "healthz", "")]
    urls += [f"{origin}/api/{path}" for path in PATHS]
    status, _, failures = world.get(f"{origin}/api/failures")
    for failure in json.loads(failures)["failures"] if status == 200 else ():
        asked = {name: failure[name] for name in ("data_id", "centre_id")}
        urls.append(f"{origin}/api/item?{urlencode(asked)}")
    text = "".join(str(world.get(url)[1:]) for url in urls)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GC_")}
    for words in (["status"], ["check"], ["failures"], ["dead-letters", "list"]):
        done = subprocess.run(
            [BIN / "wis2-gc", *words], env={**inherited, **world.environment},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        text += done.stdout + done.stderr
    return text


def lose_redis_its_password(world: World) -> None:
    with redis.Redis.from_url(world.redis.url) as admin:
        # What is connected stays so: only a new connection is refused.
        admin.config_set("requirepass", "another")
        admin.client_kill_filter(_type="normal", skipme=True)
        status = f"http://127.0.0.1:{world.metrics_port}/readyz"
        wait_until(lambda: world.get(status)[0] == 503, "it is not ready")
        admin.config_set("requirepass", f"{MARK}-of-redis")
    wait_until(world.is_ready, "it is ready again", timeout=60)


def lose_the_broker(world: World, node: Node) -> None:
    data_id = unique_data_id("late")
    world.cache_broker.stop()
    world.publish(TOPIC, wnm(data_id=data_id, href=node.serve("/late", b"late")))
    wait_until(lambda: "broker_connect_failed" in all_logs(world), "the broker is missed")
    world.cache_broker.start()
    world.announced(data_id, timeout=60)


def lose_store_and_queue(world: World, node: Node) -> None:
    data_id = unique_data_id("later")
    world.s3.kill()
    world.publish(TOPIC, wnm(data_id=data_id, href=node.serve("/later", b"later")))
    wait_until(lambda: '"part": "store"' in all_logs(world), "the store is missed", timeout=60)
    world.s3.start()
    world.announced(data_id, timeout=60)
    world.settle()
    world.sqs.kill()
    wait_until(lambda: '"part": "queue"' in all_logs(world), "the queue is missed", timeout=60)
    world.sqs.start()
    wait_until(world.is_ready, "it is ready again", timeout=60)


def spoil_what_metrics_read(world: World) -> None:
    with redis.Redis.from_url(world.redis.url) as admin:
        admin.hset("{gc}processes", "listener/spoilt", "9999999999999 {spoilt")
        admin.lpush("{gc}failures", "spoilt")
    for path in ("metrics", "api/failures"):
        assert world.get(f"http://127.0.0.1:{world.metrics_port}/{path}")[0] >= 500


def all_logs(world: World) -> str:
    return "".join(process.log for process in world.processes.values())
