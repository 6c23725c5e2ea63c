"""Each outcome of one queued notification: what is stored, announced, counted, and kept."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.manager import (
    BASE_URL,
    CENTRE_ID,
    HOUR,
    SECRET,
    FakeUpload,
    Workbench,
    envelope_of,
    next_turn,
    task_of,
)
from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.waiting import until
from wis2_gc_common.errors import (
    HostBusy,
    IntegrityFailed,
    Overridden,
    PartError,
    Reason,
    Refused,
    SourceError,
    Unavailable,
    UnusableKey,
)
from wis2_gc_common.metrics import (
    DEAD_LETTERS,
    INVALID,
    ITEMS_DROPPED,
    MONITORING_EVENTS,
    SOURCE_FAILURES,
)
from wis2_gc_common.wis2.event_format import EventFormat
from wis2_gc_common.wis2.message_id import message_id
from wis2_gc_manager.pipeline import announce
from wis2_gc_manager.pipeline.in_flight import Item
from wis2_gc_manager.pipeline.retry import MAX_DELIVERIES, REFUSED_BY_PART_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_common.errors import Cause, Part
    from wis2_gc_common.ports.queue import Envelope
    from wis2_gc_common.ports.registry import Commit, Lease
    from wis2_gc_manager.sources.port import Payload, Request
    from wis2_gc_manager.store.port import Checksum


HREF = "https://node.yy.test/data/obs.bufr"
OTHER = "https://cache.zz.test/data/obs.bufr"
DATA = b"BUFR" * 1000
PUBTIME = "2026-11-23T12:00:00Z"


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


def link_of(message: dict[str, Any], rel: str = "canonical") -> dict[str, Any]:
    found: dict[str, Any] = next(link for link in message["links"] if link["rel"] == rel)
    return found


class TestCaching:
    async def test_a_linked_item_is_stored_announced_committed_and_deleted(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        data_id = unique_data_id()
        await bench.handle(envelope_of(data_id=data_id, href=HREF))
        [(key, stored)] = bench.store.objects.items()
        assert stored == DATA
        assert key.startswith(f"{HOUR}/yy-met/data/core/")
        assert key.endswith("/obs.bufr")
        [message] = bench.publisher.announced
        assert link_of(message)["href"] == f"{BASE_URL}/{key}"
        assert link_of(message)["length"] == len(DATA)
        assert message["properties"]["global-cache"] == CENTRE_ID
        assert "integrity" not in message["properties"]
        [commit] = bench.registry.commits
        assert commit.outcome == "cached"
        assert commit.centre_id == "yy-met"
        assert commit.dataserver == "node.yy.test"
        assert commit.object_key == key
        assert commit.size_bytes == len(DATA)
        assert not commit.is_metadata
        assert bench.registry.fails == []
        assert len(bench.queue.deleted) == 1

    async def test_it_is_announced_on_its_own_topic_below_cache(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(
            envelope_of(topic="origin/a/wis2/yy-met/metadata", data_id="d", href=HREF)
        )
        [(topic, _)] = bench.publisher.sent
        assert topic == "cache/a/wis2/yy-met/metadata"
        assert bench.registry.commits[0].is_metadata

    async def test_the_store_learns_the_safe_type_and_the_checksum(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, media_type="text/html"))
        assert list(bench.store.media_types.values()) == ["application/octet-stream"]
        [checksum] = bench.store.checksums
        assert checksum is not None
        assert (checksum.method, checksum.digest) == ("sha512", hashlib.sha512(DATA).digest())

    async def test_inline_data_needs_no_download_and_counts_for_the_links_host(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(data_id="d", href=HREF, content=inline(b"small")))
        assert bench.downloader.fetched == []
        assert list(bench.store.objects.values()) == [b"small"]
        [commit] = bench.registry.commits
        assert (commit.dataserver, commit.size_bytes) == ("node.yy.test", 5)
        assert bench.publisher.announced[0]["properties"]["content"] == inline(b"small")

    @pytest.mark.parametrize(
        "properties",
        [
            {"content": inline(b"small", size=4)},
            {"content": {"encoding": "base64", "value": "!!", "size": 5}},
            {"content": inline(b"small"), "integrity": integrity_of(DATA)},
            {"content": inline(b"small"), "length": 4000},
            {"content": {"encoding": "base64", "value": 5}},
        ],
        ids=["size", "encoding", "integrity", "length", "shape"],
    )
    async def test_broken_inline_data_falls_back_to_the_link_and_is_not_passed_on(
        self,
        bench: Workbench,
        properties: dict[str, dict[str, int | str] | dict[str, str]]
        | dict[str, dict[str, int | str] | int]
        | dict[str, dict[str, int | str]],
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, **properties))
        assert list(bench.store.objects.values()) == [DATA]
        assert "content" not in bench.publisher.announced[0]["properties"]
        assert bench.registry.fails == []
        assert [commit.outcome for commit in bench.registry.commits] == ["cached"]

    async def test_another_caches_link_counts_for_that_cache(self, bench: Workbench) -> None:
        bench.downloader.serves(OTHER, DATA)
        await bench.handle(
            envelope_of(
                topic="cache/a/wis2/yy-met/data/core/weather/observations",
                data_id="d",
                href=OTHER,
                global_cache="zz-other-global-cache",
            )
        )
        [commit] = bench.registry.commits
        assert (commit.centre_id, commit.dataserver) == ("zz-other-global-cache", "cache.zz.test")

    async def test_a_large_body_streams_into_an_upload(self, bench: Workbench) -> None:
        data = bytes(2_000_000)
        bench.downloader.serves(HREF, data)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert list(bench.store.objects.values()) == [data]
        [upload] = bench.store.uploads
        assert upload.is_completed
        assert not upload.is_aborted
        assert bench.registry.commits[0].size_bytes == len(data)

    async def test_the_delay_is_from_pubtime_to_the_puback(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        bench.now_ns = 1_795_435_203_500_000_000  # 2026-11-23T12:00:03.5Z
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        assert bench.registry.commits[0].delay_s == pytest.approx(3.5)

    async def test_a_pubtime_in_the_future_is_not_a_negative_delay(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2099-01-01T00:00:00Z"))
        assert bench.registry.commits[0].delay_s == 0

    async def test_an_update_replaces_the_record_and_deletes_no_object(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        first = envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z")
        second = envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:05:00Z", rel="update")
        await bench.handle(first)
        await bench.handle(second)
        assert len(bench.store.objects) == 2
        assert bench.store.deletions == []
        assert [commit.outcome for commit in bench.registry.commits] == ["cached", "cached"]

    async def test_what_is_not_visible_in_full_is_not_announced(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        bench.store.sizes = [None, 7]
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert len(bench.store.checksums) == 3  # stored until it was there whole
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1

    @pytest.mark.parametrize("visible", [None, 7], ids=["not there", "in part"])
    async def test_a_large_object_that_is_not_visible_in_full_is_not_announced(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch, visible: int | None
    ) -> None:
        data = bytes(2_000_000)
        bench.downloader.serves(HREF, data)
        bench.store.sizes = [visible]
        bench.traps.before("check", *[Unavailable("store", "away")] * 3)
        open_upload, is_open = bench.store.open_upload, []

        async def note(key: str, *, media_type: str) -> FakeUpload:
            is_open.append(bench.gate.is_open)
            return await open_upload(key, media_type=media_type)

        monkeypatch.setattr(bench.store, "open_upload", note)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        first, second = bench.store.uploads
        assert first.is_aborted
        assert second.is_completed
        assert not second.is_aborted
        # Downloaded again, and only once the store was back.
        assert bench.downloader.fetched == [HREF, HREF]
        assert is_open == [True, True]
        await bench.store.check()  # has failed three times by now, so the store was asked
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1

    async def announce_late(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch, *, stored_ns: int, later_ns: int
    ) -> None:
        """Have our broker be away from when the object is stored until it is `later_ns`."""
        bench.now_ns = stored_ns
        bench.traps.before("publish", Unavailable("broker"))
        publish = bench.publisher.publish

        async def late(topic: str, payload: bytes) -> None:
            bench.now_ns = later_ns
            await publish(topic, payload)

        with monkeypatch.context() as patch:
            patch.setattr(bench.publisher, "publish", late)
            await bench.handle(envelope_of(data_id="late", href=HREF))

    async def test_an_object_that_would_expire_too_soon_is_not_announced_but_stored_again(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        began = datetime.strptime(HOUR, "%Y-%m-%d/%H").replace(tzinfo=UTC)
        two_hours = int((began + timedelta(hours=2)).timestamp()) * 10**9
        bench.now_ns = two_hours
        await bench.handle(envelope_of(data_id="in time", href=HREF))
        assert len(bench.publisher.announced) == 1
        await self.announce_late(bench, monkeypatch, stored_ns=two_hours, later_ns=two_hours + 1)
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1
        assert bench.registry.releases == [{"error": "", "is_final": False}]
        [(delay_s, envelope)] = bench.queue.delayed
        assert (delay_s, envelope.attempts) == (0.0, 0)

    async def test_where_our_clock_finds_every_folder_too_old_it_does_not_go_round_and_round(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        began = datetime.strptime(HOUR, "%Y-%m-%d/%H").replace(tzinfo=UTC)
        bench.now_ns = int((began + timedelta(hours=3)).timestamp()) * 10**9
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.publisher.announced == []
        [(delay_s, envelope)] = bench.queue.delayed
        assert (delay_s, envelope.attempts) == (REFUSED_BY_PART_S, 0)

    @pytest.mark.parametrize("size", [4000, 2_000_000], ids=["small", "large"])
    async def test_in_a_bucket_nothing_is_announced_that_midnight_would_take_too_early(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        bench.downloader.serves(HREF, bytes(size))
        bench.store.expiration_days = 1
        midnight = datetime(2026, 11, 28, tzinfo=UTC)

        def at(**delta: int) -> int:
            return int((midnight + timedelta(**delta)).timestamp()) * 10**9

        # 23:05 stored, 00:59 announced, gone at the next midnight: 23 hours.
        await self.announce_late(
            bench, monkeypatch, stored_ns=at(minutes=-55), later_ns=at(minutes=59)
        )
        assert bench.publisher.announced == []
        assert [delay_s for delay_s, _ in bench.queue.delayed] == [0.0]
        # Stored again, it stays for two midnights, and may be announced for all of the day.
        bench.queue.return_delayed()
        [received] = await bench.queue.receive(1, wait_s=0)
        await bench.pipeline.handle(Item(received))
        await bench.settle()
        assert len(bench.publisher.announced) == 1
        assert len(bench.store.checksums) == 2
        assert len(bench.registry.commits) == 1

    async def test_in_a_bucket_a_large_object_is_as_old_as_the_beginning_of_its_upload(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, bytes(2_000_000))
        bench.store.expiration_days = 1
        midnight = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp()) * 10**9
        bench.now_ns = midnight - 10 * 10**9
        fetch = bench.downloader.fetch

        async def slowly(request: Request, open_upload: Callable[..., Any]) -> Payload:
            payload = await fetch(request, open_upload)
            bench.now_ns = midnight + 10 * 10**9
            return payload

        monkeypatch.setattr(bench.downloader, "fetch", slowly)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.publisher.announced == []
        assert [delay_s for delay_s, _ in bench.queue.delayed] == [0.0]

    async def test_in_a_bucket_what_stays_long_enough_is_announced_however_late(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        bench.store.expiration_days = 1
        midnight = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp()) * 10**9
        await self.announce_late(
            bench, monkeypatch, stored_ns=midnight - 5 * 3600 * 10**9, later_ns=midnight
        )
        assert len(bench.publisher.announced) == 1

    async def test_what_no_notification_can_announce_is_given_up_and_not_stored(
        self, bench: Workbench
    ) -> None:
        href = "https://a.test/b"
        bench.downloader.serves(href, DATA)
        message = wnm(data_id="d", href=href, integrity=integrity_of(DATA), padding="")
        room = 8192 - len(json.dumps(message, separators=(",", ":")))
        message["properties"]["padding"] = "x" * room
        payload = json.dumps(message, separators=(",", ":")).encode()
        await bench.handle(envelope_of(payload=payload))
        assert bench.store.objects == {}
        assert bench.publisher.announced == []
        [release] = bench.registry.releases
        assert release["is_final"]
        assert release["error"].startswith("republish_oversize")
        assert len(bench.queue.deleted) == 1

    async def test_what_only_the_origins_link_can_announce_is_an_override(
        self, bench: Workbench
    ) -> None:
        href, data = "https://a.test/b", bytes(2_000_000)
        bench.downloader.serves(href, data)
        message = wnm(data_id="d", href=href, integrity=integrity_of(data), padding="")
        room = 8192 - len(json.dumps(message, separators=(",", ":"))) - 60
        message["properties"]["padding"] = "x" * room
        payload = json.dumps(message, separators=(",", ":")).encode()
        await bench.handle(envelope_of(payload=payload))
        assert bench.store.uploads[0].is_aborted
        assert bench.store.objects == {}
        assert link_of(bench.publisher.announced[0])["href"] == href
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]
        assert len(bench.publisher.events) == 1

    async def test_what_the_store_cannot_keep_under_its_name_is_given_up(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        bench.traps.before("put", UnusableKey("a folder is in the way"))
        await bench.handle(envelope_of(data_id="d", href=HREF, attempts=99))
        assert bench.publisher.announced == []
        [release] = bench.registry.releases
        assert release["is_final"]


class TestNotCaching:
    async def test_cache_false_is_announced_with_its_links_and_nothing_is_fetched(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(data_id="d", href=HREF, cache=False, pubtime=PUBTIME))
        assert bench.downloader.fetched == []
        assert bench.store.objects == {}
        [message] = bench.publisher.announced
        assert link_of(message)["href"] == HREF
        assert message["properties"]["cache"] is False
        [commit] = bench.registry.commits
        assert (commit.outcome, commit.centre_id) == ("uncached", "yy-met")
        assert bench.publisher.events == []

    async def test_an_announced_length_over_the_limit_is_an_override_with_its_event(self) -> None:
        bench = Workbench(max_object_bytes=1000)
        await bench.handle(envelope_of(data_id="d", href=HREF, length=1001))
        assert bench.downloader.fetched == []
        assert link_of(bench.publisher.announced[0])["href"] == HREF
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]
        [(topic, event)] = bench.publisher.events
        assert topic == "monitor/a/wis2/yy-met"
        assert event["data"]["subtype"] == "gc-alert"
        assert await bench.counted(MONITORING_EVENTS, "gc-alert") == 1

    async def test_a_body_over_the_limit_is_an_override(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, Overridden(Reason.TOO_LARGE, "more than 1 GB"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]
        assert bench.registry.fails == []
        assert len(bench.publisher.events) == 1

    async def test_events_name_themselves_as_the_settings_say(self) -> None:
        names = EventFormat(
            failure_type="int.wmo.wis.wme.event.item",
            failure_subtype="failed",
            override_type="int.wmo.wis.wme.event.item.cache",
            override_subtype="not-cached",
            override_title="Data granule not cached",
            dataschema="https://schemas.test/event.json",
        )
        bench = Workbench(max_object_bytes=1000, event_format=names)
        await bench.handle(envelope_of(data_id="d", href=HREF, length=1001))
        bench.downloader.serves(OTHER, SourceError(Reason.NOT_FOUND, "404"))
        await bench.handle(envelope_of(data_id="e", href=OTHER))
        [override, failure] = [event for _, event in bench.publisher.events]
        assert override["type"] == names.override_type
        assert override["data"]["subtype"] == names.override_subtype
        assert override["data"]["content"]["title"] == names.override_title
        assert override["data"]["content"]["description"].startswith("d: too large: ")
        assert (failure["type"], failure["data"]["subtype"]) == (
            names.failure_type,
            names.failure_subtype,
        )
        assert {override["dataschema"], failure["dataschema"]} == {names.dataschema}
        assert await bench.counted(MONITORING_EVENTS, names.override_subtype) == 1
        assert await bench.counted(MONITORING_EVENTS, names.failure_subtype) == 1

    async def test_every_override_has_an_event_however_many_there_are(self) -> None:
        bench = Workbench(max_object_bytes=1000)
        for number in range(3):
            await bench.handle(envelope_of(data_id=f"d{number}", href=HREF, length=1001))
        assert len(bench.publisher.events) == 3

    @pytest.mark.parametrize("error", [Unavailable("broker", "no"), PartError("broker", "no")])
    async def test_a_broker_that_refuses_the_event_does_not_stop_the_item(
        self, error: PartError | Unavailable
    ) -> None:
        bench = Workbench(max_object_bytes=1000)
        bench.traps.before("publish_event", *[error] * 20)
        await bench.handle(envelope_of(data_id="d", href=HREF, length=1001))
        assert [commit.outcome for commit in bench.registry.commits] == ["override"]
        assert await bench.counted(MONITORING_EVENTS, "gc-alert") == 0

    async def test_a_parked_link_to_something_large_does_not_decide_over_anothers_item(
        self,
    ) -> None:
        bench = Workbench(max_object_bytes=5000)
        envelope = envelope_of(data_id="d", href=HREF, pubtime=PUBTIME)
        bench.registry.park(
            "d", envelope_of(data_id="d", href=OTHER, pubtime=PUBTIME, length=99_999)
        )
        third = "https://third.test/obs"
        bench.registry.park("d", envelope_of(data_id="d", href=third, pubtime=PUBTIME))
        bench.downloader.serves(third, DATA)
        await bench.handle(envelope)
        assert [commit.outcome for commit in bench.registry.commits] == ["cached"]
        assert [event["data"]["subtype"] for _, event in bench.publisher.events] == ["gc-error"]


class TestDeletion:
    async def test_it_is_announced_before_our_object_goes(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        [key] = bench.store.objects
        sent_when_deleted = []
        delete = bench.store.delete

        async def watched(key: str) -> None:
            sent_when_deleted.append(len(bench.publisher.announced))
            await delete(key)

        monkeypatch.setattr(bench.store, "delete", watched)
        await bench.handle(
            envelope_of(data_id="d", href=HREF, rel="deletion", pubtime="2026-11-23T13:00:00Z")
        )
        assert bench.store.deletions == [key]
        assert sent_when_deleted == [2]
        assert link_of(bench.publisher.announced[1], "deletion")["href"] == HREF
        assert [commit.outcome for commit in bench.registry.commits] == ["cached", "deleted"]
        assert len(bench.queue.deleted) == 2

    async def test_of_an_item_that_we_never_had_it_is_announced_too(self, bench: Workbench) -> None:
        await bench.handle(envelope_of(data_id="d", href=HREF, rel="deletion"))
        assert len(bench.publisher.announced) == 1
        assert bench.store.deletions == []
        assert [commit.outcome for commit in bench.registry.commits] == ["deleted"]

    async def test_of_another_centres_item_it_leaves_the_object(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        await bench.handle(
            envelope_of(
                topic="origin/a/wis2/zz-evil/data/core/weather/observations",
                data_id="d",
                href=HREF,
                rel="deletion",
                pubtime="2026-11-23T13:00:00Z",
            )
        )
        assert len(bench.publisher.announced) == 2
        assert len(bench.store.objects) == 1


class TestDropping:
    async def test_a_duplicate_is_counted_and_changes_nothing(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        for _ in range(2):
            await bench.handle(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME))
        assert len(bench.publisher.announced) == 1
        assert len(bench.registry.commits) == 1
        assert len(bench.queue.deleted) == 2
        assert await bench.counted(ITEMS_DROPPED, "duplicate") == 1

    @pytest.mark.parametrize(
        ("rel", "pubtime", "reason"),
        [
            ("canonical", "2026-11-23T11:00:00Z", "stale"),
            ("canonical", "2026-11-23T13:00:00Z", "repeat"),
        ],
    )
    async def test_what_the_decision_table_refuses_is_counted_under_its_name(
        self, bench: Workbench, rel: str, pubtime: str, reason: str
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        await bench.handle(envelope_of(data_id="d", href=HREF, rel=rel, pubtime=pubtime))
        assert await bench.counted(ITEMS_DROPPED, reason) == 1
        assert len(bench.publisher.announced) == 1

    @pytest.mark.parametrize(
        ("envelope", "reason"),
        [
            (envelope_of(data_id="d", global_cache=CENTRE_ID), "own"),
            (
                envelope_of(topic="origin/a/wis2/yy-met/data/recommended/ocean/waves", data_id="d"),
                "recommended",
            ),
        ],
    )
    async def test_our_own_and_recommended_ones_that_got_into_the_queue_are_dropped(
        self, bench: Workbench, envelope: Envelope, reason: str
    ) -> None:
        await bench.handle(envelope)
        assert await bench.counted(ITEMS_DROPPED, reason) == 1
        assert bench.registry.records == {}
        assert len(bench.queue.deleted) == 1

    async def test_an_invalid_notification_is_counted_and_its_centre_told(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(payload=b"{"))
        assert await bench.counted(ITEMS_DROPPED, "invalid_json") == 1
        assert len(bench.queue.deleted) == 1
        [(topic, event)] = bench.publisher.events
        assert topic == "monitor/a/wis2/yy-met"
        assert event["data"]["subtype"] == "gc-error"
        assert await bench.counted(MONITORING_EVENTS, "gc-error") == 1

    async def test_a_centre_is_not_told_of_each_of_a_hundred_invalid_ones(
        self, bench: Workbench
    ) -> None:
        for _ in range(100):
            await bench.handle(envelope_of(payload=b"{"))
        assert await bench.counted(ITEMS_DROPPED, "invalid_json") == 100
        assert await bench.counted(INVALID, "yy-met") == 100
        assert len(bench.publisher.events) == 1

    async def test_an_invalid_topic_is_counted_and_nobody_told(self, bench: Workbench) -> None:
        await bench.handle(envelope_of(topic="origin/a/wis2/NONSENSE/#", data_id="d"))
        assert await bench.counted(ITEMS_DROPPED, "invalid_topic") == 1
        assert bench.publisher.events == []

    async def test_a_centre_is_told_of_its_topic_that_is_outside_the_grammar(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(topic="origin/a/wis2/xx-met/data/Core/x", data_id="d"))
        ((topic, payload),) = bench.publisher.events
        assert topic == "monitor/a/wis2/xx-met"
        assert "invalid_topic" in payload["data"]["content"]["description"]

    async def test_an_event_that_does_not_get_out_is_not_counted_and_fails_nothing(
        self, bench: Workbench
    ) -> None:
        bench.traps.before("publish_event", Unavailable("broker"))
        await bench.handle(envelope_of(payload=b"{"))
        assert await bench.counted(MONITORING_EVENTS, "gc-error") == 0
        assert len(bench.queue.deleted) == 1


class TestInProgressElsewhere:
    async def test_the_same_version_is_parked_with_its_holder_and_its_message_deleted(
        self, bench: Workbench
    ) -> None:
        hold = bench.downloader.holds(HREF)
        item = bench.begin(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME))
        await hold.started.wait()
        await bench.handle(envelope_of(data_id="d", href=OTHER, pubtime=PUBTIME))
        assert len(bench.queue.deleted) == 1
        assert len(bench.registry.sources) == 1
        hold.end.set_result(DATA)
        await task_of(item)
        assert len(bench.publisher.announced) == 1

    async def test_what_is_parked_is_the_envelope_as_the_queue_had_it(
        self, bench: Workbench
    ) -> None:
        hold = bench.downloader.holds(HREF)
        item = bench.begin(envelope_of(data_id="d", href=HREF, pubtime=PUBTIME))
        await hold.started.wait()
        second = bench.item(envelope_of(data_id="d", href=OTHER, pubtime=PUBTIME))
        second.received = dataclasses.replace(second.received, packed=b"as it came")
        await bench.pipeline.handle(second)
        assert bench.registry.sources == [b"as it came"]
        hold.end.set_result(DATA)
        await task_of(item)

    async def test_another_version_comes_back_soon_as_it_was(self, bench: Workbench) -> None:
        hold = bench.downloader.holds(HREF)
        item = bench.begin(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        await hold.started.wait()
        later = envelope_of(
            data_id="d", href=OTHER, pubtime="2026-11-23T13:00:00Z", rel="update", attempts=1
        )
        await bench.handle(later)
        assert bench.queue.delayed == [(1.0, later)]
        hold.end.set_result(DATA)
        await task_of(item)


class TestFailing:
    async def test_a_failed_source_is_counted_once_and_the_item_comes_back(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.NOT_FOUND, "404"))
        await bench.handle(envelope_of(data_id="d", href=HREF, message_id="m-1"))
        [failure] = bench.registry.fails
        assert failure.kind == "download"
        assert failure.message_id == "m-1"
        assert failure.centre_id == "yy-met"
        assert failure.dataserver == "node.yy.test"
        assert failure.reason == "not_found"
        [(delay_s, envelope)] = bench.queue.delayed
        assert delay_s == 10.0
        assert envelope.attempts == 1
        assert bench.registry.releases == [{"error": "not_found: 404", "is_final": False}]
        assert bench.publisher.announced == []
        assert bench.registry.commits == []

    @pytest.mark.parametrize(
        ("error", "title"),
        [
            (SourceError(Reason.NOT_FOUND, "404"), "Download failed"),
            (SourceError(Reason.TLS, "expired"), "Download failed"),
            (IntegrityFailed(Reason.INTEGRITY, "sha512"), "Integrity check failed"),
        ],
    )
    async def test_the_centre_is_told_at_the_first_failure_of_a_notification(
        self, error: IntegrityFailed | SourceError, title: str
    ) -> None:
        bench = Workbench(event_interval_s=0.0)
        bench.downloader.serves(HREF, error)
        envelope = envelope_of(data_id="d", href=HREF, arrived_ms=1_795_435_200_000)
        bench.now_ns = 1_795_435_200 * 10**9
        await bench.handle(envelope)
        [(topic, event)] = bench.publisher.events
        assert topic == "monitor/a/wis2/yy-met"
        data = event["data"]
        assert data["content"] == {"title": title, "description": f"d: {error}"}
        assert data["channel"] == envelope.topic
        assert data["time"]["interval"] == ["2026-11-23T12:00:00.000Z", event["time"]]
        [(_, envelope)] = bench.queue.delayed
        await bench.handle(envelope)
        assert len(bench.publisher.events) == 1  # a retry is not news

    async def test_another_caches_failing_copy_is_told_to_that_cache(
        self, bench: Workbench
    ) -> None:
        await bench.handle(
            envelope_of(
                topic="cache/a/wis2/yy-met/data/core/weather/surface-based-observations/synop",
                data_id="d",
                href=OTHER,
                global_cache="zz-other-global-cache",
            )
        )
        assert [topic for topic, _ in bench.publisher.events] == [
            "monitor/a/wis2/zz-other-global-cache"
        ]

    async def test_what_another_manager_has_just_told_a_centre_is_enough(
        self, bench: Workbench
    ) -> None:
        bench.registry.told = {"yy-met"}
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.publisher.events == []
        assert bench.registry.event_interval_s == 60.0
        assert await bench.counted(MONITORING_EVENTS, "gc-error") == 0

    async def test_a_registry_that_does_not_admit_an_event_holds_up_nothing(
        self, bench: Workbench
    ) -> None:
        bench.traps.before("admit_event", Unavailable("registry"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.publisher.events == []
        assert len(bench.queue.delayed) == 1
        assert bench.gate.is_open

    async def test_a_retry_that_succeeds_leaves_the_one_failure_counted(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT), SourceError(Reason.DNS), DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        for _ in range(2):
            [(_, envelope)] = bench.queue.delayed
            bench.queue.delayed.clear()
            await bench.handle(envelope)
        assert len(bench.registry.fails) == 1
        assert [commit.outcome for commit in bench.registry.commits] == ["cached"]

    async def test_after_the_last_retry_the_item_is_given_up_on_record_and_its_centre_told(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.NOT_FOUND, "404"))
        await bench.handle(envelope_of(data_id="d", href=HREF, attempts=2))
        assert bench.registry.releases == [{"error": "not_found: 404", "is_final": True}]
        assert bench.queue.delayed == []
        assert len(bench.queue.deleted) == 1
        [(topic, event)] = bench.publisher.events
        assert topic == "monitor/a/wis2/yy-met"
        assert "not_found" in event["data"]["content"]["description"]
        assert bench.settling.given_up == 1

    async def test_data_with_the_wrong_checksum_is_an_integrity_failure(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, IntegrityFailed(Reason.INTEGRITY, "sha512"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [failure.kind for failure in bench.registry.fails] == ["integrity"]
        assert bench.store.objects == {}

    async def test_inline_data_with_the_wrong_checksum_and_a_dead_link_is_an_integrity_failure(
        self, bench: Workbench
    ) -> None:
        await bench.handle(
            envelope_of(
                data_id="d",
                href=HREF,
                content=inline(b"small"),
                integrity=integrity_of(b"other"),
            )
        )
        assert [failure.kind for failure in bench.registry.fails] == ["integrity"]

    async def test_inline_data_of_the_wrong_size_and_a_dead_link_is_a_failed_download(
        self, bench: Workbench
    ) -> None:
        await bench.handle(envelope_of(data_id="d", href=HREF, content=inline(b"small", size=4)))
        assert [failure.kind for failure in bench.registry.fails] == ["download"]

    async def test_a_refused_address_is_counted_and_not_tried_again(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, Refused(Reason.FORBIDDEN_ADDRESS, "127.0.0.1"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [failure.reason for failure in bench.registry.fails] == ["forbidden_address"]
        assert bench.registry.releases[0]["is_final"]
        assert bench.queue.delayed == []

    @pytest.mark.parametrize(
        "error",
        [
            Refused(Reason.FORBIDDEN_ADDRESS, "resolves to 10.1.2.3"),
            Refused(Reason.FORBIDDEN_PORT, "25"),
            Refused(Reason.UNSUPPORTED_SCHEME, "redirect to gopher"),
            HostBusy(Reason.HOST_QUEUE, "no connection of ours is free"),
            HostBusy(Reason.DNS, "too many names are being looked up"),
        ],
        ids=str,
    )
    async def test_what_we_refuse_or_lack_has_failed_and_says_nothing_of_the_server(
        self, bench: Workbench, error: SourceError
    ) -> None:
        bench.downloader.serves(HREF, error)
        day_ago_ms = time.time_ns() // 1_000_000 - 24 * 3_600_000
        await bench.handle(envelope_of(data_id="d", href=HREF, arrived_ms=day_ago_ms))
        [failure] = bench.registry.fails
        assert (failure.kind, failure.reason, failure.dataserver) == ("download", error.reason, "")
        assert bench.registry.flags == {}
        assert bench.registry.given_up == {error.reason: 1}

    @pytest.mark.parametrize(
        "error",
        [
            SourceError(Reason.DNS, "Name or service not known"),
            SourceError(Reason.TOO_MANY_REDIRECTS),
            IntegrityFailed(Reason.INTEGRITY),
            HostBusy(Reason.CIRCUIT_OPEN),
            HostBusy(Reason.THROTTLED),
        ],
        ids=str,
    )
    async def test_what_the_server_does_sets_its_flag(
        self, bench: Workbench, error: SourceError
    ) -> None:
        bench.downloader.serves(HREF, error)
        day_ago_ms = time.time_ns() // 1_000_000 - 24 * 3_600_000
        await bench.handle(envelope_of(data_id="d", href=HREF, arrived_ms=day_ago_ms))
        assert bench.registry.flags == {("yy-met", "node.yy.test"): 0}

    @pytest.mark.parametrize(
        "error",
        [
            Refused(Reason.FORBIDDEN_ADDRESS, "resolves to 10.1.2.3"),
            SourceError(Reason.CONNECT, "Connect call failed ('10.1.2.3', 443)"),
            SourceError(Reason.DNS, "10.1.2.3: Name or service not known"),
        ],
    )
    async def test_what_our_resolver_knows_is_told_to_nobody(
        self, error: Refused | SourceError
    ) -> None:
        bench = Workbench(event_interval_s=0.0, retry_delays_s=())
        bench.downloader.serves(HREF, error)
        await bench.handle(envelope_of(data_id="d", href=HREF))
        first, given_up = bench.publisher.events
        assert first[1]["data"]["content"]["description"] == f"d: {error.reason}"
        assert given_up[1]["data"]["content"]["description"] == f"d: {error.reason}"
        assert bench.registry.releases == [{"error": error.reason, "is_final": True}]

    async def test_a_server_that_says_when_to_come_back_is_obeyed(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.SERVER_ERROR, retry_after_s=120.0))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.queue.delayed[0][0] == 120.0

    async def test_a_host_that_fails_for_all_has_failed_for_this_one_too(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, HostBusy(Reason.CIRCUIT_OPEN, retry_after_s=120.0))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        [(delay_s, envelope)] = bench.queue.delayed
        assert (delay_s, envelope.attempts) == (120.0, 1)
        assert [failure.reason for failure in bench.registry.fails] == ["circuit_open"]

    async def test_who_only_ever_met_a_busy_host_is_counted_when_given_up(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, HostBusy(Reason.THROTTLED, retry_after_s=9.0))
        hours_ago_ms = time.time_ns() // 1_000_000 - 3 * 3_600_000
        await bench.handle(envelope_of(data_id="d", href=HREF, arrived_ms=hours_ago_ms))
        assert [failure.kind for failure in bench.registry.fails] == ["download"]
        [release] = bench.registry.releases
        assert release["is_final"]

    async def test_a_centre_with_too_many_waiting_items_has_the_next_given_up(
        self, bench: Workbench
    ) -> None:
        for number in itertools.count():
            if not bench.delayed.admit("yy-met", f"u{number}", 1000.0, size=1):
                break
        bench.downloader.serves(HREF, SourceError(Reason.NOT_FOUND))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert bench.queue.delayed == []
        assert bench.registry.releases[0]["is_final"]
        # One that was not tried yet has done nothing to deserve it.
        bench.downloader.serves(HREF, HostBusy(Reason.HOST_QUEUE, retry_after_s=9.0))
        await bench.handle(envelope_of(data_id="e", href=HREF))
        assert len(bench.queue.delayed) == 1

    async def test_a_busy_host_costs_no_attempt_and_counts_nothing(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, HostBusy(Reason.THROTTLED, retry_after_s=9.0))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        [(delay_s, envelope)] = bench.queue.delayed
        assert (delay_s, envelope.attempts) == (9.0, 0)
        assert bench.registry.fails == []
        assert bench.registry.releases == [{"error": "", "is_final": False}]

    async def test_an_item_past_its_useful_life_is_given_up(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT))
        day_ago_ms = time.time_ns() // 1_000_000 - 24 * 3_600_000
        await bench.handle(envelope_of(data_id="d", href=HREF, arrived_ms=day_ago_ms))
        assert bench.registry.releases[0]["is_final"]


class TestUnexpected:
    async def test_a_bug_hands_the_item_back_counted_and_later_each_time(
        self, bench: Workbench
    ) -> None:
        envelope = envelope_of(data_id="d", href=HREF)
        delays = []
        for _ in range(7):
            bench.traps.before("fetch", ZeroDivisionError("a bug"))
            await bench.handle(envelope)
            [(delay_s, envelope)] = bench.queue.delayed
            bench.queue.delayed.clear()
            delays.append(delay_s)
        assert delays == sorted(delays)
        assert envelope.attempts == 7
        assert await bench.counted(SOURCE_FAILURES, "unexpected") == 7
        [record] = bench.registry.records.values()
        assert record.last_error == "unexpected: an error of ours, see the log"
        assert bench.registry.fails == []

    async def test_the_eighth_time_the_message_is_a_dead_letter(self, bench: Workbench) -> None:
        bench.traps.before("fetch", ZeroDivisionError("a bug"))
        envelope = envelope_of(data_id="d", href=HREF, attempts=7)
        await bench.handle(envelope)
        assert bench.queue.dead == [
            (envelope, "unexpected", "unexpected: an error of ours, see the log")
        ]
        assert bench.registry.releases[0]["is_final"]
        assert await bench.counted(DEAD_LETTERS, "unexpected") == 1

    async def test_a_message_that_kills_its_workers_is_buried_untouched(
        self, bench: Workbench
    ) -> None:
        envelope = envelope_of(data_id="d", href=HREF)
        await bench.handle(envelope, deliveries=MAX_DELIVERIES + 1)
        told = f"delivered {MAX_DELIVERIES + 1} times without an end"
        assert bench.queue.dead == [(envelope, "unexpected", told)]
        assert bench.registry.records == {}
        assert await bench.counted(DEAD_LETTERS, "unexpected") == 1

    async def test_the_last_delivery_allowed_is_worked_on(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF), deliveries=MAX_DELIVERIES)
        assert len(bench.registry.commits) == 1

    async def test_a_bug_in_the_way_back_leaves_the_message_to_its_visibility(
        self, bench: Workbench
    ) -> None:
        bench.traps.before("fetch", ZeroDivisionError("a bug"))
        bench.traps.before("put_back", ZeroDivisionError("another"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert len(bench.queue.held) == 1
        assert bench.queue.delayed == []


class TestLosingTheLease:
    async def test_a_commit_that_comes_too_late_counts_nothing_and_leaves_the_message(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        item = bench.item(envelope_of(data_id="d", href=HREF))

        async def taken_over(_lease: Lease, _commit: Commit) -> bool:
            return False

        monkeypatch.setattr(bench.registry, "commit", taken_over)
        await bench.pipeline.handle(item)
        await bench.settle()
        assert bench.queue.deleted == []
        assert bench.queue.delayed == []
        assert len(bench.queue.held) == 1
        assert bench.settling.cached == 0

    async def test_a_release_of_a_lost_lease_leaves_the_message(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT))
        item = bench.item(envelope_of(data_id="d", href=HREF))

        async def lost(*_args: Lease, **_options: Cause | bool | int) -> str:
            return "lost"

        monkeypatch.setattr(bench.registry, "release", lost)
        await bench.pipeline.handle(item)
        assert bench.queue.delayed == []
        assert len(bench.queue.held) == 1

    @pytest.mark.parametrize(("attempts", "is_dead"), [(0, False), (7, True)])
    async def test_what_met_a_bug_after_it_was_lost_ends_all_the_same(
        self, bench: Workbench, attempts: int, is_dead: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(*_args: Lease, **_options: Cause | bool | int) -> str:
            return "lost"

        monkeypatch.setattr(bench.registry, "release", lost)
        bench.traps.before("fetch", ZeroDivisionError("a bug"))
        await bench.handle(envelope_of(data_id="d", href=HREF, attempts=attempts))
        assert bench.queue.held == {}
        assert [envelope.attempts for _, envelope in bench.queue.delayed] == [1] * (not is_dead)
        assert len(bench.queue.dead) == is_dead

    async def test_a_lost_item_is_cancelled_without_a_word(self, bench: Workbench) -> None:
        hold = bench.downloader.holds(HREF)
        item = bench.begin(envelope_of(data_id="d", href=HREF))
        await hold.started.wait()
        item.lose()
        await task_of(item)
        await bench.settle()
        assert hold.cancelled.is_set()
        assert bench.registry.releases == []
        assert bench.queue.delayed == []
        assert len(bench.queue.held) == 1

    async def test_an_item_that_is_being_committed_is_not_cancelled(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        commit = bench.registry.commit
        items: list[Item] = []

        async def slow(lease: Lease, outcome: Commit) -> bool:
            items[0].lose()
            await next_turn()
            return await commit(lease, outcome)

        monkeypatch.setattr(bench.registry, "commit", slow)
        items.append(bench.begin(envelope_of(data_id="d", href=HREF)))
        await task_of(items[0])
        await bench.settle()
        assert len(bench.queue.deleted) == 1


class TestOutages:
    @pytest.mark.parametrize(
        ("step", "part"),
        [
            ("claim", "registry"),
            ("fetch", "store"),
            ("put", "store"),
            ("size", "store"),
            ("publish", "broker"),
            ("commit", "registry"),
            ("delete", "queue"),
        ],
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_an_outage_at_any_step_costs_the_item_nothing(
        self, bench: Workbench, step: str, part: Part, when: str
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        getattr(bench.traps, when)(step, Unavailable(part, "away"), Unavailable(part, "away"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [commit.outcome for commit in bench.registry.commits] == ["cached"]
        assert {message["id"] for message in bench.publisher.announced} == {
            bench.publisher.announced[0]["id"]
        }
        assert bench.registry.fails == []
        assert bench.queue.delayed == []
        assert len(bench.queue.deleted) == 1
        assert bench.queue.held == {}

    @pytest.mark.parametrize("step", ["fail", "release", "put_back"])
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_an_outage_while_a_failure_is_recorded_counts_it_once(
        self, bench: Workbench, step: str, when: str
    ) -> None:
        bench.downloader.serves(HREF, SourceError(Reason.TIMEOUT))
        part: Part = "queue" if step == "put_back" else "registry"
        getattr(bench.traps, when)(step, Unavailable(part, "away"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert len(bench.registry.fails) == 1
        assert [envelope.attempts for _, envelope in bench.queue.delayed] == [1]

    async def test_an_upload_whose_store_goes_away_is_aborted_and_downloaded_again(
        self, bench: Workbench
    ) -> None:
        data = bytes(2_000_000)
        bench.downloader.serves(HREF, data)
        bench.traps.before("complete", Unavailable("store", "away"))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        first, second = bench.store.uploads
        assert first.is_aborted
        assert second.is_completed
        assert bench.downloader.fetched == [HREF, HREF]
        assert bench.registry.fails == []
        assert len(bench.registry.commits) == 1

    async def test_an_upload_that_loses_its_memory_to_others_is_handed_back_and_nobodys_fault(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, bytes(2_000_000))
        short = HostBusy(Reason.HOST_QUEUE, "no memory of ours is free", retry_after_s=7.0)
        bench.traps.before("complete", short)
        await bench.handle(envelope_of(data_id="d", href=HREF, attempts=1))
        assert bench.gate.is_open
        [(delay_s, returned)] = bench.queue.delayed
        assert (delay_s, returned.attempts) == (7.0, 1)
        assert bench.registry.fails == []
        assert bench.registry.commits == []
        assert bench.registry.releases == [{"error": "", "is_final": False}]
        assert [upload.is_aborted for upload in bench.store.uploads] == [True]

    async def test_an_upload_that_a_bug_of_ours_cannot_announce_is_aborted(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_args: object, **_options: object) -> tuple[str, bytes]:
            raise ZeroDivisionError

        monkeypatch.setattr(announce, "republish", fails)
        bench.downloader.serves(HREF, bytes(2_000_000))
        await bench.handle(envelope_of(data_id="d", href=HREF))
        assert [upload.is_aborted for upload in bench.store.uploads] == [True]
        [(_, returned)] = bench.queue.delayed
        assert returned.attempts == 1

    async def test_an_announcement_that_our_broker_refuses_holds_up_nobody_else(
        self, bench: Workbench
    ) -> None:
        bench.downloader.serves(HREF, DATA)
        bench.traps.before("publish", PartError("broker", "it refuses the message: no"))
        envelope = envelope_of(data_id="d", href=HREF)
        await bench.handle(envelope)
        assert bench.gate.is_open
        [(delay_s, returned)] = bench.queue.delayed
        assert (delay_s, returned.attempts) == (5.0, 1)
        assert bench.registry.fails == []
        # Its last attempt makes it a dead letter, under its reason.
        bench.traps.before("publish", PartError("broker", "it refuses the message: no"))
        await bench.handle(dataclasses.replace(returned, attempts=7))
        [(_, reason, text)] = bench.queue.dead
        assert (reason, text) == (
            "unexpected",
            "unexpected: broker failed: it refuses the message: no",
        )

    @pytest.mark.parametrize("data", [DATA, bytes(2_000_000)], ids=["small", "large"])
    async def test_a_part_that_refuses_just_this_item_does_not_hold_it_for_ever(
        self, bench: Workbench, data: bytes
    ) -> None:
        bench.downloader.serves(HREF, data)
        step = "put" if data is DATA else "complete"
        bench.traps.before(step, *[Unavailable("store", "no room")] * 20)
        await bench.handle(envelope_of(data_id="d", href=HREF, attempts=1))
        [(delay_s, envelope)] = bench.queue.delayed
        assert delay_s == 60.0
        assert envelope.attempts == 1
        assert bench.registry.releases == [{"error": "", "is_final": False}]
        assert all(upload.is_aborted for upload in bench.store.uploads)

    async def test_the_message_id_is_the_deterministic_one(self, bench: Workbench) -> None:
        bench.downloader.serves(HREF, DATA)
        await bench.handle(envelope_of(data_id="d", href=HREF, pubtime="2026-11-23T12:00:00Z"))
        wanted = message_id(
            SECRET,
            centre_id=CENTRE_ID,
            topic_centre_id="yy-met",
            data_id="d",
            pubtime_ns=1_795_435_200_000_000_000,
            rel="canonical",
        )
        assert [message["id"] for message in bench.publisher.announced] == [wanted]


class TestStopping:
    async def test_a_cancelled_item_is_handed_back_as_if_never_touched(
        self, bench: Workbench
    ) -> None:
        hold = bench.downloader.holds(HREF)
        item = bench.begin(envelope_of(data_id="d", href=HREF, attempts=1))
        await hold.started.wait()
        task_of(item).cancel()
        await until(task_of(item).done)
        assert task_of(item).cancelled()
        await bench.pipeline.hand_back(item, delay_s=0.0)
        await bench.settle()
        assert hold.cancelled.is_set()
        assert bench.registry.releases == [{"error": "", "is_final": False}]
        [(delay_s, envelope)] = bench.queue.delayed
        assert (delay_s, envelope.attempts) == (0.0, 1)

    async def test_a_claim_cancelled_on_its_way_leaves_no_lease_behind(
        self, bench: Workbench
    ) -> None:
        bench.registry.claim_gate = asyncio.Event()
        item = bench.begin(envelope_of(data_id="d", href=HREF))
        await until(lambda: bench.registry.records)  # granted, and not answered yet
        task_of(item).cancel()
        await next_turn()
        assert not task_of(item).done()
        bench.registry.claim_gate.set()
        await until(task_of(item).done)
        assert task_of(item).cancelled()
        await bench.pipeline.hand_back(item, delay_s=0.0)
        [record] = bench.registry.records.values()
        assert not record.is_live
        assert bench.registry.releases == [{"error": "", "is_final": False}]
        assert [delay_s for delay_s, _ in bench.queue.delayed] == [0.0]

    async def test_an_item_preempted_within_its_claim_leaves_no_lease_behind(
        self, bench: Workbench
    ) -> None:
        bench.registry.claim_gate = asyncio.Event()
        item = bench.begin(envelope_of(data_id="d", href=HREF))
        await until(lambda: bench.registry.records)
        item.preempt()
        bench.registry.claim_gate.set()
        await until(task_of(item).done)
        [record] = bench.registry.records.values()
        assert not record.is_live
        assert len(bench.queue.delayed) == 1

    async def test_a_registry_that_is_silent_about_a_cancelled_claim_holds_nobody_up(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wis2_gc_manager.pipeline.claim.CLAIM_ANSWER_S", 0.0)
        bench.registry.claim_gate = asyncio.Event()
        item = bench.begin(envelope_of(data_id="d", href=HREF))
        await until(lambda: bench.registry.records)
        task_of(item).cancel()
        await until(task_of(item).done)
        assert task_of(item).cancelled()
        assert item.lease is None

    async def test_handing_back_never_raises(self, bench: Workbench) -> None:
        for error in (Unavailable("registry"), ZeroDivisionError()):
            hold = bench.downloader.holds(HREF)
            item = bench.begin(envelope_of(data_id=unique_data_id(), href=HREF))
            await hold.started.wait()
            task_of(item).cancel()
            await until(task_of(item).done)
            bench.traps.before("release", error)
            await bench.pipeline.hand_back(item, delay_s=0.0)

    async def test_a_cancelled_upload_is_aborted(
        self, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.downloader.serves(HREF, bytes(2_000_000))
        completing = []

        async def hang(self: FakeUpload, checksum: Checksum | None = None) -> None:
            completing.append(self)
            await next_turn()
            task_of(item).cancel()
            for _ in range(3):
                await next_turn()

        monkeypatch.setattr(FakeUpload, "complete", hang)
        item = bench.begin(envelope_of(data_id="d", href=HREF))
        await until(task_of(item).done)
        assert task_of(item).cancelled()
        assert completing[0].is_aborted
