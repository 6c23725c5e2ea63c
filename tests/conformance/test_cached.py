"""wis2-rules.md 11 to 15: what is cached."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import CENTRE_ID, MAX_OBJECT_BYTES, World, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from testkit.worlds.world import Announcement


def test_rule_11_core_data_are_cached(world: World, node: Node, topic: str, data_id: str) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a.bufr", b"BUFR 7777")))
    assert world.get(world.announced(data_id).link()["href"])[2] == b"BUFR 7777"


def test_rule_11_metadata_are_cached(world: World, node: Node, centre: str, data_id: str) -> None:
    record = json.dumps({"id": f"urn:wmo:md:{centre}:x", "type": "Feature"}).encode()
    href = node.serve("/md.json", record)
    world.publish(f"origin/a/wis2/{centre}/metadata", wnm(data_id=data_id, href=href))
    announcement = world.announced(data_id)
    assert announcement.topic == f"cache/a/wis2/{centre}/metadata"
    assert world.get(announcement.link()["href"])[2] == record


def test_rule_11_what_only_another_cache_announces_is_cached(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    message = wnm(
        data_id=data_id, href=node.serve("/a", b"data"), global_cache="yy-other-global-cache"
    )
    world.publish(topic.replace("origin", "cache", 1), message)
    announcement = world.announced(data_id)
    assert announcement.properties["global-cache"] == CENTRE_ID
    assert world.get(announcement.link()["href"])[2] == b"data"


@pytest.mark.parametrize("channel", ["origin", "cache"])
def test_rule_12_cache_false_is_announced_untouched_and_not_downloaded(
    world: World, node: Node, topic: str, data_id: str, centre: str, channel: str
) -> None:
    message = wnm(data_id=data_id, href=node.serve("/a", b"data"), cache=False)
    for broker in "ab":
        world.publish(topic.replace("origin", channel, 1), message, brokers=broker)
    announced = world.announced(data_id).message
    world.settle()
    assert uuid.UUID(announced["id"]) != uuid.UUID(message["id"])
    expected = {**message, "id": announced["id"]}
    expected["properties"] = {**message["properties"], "global-cache": CENTRE_ID}
    assert announced == expected
    assert not node.requests
    assert len(world.announcements(data_id)) == 1
    assert world.counters(centre) == {"no_cache_total": 1}


@pytest.mark.parametrize("tells", ["link length", "Content-Length", "nothing"])
def test_rule_13_what_is_too_large_is_announced_with_the_origins_link_and_reported(
    world: World, node: Node, topic: str, data_id: str, centre: str, tells: str
) -> None:
    body = bytes(MAX_OBJECT_BYTES + 1)
    href = node.serve("/large", body)
    more: dict[str, Any] = {"length": len(body)} if tells == "link length" else {}
    if tells == "nothing":
        node.answers["/large"][0].announced_length = None
    message = wnm(data_id=data_id, href=href, **more)
    world.publish(topic, message)
    announced = world.announced(data_id)
    assert announced.message["links"] == message["links"]
    wait_until(lambda: world.counters(centre) == {"cache_override_total": 1}, "the override")
    event = wait_until(
        lambda: next((e for e in world.events if e.topic == f"monitor/a/wis2/{centre}"), None),
        "the monitoring event",
    )
    assert_is_monitoring_event(event.payload, centre)


def assert_is_monitoring_event(payload: bytes, centre: str) -> None:
    """wis2-rules.md E2."""
    event = json.loads(payload)
    assert len(payload) <= 8192
    assert str(uuid.UUID(event["id"])) == event["id"]
    assert (event["specversion"], event["type"]) == ("1.0", "int.wmo.wis.wme.event")
    assert (event["source"], event["subject"]) == (CENTRE_ID, centre)
    assert event["datacontenttype"] == "application/json"
    assert event["dataschema"].startswith("https://")
    data = event["data"]
    assert data["conformsTo"] == [
        "http://wis.wmo.int/spec/wme/1/conf/monitoring-event-message-core"
    ]
    assert data["subtype"] in ("gc-error", "gc-alert")
    assert data["severity"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    assert data["content"]["title"]


def test_rule_13_a_failure_is_reported_once_a_minute_for_a_centre(
    world: World, node: Node, topic: str, centre: str
) -> None:
    bad = node.serve("/none", Answer(status=404))
    for _ in range(3):
        world.publish(topic, wnm(data_id=unique_data_id(), href=bad))
    world.settle(including_delayed=True)
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 3}, "three failures")

    def events() -> list[Announcement]:
        return [event for event in world.events if event.topic == f"monitor/a/wis2/{centre}"]

    wait_until(events, "an event")
    world.settle(including_delayed=True)
    [event] = events()
    assert_is_monitoring_event(event.payload, centre)
    # It comes at the first failure, not when the item is given up.
    assert json.loads(event.payload)["data"]["content"]["title"] == "Download failed"


def test_rule_13_an_invalid_notification_is_reported_to_its_centre(
    world: World, topic: str, centre: str
) -> None:
    for payload in (b"{", b"x" * 8193):
        world.publish(topic, payload, brokers="ab")

    def events() -> list[Announcement]:
        return [event for event in world.events if event.topic == f"monitor/a/wis2/{centre}"]

    [event] = wait_until(events, "an event")
    assert_is_monitoring_event(event.payload, centre)
    data = json.loads(event.payload)["data"]
    assert data["channel"] == topic
    assert data["content"]["title"] == "Invalid notification"


def test_rule_14_a_deletion_is_announced_and_our_object_goes(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"x"), pubtime="2026-11-23T10:00:00Z"))
    href = world.announced(data_id).link()["href"]
    assert world.get(href)[0] == 200
    deletion = wnm(data_id=data_id, rel="deletion", pubtime="2026-11-23T11:00:00Z")
    world.publish(topic, deletion, brokers="ab")
    announced = world.announced(data_id, count=2).message
    assert announced["links"] == deletion["links"]
    assert announced["properties"]["global-cache"] == CENTRE_ID
    assert announced["id"] != deletion["id"]
    wait_until(lambda: world.get(href)[0] == 404, "the object is gone")
    world.settle()
    assert len(world.announcements(data_id)) == 2
    assert world.counters(centre) == {"downloaded_total": 1}


def test_rule_14_a_deletion_on_another_centres_topic_takes_nothing_away(
    world: World, topic: str, data_id: str, centre: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, content=inline(b"x"), pubtime="2026-11-23T10:00:00Z"))
    href = world.announced(data_id).link()["href"]
    foreign = topic.replace(centre, "tt-stranger")
    deletion = wnm(data_id=data_id, rel="deletion", pubtime="2026-11-23T11:00:00Z")
    world.publish(foreign, deletion)
    assert world.announced(data_id, count=2).topic == foreign.replace("origin", "cache", 1)
    world.settle()
    assert world.get(href)[0] == 200
    update = wnm(
        data_id=data_id, rel="update", content=inline(b"y"), pubtime="2026-11-23T10:30:00Z"
    )
    world.publish(topic, update)
    assert world.announced(data_id, count=3).link("update")


def test_rule_15_ftp_links_are_fetched(
    world: World, topic: str, data_id: str, tmp_path: Path
) -> None:
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    (tmp_path / "a b.bufr").write_bytes(b"BUFR by FTP")
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(tmp_path))
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"handle_exit": False}, daemon=True
    )
    thread.start()
    try:
        href = f"ftp://127.0.0.1:{server.socket.getsockname()[1]}/a%20b.bufr"
        integrity = integrity_of(b"BUFR by FTP")
        world.publish(topic, wnm(data_id=data_id, href=href, integrity=integrity))
        assert world.get(world.announced(data_id).link()["href"])[2] == b"BUFR by FTP"
    finally:
        server.close_all()
        thread.join(10)


async def test_rule_15_sftp_links_are_fetched(
    world: World, topic: str, data_id: str, tmp_path: Path
) -> None:
    import asyncio

    import asyncssh

    (tmp_path / "a.bufr").write_bytes(b"BUFR by SFTP")

    class Guests(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("guest", "s3cret")

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Guests,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(tmp_path)),
    )  # fmt: skip
    async with server:
        href = f"sftp://guest:s3cret@127.0.0.1:{server.get_port()}/a.bufr"
        await asyncio.to_thread(world.publish, topic, wnm(data_id=data_id, href=href))
        announced = await asyncio.to_thread(world.announced, data_id)
        assert world.get(announced.link()["href"])[2] == b"BUFR by SFTP"


@pytest.mark.parametrize("scheme", ["gopher", "file", "data", "javascript", "s3"])
def test_rule_15_other_schemes_are_errors(
    world: World, topic: str, data_id: str, centre: str, scheme: str
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=f"{scheme}:///etc/passwd"))
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the error")
    world.settle(including_delayed=True)
    assert not world.announcements(data_id)
