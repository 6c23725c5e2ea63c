from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from local.world.items import Author, Outcome, origin_notification
from local.world.ledger import Ledger
from local.world.mix import parse_mix

CENTRE_ID = "xx-test-global-cache"
BASE_URL = "http://127.0.0.1:1/data"


@pytest.fixture
def item():
    author = Author(parse_mix("uncached=0,recommended=0,faults=0"), random.Random(1))
    return author.next_item(datetime(2026, 11, 23, tzinfo=UTC))


def announcement(item, *, message_id="1", base_url=BASE_URL, centre_id=CENTRE_ID) -> bytes:
    message = json.loads(origin_notification(item, base_url))
    message["id"] = message_id
    message["properties"]["global-cache"] = centre_id
    return json.dumps(message).encode()


def announce(ledger, payload):
    return ledger.announce(payload, centre_id=CENTRE_ID, data_base_url=BASE_URL)


def test_an_item_is_missing_until_it_comes_out(item):
    ledger = Ledger()
    ledger.publish(item)
    assert ledger.report()["missing"] == 1
    assert announce(ledger, announcement(item)) == item
    report = ledger.report()
    assert (report["missing"], report["announced"], report["repeated"]) == (0, 1, 0)
    assert report["examples"]["wrong"] == []


def test_the_same_id_again_is_no_repeat_but_another_id_is(item):
    ledger = Ledger()
    ledger.publish(item)
    announce(ledger, announcement(item))
    announce(ledger, announcement(item))
    assert ledger.report()["repeated"] == 0
    announce(ledger, announcement(item, message_id="2"))
    assert ledger.report()["repeated"] == 1


def test_what_must_not_come_out_is_noticed(item):
    ledger = Ledger()
    ledger.publish(replace(item, outcome=Outcome.NEVER))
    assert ledger.report()["expected"] == 0
    announce(ledger, announcement(item))
    assert ledger.report()["unexpected"] == 1


def test_what_an_earlier_run_published_is_not_judged(item):
    ledger = Ledger()
    assert announce(ledger, announcement(item)) is None
    report = ledger.report()
    assert (report["unexpected"], report["announced"]) == (0, 0)


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        (Outcome.CACHED, {"base_url": "http://origin.example"}),
        (Outcome.UNCACHED, {}),
        (Outcome.CACHED, {"centre_id": "xz-other-global-cache"}),
    ],
)
def test_a_wrong_link_or_cache_name_is_noticed(item, outcome, changes):
    ledger = Ledger()
    ledger.publish(replace(item, outcome=outcome))
    announce(ledger, announcement(item, **changes))
    assert len(ledger.report()["examples"]["wrong"]) == 1
