from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.message_id import message_id

CENTRE = "xx-test-global-cache"
SECRET = b"0123456789abcdef"
ID_OF: dict[str, Any] = {
    "secret": SECRET, "centre_id": CENTRE, "topic_centre_id": "de-dwd", "data_id": "item",
    "pubtime_ns": 1_772_366_400_000_000_001, "rel": "canonical",
}  # fmt: skip


def made_id(**changes: Any) -> str:
    options = ID_OF | changes
    return message_id(options.pop("secret"), **options)


def test_the_message_id_is_a_uuid_and_never_changes_between_versions_of_this_project() -> None:
    assert made_id() == "3685c820-9eed-43d5-8453-be81d344f128"
    assert uuid.UUID(made_id()).version == 4
    assert uuid.UUID(made_id()).variant == uuid.RFC_4122


@pytest.mark.parametrize(
    "change",
    [
        {"secret": b"fedcba9876543210"},
        {"centre_id": "yy-global-cache"},
        {"topic_centre_id": "jp-jma"},
        {"data_id": "item2"},
        {"pubtime_ns": 1_772_366_400_000_000_002},
        {"rel": "update"},
    ],
)
def test_each_part_of_an_item_and_the_secret_make_the_message_id(change: dict[str, Any]) -> None:
    assert made_id(**change) != made_id()


names = st.text("abc-", min_size=1)
versions = st.tuples(names, st.text(), st.integers(0), st.sampled_from(["canonical", "update"]))


@given(first=versions, second=versions)
def test_two_message_ids_are_equal_only_for_the_same_item_version_and_kind(
    first: tuple[Any, ...], second: tuple[Any, ...]
) -> None:
    parts = ("topic_centre_id", "data_id", "pubtime_ns", "rel")
    one, two = (made_id(**dict(zip(parts, x, strict=True))) for x in (first, second))
    assert (one == two) == (first == second)
