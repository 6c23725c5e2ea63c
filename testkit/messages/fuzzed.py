"""The parsers of what strangers write, as functions of bytes, for fuzzing.

Each returns a value, or raises an error of ours. What comes back keeps its promises, which
are asserted here. A corpus of inputs is kept for each, below `tests/security/corpus`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from testkit.fakes.memory_upload import MemoryUpload
from testkit.messages.sample_notification import TOPIC
from wis2_gc_common.errors import (
    CacheError,
    NotAnEnvelope,
    Poison,
    Refused,
    SourceError,
    Unannounceable,
    Unsendable,
)
from wis2_gc_common.ports.envelope_bytes import decode_envelope, encode_envelope
from wis2_gc_common.ports.queue import Envelope
from wis2_gc_common.sqs.messages import decode_dead_letter, decode_message, encode_message
from wis2_gc_common.wis2.inline import MAX_DECODED_BYTES, decode_content
from wis2_gc_common.wis2.integrity import BrokenIntegrity, parse_integrity
from wis2_gc_common.wis2.media_type import safe_media_type
from wis2_gc_common.wis2.monitoring_event import MAX_EVENT_BYTES, monitoring_event
from wis2_gc_common.wis2.notification import (
    MAX_NOTIFICATION_BYTES,
    Announcer,
    Cached,
    Content,
    Notification,
    parse,
    republish,
)
from wis2_gc_common.wis2.object_key import file_name, object_key
from wis2_gc_common.wis2.pubtime import format_pubtime, parse_pubtime
from wis2_gc_common.wis2.topic import MAX_LEVELS, MAX_TOPIC_BYTES, parse_topic
from wis2_gc_listener.lenient_client import decode_publish
from wis2_gc_listener.triage import Triage
from wis2_gc_manager.pipeline.announced_links import check_links, check_origins_links
from wis2_gc_manager.pipeline.source import read_inline
from wis2_gc_manager.sources.address_guard import AddressGuard, is_admitted, literal_address
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.encoded import Broken, Decoder, content_coding
from wis2_gc_manager.sources.http_client import retry_after_s
from wis2_gc_manager.sources.link_target import Target, follow, parse_target
from wis2_gc_manager.sources.port import MAX_URL_CHARS, Request, host_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from wis2_gc_manager.store.port import Upload

#: Of one input: processor time in which no event loop waits for long, on any machine. Most take a
#: thousandth of it; `test_cpu_of_parsers` has the real bound, for the worst inputs known.
LIMIT_S = 0.1
_RUNS = 4
_OURS = Announcer("xx-test-global-cache", b"secret", adds_integrity=True)
_COPY = Cached("https://cache.example/data/" + "a" * 600, 5, b"x" * 64)
_START = parse_target("https://a.example/data/item?b=c")
_GUARD = AddressGuard([])
_TRIAGE = Triage(centre_id="xx-test-global-cache", filters=("origin/a/wis2/#",))
_MAX_BODY_BYTES = 200_000


def check(parser: Parser, data: bytes) -> None:
    """Run a parser. Raises AssertionError where it breaks its promise, or takes too long."""
    best_s = float("inf")
    for _ in range(_RUNS):
        began_s = time.thread_time()
        parser.read(data)
        best_s = min(best_s, time.thread_time() - began_s)
        if best_s <= LIMIT_S:
            return
    raise AssertionError(f"{parser.name} takes {best_s:.3f} s for {data[:200]!r}")


@dataclass(frozen=True)
class Parser:
    """One parser: `read` raises only for what no parser may do."""

    name: str
    read: Callable[[bytes], None]
    examples: int = 600
    """In one run of the tests."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _topic(data: bytes) -> None:
    try:
        topic = parse_topic(_text(data))
    except Poison as error:
        assert error.detail.isprintable()
        assert len(error.detail) < 2000
        return
    assert len(topic.text.encode()) <= MAX_TOPIC_BYTES
    assert topic.text.count("/") < MAX_LEVELS
    assert not {"+", "#", "\0"} & set(topic.text)
    assert parse_topic(topic.to_cache).centre_id == topic.centre_id
    assert not {".", "..", ""} & set(topic.folder.split("/"))
    assert topic.folder.isascii()


