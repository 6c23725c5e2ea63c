from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from local.world.centres import CENTRES
from local.world.items import Author, WorldOutcome, cache_topic, notification
from local.world.ledger import Ledger
from local.world.mix import parse_mix

if TYPE_CHECKING:
    from local.world.items import WorldItem


CENTRE_ID = "xx-test-global-cache"
BASE_URL = "http://127.0.0.1:1/data"


@pytest.fixture
def item() -> WorldItem:
    author = Author(parse_mix("uncached=0,recommended=0,faults=0"), random.Random(1))
    return author.next_item(datetime(2026, 11, 23, tzinfo=UTC))


def announcement(
    item: WorldItem, *, message_id: str = "1", base_url: str = BASE_URL, centre_id: str = CENTRE_ID
) -> bytes:
    message = json.loads(notification(item, base_url))
    message["id"] = message_id
    message["properties"]["global-cache"] = centre_id
    return json.dumps(message).encode()


def announce(ledger: Ledger, item: WorldItem, **changes: str) -> WorldItem | None:
    topic = cache_topic(item.topic)
    payload = announcement(item, **changes)
    return ledger.announce(topic, payload, centre_id=CENTRE_ID, data_base_url=BASE_URL)


def test_an_item_is_missing_until_it_comes_out(item: WorldItem) -> None:
    ledger = Ledger()
    ledger.publish(item)
    assert ledger.report()["missing"] == 1
    assert announce(ledger, item) == item
    report = ledger.report()
    assert (report["missing"], report["announced"], report["repeated"]) == (0, 1, 0)
    assert report["examples"]["wrong"] == []


def test_the_same_id_again_is_not_a_repeat_but_another_id_is(item: WorldItem) -> None:
    ledger = Ledger()
    ledger.publish(item)
    announce(ledger, item)
    announce(ledger, item)
    assert ledger.report()["repeated"] == 0
    announce(ledger, item, message_id="2")
    assert ledger.report()["repeated"] == 1


def test_what_must_not_come_out_is_noticed(item: WorldItem) -> None:
    ledger = Ledger()
    ledger.publish(replace(item, outcome=WorldOutcome.NEVER))
    assert ledger.report()["expected"] == 0
    announce(ledger, item)
    assert ledger.report()["unexpected"] == 1


def test_what_an_earlier_run_published_is_not_judged(item: WorldItem) -> None:
    ledger = Ledger()
    assert announce(ledger, item) is None
    report = ledger.report()
    assert (report["unexpected"], report["announced"]) == (0, 0)


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        (WorldOutcome.CACHED, {"base_url": "http://origin.example"}),
        (WorldOutcome.UNCACHED, {}),
        (WorldOutcome.CACHED, {"centre_id": "xz-other-global-cache"}),
    ],
)
def test_a_wrong_link_or_cache_name_is_noticed(
    item: WorldItem, outcome: WorldOutcome, changes: dict[str, str]
) -> None:
    ledger = Ledger()
    ledger.publish(replace(item, outcome=outcome))
    announce(ledger, item, **changes)
    assert len(ledger.report()["examples"]["wrong"]) == 1


def test_one_data_id_of_two_centres_is_two_items(item: WorldItem) -> None:
    ledger = Ledger()
    centre = next(centre for centre in CENTRES if centre != item.centre)
    topic = item.topic.replace(item.centre.centre_id, centre.centre_id)
    other = replace(item, centre=centre, topic=topic)
    ledger.publish(item)
    ledger.publish(other)
    announce(ledger, item)
    assert ledger.report()["missing"] == 1
    announce(ledger, other, message_id="2")
    report = ledger.report()
    assert (report["missing"], report["repeated"], report["wrong"]) == (0, 0, 0)


def test_what_a_newer_version_has_overtaken_is_not_missing(item: WorldItem) -> None:
    ledger = Ledger()
    newer = replace(item, pubtime=item.pubtime.replace("2026", "2027"))
    ledger.publish(item)
    ledger.publish(newer)
    announce(ledger, newer)
    report = ledger.report()
    assert (report["missing"], report["announced"], report["overtaken"]) == (0, 1, 1)


def test_an_announcement_on_another_topic_is_noticed(item: WorldItem) -> None:
    ledger = Ledger()
    ledger.publish(item)
    payload = announcement(item)
    topic = f"{cache_topic(item.topic)}/below"
    ledger.announce(topic, payload, centre_id=CENTRE_ID, data_base_url=BASE_URL)
    assert ledger.report()["wrong"] == 1
