"""Tests of a server that is missing are skipped on a laptop only, and never in silence."""

from __future__ import annotations

import pytest

from local.parts.local_server import StartFailed
from testkit.servers import parts
from testkit.servers.redis import require_redis
from testkit.servers.sqs_server import start_or_skip


class Missing:
    def start(self) -> None:
        raise StartFailed("local-aws-sqs is not installed; run local/bootstrap.sh sqs")


class Broken:
    def start(self) -> None:
        raise StartFailed("it ended by itself")


@pytest.fixture(autouse=True)
def _laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "QUEUE"):
        monkeypatch.delenv(name, raising=False)


def test_a_laptop_without_the_sqs_server_skips_and_says_what_to_install() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"run local/bootstrap\.sh sqs"):
        start_or_skip(Missing())


@pytest.mark.parametrize(("name", "text"), [("CI", "true"), ("QUEUE", "sqs")])
def test_where_it_is_asked_for_a_missing_sqs_server_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(StartFailed):
        start_or_skip(Missing())


def test_a_server_that_does_not_start_is_a_failure_anywhere() -> None:
    with pytest.raises(StartFailed):
        start_or_skip(Broken())


def test_a_missing_redis_is_skipped_on_a_laptop_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "is_at_hand", lambda _program: False)
    with pytest.raises(pytest.skip.Exception):
        require_redis()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_redis()