def _notification(data: bytes) -> None:
    try:
        notification = parse(TOPIC, data)
    except Poison as error:
        assert error.detail.isprintable()
        assert len(error.detail) <= 300
        return
    _announced(notification, None)
    _announced(notification, _COPY)
    for step in (check_links, check_origins_links):
        try:
            step(notification, _GUARD)
        except Poison as error:
            assert len(error.detail) <= 300
    try:
        read_inline(notification)
    except SourceError as error:
        assert len(error.detail) <= 300
    key = object_key(
        hour="2026-01-01/00", topic=TOPIC, data_id=notification.data_id,
        pubtime_ns=notification.pubtime_ns, href=notification.link.href,
    )  # fmt: skip
    assert not {".", "..", ""} & set(key.split("/"))
    assert key.isascii()
    assert len(key) <= 1024


def _announced(notification: Notification, cached: Cached | None) -> None:
    try:
        _, payload = republish(notification, announcer=_OURS, cached=cached)
    except Unannounceable:
        return
    assert len(payload) <= MAX_NOTIFICATION_BYTES
    again = parse(TOPIC, payload)
    assert again.data_id == notification.data_id
    assert again.pubtime_ns == notification.pubtime_ns
    assert again.global_cache == _OURS.centre_id
    if cached is not None and notification.rel != "deletion":
        assert set(again.decisive_hrefs) == {cached.href}


def _pubtime(data: bytes) -> None:
    try:
        nanoseconds = parse_pubtime(_text(data))
    except Poison:
        return
    assert nanoseconds >= 0
    text = format_pubtime(nanoseconds)
    if len(text.partition("-")[0]) == 4:
        assert parse_pubtime(text) == nanoseconds


def _integrity(data: bytes) -> None:
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        given = {"method": "sha256", "value": data.decode("latin-1")}
    try:
        found = parse_integrity(given)
    except BrokenIntegrity as error:
        assert len(str(error)) <= 200
        return
    assert not found.matches(b"")
    assert found.matches(found.digest)


def _link(data: bytes) -> None:
    text = _text(data)
    for read in (parse_target, _follow):
        try:
            target = read(text)
        except Refused as error:
            assert len(error.detail) <= 100
            continue
        _check_target(target)
    assert len(host_of(text)) <= 253
    name = file_name(text)
    assert name
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".")


def _follow(text: str) -> Target:
    return follow(_START, text)


def _check_target(target: Target) -> None:
    text = str(target.url)
    assert len(text) <= MAX_URL_CHARS
    assert text.isascii()
    assert text.isprintable()
    assert 0 < target.port < 65_536
    # Others read it as we do: what they connect to is what was judged.
    split = urlsplit(text)
    assert split.hostname == target.host
    assert (split.port or target.port) == target.port
    assert parse_target(text).endpoint == target.endpoint
    address = literal_address(target.host)
    try:
        _GUARD.check_host(target.host)
    except Refused:
        return
    assert address is None or is_admitted(address)


def _content(data: bytes) -> None:
    encoding: Any = ("utf-8", "base64", "gzip")[data[0] % 3] if data else "gzip"
    size = int.from_bytes(data[1:4])
    try:
        decoded = decode_content(Content(encoding, data[4:4100].decode("latin-1"), size))
    except SourceError as error:
        assert len(error.detail) <= 200
        return
    assert len(decoded) == size <= MAX_DECODED_BYTES


def _encoded(data: bytes) -> None:
    decoder = Decoder("deflate" if data[:1] == b"d" else "gzip")
    cut = data[1] if len(data) > 1 else 0
    whole = 0
    try:
        for piece in (data[2 : 2 + cut], data[2 + cut :]):
            for out in decoder.feed(piece):
                whole += len(out)
                assert len(out) <= 256 * 1024
                if whole > 4 * 1024 * 1024:
                    return  # the body's limit ends it
    except Broken as error:
        assert len(str(error)) <= 200


def _header(data: bytes) -> None:
    text = data.decode("latin-1")
    assert "html" not in safe_media_type(text)
    content_coding([text, text])
    wait_s = retry_after_s(text, 1_700_000_000.0)
    assert wait_s is None or wait_s >= 0


