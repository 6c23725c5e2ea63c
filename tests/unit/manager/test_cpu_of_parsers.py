"""What strangers write holds nobody up: every step that reads it ends within milliseconds.

One of the few tests that measure. Processor time of this thread, the best of several runs: other
processes have no part in it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from testkit.messages import nasty_inputs
from testkit.messages.sample_notification import TOPIC, sample_bytes
from wis2_gc_common.errors import CacheError, Poison
from wis2_gc_common.wis2.media_type import safe_media_type
from wis2_gc_common.wis2.notification import Announcer, Cached, parse, republish
from wis2_gc_common.wis2.object_key import file_name
from wis2_gc_common.wis2.topic import parse_topic
from wis2_gc_manager.pipeline.announced_links import check_links, check_origins_links
from wis2_gc_manager.pipeline.source import read_inline
from wis2_gc_manager.sources.address_guard import AddressGuard
from wis2_gc_manager.sources.encoded import content_coding
from wis2_gc_manager.sources.http_client import _check_page, retry_after_s
from wis2_gc_manager.sources.link_target import follow, parse_target
from wis2_gc_manager.sources.port import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from wis2_gc_manager.sources.body import Body

#: In which no event loop waits for long. Most steps take a hundredth of it.
LIMIT_S = 0.005
RUNS = 5

LINKS = nasty_inputs.links()
HEADERS = nasty_inputs.headers()
MESSAGES = nasty_inputs.messages() | nasty_inputs.huge_numbers()
ANNOUNCER = Announcer("xx-global-cache", b"secret")
COPY = Cached("https://cache.example/" + "a" * 700, 1, b"x" * 64)
ANY_BODY = cast(
    "Body", SimpleNamespace(is_verifiable=False, request=SimpleNamespace(media_type=None))
)


def new_guard() -> AddressGuard:
    """Return one that remembers nothing yet."""
    return AddressGuard([ipaddress.ip_network("127.0.0.0/8")])


def check_cpu(name: str, step: Callable[[], object]) -> None:
    """Run a step, which may raise only errors of ours, and look at its processor time."""
    best_s = float("inf")
    for _ in range(RUNS):
        began_s = time.thread_time()
        with contextlib.suppress(CacheError):
            step()
        best_s = min(best_s, time.thread_time() - began_s)
        if best_s <= LIMIT_S:
            return
    pytest.fail(f"{name} takes {best_s * 1000:.1f} ms")


@pytest.mark.parametrize("href", LINKS.values(), ids=LINKS)
def test_no_link_takes_long_to_read(href: str) -> None:
    start = parse_target("http://a.example/" + "b/" * 1000)
    check_cpu("parse_target", lambda: parse_target(href))
    check_cpu("follow", lambda: follow(start, href))
    check_cpu("host_of", lambda: host_of(href))
    check_cpu("file_name", lambda: file_name(href))
    check_cpu("check_host", lambda: new_guard().check_host(href))
    check_cpu("path", lambda: parse_target(href.replace("http:", "ftp:", 1)).path)


@pytest.mark.parametrize("value", HEADERS.values(), ids=HEADERS)
def test_no_header_takes_long_to_read(value: str) -> None:
    headers = {"Content-Type": value}
    response = cast("aiohttp.ClientResponse", SimpleNamespace(headers=headers))
    check_cpu("content type", lambda: _check_page(response, ANY_BODY))
    check_cpu("content coding", lambda: content_coding([value, value]))
    check_cpu("media type", lambda: safe_media_type(value))
    check_cpu("Retry-After", lambda: retry_after_s(value, 0.0))
    check_cpu("Location", lambda: follow(parse_target("http://a.example/"), value))


@pytest.mark.parametrize("payload", MESSAGES.values(), ids=MESSAGES)
def test_no_message_takes_long_to_read(payload: bytes) -> None:
    guard = new_guard()
    check_cpu("parse", lambda: parse(TOPIC, payload))
    try:
        notification = parse(TOPIC, payload)
    except Poison:
        return
    check_cpu("check_links", lambda: check_links(notification, guard))
    check_cpu("check_origins_links", lambda: check_origins_links(notification, guard))
    check_cpu("host_of", lambda: host_of(notification.link.href))
    check_cpu("read_inline", lambda: read_inline(notification))
    for cached in (None, COPY):

        def announce(cached: Cached | None = cached) -> Any:
            return republish(notification, announcer=ANNOUNCER, cached=cached)

        check_cpu("republish", announce)


@pytest.mark.parametrize(
    "text",
    ["/" * 65_535, "origin/a/wis2/" + "a-" * 30_000, "origin/a/wis2/xx-a/data/core/" + "ä" * 30_000,
     "origin/a/wis2/xx-a/data/core/" + "/" * 60_000],
    ids=["slashes", "centre", "letters", "levels"],
)  # fmt: skip
def test_no_topic_takes_long_to_read(text: str) -> None:
    check_cpu("parse_topic", lambda: parse_topic.__wrapped__(text))


def test_an_ordinary_message_is_not_refused_by_any_of_it() -> None:
    notification = parse(TOPIC, sample_bytes())
    check_links(notification, new_guard())
    assert host_of(notification.link.href) == parse_target(notification.link.href).host
