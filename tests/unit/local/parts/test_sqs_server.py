from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.parts.local_server import StartFailed
from local.parts.sqs_server import CREDENTIALS, SqsServer
from wis2_gc_common.open_queue import open_queue
from wis2_gc_common.settings.catalogue import DEAD_LETTER_QUEUE_URL, QUEUE_URL

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_its_urls_are_settings_of_the_services(tmp_path: Path) -> None:
    environment = SqsServer(tmp_path, port=29324).environment
    queue = QUEUE_URL.parse(environment["GC_QUEUE_URL"])
    dead_letters = DEAD_LETTER_QUEUE_URL.parse(environment["GC_DEAD_LETTER_QUEUE_URL"])
    assert (queue.kind, dead_letters.kind) == ("sqs", "sqs")
    assert queue.name == "http://127.0.0.1:29324/123456789012/notifications"
    open_queue(queue, dead_letters, redis_url="", consumer="", visibility_s=30)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"])
def test_the_users_own_credentials_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert CREDENTIALS.items() <= SqsServer(tmp_path, port=1).environment.items()
    monkeypatch.setenv(name, "mine")
    assert CREDENTIALS.keys().isdisjoint(SqsServer(tmp_path, port=1).environment)


def test_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.parts.sqs_server.MODULES", tmp_path / "none")
    with pytest.raises(StartFailed, match=r"not installed; run local/bootstrap\.sh sqs"):
        SqsServer(tmp_path).start()
