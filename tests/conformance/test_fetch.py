"""wis2-rules.md 16 to 20: getting and checking the data."""

from __future__ import annotations

import base64
import gzip
import threading
from functools import partial
from typing import Any

import pytest

from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import World, wait_until

DATA = b"BUFR inline \xc3\xa4 7777"


@pytest.mark.parametrize("encoding", ["utf-8", "base64", "gzip"])
def test_rule_16_inline_data_come_first(
    world: World, node: Node, topic: str, data_id: str, encoding: str
) -> None:
    message = wnm(
        data_id=data_id, href=node.serve("/a", b"from the link"),
        content=inline(DATA, encoding=encoding), integrity=integrity_of(DATA),
    )  # fmt: skip
    world.publish(topic, message)
    announced = world.announced(data_id)
    assert world.get(announced.link()["href"])[2] == DATA
    assert announced.properties["content"] == message["properties"]["content"]
    assert not node.requests


@pytest.mark.parametrize(
    ("content", "integrity"),
    [
        (inline(DATA, size=len(DATA) + 1), None),
        ({"encoding": "base64", "value": "%%%", "size": 3}, None),
        ({"encoding": "gzip", "value": base64.b64encode(b"no gzip").decode(), "size": 7}, None),
        ({"encoding": "rot13", "value": "x", "size": 1}, None),
        (inline(b"something else"), integrity_of(DATA)),
        ("not an object", None),
    ],
    ids=["size", "base64", "gzip", "encoding", "integrity", "shape"],
)
def test_rule_16_broken_inline_data_fall_back_to_the_link(
    world: World, node: Node, topic: str, data_id: str, centre: str, content: Any, integrity: Any
) -> None:
    more = {} if integrity is None else {"integrity": integrity}
    href = node.serve("/a", DATA)
    world.publish(topic, wnm(data_id=data_id, href=href, content=content, **more))
    announced = world.announced(data_id)
    assert world.get(announced.link()["href"])[2] == DATA
    # Nobody may read from us what we know to be wrong.
    assert "content" not in announced.properties
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 1}, "the count")


