"""Links of strangers that are announced under our name."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
import structlog

from testkit.fakes.manager import Workbench, envelope_of
from testkit.messages.real_shapes import real_messages
from testkit.messages.sample_notification import TOPIC, sample_bytes
from wis2_gc_common.errors import Overridden, Poison, Reason
from wis2_gc_common.metrics import INVALID, ITEMS_DROPPED
from wis2_gc_common.wis2.notification import Notification, parse
from wis2_gc_common.wis2.topic import parse_topic
from wis2_gc_manager.pipeline.announced_links import check_links, check_origins_links
from wis2_gc_manager.sources.address_guard import AddressGuard

GUARD = AddressGuard([ipaddress.ip_network("127.0.0.1/32")])
DANGEROUS = [
    "file:///etc/shadow", "FILE:/etc/shadow", "javascript:alert(1)", " javascript:alert(1)",
    "\x01javascript:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)",
    "data:text/html,<script>", "vbscript:x", "view-source:file:///etc/passwd", "blob:x", "smb://h/x",
]  # fmt: skip
FORBIDDEN = [
    "http://169.254.169.254/latest/", "https://10.0.0.1/", "http://127.0.0.2:8080/",
    "http://0x7f000002/", "http://2130706434/", "http://127.2/", "http://user@127.0.0.2/",
    "http://[::1]/", "http://[::ffff:10.0.0.1]:80/", "http://[fd00:ec2::254]/", "ftp://10.0.0.1/a",
    "sftp://10.0.0.1/a", "http://127.0.0.2./",
]  # fmt: skip
#: What a browser reads otherwise than most parsers do.
MENDED = [
    "http:169.254.169.254/", "http:/169.254.169.254/", "http:////169.254.169.254/",
    "http:\\\\169.254.169.254\\", "http://169.254.169.254\\@example.org/",
    "ht\ntp://169.254.169.254/", "//169.254.169.254/x", "\\\\169.254.169.254\\x",
    "http://%31%36%39.254.169.254/", "http://①⑥⑨.254.169.254/", "http://169.254\u00ad.169.254/",
    "http://169.254.169.254\u200b/", "http://169.254.169.254\ufe0f/", "http://169。254。169。254/",
    "ws://10.0.0.1/", "gopher://10.0.0.1/",
]  # fmt: skip
HARMLESS = [
    "https://example.org/a b?c d", "http://example.org:8080/x", "http://127.0.0.1:9000/",
    "http://8.8.8.8/x", "https://localhost.example.org/", "ftp://example.org/x",
    "sftp://user:key@example.org/x", "http://[2606:4700::1111]/",
    # Seen, as a link beside.
    "https://https://example.org/",
]  # fmt: skip
ONLY_BESIDE = [
    "urn:wmo:md:x:y", "urn:10.0.0.1", "mailto:a@example.org", "tel:123", "mqtts://example.org/x",
    "relative/path", "/absolute", "10.0.0.1/path", "", "#part",
    "http:///", "geo:1,2",
]  # fmt: skip


def notification(href: str, *, rel: str = "canonical", **properties: Any) -> Notification:
    links = [{"rel": rel, "href": href}]
    if rel == "via":
        links.insert(0, {"rel": "canonical", "href": "https://example.org/a"})
    return parse(TOPIC, sample_bytes(links=links, properties=properties))


def refusal(message: Notification) -> Reason:
    with pytest.raises(Poison) as caught:
        check_links(message, GUARD)
    assert caught.value.centre_id == TOPIC.centre_id
    return caught.value.reason


@pytest.mark.parametrize("href", [*DANGEROUS, *FORBIDDEN, *MENDED, *ONLY_BESIDE])
def test_what_we_would_not_fetch_is_not_passed_on(href: str) -> None:
    reasons = {Reason.UNSUPPORTED_SCHEME, Reason.INVALID_URL, Reason.FORBIDDEN_ADDRESS}
    assert refusal(notification(href, cache=False)) in reasons
    assert refusal(notification(href, rel="deletion")) in reasons
    with pytest.raises(Poison):
        check_origins_links(notification(href), GUARD)
    # Where it is ours to rewrite, nobody ever reads it.
    check_links(notification(href), GUARD)


def test_both_links_of_a_careless_update_are_judged() -> None:
    links = [{"rel": "update", "href": "https://example.org/a"},
             {"rel": "canonical", "href": "file:///etc/shadow"}]  # fmt: skip
    message = parse(TOPIC, sample_bytes(links=links, properties={"cache": False}))
    assert refusal(message) is Reason.UNSUPPORTED_SCHEME


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("href", DANGEROUS)
def test_links_beside_must_not_run_or_read_anything_at_the_reader(href: str, cache: bool) -> None:
    assert refusal(notification(href, rel="via", cache=cache)) is Reason.UNSUPPORTED_SCHEME


@pytest.mark.parametrize("href", [*FORBIDDEN, *MENDED])
def test_links_beside_must_not_lead_to_forbidden_addresses(href: str) -> None:
    assert refusal(notification(href, rel="via", cache=False)) is Reason.FORBIDDEN_ADDRESS
    with pytest.raises(Poison):
        check_origins_links(notification(href, rel="via"), GUARD)


@pytest.mark.parametrize("href", [*FORBIDDEN, *MENDED])
def test_data_is_not_lost_for_a_careless_link_beside_it(href: str) -> None:
    check_links(notification(href, rel="via"), GUARD)


@pytest.mark.parametrize("href", HARMLESS)
def test_ordinary_links_are_passed_on(href: str) -> None:
    check_links(notification(href, cache=False), GUARD)
    check_links(notification(href, rel="deletion"), GUARD)
    check_links(notification(href, rel="via"), GUARD)


def test_no_link_of_a_real_notification_is_refused() -> None:
    for topic, message in real_messages():
        real = parse(parse_topic(topic), json.dumps(message).encode())
        check_links(real, AddressGuard([]))
        check_origins_links(real, AddressGuard([]))


@pytest.mark.parametrize("href", ONLY_BESIDE)
def test_beside_the_data_any_other_link_may_stand(href: str) -> None:
    check_links(notification(href, rel="via"), GUARD)


@pytest.mark.parametrize(
    "options",
    [
        {"href": "file:///etc/shadow", "cache": False},
        {"href": "http://169.254.169.254/", "rel": "deletion"},
        {"links": [{"rel": "canonical", "href": "https://node.yy.test/a"},
                   {"rel": "via", "href": "javascript:x"}]},
    ],
)  # fmt: skip
async def test_a_link_that_is_not_passed_on_makes_its_notification_invalid(
    options: dict[str, Any],
) -> None:
    bench = Workbench()
    with structlog.testing.capture_logs() as logs:
        await bench.handle(envelope_of(data_id="d", **options))
    [line] = [line for line in logs if line["event"] == "poison_dropped"]
    assert line["detail"]
    assert bench.publisher.announced == []
    assert bench.downloader.fetched == []
    assert bench.registry.fails == []
    assert len(bench.queue.deleted) == 1
    reason = "forbidden_address" if "rel" in options else "unsupported_scheme"
    assert await bench.counted(ITEMS_DROPPED, reason) == 1
    assert await bench.counted(INVALID, "yy-met") == 1
    assert len(bench.publisher.events) == 1


async def test_an_override_does_not_pass_on_a_forbidden_link_either() -> None:
    bench = Workbench()
    bench.downloader.serves("http://10.0.0.1/a", Overridden(Reason.TOO_LARGE, "big"))
    await bench.handle(envelope_of(data_id="d", href="http://10.0.0.1/a"))
    assert bench.publisher.announced == []
    assert bench.registry.commits == []
    [release] = bench.registry.releases
    assert release["is_final"]
    assert await bench.counted(ITEMS_DROPPED, "forbidden_address") == 1
    assert len(bench.publisher.events) == 1


@pytest.mark.parametrize(
    "href",
    [
        "https://" + "a." * 127 + "example/",
        "https://" + "\ufdfa" * 20,
        "https://a.example/" + "b" * 4096,
    ],
    ids=["host", "letters that become 18", "URL"],
)
def test_a_link_longer_than_any_that_works_is_not_passed_on(href: str) -> None:
    assert refusal(notification(href, rel="canonical", cache=False)) is Reason.INVALID_URL
    assert refusal(notification(href, rel="via")) is Reason.INVALID_URL
