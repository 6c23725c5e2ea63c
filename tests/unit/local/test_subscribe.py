from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from local.subscribe import describe, main, whole

if TYPE_CHECKING:
    from pathlib import Path


def test_an_announcement_is_shown_with_its_link() -> None:
    links = [{"rel": "via", "href": "a"}, {"rel": "update", "href": "http://b/c"}]
    assert describe("cache/a", json.dumps({"links": links}).encode()) == (
        "cache/a  update http://b/c"
    )


def test_a_monitoring_event_is_shown_with_what_it_says() -> None:
    event = {"data": {"content": {"title": "Invalid notification", "description": "why"}}}
    assert describe("monitor/a", json.dumps(event).encode()) == (
        "monitor/a  Invalid notification: why"
    )


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[]", b"{}", b'{"data": {"content": 1}}', b'{"links": [1]}', b"[" * 100_000],
)
def test_anything_else_is_shown_by_its_size(payload: bytes) -> None:
    assert describe("cache/a", payload) == f"cache/a  {len(payload)} bytes"


def test_a_strangers_link_does_not_steer_the_terminal() -> None:
    links = [{"rel": "canonical", "href": "\x1b[2Jx\n"}]
    assert describe("t", json.dumps({"links": links}).encode()) == "t  canonical [2Jx"


def test_a_whole_message_is_one_line_of_json() -> None:
    line = whole("cache/a", b'{"id": "\\u001b[2J",\n "links": []}')
    assert json.loads(line) == {"topic": "cache/a", "message": {"id": "\x1b[2J", "links": []}}
    assert line.isprintable()


@pytest.mark.parametrize("payload", [b"", b"\xff\x1b[2J", b"[" * 100_000])
def test_what_is_not_json_is_a_text(payload: bytes) -> None:
    line = whole("cache/a", payload)
    assert json.loads(line)["message"] == payload.decode(errors="replace")
    assert line.isprintable()


@pytest.mark.parametrize("topic", ["a/#/b", "", "a/b#", "a+/b", "a\0", "a\udcff"])
def test_a_filter_that_mqtt_does_not_know_is_refused_before_anything_is_connected(
    topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--topic", topic, "mqtt://127.0.0.1:1"])
    assert ended.value.code == 2
    assert f"--topic {topic!r} is not a topic filter" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_holds_no_certificate_is_said_with_its_name(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["--ca", str(ca), "mqtts://127.0.0.1:1"])
    assert ended.value.code == 2
    assert f"--ca {ca}: " in capsys.readouterr().err
