"""The registry against a real redis-server: claims, leases, counting, reading."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import redis

from wis2_gc_common.decision import Decision, Held
from wis2_gc_common.ids import hour_folder
from wis2_gc_common.metrics_catalogue import (
    CACHE_OVERRIDE,
    CACHED_VOLUME,
    DATASERVER_LAST_DOWNLOAD,
    DATASERVER_STATUS,
    DELAY_BUCKETS_S,
    DOWNLOADED,
    DOWNLOADED_ERRORS,
    DROPPED,
    GIVEN_UP,
    INTEGRITY_FAILED,
    INVALID,
    ITEMS,
    LAST_DOWNLOAD,
    LAST_METADATA,
    NO_CACHE,
    OTHER_CENTRES,
    RECEIVED,
    SOURCE_FAILURES,
    field,
)
from wis2_gc_common.registry import keys, scripts
from wis2_gc_common.registry.base import (
    Claimed,
    Commit,
    Failure,
    Lease,
    Notice,
    ProcessStatus,
    Refusal,
    Renewed,
)
from wis2_gc_common.registry.connection import Connections
from wis2_gc_common.registry.redis import (
    MAX_PARKED,
    RedisListenerRegistry,
    RedisReader,
    RedisRegistry,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

pytest_plugins = ("tests.support.redis",)

CENTRE = "ca-eccc-msc"
HOST = "dd.weather.gc.ca"
P1 = 1_764_000_000_123_456_789
KEY = "2026-11-23/22/ca-eccc-msc/data/core/weather/0123456789ab/" + "f" * 93
FIRST = Notice("wis2/item", P1, "canonical", CENTRE, "id-1")
CACHED = Commit("cached", CENTRE, False, HOST, KEY, 85_000, 1.5)


@pytest.fixture
async def registry(redis_url: str) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry.connect(redis_url, retention_hours=24, lease_s=30)
    yield registry
    await registry.close()


@pytest.fixture
async def reader(redis_url: str) -> AsyncIterator[RedisReader]:
    reader = RedisReader.connect(redis_url)
    yield reader
    await reader.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


async def claim(
    registry: RedisRegistry,
    notice: Notice,
    *,
    owner: str = "",
    worker: str = "worker-1",
    source: bytes = b"source",
) -> Claimed:
    return await registry.claim(
        notice, owner=owner or f"owner of {notice.message_id}", worker=worker, source=source
    )


async def granted(registry: RedisRegistry, notice: Notice, **options: Any) -> Lease:
    claimed = await claim(registry, notice, **options)
    assert claimed.lease is not None
    return claimed.lease


def another(message_id: str, *, pubtime_ns: int = P1, **changes: Any) -> Notice:
    return replace(FIRST, message_id=message_id, pubtime_ns=pubtime_ns, **changes)


def end_lease(raw: redis.Redis, lease: Lease) -> None:
    """What time does, at once."""
    raw.hset(keys.record_key(lease.record), "l", 0)


def hour_now() -> str:
    return hour_folder(datetime.now(UTC))


# Claims


async def test_of_all_managers_one_may_send_an_event_about_a_centre(registry, redis_url, raw):
    other = RedisRegistry.connect(redis_url, retention_hours=24, lease_s=30)
    try:
        admitted = [
            await manager.admit_event(centre, interval_s=60)
            for centre in (CENTRE, "fr-meteofrance")
            for manager in (registry, other)
        ]
        assert admitted == [True, False, True, False]
        assert 59_000 < raw.pttl(keys.event_key(CENTRE)) <= 60_000
        raw.delete(keys.event_key(CENTRE))  # what time does
        assert await other.admit_event(CENTRE, interval_s=60)
    finally:
        await other.close()


async def test_each_refusal_reaches_one_manager_and_what_nobody_takes_is_bounded(
    registry, redis_url, raw
):
    listener = RedisListenerRegistry.connect(redis_url)
    refusals = [Refusal(CENTRE, f"topic {n}", n, 'é "\x00') for n in range(1002)]
    try:
        listener.refuse([])
        for start in range(0, len(refusals), 100):
            listener.refuse(refusals[start : start + 100])
    finally:
        listener.close()
    assert await registry.refusals(2) == refusals[2:4]
    assert await registry.refusals(2000) == refusals[4:]
    assert await registry.refusals(1) == []


async def test_a_new_item_is_granted_with_the_hour_it_goes_to(registry):
    before = hour_now()
    claimed = await claim(registry, FIRST)
    assert claimed.decision is Decision.NEW
    assert claimed.hour in {before, hour_now()}
    assert claimed.lease is not None
    assert (claimed.lease.notice, claimed.lease.owner) == (FIRST, "owner of id-1")
    assert (claimed.object_key, claimed.object_centre_id, claimed.parked) == (None, None, 0)


async def test_the_same_owner_and_worker_get_the_same_lease_again(registry):
    assert await claim(registry, FIRST) == await claim(registry, FIRST)


async def test_a_redelivery_to_another_worker_waits_for_the_rest_of_the_lease(registry):
    await claim(registry, FIRST)
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert claimed.decision is Decision.WAIT
    assert 25 < claimed.retry_after_s <= 30
    assert claimed.lease is None
    assert claimed.parked == 0


async def test_another_version_waits_for_the_running_one(registry):
    await claim(registry, FIRST)
    claimed = await claim(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert claimed.decision is Decision.WAIT
    assert 25 < claimed.retry_after_s <= 30


async def test_the_same_version_from_elsewhere_is_parked_once_per_notification(registry):
    lease = await granted(registry, FIRST)
    for _ in range(2):
        busy = await claim(registry, another("id-2"), source=b"second")
        assert (busy.decision, busy.parked) == (Decision.BUSY, 1)
    busy = await claim(registry, another("id-3"), owner="x", source=b"third")
    assert busy.parked == 2
    assert await registry.parked(lease) == [b"second", b"third"]


async def test_another_centres_notification_waits_and_is_no_source(registry):
    lease = await granted(registry, FIRST)
    answer = await claim(registry, another("id-2", centre_id="xx-other"))
    assert answer.decision is Decision.WAIT
    assert await registry.parked(lease) == []


async def test_a_copy_of_the_holders_own_notification_is_not_parked(registry):
    lease = await granted(registry, FIRST)
    busy = await claim(registry, FIRST, owner="the same over another broker")
    assert (busy.decision, busy.parked) == (Decision.BUSY, 0)
    assert await registry.parked(lease) == []


async def test_at_most_16_sources_are_parked_in_the_order_of_their_arrival(registry):
    lease = await granted(registry, FIRST)
    for n in range(MAX_PARKED + 3):
        busy = await claim(registry, another(f"other-{n}"), source=b"%d" % n)
        assert busy.decision is Decision.BUSY
    assert await registry.parked(lease) == [b"%d" % n for n in range(MAX_PARKED)]


async def test_who_takes_over_a_dead_holders_item_finds_the_parked_sources(registry, raw):
    dead = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    end_lease(raw, dead)
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert (claimed.decision, claimed.parked) == (Decision.NEW, 1)
    assert claimed.lease is not None
    assert claimed.lease.fence > dead.fence
    assert await registry.parked(claimed.lease) == [b"second"]
    assert await registry.parked(dead) == []


async def test_a_repeat_takes_no_source_from_who_works_on_the_same_version(registry):
    first = await granted(registry, FIRST)
    assert await registry.commit(first, CACHED)
    update = await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    busy = await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"), source=b"second")
    assert busy.decision is Decision.BUSY
    # The same version without its update link is a repeat of what is done.
    repeat = await claim(registry, another("id-4", pubtime_ns=P1 + 1))
    assert repeat.decision is Decision.REPEAT
    assert await registry.parked(update) == [b"second"]


async def test_sources_of_one_version_are_not_offered_for_another(registry, raw):
    dead = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    end_lease(raw, dead)
    newer = await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"))
    assert (newer.decision, newer.parked) == (Decision.NEW, 0)
    assert newer.lease is not None
    assert await registry.parked(newer.lease) == []
    assert await registry.commit(newer.lease, CACHED)
    # The older version is decided; what waited for it goes.
    assert (await claim(registry, FIRST)).decision is Decision.STALE
    assert not raw.exists(keys.parked_key(dead.record, P1))


async def test_an_attempt_that_began_less_than_an_hour_ago_keeps_its_hour(registry, raw):
    lease = await granted(registry, FIRST)
    record = keys.record_key(lease.record)
    began = int(time.time()) - 3500
    raw.hset(record, "t", began)
    end_lease(raw, lease)
    again = await claim(registry, FIRST, worker="worker-2")
    assert again.hour == hour_folder(datetime.fromtimestamp(began, UTC))

    raw.hset(record, "t", began - 200)
    assert again.lease is not None
    end_lease(raw, again.lease)
    before = hour_now()
    assert (await claim(registry, FIRST)).hour in {before, hour_now()}


async def test_another_version_gets_an_hour_of_its_own(registry, raw):
    lease = await granted(registry, FIRST)
    raw.hset(keys.record_key(lease.record), "t", int(time.time()) - 3500)
    end_lease(raw, lease)
    before = hour_now()
    newer = await claim(registry, another("id-2", pubtime_ns=P1 + 1))
    assert newer.hour in {before, hour_now()}


async def test_an_update_names_the_object_it_replaces(registry):
    long_key = KEY + "/" + "x" * 1200
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, replace(CACHED, object_key=long_key))
    update = await claim(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert update.decision is Decision.UPDATE
    assert (update.object_key, update.object_centre_id) == (long_key, CENTRE)
    # A shorter key leaves nothing of the longer one behind.
    assert update.lease is not None
    assert await registry.commit(update.lease, replace(CACHED, object_key="short"))
    deletion = await claim(registry, another("id-3", pubtime_ns=P1 + 2, rel="deletion"))
    assert deletion.decision is Decision.DELETE
    assert (deletion.object_key, deletion.object_centre_id) == ("short", CENTRE)


async def test_what_was_deleted_can_be_published_anew_but_only_later(registry):
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    deletion = await granted(registry, another("id-2", pubtime_ns=P1 + 5, rel="deletion"))
    assert await registry.commit(deletion, Commit("deleted", CENTRE, False))
    assert (await claim(registry, another("id-3", pubtime_ns=P1 + 4))).decision is Decision.STALE
    assert (await claim(registry, another("id-4", pubtime_ns=P1 + 5))).decision is (
        Decision.DUPLICATE
    )
    anew = await claim(registry, another("id-5", pubtime_ns=P1 + 6))
    assert anew.decision is Decision.NEW
    assert anew.object_key is None


async def test_a_foreign_deletion_is_claimed_once_and_touches_neither_object_nor_record(
    registry, reader
):
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    deletion = another("id-2", pubtime_ns=P1 + 1, rel="deletion", centre_id="fr-other")
    claimed = await claim(registry, deletion)
    assert claimed.decision is Decision.DELETE
    assert claimed.object_key is None
    assert claimed.lease is not None
    assert claimed.lease.record != lease.record
    assert await registry.commit(claimed.lease, Commit("deleted", "fr-other", False))
    assert (await claim(registry, deletion)).decision is Decision.DUPLICATE
    item = await reader.item(FIRST.data_id)
    assert item is not None
    assert (item.state, item.object_key) == ("done", KEY)


async def test_pubtimes_are_compared_to_the_last_nanosecond_and_beyond_64_bits(registry):
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, another("a", pubtime_ns=P1 - 1))).decision is Decision.STALE
    later = another("b", pubtime_ns=P1 + 1, rel="update")
    update = await granted(registry, later)
    assert await registry.commit(update, CACHED)
    far = await claim(registry, another("c", pubtime_ns=9 * 10**20, rel="update"))
    assert far.decision is Decision.UPDATE


# Message ids


async def test_a_message_id_is_processed_for_one_item_only(registry):
    lease = await granted(registry, FIRST)
    other = replace(FIRST, data_id="wis2/other")
    assert (await claim(registry, other)).decision is Decision.DUPLICATE_ID
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, other)).decision is Decision.DUPLICATE_ID
    newer = replace(FIRST, pubtime_ns=P1 + 1, rel="update")
    assert (await claim(registry, newer)).decision is Decision.DUPLICATE_ID
    assert (await claim(registry, FIRST)).decision is Decision.DUPLICATE


async def test_a_released_item_frees_its_message_id(registry):
    lease = await granted(registry, FIRST)
    other = replace(FIRST, data_id="wis2/other")
    await registry.release(lease, error="timeout: slow", parked_seen=0, is_final=False)
    assert (await claim(registry, other)).decision is Decision.NEW


async def test_message_ids_are_remembered_for_a_day_and_items_for_retention_and_margin(
    redis_url, raw
):
    registry = RedisRegistry.connect(redis_url, retention_hours=48, lease_s=30)
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"))
    await registry.fail(lease, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    record = keys.record_key(lease.record)
    message = keys.message_key(keys.message_digest("id-1"))
    assert 26 * 3600 - 60 < raw.ttl(message) <= 26 * 3600
    for key in (record, keys.parked_key(lease.record, P1), keys.failed_key(lease.record, P1)):
        assert 50 * 3600 - 60 < raw.ttl(key) <= 50 * 3600
    for write in (
        registry.renew([lease]),
        registry.commit(lease, CACHED),
    ):
        raw.expire(record, 100)
        await write
        assert raw.ttl(record) > 50 * 3600 - 60
    # What stays is the item, its message id and the counters; only counters have no TTL.
    forever = {key for key in raw.scan_iter() if raw.ttl(key) == -1}
    assert forever == {keys.COUNTERS, keys.GAUGES, keys.DELAYS, keys.SERIES}
    assert set(raw.scan_iter()) - forever == {record, message}
    await registry.close()


# Renewal


async def test_renewing_restarts_the_lease_and_tells_lost_ones_apart(registry, raw):
    kept = await granted(registry, FIRST)
    lost = await granted(registry, replace(FIRST, data_id="b", message_id="b"))
    await claim(registry, another("id-2"))
    end_lease(raw, kept)
    end_lease(raw, lost)
    await granted(registry, lost.notice, owner="thief")
    assert await registry.renew([kept, lost]) == [
        Renewed(is_held=True, parked=1),
        Renewed(is_held=False, parked=0),
    ]
    assert (await claim(registry, FIRST, owner="z")).decision is Decision.BUSY
    assert await registry.renew([]) == []


async def test_many_leases_are_renewed_at_once(registry):
    notices = [replace(FIRST, data_id=f"item {n}", message_id=f"m{n}") for n in range(300)]
    leases = await asyncio.gather(*(granted(registry, notice) for notice in notices))
    renewed = await registry.renew(leases)
    assert renewed == [Renewed(is_held=True, parked=0)] * 300


# Commits and counters


async def counters(reader: RedisReader) -> dict[str, int]:
    return dict((await reader.snapshot()).counters)


async def test_a_cached_item_moves_what_the_wmo_asks_for(registry, reader):
    lease = await granted(registry, FIRST)
    before = time.time()
    for _ in range(3):
        assert await registry.commit(lease, CACHED)
    snapshot = await reader.snapshot()
    assert snapshot.counters == {
        field(DOWNLOADED, CENTRE): 1,
        field(ITEMS, "cached"): 1,
        field(CACHED_VOLUME, CENTRE): 85_000,
    }
    assert set(snapshot.gauges) == {
        field(LAST_DOWNLOAD, CENTRE),
        field(DATASERVER_STATUS, CENTRE, HOST),
        field(DATASERVER_LAST_DOWNLOAD, CENTRE, HOST),
    }
    assert snapshot.gauges[field(DATASERVER_STATUS, CENTRE, HOST)] == 1
    for metric in (
        field(LAST_DOWNLOAD, CENTRE),
        field(DATASERVER_LAST_DOWNLOAD, CENTRE, HOST),
    ):
        assert before - 1 < snapshot.gauges[metric] < time.time() + 1
    assert sum(snapshot.delay_buckets) == 1
    assert snapshot.delay_buckets[DELAY_BUCKETS_S.index(2.0)] == 1
    assert snapshot.delay_sum_s == 1.5


async def test_metadata_moves_its_timestamp_and_a_link_without_host_no_data_server(
    registry, reader
):
    lease = await granted(registry, FIRST)
    await registry.commit(lease, replace(CACHED, is_metadata=True, dataserver=""))
    assert set((await reader.snapshot()).gauges) == {
        field(LAST_DOWNLOAD, CENTRE),
        field(LAST_METADATA, CENTRE),
    }


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("uncached", {field(NO_CACHE, "jp-jma-global-cache"): 1, field(ITEMS, "uncached"): 1}),
        (
            "override",
            {field(CACHE_OVERRIDE, "jp-jma-global-cache"): 1, field(ITEMS, "override"): 1},
        ),
        ("deleted", {field(ITEMS, "deleted"): 1}),
    ],
)
async def test_what_is_not_cached_moves_its_own_counter_only(registry, reader, outcome, expected):
    lease = await granted(registry, FIRST)
    done = Commit(outcome, "jp-jma-global-cache", True, HOST, delay_s=3.0)
    assert await registry.commit(lease, done)
    assert await registry.commit(lease, done)
    snapshot = await reader.snapshot()
    assert snapshot.counters == expected
    assert snapshot.gauges == {}
    assert sum(snapshot.delay_buckets) == 0


@pytest.mark.parametrize(
    ("delay_s", "bucket", "total"),
    [(-5.0, 0, 0.0), (0.01, 0, 0.01), (0.0101, 1, 0.0101), (600.0, 14, 600.0), (1e12, 16, 1e9)],
)
async def test_delays_fall_into_the_bucket_whose_bound_they_do_not_exceed(
    registry, reader, delay_s, bucket, total
):
    lease = await granted(registry, FIRST)
    await registry.commit(lease, replace(CACHED, delay_s=delay_s))
    snapshot = await reader.snapshot()
    assert [at for at, n in enumerate(snapshot.delay_buckets) if n] == [bucket]
    assert snapshot.delay_sum_s == pytest.approx(total)


async def test_a_lost_lease_commits_nothing(registry, reader, raw):
    lost = await granted(registry, FIRST)
    end_lease(raw, lost)
    newest = await granted(registry, FIRST, worker="worker-2")
    assert not await registry.commit(lost, CACHED)
    assert not await registry.fail(lost, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    assert await registry.release(lost, error="timeout: x", parked_seen=0, is_final=True) == "lost"
    assert await counters(reader) == {}
    assert await registry.commit(newest, CACHED)
    assert not await registry.commit(lost, CACHED)
    assert (await counters(reader))[field(DOWNLOADED, CENTRE)] == 1


async def test_a_lease_that_ran_out_but_was_taken_by_nobody_may_commit(registry, raw):
    lease = await granted(registry, FIRST)
    end_lease(raw, lease)
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, another("id-2"))).decision is Decision.DUPLICATE


async def test_a_commit_resent_after_the_next_version_was_claimed_is_still_true(registry, reader):
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert await registry.commit(lease, CACHED)
    assert (await counters(reader))[field(DOWNLOADED, CENTRE)] == 1


async def test_a_fence_handed_out_twice_by_a_failover_does_not_let_two_owners_commit(registry, raw):
    lost = await granted(registry, FIRST)
    raw.delete(keys.record_key(lost.record))
    newest = await granted(registry, another("id-2"))
    assert newest.fence == lost.fence
    assert not await registry.commit(lost, CACHED)
    assert await registry.commit(newest, CACHED)


# Failures


async def test_a_notification_counts_as_failed_once_however_often_it_is_tried(registry, reader):
    failure = Failure("download", "id-1", CENTRE, HOST, "timeout")
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, failure)
    assert await registry.fail(lease, failure)  # a resend: the same answer
    assert (await counters(reader))[field(SOURCE_FAILURES, "timeout")] == 1
    await registry.release(lease, error="timeout: x", parked_seen=0, is_final=False)

    again = await granted(registry, FIRST)
    assert not await registry.fail(again, failure)
    for _ in range(2):
        other = replace(failure, kind="integrity", reason="integrity")
        assert not await registry.fail(again, other)
    assert await registry.commit(again, CACHED)
    found = await counters(reader)
    assert found[field(DOWNLOADED_ERRORS, CENTRE)] == 1
    assert field(INTEGRITY_FAILED, CENTRE) not in found
    assert found[field(SOURCE_FAILURES, "timeout")] == 2
    assert found[field(SOURCE_FAILURES, "integrity")] == 1
    assert found[field(DOWNLOADED, CENTRE)] == 1


async def test_a_second_failure_of_a_notification_is_not_the_first_however_often_it_is_sent(
    registry,
):
    lease = await granted(registry, FIRST)
    inline = Failure("integrity", "id-1", CENTRE, HOST, "content_size")
    link = Failure("download", "id-1", CENTRE, HOST, "not_found")
    for _ in range(2):
        assert await registry.fail(lease, inline)
        assert not await registry.fail(lease, link)


async def test_each_notification_of_an_item_counts_its_own_failure(registry, reader):
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, Failure("integrity", "id-1", CENTRE, HOST, "integrity"))
    assert await registry.fail(lease, Failure("download", "id-2", "b", "host-b", "not_found"))
    found = await counters(reader)
    assert found[field(INTEGRITY_FAILED, CENTRE)] == 1
    assert found[field(DOWNLOADED_ERRORS, "b")] == 1
    assert field(DOWNLOADED_ERRORS, CENTRE) not in found


async def test_a_failure_sets_the_flag_to_0_and_a_success_to_1_again(registry, reader):
    flag = field(DATASERVER_STATUS, CENTRE, HOST)
    lease = await granted(registry, FIRST)
    await registry.fail(lease, Failure("integrity", "id-1", CENTRE, HOST, "integrity"))
    assert (await reader.snapshot()).gauges == {flag: 0}
    await registry.commit(lease, CACHED)
    assert (await reader.snapshot()).gauges[flag] == 1
    newer = await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    await registry.fail(newer, Failure("download", "id-2", CENTRE, "", "unsupported_scheme"))
    await registry.fail(newer, Failure("download", "id-2", CENTRE, HOST, "timeout"))
    assert (await reader.snapshot()).gauges[flag] == 0


async def test_the_labels_that_strangers_make_up_are_bounded(registry, reader, raw):
    small = scripts.load("fail", "record", "labels").source
    assert "MAX_HOSTS_OF_A_CENTRE = 500" in small
    lease = await granted(registry, FIRST)
    raw.hset(keys.SERIES, mapping={CENTRE: 500, "": 500})
    await registry.fail(lease, Failure("download", "a", CENTRE, "new-host", "timeout"))
    await registry.fail(lease, Failure("download", "b", "z-fresh", "host", "timeout"))
    raw.hset(keys.SERIES, "", 20_000)
    await registry.fail(lease, Failure("download", "c", "z-fresh", "host-2", "timeout"))
    await registry.fail(lease, Failure("download", "c2", "z-fresh", "host", "timeout"))
    for n in range(5000):
        raw.hset(keys.SERIES, f"centre-{n}", 0)
    await registry.fail(lease, Failure("download", "d", "z-late", "host", "timeout"))
    snapshot = await reader.snapshot()
    assert set(snapshot.gauges) == {
        field(DATASERVER_STATUS, CENTRE, "other"),
        field(DATASERVER_STATUS, "z-fresh", "host"),
        field(DATASERVER_STATUS, "z-fresh", "other"),
        field(DATASERVER_STATUS, "other", "other"),
    }
    assert snapshot.counters[field(DOWNLOADED_ERRORS, "other")] == 1
    assert field(DOWNLOADED_ERRORS, "z-late") not in snapshot.counters


async def test_labels_hold_no_separator_and_are_of_bounded_length(registry, reader):
    lease = await granted(registry, FIRST)
    await registry.fail(lease, Failure("download", "a", CENTRE, "a|b" * 200, "what is this"))
    snapshot = await reader.snapshot()
    (flag,) = snapshot.gauges
    assert flag == field(DATASERVER_STATUS, CENTRE, ("a|b" * 200)[:253])
    assert snapshot.counters[field(SOURCE_FAILURES, "unexpected")] == 1


# Release


async def test_after_a_failed_attempt_the_same_notification_may_try_again(registry, reader):
    lease = await granted(registry, FIRST)
    for _ in range(2):
        assert (
            await registry.release(lease, error="timeout: 5 s", parked_seen=0, is_final=False)
            == "released"
        )
    item = await reader.item(FIRST.data_id)
    assert item is not None
    assert (item.state, item.attempts, item.last_error) == ("failed", 1, "timeout: 5 s")
    assert (await claim(registry, FIRST)).decision is Decision.NEW
    item = await reader.item(FIRST.data_id)
    assert item is not None
    assert (item.state, item.attempts) == ("running", 2)


async def test_sources_parked_meanwhile_keep_the_item_with_its_holder(registry):
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    for _ in range(2):
        assert (
            await registry.release(lease, error="timeout: x", parked_seen=0, is_final=True)
            == "more"
        )
    assert (await registry.renew([lease]))[0].is_held
    assert await registry.release(lease, error="", parked_seen=0, is_final=False) == "released"
    # On a drain the sources stay for whoever comes next, and the attempt did not count.
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert claimed.parked == 1


async def test_an_item_given_up_is_on_record_once(registry, reader, raw):
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    for _ in range(2):
        assert (
            await registry.release(lease, error="not_found: 404", parked_seen=1, is_final=True)
            == "released"
        )
    assert (await counters(reader)) == {field(GIVEN_UP, "not_found"): 1}
    (failure,) = await reader.failures(10)
    assert abs(failure.at_s - time.time()) < 60
    assert (failure.data_id, failure.centre_id, failure.pubtime_ns) == ("wis2/item", CENTRE, P1)
    assert (failure.error, failure.attempts) == ("not_found: 404", 1)
    assert not raw.exists(keys.parked_key(lease.record, P1))
    assert (await claim(registry, another("id-9"))).decision is Decision.NEW


async def test_only_the_newest_1000_failures_are_kept(registry, reader, raw):
    old = json.dumps({"data_id": "old", "centre_id": "c", "pubtime_ns": 1, "error": ""})
    raw.rpush(keys.FAILURES, *[f"{n} 1 {old}" for n in range(1000)])
    lease = await granted(registry, replace(FIRST, data_id="ä\n\0 | "))
    await registry.release(lease, error="x" * 500, parked_seen=0, is_final=True)
    assert raw.llen(keys.FAILURES) == 1000
    newest, *_ = await reader.failures(5000)
    assert newest.data_id == "ä\n\0 | "
    assert newest.error == "x" * 200
    assert await reader.failures(0) == []
    assert len(await reader.failures(3)) == 3


async def test_after_a_commit_a_release_says_lost(registry):
    lease = await granted(registry, FIRST)
    await registry.commit(lease, CACHED)
    answer = await registry.release(lease, error="timeout: x", parked_seen=0, is_final=True)
    assert answer == "lost"


# Looking and reading


def listener_look(url: str, data_ids: Sequence[str]) -> list[Held | None]:
    listener = RedisListenerRegistry.connect(url)
    try:
        return listener.look(data_ids)
    finally:
        listener.close()


async def test_a_look_tells_finished_running_failed_and_unknown_items_apart(
    registry, redis_url, raw
):
    def item(name: str) -> Notice:
        return replace(FIRST, data_id=name, message_id=name)

    await registry.commit(await granted(registry, item("done")), CACHED)
    await registry.commit(
        await granted(registry, replace(item("deleted"), rel="deletion")),
        Commit("deleted", CENTRE, False),
    )
    await registry.commit(await granted(registry, item("updating")), CACHED)
    await granted(
        registry,
        replace(item("updating"), pubtime_ns=P1 + 1, rel="update", message_id="u"),
    )
    await granted(registry, item("running"))
    end_lease(raw, await granted(registry, item("dead")))
    failed = await granted(registry, item("failed"))
    await registry.release(failed, error="timeout: x", parked_seen=0, is_final=True)
    names = ["done", "deleted", "updating", "running", "dead", "failed", "unknown"]
    expected = [
        Held("done", P1, CENTRE),
        Held("deleted", P1, CENTRE),
        Held("done", P1, CENTRE, running_pubtime_ns=P1 + 1, running_centre_id=CENTRE),
        Held(None, running_pubtime_ns=P1, running_centre_id=CENTRE),
        Held(None),
        Held(None),
        None,
    ]
    assert await registry.look(names) == expected
    assert await asyncio.to_thread(listener_look, redis_url, names) == expected
    assert await registry.look([]) == []
    assert await asyncio.to_thread(listener_look, redis_url, []) == []


async def test_what_overtakes_a_deletion_that_waits_is_no_repeat_of_what_is_to_be_deleted(
    registry,
):
    running = await granted(registry, FIRST)
    deletion = another("id-2", pubtime_ns=P1 + 1, rel="deletion")
    assert (await claim(registry, deletion)).decision is Decision.WAIT
    await registry.commit(running, CACHED)
    newer = await granted(registry, another("id-3", pubtime_ns=P1 + 2))
    await registry.commit(newer, CACHED)
    assert (await claim(registry, deletion)).decision is Decision.STALE


async def test_of_two_deletions_that_wait_the_newer_counts(registry):
    running = await granted(registry, FIRST)
    for message_id, pubtime_ns in (("id-2", P1 + 20), ("id-3", P1 + 10)):
        deletion = another(message_id, pubtime_ns=pubtime_ns, rel="deletion")
        assert (await claim(registry, deletion)).decision is Decision.WAIT
    await registry.commit(running, CACHED)
    update = another("id-4", pubtime_ns=P1 + 15, rel="update")
    await registry.commit(await granted(registry, update), CACHED)
    assert (await claim(registry, another("id-5", pubtime_ns=P1 + 25))).decision is Decision.NEW


async def test_the_deletion_of_another_centre_that_waits_makes_no_repeat_new(registry):
    running = await granted(registry, FIRST)
    deletion = another("id-2", pubtime_ns=P1 + 1, rel="deletion", centre_id="xx-stranger")
    assert (await claim(registry, deletion)).decision is Decision.WAIT
    await registry.commit(running, CACHED)
    repeat = another("id-3", pubtime_ns=P1 + 2)
    assert (await claim(registry, repeat)).decision is Decision.REPEAT


async def test_an_items_history_shows_the_finished_version_beside_the_running_one(registry, reader):
    assert await reader.item(FIRST.data_id) is None
    await registry.commit(await granted(registry, FIRST), CACHED)
    await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update", centre_id="b"))
    await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update", centre_id="b"))
    item = await reader.item(FIRST.data_id)
    assert item is not None
    assert (item.state, item.centre_id, item.object_key) == ("running", "b", KEY)
    assert item.held == Held("done", P1, CENTRE, running_pubtime_ns=P1 + 1, running_centre_id="b")
    assert (item.attempts, item.parked) == (1, 1)


async def test_operational_counters_add_up_from_both_sides(registry, reader, redis_url):
    received, dropped = field(RECEIVED, "fr"), field(DROPPED, "fr", "duplicate")
    await registry.count({received: 3, dropped: 1})
    await registry.count({received: 2})
    await registry.count({})

    def from_the_listener() -> None:
        listener = RedisListenerRegistry.connect(redis_url)
        listener.count({received: 10})
        listener.count({})
        listener.close()

    await asyncio.to_thread(from_the_listener)
    assert await counters(reader) == {received: 15, dropped: 1}


async def test_invalid_notifications_count_for_known_centres_and_together_beyond_5000(
    registry, reader, raw
):
    raw.hset(keys.SERIES, mapping={f"xx-{number}": 0 for number in range(4999)})
    await registry.count({field(INVALID, "xx-7"): 2, field(INVALID, "new-1"): 3})
    await registry.count({field(INVALID, "new-2"): 4, field(INVALID, "new-3"): 5})
    await registry.count({field(INVALID, "new-1"): 1, field(RECEIVED, "fr"): 1})
    assert await counters(reader) == {
        field(INVALID, "xx-7"): 2,
        field(INVALID, "new-1"): 4,
        field(INVALID, OTHER_CENTRES): 9,
        field(RECEIVED, "fr"): 1,
    }


async def test_processes_that_reported_lately_are_shown_and_old_ones_forgotten(
    registry, reader, redis_url, raw
):
    manager = ProcessStatus("manager", "m-1", True, facts={"in_flight": 3})
    await registry.heartbeat(manager)

    def from_the_listener() -> None:
        listener = RedisListenerRegistry.connect(redis_url)
        listener.heartbeat(ProcessStatus("listener", "fr/1", False))
        listener.close()

    await asyncio.to_thread(from_the_listener)
    now_ms = int(time.time() * 1000)
    status = '{"is_ready": true, "facts": {}}'
    raw.hset(keys.PROCESSES, "manager/silent", f"{now_ms - 16_000} {status}")
    raw.hset(keys.PROCESSES, "manager/gone", f"{now_ms - 25 * 3600 * 1000} {status}")
    processes = (await reader.snapshot()).processes
    assert [(p.kind, p.name, p.is_ready, p.facts) for p in processes] == [
        ("listener", "fr/1", False, {}),
        ("manager", "m-1", True, {"in_flight": 3}),
    ]
    assert all(abs(p.at_s - time.time()) < 60 for p in processes)
    await registry.heartbeat(manager)
    assert set(raw.hkeys(keys.PROCESSES)) == {"manager/m-1", "listener/fr/1", "manager/silent"}


async def test_an_empty_registry_reads_as_nothing(reader):
    snapshot = await reader.snapshot()
    assert (snapshot.counters, snapshot.gauges, snapshot.processes) == ({}, {}, [])
    assert list(snapshot.delay_buckets) == [0] * (len(DELAY_BUCKETS_S) + 1)
    assert snapshot.delay_sum_s == 0


# Price


class CountedConnections(Connections):
    exchanges = 0

    async def exchange(self, commands: Sequence[Any]) -> list[Any]:
        self.exchanges += 1
        return await super().exchange(commands)


async def test_a_hundred_claims_at_once_are_one_round_trip(redis_url):
    connections = CountedConnections(redis_url)
    registry = RedisRegistry(connections, retention_hours=24, lease_s=30)
    await claim(registry, FIRST)  # loads the script
    connections.exchanges = 0
    notices = [replace(FIRST, data_id=f"item {n}", message_id=f"m{n}") for n in range(100)]
    claims = await asyncio.gather(*(claim(registry, notice) for notice in notices))
    assert connections.exchanges == 1
    assert [c.lease.notice for c in claims if c.lease] == notices
    await registry.close()


def test_the_server_of_these_tests_refuses_what_cluster_mode_forbids(raw):
    with pytest.raises(redis.ResponseError, match="same slot"):
        raw.mget("{gc}a", "{other}a")
    with pytest.raises(redis.ResponseError, match="same slot"):
        raw.eval("return 1", 2, "{gc}a", "{other}a")
    with pytest.raises(redis.ResponseError, match="same slot"):
        raw.pipeline().set("{gc}a", 1).set("{other}a", 1).execute()


async def test_a_finished_item_takes_no_more_than_about_300_bytes(registry, raw):
    assert len(KEY) == 150
    lease = await granted(registry, FIRST, owner="o" * 32)
    await registry.commit(lease, CACHED)
    record = keys.record_key(lease.record)
    assert raw.object("encoding", record) == "listpack"
    # In cluster mode, as here, each key costs 16 bytes more: the list of what is in its slot.
    assert raw.memory_usage(record) <= 300 + 16
    assert raw.memory_usage(keys.message_key(keys.message_digest("id-1"))) <= 72 + 16