def test_rule_16_broken_inline_data_and_a_broken_link_publish_nothing(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    href = node.serve("/a", Answer(status=404))
    world.publish(topic, wnm(data_id=data_id, href=href, content=inline(DATA, size=1)))
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the error")
    world.settle(including_delayed=True)
    assert not world.announcements(data_id)
    assert world.counters(centre) == {"downloaded_errors_total": 1}


def test_rule_17_what_is_taken_from_another_cache_counts_for_that_cache(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    other = f"yy-{data_id[-8:]}-global-cache"
    message = wnm(data_id=data_id, href=node.serve("/a", DATA), global_cache=other)
    world.publish(topic.replace("origin", "cache", 1), message)
    world.announced(data_id)
    wait_until(lambda: world.counters(other) == {"downloaded_total": 1}, "the count")
    assert not world.wmo(centre)


@pytest.mark.parametrize("spelling", ["base64", "hex"])
@pytest.mark.parametrize(
    "method", ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"]
)
def test_rule_18_every_checksum_method_is_verified(
    world: World, node: Node, topic: str, centre: str, method: str, spelling: str
) -> None:
    good, bad = unique_data_id(), unique_data_id()
    integrity = integrity_of(DATA, method, spelling=spelling)
    world.publish(
        topic, wnm(data_id=bad, href=node.serve("/bad", DATA + b"!"), integrity=integrity)
    )
    world.publish(topic, wnm(data_id=good, href=node.serve("/good", DATA), integrity=integrity))
    assert world.announced(good).properties["integrity"] == integrity
    wait_until(
        lambda: world.counters(centre) == {"downloaded_total": 1, "integrity_failed_total": 1},
        "both are counted",
    )
    world.settle(including_delayed=True)
    assert not world.announcements(bad)
    assert not [p for p in world.store.rglob("bad*") if p.is_file()]


def test_rule_18_where_the_publisher_gave_no_checksum_none_is_announced(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    # For all we know it is an error text with status 200.
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", DATA)))
    assert "integrity" not in world.announced(data_id).properties


INLINE: dict[str, Any] = {
    "none": None,
    "good": inline(DATA),
    "size": inline(DATA, size=len(DATA) + 1),
    "encoding": {"encoding": "base64", "value": "%%%", "size": 3},
    "other": inline(b"other"),
}
LINKS: dict[str, Any] = {
    "good": Answer(DATA), "wrong": Answer(DATA + b"!"), "gone": Answer(status=404)
}  # fmt: skip
GOOD = integrity_of(DATA)
INTEGRITY: dict[str, Any] = {
    "absent": None,
    "right": GOOD,
    "unknown method": GOOD | {"method": "md5"},
    "method in capitals": GOOD | {"method": "SHA512"},
    "malformed value": GOOD | {"value": GOOD["value"][:-9]},
    "no object": "sha512",
}
CACHED = {"downloaded_total": 1}
ERROR = {"downloaded_errors_total": 1}
FAILED = {"integrity_failed_total": 1}
#: What is counted for inline data and link, with the length on the link.
WITH_LENGTH = {
    ("none", "good"): CACHED, ("none", "wrong"): ERROR, ("none", "gone"): ERROR,
    ("good", "good"): CACHED, ("good", "wrong"): CACHED, ("good", "gone"): CACHED,
    ("size", "good"): CACHED, ("size", "wrong"): ERROR, ("size", "gone"): ERROR,
    ("encoding", "good"): CACHED, ("encoding", "wrong"): ERROR, ("encoding", "gone"): ERROR,
    ("other", "good"): CACHED, ("other", "wrong"): ERROR, ("other", "gone"): ERROR,
}  # fmt: skip
WITH_CHECKSUM = WITH_LENGTH | {
    ("none", "wrong"): FAILED,
    ("size", "wrong"): FAILED,
    ("encoding", "wrong"): FAILED,
    # The inline data has failed the check; what the link does changes nothing of it.
    ("other", "wrong"): FAILED,
    ("other", "gone"): FAILED,
}
#: Nothing says what the data is: any answer with status 200 is it.
WITH_NOTHING = WITH_LENGTH | {
    ("none", "wrong"): CACHED,
    ("size", "wrong"): CACHED,
    ("encoding", "wrong"): CACHED,
    ("other", "good"): CACHED,
    ("other", "wrong"): CACHED,
    ("other", "gone"): CACHED,
}


def has_counted(world: World, centre: str, expected: dict[str, int]) -> bool:
    return world.counters(centre) == expected


@pytest.mark.parametrize("has_length", [False, True])
@pytest.mark.parametrize("integrity", INTEGRITY)
def test_rule_18_every_mixture_of_inline_data_link_and_checksum_is_counted_exactly(
    world: World, node: Node, centre: str, integrity: str, has_length: bool
) -> None:
    if integrity not in ("absent", "right"):
        table = dict.fromkeys(WITH_LENGTH, FAILED)
    elif has_length:  # looked at first
        table = WITH_LENGTH
    else:
        table = WITH_CHECKSUM if integrity == "right" else WITH_NOTHING
    cases: dict[str, tuple[str, str, dict[str, int]]] = {}
    for number, ((content, answer), expected) in enumerate(table.items()):
        of, data_id = f"{centre}-{number}", unique_data_id()
        cases[data_id] = of, f"/{number}", expected
        more = {"content": INLINE[content], "integrity": INTEGRITY[integrity]}
        more = {name: value for name, value in more.items() if value is not None}
        if has_length:
            more["length"] = len(DATA)
        href = node.serve(f"/{number}", LINKS[answer])
        world.publish(f"origin/a/wis2/{of}/data/core/x", wnm(data_id=data_id, href=href, **more))
    for of, _, expected in cases.values():
        wait_until(partial(has_counted, world, of, expected), "the count")
    world.settle(including_delayed=True)
    for data_id, (of, path, expected) in cases.items():
        assert world.counters(of) == expected
        assert len(world.announcements(data_id)) == (expected is CACHED)
        flag = world.wmo(of)["dataserver_status_flag@127.0.0.1"]
        assert flag == (expected is CACHED)
        if integrity not in ("absent", "right"):
            assert not node.requests[path], "no data can pass: none is asked for"


def test_rule_18_after_a_failed_check_a_valid_copy_of_another_cache_is_processed(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    other = f"yy-{data_id[-8:]}-global-cache"
    pubtime = "2026-11-23T10:00:00Z"
    href = node.serve("/a", DATA)
    bad = wnm(data_id=data_id, href=href, pubtime=pubtime, integrity=GOOD | {"method": "md5"})
    world.publish(topic, bad)
    wait_until(lambda: world.counters(centre) == FAILED, "the failed check")
    good = wnm(data_id=data_id, href=href, pubtime=pubtime, integrity=GOOD, global_cache=other)
    world.publish(topic.replace("origin", "cache", 1), good)
    assert world.announced(data_id).properties["integrity"] == GOOD
    wait_until(lambda: world.counters(other) == CACHED, "the count")
    assert world.counters(centre) == FAILED


@pytest.mark.parametrize("as_text", [False, True])
def test_rule_19_a_length_must_match(
    world: World, node: Node, topic: str, centre: str, as_text: bool
) -> None:
    def spelled(length: int) -> int | str:
        return str(length) if as_text else length

    good, bad = unique_data_id(), unique_data_id()
    href = node.serve("/a", DATA)
    world.publish(topic, wnm(data_id=bad, href=href, length=spelled(len(DATA) + 1)))
    world.publish(topic, wnm(data_id=good, href=href, length=spelled(len(DATA))))
    assert world.announced(good).link()["length"] == len(DATA)
    wait_until(
        lambda: world.counters(centre) == {"downloaded_total": 1, "downloaded_errors_total": 1},
        "both are counted",
    )
    world.settle(including_delayed=True)
    assert not world.announcements(bad)


def test_rule_19_a_body_shorter_than_its_server_says_is_discarded(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    href = node.serve("/a", Answer(DATA, announced_length=len(DATA) + 100))
    world.publish(topic, wnm(data_id=data_id, href=href))
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the error")
    world.settle(including_delayed=True)
    assert not world.announcements(data_id)


def test_rule_20_a_slow_data_server_does_not_hold_up_the_others(
    world: World, node: Node, topic: str, centre: str
) -> None:
    gate = threading.Event()
    slow = [unique_data_id("slow") for _ in range(60)]
    for index, data_id in enumerate(slow):
        href = node.serve(f"/slow/{index}", Answer(DATA, gate=gate))
        world.publish(topic, wnm(data_id=data_id, href=href))
    wait_until(lambda: sum(node.requests.values()) >= 2, "the slow server is asked")
    other = Node()
    try:
        quick = [unique_data_id("quick") for _ in range(60)]
        for index, data_id in enumerate(quick):
            href = other.serve(f"/quick/{index}", DATA)
            world.publish(topic, wnm(data_id=data_id, href=href))
        for data_id in quick:
            world.announced(data_id)
        # The gate is still shut: what was announced did not wait for the slow server.
        assert not any(world.announcements(data_id) for data_id in slow)
    finally:
        gate.set()
        other.close()
    for data_id in slow:
        world.announced(data_id, timeout=60)


def test_an_item_that_a_second_source_has_does_not_wait_for_a_slow_first(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    gate = threading.Event()
    pubtime = "2026-11-23T10:00:00Z"
    slow = node.serve("/slow", Answer(DATA, gate=gate))
    world.publish(topic, wnm(data_id=data_id, href=slow, pubtime=pubtime))
    wait_until(lambda: node.requests["/slow"], "the slow source is asked")
    quick = wnm(
        data_id=data_id, href=node.serve("/quick", DATA), pubtime=pubtime,
        global_cache="yy-other-global-cache",
    )  # fmt: skip
    world.publish(topic.replace("origin", "cache", 1), quick, brokers="b")
    announced = world.announced(data_id)
    assert not gate.is_set()
    assert world.get(announced.link()["href"])[2] == DATA


def test_redirects_are_followed(world: World, node: Node, topic: str, data_id: str) -> None:
    node.serve("/there", DATA)
    href = node.serve("/here", Answer(status=302, headers={"Location": "/there"}))
    world.publish(topic, wnm(data_id=data_id, href=href))
    assert world.get(world.announced(data_id).link()["href"])[2] == DATA


def test_a_throttled_download_is_tried_again_when_the_server_said(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    href = node.serve("/a", Answer(status=429, headers={"Retry-After": "1"}), Answer(DATA))
    world.publish(topic, wnm(data_id=data_id, href=href))
    world.announced(data_id)
    assert node.requests["/a"] == 2
    # Told so, its download has failed; who only waits for the host has not.
    expected = {"downloaded_errors_total": 1, "downloaded_total": 1}
    wait_until(lambda: world.counters(centre) == expected, "both are counted")


@pytest.mark.parametrize(
    "at_first",
    [Answer(status=500), Answer(status=503), Answer(DATA, announced_length=len(DATA) + 1)],
    ids=["500", "503", "truncated"],
)
def test_what_broke_off_is_tried_once_more_at_once_and_counted_once(
    world: World, node: Node, topic: str, data_id: str, centre: str, at_first: Answer
) -> None:
    href = node.serve("/a", at_first, Answer(DATA))
    world.publish(topic, wnm(data_id=data_id, href=href))
    assert world.get(world.announced(data_id).link()["href"])[2] == DATA
    assert node.requests["/a"] == 2
    expected = {"downloaded_errors_total": 1, "downloaded_total": 1}
    wait_until(lambda: world.counters(centre) == expected, "both are counted")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(DATA, headers={"X-Policy": "p" * 12_000}),
        Answer(DATA, headers={"X-Policy": "p" * 32_000}),
        Answer(DATA, headers={f"X-{number}": "v" * 100 for number in range(200)}),
        Answer(DATA, status=203),
    ],
    ids=["12 kB of headers", "32 kB of headers", "200 header lines", "status 203"],
)
def test_rule_w13_w14_odd_answers_are_taken(
    world: World, node: Node, topic: str, data_id: str, centre: str, answer: Answer
) -> None:
    world.publish(topic, wnm(data_id=data_id, href=node.serve("/a", answer)))
    assert world.get(world.announced(data_id).link()["href"])[2] == DATA
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 1}, "the count")


def test_rule_w15_a_space_in_a_query_is_sent_quoted(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    node.serve("/get?file=a%20b.bufr&sig=%2Fab%3d+c", DATA)
    href = f"http://{node.host}:{node.port}/get?file=a b.bufr&sig=%2Fab%3d+c"
    world.publish(topic, wnm(data_id=data_id, href=href))
    assert world.get(world.announced(data_id).link()["href"])[2] == DATA


def test_rule_w16_w17_the_only_link_may_be_an_update_with_an_address_as_host(
    world: World, node: Node, topic: str, data_id: str, centre: str
) -> None:
    href = node.serve("/a", DATA)
    assert "//127.0.0.1:" in href
    world.publish(topic, wnm(data_id=data_id, href=href, rel="update"))
    announced = world.announced(data_id)
    assert [link["rel"] for link in announced.message["links"]] == ["update"]
    assert world.get(announced.link("update")["href"])[2] == DATA
    wait_until(lambda: world.counters(centre) == {"downloaded_total": 1}, "the count")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b""),
        Answer(gzip.compress(DATA)[:-9], headers={"Content-Encoding": "gzip"}),
    ],
    ids=["empty", "cut short"],
)
def test_what_is_not_data_is_not_announced_and_a_good_copy_is_not_a_duplicate_of_it(
    world: World, node: Node, topic: str, data_id: str, centre: str, answer: Answer
) -> None:
    pubtime = "2026-11-23T10:00:00Z"
    message = wnm(data_id=data_id, href=node.serve("/bad", answer), pubtime=pubtime)
    world.publish(topic, message)
    wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the error")
    assert not world.announcements(data_id)
    good = wnm(
        data_id=data_id, href=node.serve("/good", DATA), pubtime=pubtime,
        global_cache="yy-other-global-cache",
    )  # fmt: skip
    world.publish(topic.replace("origin", "cache", 1), good)
    assert world.get(world.announced(data_id).link()["href"])[2] == DATA


@pytest.mark.parametrize("is_item_packed", [False, True])
def test_of_a_compressed_answer_the_form_with_the_announced_checksum_is_the_item(
    world: World, node: Node, topic: str, data_id: str, is_item_packed: bool
) -> None:
    packed = gzip.compress(DATA)
    item = packed if is_item_packed else DATA
    href = node.serve("/a", Answer(packed, headers={"Content-Encoding": "gzip"}))
    world.publish(topic, wnm(data_id=data_id, href=href, integrity=integrity_of(item)))
    assert world.get(world.announced(data_id).link()["href"])[2] == item


def test_an_object_of_several_megabytes_comes_through_whole(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    body = bytes(range(256)) * 11_000
    href = node.serve("/model.grib2", body)
    world.publish(topic, wnm(data_id=data_id, href=href, integrity=integrity_of(body)))
    announced = world.announced(data_id)
    assert announced.link()["length"] == len(body)
    assert world.get(announced.link()["href"])[2] == body
