"""wis2-rules.md 25 to 28: our broker and our data server."""

from __future__ import annotations

import asyncio
import http.client
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from local.parts.mqtt_client import end
from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.worlds.world import World, wait_until

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from testkit.servers.nodes import Node


def connect(port: int, user: str | None, password: str | None, **options: Any) -> Any:
    """Return (client, reason code of the CONNACK)."""
    answered = threading.Event()
    answer: list[ReasonCode] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, **options)
    if user is not None:
        client.username_pw_set(user, password)

    def keep(_c: object, _u: object, _f: object, code: ReasonCode, _p: object) -> None:
        answer.append(code)
        answered.set()

    client.on_connect = keep
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert answered.wait(20)
    return client, answer[0]


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
def test_rule_25_everyone_may_subscribe_with_both_versions(
    world: World, topic: str, data_id: str, version: MQTTProtocolVersion
) -> None:
    client, code = connect(world.public_broker.port, "everyone", "everyone", protocol=version)
    received: list[str] = []
    subscribed = threading.Event()
    client.on_message = lambda _c, _u, message: received.append(message.topic)
    client.on_subscribe = lambda *_args: subscribed.set()
    try:
        assert not code.is_failure
        client.subscribe("cache/a/wis2/#", qos=1)
        assert subscribed.wait(20)
        world.publish(topic, wnm(data_id=data_id, content=inline(b"x")))
        wait_until(lambda: topic.replace("origin", "cache", 1) in received, "the notification")
    finally:
        end(client)


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("everyone", "wrong"), ("stranger", "everyone")]
)
def test_rule_25_nobody_else_gets_in(world: World, user: str | None, password: str | None) -> None:
    client, code = connect(world.public_broker.port, user, password, protocol=mqtt.MQTTv5)
    end(client)
    assert code.is_failure


def test_rule_25_only_the_cache_publishes(world: World, centre: str, data_id: str) -> None:
    client, _ = connect(world.public_broker.port, "everyone", "everyone", protocol=mqtt.MQTTv5)
    refused = threading.Event()

    def judge(_c: object, _u: object, _m: int, code: ReasonCode, _p: object) -> None:
        if code.is_failure:
            refused.set()

    client.on_publish = judge
    try:
        client.publish(f"cache/a/wis2/{centre}/data/core/weather/x", b"{}", qos=1)
        assert refused.wait(20)
    finally:
        end(client)


def test_rule_26_items_are_fetched_by_http_1_1_without_credentials(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a.bufr4", b"BUFR")))
    href = world.announced(data_id).link()["href"]
    parts = urlsplit(href)
    assert parts.username is None
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        assert (response.version, response.status, response.read()) == (11, 200, b"BUFR")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("name", "announced", "served"),
    [
        ("a.bufr4", "application/bufr", "application/bufr"),
        ("get?file=a", "application/bufr", "application/bufr"),
        ("a.json", "application/geo+json", "application/geo+json"),
        ("a.html", "text/html", "application/octet-stream"),
        ("a.html", "application/bufr", "application/bufr"),
        ("a.svg", "image/svg+xml", "application/octet-stream"),
    ],
)
def test_rule_26_the_media_type_is_the_links_unless_a_browser_would_run_it(
    world: World, node: Node, topic: str, data_id: str, name: str, announced: str, served: str
) -> None:
    href = node.serve(f"/{name}", b"<script>alert(1)</script>")
    world.publish(
        topic,
        wnm(data_id=data_id, href=href, media_type=announced,
            integrity=integrity_of(b"<script>alert(1)</script>")),
    )  # fmt: skip
    _, headers, _ = world.get(world.announced(data_id).link()["href"])
    assert headers["content-type"] == served
    assert headers["x-content-type-options"] == "nosniff"


def test_rule_26_ranges_and_etags_work(world: World, topic: str, data_id: str) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"0123456789")))
    href = world.announced(data_id).link()["href"]
    status, headers, body = world.get(href, Range="bytes=2-4")
    assert (status, body) == (206, b"234")
    assert world.get(href, **{"If-None-Match": headers["etag"]})[0] == 304


def test_rule_26_what_is_past_the_retention_goes_and_what_is_not_stays(world: World) -> None:
    # A bucket keeps a day, and then until midnight.
    past_hours = 49 if os.environ.get("STORE") == "s3" else 27
    stored = {age: datetime.now(UTC) - timedelta(hours=age) for age in (23, past_hours)}
    objects = {
        age: world.store / f"{at:%Y-%m-%d/%H}" / "tt-old" / "x" for age, at in stored.items()
    }
    for age, path in objects.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (stored[age].timestamp(),) * 2)
    # A manager looks after the folders within a minute of its start, and every few minutes.
    world.processes["manager-1"].stop()
    world.processes["manager-1"].start()
    wait_until(lambda: not objects[past_hours].exists(), "the old object is gone", timeout=200)
    assert objects[23].exists()


async def test_rule_27_a_thousand_simultaneous_downloads_succeed(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    size = 2_000_000
    await asyncio.to_thread(
        world.publish, topic, wnm(data_id=data_id, href=node.serve("/a.grib2", bytes(size)))
    )
    href = (await asyncio.to_thread(world.announced, data_id)).link()["href"]
    all_connected = asyncio.Barrier(1000)

    async def download(session: aiohttp.ClientSession) -> int:
        async with session.get(href) as response:
            # Every connection is open before the first body is read.
            await all_connected.wait()
            assert response.status == 200
            # Counted, not kept: all of them are 2 GB.
            return sum([len(chunk) async for chunk in response.content.iter_any()])

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=2**14) as session:
        sizes = await asyncio.gather(*(download(session) for _ in range(1000)))
    assert set(sizes) == {size}


def test_rule_28_two_thousand_notifications_of_85_kb_are_all_announced_once(
    world: World, node: Node, topic: str, centre: str
) -> None:
    body = bytes(85_000)
    ids = [unique_data_id() for _ in range(2000)]
    for index, data_id in enumerate(ids):
        href = node.serve(f"/{index}.bufr", body)
        message = wnm(data_id=data_id, href=href, length=len(body))
        world.publish(topic, message, brokers="ab"[index % 2])
    deadline = time.monotonic() + 60
    for data_id in ids:
        world.announced(data_id, timeout=max(0.0, deadline - time.monotonic()))
    world.settle(including_delayed=True)
    assert all(len(world.announcements(data_id)) == 1 for data_id in ids)
    assert world.counters(centre) == {"downloaded_total": 2000}
