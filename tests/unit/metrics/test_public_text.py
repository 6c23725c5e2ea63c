from __future__ import annotations

import pytest

from wis2_gc_metrics.public_text import public_facts, without_addresses


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("connecting to 10.0.3.7:6379. Refused", "connecting to …. Refused"),
        ("no connection to [fd00::12]:6379", "no connection to …"),
        ("no connection to fd00:0:0:1::5, refused", "no connection to …, refused"),
        ("queue wis2 at sqs.eu-west-1.amazonaws.com: 403", "queue wis2 at …: 403"),
        ("http://wis2-redis.cache.svc.cluster.local:6379/0 is away", "http://… is away"),
        ("arn:aws:iam::111122223333:role/x may not", "… may not"),
        ("localhost:1883 refused", "… refused"),
    ],
)  # fmt: skip
def test_addresses_of_ours_are_not_shown(text: str, shown: str) -> None:
    assert without_addresses(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the connection was lost",
        "no answer within 10 s",
        "status 404 from data.met.example",
        "refused by the broker: Not authorized",
        "since 08:15:30, version 2.0.11",
        "unexpected: broker failed: it takes 8192 bytes, not 9000",
    ],
)
def test_words_stay(text: str) -> None:
    assert without_addresses(text) == text


def test_the_address_of_a_global_broker_stays_and_all_else_is_cleaned() -> None:
    facts = {"broker": "mqtts://10.1.1.1:8883", "slots": 3, "problems": {"queue": "10.0.0.1:6379"}}
    assert public_facts(facts) == {**facts, "problems": {"queue": "…"}}
