from __future__ import annotations

import io
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from wis2_gc_common.runtime.logs import configure_logging, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that configures logging, does something and returns the lines logged."""

    def run(
        act: Callable[[], object],
        *,
        level: str = "info",
        log_format: str = "json",
        stream: io.StringIO | None = None,
    ) -> list[str]:
        stderr = io.StringIO() if stream is None else stream
        monkeypatch.setattr(sys, "stderr", stderr)
        configure_logging(level=level, log_format=log_format, service="listener")
        act()
        return stderr.getvalue().splitlines()

    return run


def only(lines: list[str]) -> dict[str, Any]:
    assert len(lines) == 1
    event: dict[str, Any] = json.loads(lines[0])
    return event


def test_an_event_is_one_json_object_with_its_fields(lines: Callable[..., list[str]]) -> None:
    event = only(lines(lambda: get_logger("x").info("item_cached", data_id="a", size_bytes=7)))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "item_cached",
        "level": "info",
        "service": "listener",
        "data_id": "a",
        "size_bytes": 7,
    }


def test_a_line_of_a_library_has_the_same_form(lines: Callable[..., list[str]]) -> None:
    event = only(lines(lambda: logging.getLogger("paho").warning("lost %s", "connection")))
    assert event["event"] == "lost connection"
    assert event["level"] == "warning"
    assert event["service"] == "listener"


def test_a_line_from_another_thread_names_the_service_too(
    lines: Callable[..., list[str]],
) -> None:
    def act() -> None:
        thread = threading.Thread(target=lambda: get_logger("x").info("from_a_thread"))
        thread.start()
        thread.join()

    assert only(lines(act))["service"] == "listener"


def test_what_is_less_severe_than_the_level_is_not_logged(
    lines: Callable[..., list[str]],
) -> None:
    def act() -> None:
        for log in (get_logger("x"), logging.getLogger("y")):
            log.debug("a")
            log.info("b")
            log.warning("c")

    assert [json.loads(line)["event"] for line in lines(act, level="warning")] == ["c", "c"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_logged_with_its_traceback(
    lines: Callable[..., list[str]], log_format: str
) -> None:
    def fail() -> None:
        raise ValueError("no \x1b[2J good")

    def act() -> None:
        try:
            fail()
        except ValueError:
            get_logger("x").exception("failed")

    text = "\n".join(lines(act, log_format=log_format))
    assert "Traceback (most recent call last)" in text.replace("\\n", "\n")
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_the_value_of_no_variable(
    lines: Callable[..., list[str]], log_format: str
) -> None:
    def connect(password: str) -> None:
        raise ConnectionError(f"refused after {len(password)} characters")

    def act() -> None:
        try:
            connect("2retnuh"[::-1])
        except ConnectionError:
            get_logger("x").exception("failed")

    text = "\n".join(lines(act, log_format=log_format))
    assert "refused after 7 characters" in text
    assert "hunter2" not in text


HOSTILE = "a\x1b[2Jb\nc\r\u2028\ud800"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_a_stranger_wrote_stays_on_its_line_and_off_the_terminals_controls(
    lines: Callable[..., list[str]], log_format: str
) -> None:
    written = lines(
        lambda: get_logger("x").info("notification_dropped", detail=HOSTILE), log_format=log_format
    )
    assert len(written) == 1
    assert written[0].isprintable()


def test_without_a_choice_a_terminal_gets_text_and_a_pipe_json(
    lines: Callable[..., list[str]],
) -> None:
    def act() -> None:
        get_logger("x").info("started")

    assert only(lines(act, log_format=""))["event"] == "started"
    on_terminal = lines(act, log_format="", stream=Terminal())
    assert "started" in on_terminal[0]
    assert not on_terminal[0].startswith("{")


def test_configuring_again_does_not_double_the_lines(lines: Callable[..., list[str]]) -> None:
    lines(lambda: None)
    assert len(lines(lambda: get_logger("x").info("once"))) == 1