def _delivery(data: bytes) -> None:
    header, packet = (data[0], data[1:]) if data else (0x30, b"")
    for is_v5 in (False, True):
        try:
            delivery = decode_publish(0x30 | header & 0x0F, packet, is_v5=is_v5)
        except ValueError:
            continue
        topic = delivery.topic.decode("utf-8", "replace")
        _TRIAGE.judge(topic, delivery.payload)


def _event(data: bytes) -> None:
    from datetime import UTC, datetime

    at: datetime = datetime.now(UTC)
    head, _, tail = data.partition(b"|")
    text, other = _text(head), _text(tail)
    topic, payload = monitoring_event(
        event_id="31e9d66a-cd83-4174-9429-b932f1abe1be",
        at=at,
        source="xx-test-global-cache",
        subject="xx-centre",
        event_type="int.wmo.wis.wme.event",
        subtype="gc-error",
        dataschema="https://schemas.example/",
        severity="ERROR",
        title=text,
        description=other,
        channel=text,
        interval=(at, at),
    )
    assert topic == "monitor/a/wis2/xx-centre"
    assert len(payload) <= MAX_EVENT_BYTES
    content = json.loads(payload)["data"]["content"]
    assert content["title"].isprintable()
    assert content["description"].isprintable()


def _envelope(data: bytes) -> None:
    try:
        envelope = decode_envelope(data)
    except NotAnEnvelope as error:
        assert len(error.detail) <= 200
        envelope = Envelope("origin/a/wis2/xx-a/metadata", data, "a", 0, uid="u")
    assert decode_envelope(encode_envelope(envelope)) == envelope
    try:
        message = encode_message(envelope)
    except Unsendable:
        return
    received = {
        **message, "Body": message["MessageBody"], "ReceiptHandle": "r",
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1"},
    }  # fmt: skip
    assert decode_message(received, now_ms=0).received.envelope == envelope


def _queue_message(data: bytes) -> None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(message, dict):
        return
    for read in (lambda: decode_message(message, now_ms=0), lambda: decode_dead_letter(message)):
        try:
            read()
        except NotAnEnvelope:
            continue


async def _get(scheme: str, data: bytes) -> None:
    """Download from a server on loopback that says what the input has it say."""

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def ftp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for reply in data.split(b"@"):
                writer.write(reply.replace(b"PORT", str(data_port).encode()))
                await writer.drain()
                if not await reader.readline():
                    break
        except OSError:
            pass
        finally:
            writer.close()

    async def bytes_of_data(_reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"right")
        writer.close()

    async def open_upload() -> Upload:
        return MemoryUpload()

    side = await asyncio.start_server(bytes_of_data, "127.0.0.1", 0)
    data_port = side.sockets[0].getsockname()[1]
    server = await asyncio.start_server(http if scheme == "http" else ftp, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    downloader = LinkDownloader(
        allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),),
        max_object_bytes=_MAX_BODY_BYTES, concurrency_per_host=4, connect_timeout_s=5,
        idle_timeout_s=0.3, total_timeout_s=10, ca_file=None, lookup=lambda _host: [],
    )  # fmt: skip
    try:
        payload = await downloader.fetch(
            Request(f"{scheme}://127.0.0.1:{port}/a", None, None), open_upload
        )
        assert 0 < payload.size_bytes <= _MAX_BODY_BYTES
    except CacheError as error:
        detail = getattr(error, "detail", "")
        assert detail.isprintable()
        assert len(detail) <= 300
    finally:
        await downloader.close()
        server.close()
        side.close()


def _http(data: bytes) -> None:
    asyncio.run(_get("http", data))


def _ftp(data: bytes) -> None:
    asyncio.run(_get("ftp", data))


PARSERS = {
    parser.name: parser
    for parser in (
        Parser("topic", _topic),
        Parser("notification", _notification),
        Parser("pubtime", _pubtime),
        Parser("integrity", _integrity),
        Parser("link", _link, examples=1200),
        Parser("content", _content),
        Parser("encoded", _encoded),
        Parser("header", _header),
        Parser("delivery", _delivery),
        Parser("event", _event),
        Parser("envelope", _envelope),
        Parser("queue-message", _queue_message),
        Parser("http", _http, examples=80),
        Parser("ftp", _ftp, examples=40),
    )
}
