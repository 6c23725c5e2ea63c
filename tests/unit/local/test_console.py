from __future__ import annotations

import io

import pytest

from local.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_lines_carry_the_name_of_their_process() -> None:
    stream = io.StringIO()
    console = Console(stream, ["manager-1", "world"])
    console.line("world", "hello")
    assert stream.getvalue() == "world     │ hello\n"


def test_a_log_line_loses_what_the_prefix_says() -> None:
    stream = io.StringIO()
    Console(stream, []).line("m", "2026-11-23T22:06:26.739964Z [info] started service=manager x=1")
    assert stream.getvalue() == "m │ 22:06:26 [info] started x=1\n"


def test_a_time_stamp_on_the_second_is_shortened_like_any() -> None:
    stream = io.StringIO()
    Console(stream, []).line("m", "2026-11-23T22:06:26Z [info] started")
    assert stream.getvalue() == "m │ 22:06:26 [info] started\n"


def test_a_strangers_text_does_not_steer_the_terminal() -> None:
    stream = Terminal()
    Console(stream, []).line("m", "a\x1b[2Jb\rc\x9b2Jd\n")
    text = stream.getvalue()
    assert "a[2Jbc2Jd" in text
    assert "\x9b" not in text


def test_the_live_line_stays_below_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    console = Console(stream, ["m"])
    console.live("numbers")
    console.line("m", "log")
    assert stream.getvalue().endswith("\r\x1b[2Km │ log\nnumbers")
    console.end_live()
    assert stream.getvalue().endswith("numbers\n")


def test_without_a_terminal_the_live_line_is_a_line() -> None:
    stream = io.StringIO()
    console = Console(stream, [])
    console.live("numbers")
    console.line("m", "log")
    assert stream.getvalue() == "numbers\nm │ log\n"


def test_a_reader_that_went_away_is_noticed_once() -> None:
    console = Console(Closed(), [])
    console.line("m", "log")
    assert console.is_closed
    console.line("m", "log")


LINE = (
    '{"event": "failed\\u001b[2J", "url": "a\\u009b2J b", "n": 1, "service": "manager", '
    '"level": "error", "timestamp": "2026-11-23T22:06:26.739964Z", '
    '"exception": "Traceback:\\n  line\\nOSError: x\\u001b[2J"}'
)


def test_a_line_of_json_is_shown_as_people_read_it() -> None:
    stream = io.StringIO()
    Console(stream, []).log("m", LINE)
    first, *traceback = stream.getvalue().splitlines()
    assert first.split() == [
        "m", "│", "22:06:26", "[error", "]", "'failed\\x1b[2J'", "n=1", 'url="\'a\\\\x9b2J', "b'\"",
    ]  # fmt: skip
    assert traceback == ["m │ Traceback:", "m │   line", "m │ OSError: x\\x1b[2J"]


def test_a_line_of_json_is_shown_as_it_is_on_demand() -> None:
    stream = io.StringIO()
    Console(stream, [], shows_json=True).log("m", LINE)
    assert stream.getvalue() == f"m │ {LINE}\n"


def test_a_line_that_is_not_json_is_shown_as_it_is() -> None:
    for line in ("1446", '["event"]', '{"a": 1}', '{"event', "[info] hello", "", "[" * 5000):
        stream = io.StringIO()
        Console(stream, []).log("m", line)
        assert stream.getvalue() == f"m │ {line}\n"


@pytest.mark.parametrize(
    "line",
    [
        r'{"event":"x","exception":"ValueError: \ud800"}',
        '{"event":"x","level":[1]}',
        '{"event":"x","exception":5}',
        r'{"event":"x","\ud800":1}',
    ],
)
def test_no_line_ends_the_run(line: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(stream, ["manager-1"])
    console.log("manager-1", line)
    console.log("manager-1", "next")
    stream.seek(0)
    assert not console.is_closed
    assert stream.read().endswith("manager-1 │ next\n")
