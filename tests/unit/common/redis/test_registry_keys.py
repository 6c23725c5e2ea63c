from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.redis import registry_keys as keys

LONG = "wis2/de-dwd/" + "x" * 2000


def _all_keys(data_id: str, centre_id: str, message_id: str, pubtime_ns: int) -> list[str]:
    record = keys.item_record(centre_id, data_id)
    return [
        keys.COUNTERS,
        keys.GAUGES,
        keys.DELAYS,
        *keys.LABELS,
        keys.PROCESSES,
        keys.FAILURES,
        keys.PING,
        keys.record_key(record),
        keys.parked_key(record, pubtime_ns),
        keys.failed_key(record, pubtime_ns),
        keys.message_key(keys.message_digest(centre_id, message_id)),
        keys.count_key("token"),
        keys.session_key("fr"),
    ]


@given(st.text(), st.text(), st.text(), st.integers(0, 10**21))
def test_all_keys_share_one_hash_tag_and_none_is_another(
    data_id: str, centre_id: str, message_id: str, pubtime: int
) -> None:
    # Lone surrogates never get here: they are not valid JSON.
    data_id, centre_id, message_id = (
        text.encode("utf-8", "replace").decode() for text in (data_id, centre_id, message_id)
    )
    names = _all_keys(data_id, centre_id, message_id, pubtime)
    assert len(set(names)) == len(names)
    assert all(re.match(r"\{gc\}[a-z]", name) for name in names)


def test_keys_of_items_and_message_ids_have_a_fixed_size() -> None:
    for text in ("", "a", LONG, "ÄÖÜ\n\0|{x}"):
        assert len(keys.record_key(keys.item_record("de-dwd", text))) == 28
        assert len(keys.message_key(keys.message_digest("de-dwd", text))) == 22


def test_what_one_centre_says_never_names_what_is_anothers() -> None:
    assert keys.item_record("de-dwd", "item") != keys.item_record("ca-eccc-msc", "item")
    assert keys.message_digest("de-dwd", "id") != keys.message_digest("ca-eccc-msc", "id")
    # A data_id may hold anything; a centre-id holds no line feed.
    assert keys.item_record("a", "b\nitem") != keys.item_record("b", "item")


@pytest.mark.parametrize("pubtime", [0, 1764000000123456789, 10**21])
def test_an_item_token_is_an_integer_that_redis_keeps_in_its_pointer(pubtime: int) -> None:
    token = keys.item_token(keys.item_record("de-dwd", "item"), pubtime)
    assert 0 <= int(token) < 2**63
    assert token == keys.item_token(keys.item_record("de-dwd", "item"), pubtime)
    assert token != keys.item_token(keys.item_record("de-dwd", "item"), pubtime + 1)
    assert token != keys.item_token(keys.item_record("de-dwd", "other"), pubtime)


def test_the_names_of_keys_never_change() -> None:
    # A new version must find what the old one wrote.
    assert keys.record_key(keys.item_record("de-dwd", "item")) == "{gc}i:A2WR1WDOsbPtVGmKQjGQiw"
    assert keys.message_key(keys.message_digest("de-dwd", "id")) == "{gc}m:t7qh3khLGKnzCba0"
    assert keys.parked_key("i:abc", 7) == "{gc}pi:abc:7"
    assert keys.failed_key("i:abc", 7) == "{gc}fi:abc:7"


def test_an_item_digest_is_32_hex_digits_however_long_the_data_id() -> None:
    digests = {keys.item_digest("de-dwd", data_id) for data_id in ("", "a", "b", "é" * 5000)}
    digests.add(keys.item_digest("ca-eccc-msc", "a"))
    assert len(digests) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
