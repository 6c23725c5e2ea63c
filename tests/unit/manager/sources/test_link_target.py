"""How long links may be, before anything takes them apart."""

from __future__ import annotations

import pytest

from wis2_gc_common.errors import Reason, Refused
from wis2_gc_manager.sources.link_target import follow, parse_target
from wis2_gc_manager.sources.port import MAX_HOST_CHARS, MAX_URL_CHARS, host_of

LONG = "\ufdfa"
START = parse_target("https://a.example/data/item")
#: 253 characters.
LONGEST_HOST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
TOO_LONG = [
    f"http://{LONG * 2400}/",
    f"http://{LONG * 200}/",
    f"http://{LONGEST_HOST}d/",
    f"http://{'a' * 64}.example/",
    f"http://a:{'9' * 1100}/",
    f"http://{'u' * 1100}@a.example/",
    f"http://[::{LONG * 90}]/",
    "http://a.example/" + "b" * MAX_URL_CHARS,
    # Longer than that only when it is written out.
    "http://a.example/" + LONG * 500,
    f"http://{LONG * 1000}@a/",
]


@pytest.mark.parametrize("href", TOO_LONG, ids=range(len(TOO_LONG)))
def test_what_is_too_long_is_not_a_url(href: str) -> None:
    for read in (parse_target, lambda text: follow(START, text)):
        with pytest.raises(Refused) as caught:
            read(href)
        assert caught.value.reason is Reason.INVALID_URL
        assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "place",
    ["a.example:8_0", "a.example:+80", "a.example:\u0661", "[v1.a]", "[a.example]", "a[b]", "u@[]"],
)
def test_what_another_reader_takes_for_another_place_is_not_a_url(place: str) -> None:
    for scheme in ("http", "https", "ftp", "sftp"):
        with pytest.raises(Refused) as caught:
            parse_target(f"{scheme}://{place}/")
        assert caught.value.reason is Reason.INVALID_URL


def test_a_relative_redirect_does_not_grow_without_end() -> None:
    long = parse_target("https://a.example/" + "b/" * 1500)
    assert follow(long, "c" * 500).host == "a.example"
    with pytest.raises(Refused):
        follow(long, "c" * 1500)


@pytest.mark.parametrize(
    "href",
    [
        f"https://{LONGEST_HOST}/",
        f"https://{LONGEST_HOST}./",
        "https://bucket.s3.eu-west-1.amazonaws.com/key?X-Amz-Security-Token=" + "a%2B" * 600,
        "https://wetterdienst-österreich.example/ä b",
        "https://" + ".".join(["字" * 15] * 4) + "/",
    ],
    ids=["the longest host", "with a dot", "presigned", "umlauts", "Chinese"],
)
def test_long_links_of_honest_centres_are_read(href: str) -> None:
    assert parse_target(href).host
    assert follow(START, href).host


def test_a_host_that_dns_has_no_room_for_makes_no_label() -> None:
    assert len(host_of(f"http://{LONGEST_HOST}/")) == MAX_HOST_CHARS
    assert host_of(f"http://{LONGEST_HOST}d/") == ""
    assert host_of("http://a.example/" + "b" * MAX_URL_CHARS) == ""
