from __future__ import annotations

import pytest

from wis2_gc_common.errors import Reason
from wis2_gc_metrics.public_text import public_error, public_facts


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("", ""),
        ("not_found", "not_found"),
        ("throttled: status 429", "throttled: status 429"),
        ("protocol: status 302: a redirect without Location", "protocol: status 302"),
        ("denied: FTP reply 530", "denied: FTP reply 530"),
        ("connect: 10.0.3.7:443 refused", "connect"),
        ("timeout: https://data.example/x?key=s3cr3t", "timeout"),
        ("server_error: status 50010.0.0.1", "server_error"),
        ("unexpected: registry failed: redis-1.cache:6379", "unexpected"),
        ("Traceback (most recent call last)", "unexpected"),
        ("/var/lib/wis2: no space left", "unexpected"),
    ],
)
def test_an_error_of_an_item_is_its_reason_and_a_status(kept: str, shown: str) -> None:
    assert public_error(kept) == shown


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_a_word_of_ours(reason: Reason) -> None:
    assert public_error(f"{reason}: what is nobody's business") == reason


def test_a_manager_waits_for_parts_and_does_not_say_where_they_are() -> None:
    facts = {
        "slots": 3,
        "load": float("nan"),
        "path": "/srv/wis2",
        "problems": {"store": "s3.eu-west-1.amazonaws.com: 403", "10.1.1.1": "x"},
        "public_url_problem": "cannot be connected to: gateway.intra",
    }
    assert public_facts(facts) == {
        "slots": 3,
        "problems": {"store": "away"},
        "public_url_problem": "a problem, see its log",
    }


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("", ""),
        ("no connection: 10.1.1.1 refused", "no connection to the Global Broker"),
        ("TLS: the certificate is for another host name", "no TLS connection to the Global Broker"),
        ("queue unavailable: sqs.eu-west-1.amazonaws.com", "the queue is away"),
        ("registry unavailable: connecting to redis-1:6379", "the registry is away"),
        ("the queue refuses, it is full or throttled", "the queue is full or throttled"),
        ("connected, but silent for 90 s", "the Global Broker was silent"),
        ("OSError at /etc/ssl", "a problem, see its log"),
    ],
)
def test_what_a_listener_met_is_told_by_its_kind(problem: str, shown: str) -> None:
    facts = {"broker": "mqtts://gb.example:8883", "topics": ["#"], "last_problem": problem}
    assert public_facts(facts) == {**facts, "last_problem": shown}
