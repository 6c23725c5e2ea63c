from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.world.data import (
    FORMATS,
    MAX_SIZE_BYTES,
    DataName,
    make_data,
    other_data,
    parse_data_name,
)

names = st.builds(
    DataName, st.sampled_from(FORMATS), st.integers(0, 2**32 - 1), st.integers(1, 20_000)
)


@given(names)
def test_a_name_makes_its_bytes_and_always_the_same(name: DataName) -> None:
    data = make_data(name)
    assert len(data) == name.size_bytes
    assert make_data(parse_data_name(name.text)) == data


@given(names)
def test_corrupt_data_is_as_long_and_differs(name: DataName) -> None:
    assert len(other_data(name)) == name.size_bytes
    assert other_data(name) != make_data(name)


def test_a_field_of_many_megabytes_looks_like_one() -> None:
    data = make_data(DataName("grib2", 7, 8_000_000))
    assert data.startswith(b"GRIB")
    assert int.from_bytes(data[8:16], "big") == len(data)
    assert data.endswith(b"7777")


@pytest.mark.parametrize(
    "text",
    ["", "bufr", "bufr-1", "bufr-x-1", "bufr-1-0", "exe-1-1", f"bufr-1-{MAX_SIZE_BYTES + 1}"],
)
def test_a_strangers_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_data_name(text)
