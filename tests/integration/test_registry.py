"""The registry against a real redis-server: claims, leases, counting, reading."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
import redis

from testkit.fakes.claims import (
    CACHED,
    CENTRE,
    FAR,
    FIRST,
    GONE,
    HOST,
    ITEM,
    KEY,
    LONG,
    P1,
    SLOW,
    another,
    claim,
    granted,
    hour_now,
)
from testkit.servers.redis import number_in
from wis2_gc_common.metrics import (
    CACHE_OVERRIDE,
    CACHED_VOLUME,
    DATASERVER_LAST_DOWNLOAD,
    DATASERVER_STATUS,
    DELAY_BUCKETS_S,
    DOWNLOADED,
    DOWNLOADED_ERRORS,
    DROPPED,
    FUTURE_PUBTIMES,
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
from wis2_gc_common.ports.registry import (
    Commit,
    Failure,
    ItemKey,
    Lease,
    Looked,
    Notice,
    ProcessStatus,
    Refusal,
)
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis import registry_manager
from wis2_gc_common.redis.connection import Connections
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.wis2.decision import Decision, Held
from wis2_gc_common.wis2.object_key import hour_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.client import Redis
    from redis.typing import EncodableT, FieldT

    from wis2_gc_common.redis.registry_reader import RedisReader
    from wis2_gc_common.wis2.decision import Rel

pytest_plugins = ("testkit.servers.redis", "testkit.fakes.redis_registry")


def end_lease(raw: redis.Redis, lease: Lease) -> None:
    """What time does, at once."""
    raw.hset(keys.record_key(lease.record), "l", 0)


# Claims


async def test_of_all_managers_one_may_send_an_event_about_a_centre(
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
    other = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
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
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
    listener = RedisListenerRegistry(redis_url, retention_hours=24)
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


async def test_a_claim_that_is_sent_again_gets_the_same_lease(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    assert await claim(registry, FIRST, attempt=7) == await claim(registry, FIRST, attempt=7)
    item = await reader.item(ITEM)
    assert item is not None
    assert item.attempts == 1


async def test_two_centres_with_one_data_id_have_nothing_to_do_with_each_other(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    other = replace(FIRST, centre_id="xx-other")  # with the same message id, too
    lease = await granted(registry, FIRST)
    theirs = await granted(registry, other)
    assert await registry.commit(lease, CACHED)
    assert await registry.commit(theirs, replace(CACHED, centre_id="xx-other", object_key="x"))
    deletion = replace(other, message_id="id-2", pubtime_ns=P1 + 1, rel="deletion")
    claimed = await claim(registry, deletion)
    assert (claimed.decision, claimed.object_key) == (Decision.DELETE, "x")
    assert claimed.lease is not None
    assert await registry.commit(claimed.lease, Commit("deleted", "xx-other", False))
    item = await reader.item(ITEM)
    assert item is not None
    assert (item.state, item.object_key) == ("done", KEY)


async def test_an_attempt_that_began_less_than_an_hour_ago_keeps_its_hour(
    registry: RedisRegistry, raw: Redis
) -> None:
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


async def test_another_version_gets_an_hour_of_its_own(registry: RedisRegistry, raw: Redis) -> None:
    lease = await granted(registry, FIRST)
    raw.hset(keys.record_key(lease.record), "t", int(time.time()) - 3500)
    end_lease(raw, lease)
    before = hour_now()
    newer = await claim(registry, another("id-2", pubtime_ns=P1 + 1))
    assert newer.hour in {before, hour_now()}


# Time


async def test_a_pubtime_of_the_future_locks_nothing_and_is_counted_for_its_centre(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    wrong = another("id-1", pubtime_ns=FAR)
    assert await registry.commit(await granted(registry, wrong), CACHED)
    assert (await claim(registry, replace(wrong, message_id="copy"))).decision is Decision.DUPLICATE
    assert (await claim(registry, another("old"))).decision is Decision.STALE
    right = another("id-2", pubtime_ns=time.time_ns() + 60 * 10**9, rel="update")
    assert await registry.commit(await granted(registry, right), CACHED)
    assert (await counters(reader))[field(FUTURE_PUBTIMES, CENTRE)] == 1


async def test_a_daily_announcement_is_new_again_after_half_a_day(
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    tomorrow = another("id-2", pubtime_ns=P1 + 1)
    assert (await claim(registry, tomorrow)).decision is Decision.REPEAT
    record = keys.record_key(lease.record)
    done_ms = number_in(raw, record, "z")
    assert abs(done_ms - time.time() * 1000) < 60_000
    raw.hset(record, "z", done_ms - 12 * 3_600_000 + 60_000)
    assert (await claim(registry, tomorrow)).decision is Decision.REPEAT
    raw.hset(record, "z", done_ms - 12 * 3_600_000)
    again = await claim(registry, tomorrow)
    assert again.decision is Decision.NEW
    assert again.lease is not None
    assert await registry.commit(again.lease, CACHED)
    assert (await claim(registry, another("id-3", pubtime_ns=P1 + 2))).decision is Decision.REPEAT


@pytest.mark.parametrize("rel", ["canonical", "deletion"])
async def test_what_is_finished_is_forgotten_though_failing_attempts_keep_its_record(
    registry: RedisRegistry, redis_url: str, raw: Redis, rel: Rel
) -> None:
    lease = await granted(registry, replace(FIRST, rel=rel))
    outcome = CACHED if rel == "canonical" else Commit("deleted", CENTRE, False)
    assert await registry.commit(lease, outcome)
    newer = await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    await registry.release(newer, cause=SLOW, parked_seen=0, is_final=True)
    record = keys.record_key(lease.record)
    done_ms = number_in(raw, record, "z")
    raw.hset(record, "z", done_ms - 26 * 3_600_000 + 60_000)
    [held] = (await registry.look([ITEM])).held
    assert held is not None
    assert held.state is not None
    assert (await claim(registry, another("id-3"))).decision is Decision.DUPLICATE
    raw.hset(record, "z", done_ms - 26 * 3_600_000 - 1)
    assert (await registry.look([ITEM])).held == [Held(None)]
    assert (await asyncio.to_thread(listener_look, redis_url, [ITEM])).held == [Held(None)]
    again = await claim(registry, another("id-3"))
    # Its object has expired: there is none to name.
    assert (again.decision, again.object_key) == (Decision.NEW, None)


async def test_sums_that_are_full_fail_no_commit(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    biggest = 2**63 - 1
    for key, name in ((keys.DELAYS, "sum_us"), (keys.COUNTERS, field(CACHED_VOLUME, CENTRE))):
        raw.hset(key, name, biggest - 1)
    raw.hset(keys.COUNTERS, field(ITEMS, "cached"), biggest)
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    assert await registry.commit(lease, CACHED)
    found = await counters(reader)
    assert found[field(CACHED_VOLUME, CENTRE)] == found[field(ITEMS, "cached")] == biggest
    assert found[field(DOWNLOADED, CENTRE)] == 1
    assert raw.hget(keys.DELAYS, "sum_us") == str(biggest)


async def test_counters_that_are_full_fail_no_other(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    biggest = 2**63 - 1
    raw.hset(keys.COUNTERS, mapping={"a": biggest, field(SOURCE_FAILURES, "timeout"): biggest})
    raw.hset(keys.COUNTERS, mapping={field(GIVEN_UP, "timeout"): biggest, "odd": "text"})
    raw.hset(keys.SERIES, mapping={"": biggest, CENTRE: 0})
    await registry.count({"a": 1, "odd": 1, "b": 2})
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    assert await registry.release(lease, cause=SLOW, parked_seen=0, is_final=True) == "released"
    assert raw.hget(keys.COUNTERS, "b") == "2"
    assert raw.hget(keys.COUNTERS, field(DOWNLOADED_ERRORS, CENTRE)) == "1"
    assert len(await reader.failures(10)) == 1


async def test_no_pubtime_however_old_weighs_more_than_a_day_in_the_delays(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, another("id-1", pubtime_ns=0))
    assert await registry.commit(lease, replace(CACHED, delay_s=1.8e9))
    assert (await reader.snapshot()).delay_sum_s == 86_400


@pytest.mark.parametrize("pubtime_ns", [0, 1, P1, FAR, 9 * 10**20])
@pytest.mark.parametrize("data_id", ["x", "a\nb", "{gc}|%s", "é" * 2000, "\u202e\x7f"])
async def test_nothing_a_stranger_says_puts_a_key_into_a_state_that_it_cannot_leave(
    registry: RedisRegistry, reader: RedisReader, redis_url: str, pubtime_ns: int, data_id: str
) -> None:
    key = ItemKey(CENTRE, data_id)
    rels: list[Rel] = ["canonical", "deletion", "update", "canonical"]
    for number, rel in enumerate(rels):
        notice = Notice(data_id, pubtime_ns + number, rel, CENTRE, f"id-{number} {data_id}")
        await asyncio.to_thread(listener_look, redis_url, [key], {key: pubtime_ns + number})
        claimed = await claim(registry, notice)
        if claimed.lease is None:
            continue
        await registry.fail(claimed.lease, Failure("download", "x", CENTRE, data_id, data_id))
        outcome = Commit("deleted", CENTRE, False) if rel == "deletion" else CACHED
        assert await registry.commit(claimed.lease, outcome)
        assert await reader.item(key) is not None
    right = replace(FIRST, data_id=data_id, message_id="right", rel="update")
    now = replace(right, pubtime_ns=time.time_ns() + 60 * 10**9)
    assert (await claim(registry, now)).decision.is_granted


# Message ids


async def test_sources_of_a_version_that_is_decided_go(registry: RedisRegistry, raw: Redis) -> None:
    dead = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    end_lease(raw, dead)
    newer = await granted(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"))
    assert await registry.commit(newer, CACHED)
    assert (await claim(registry, FIRST)).decision is Decision.STALE
    assert not raw.exists(keys.parked_key(dead.record, P1))


async def test_message_ids_are_remembered_for_a_day_and_items_for_retention_and_margin(
    redis_url: str, raw: Redis
) -> None:
    registry = RedisRegistry(redis_url, retention_hours=48, lease_s=30)
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"))
    await registry.fail(lease, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    record = keys.record_key(lease.record)
    message = keys.message_key(keys.message_digest(CENTRE, "id-1"))
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
    sums = {keys.SERIES, keys.SEEN, keys.HELD}
    assert forever == {keys.COUNTERS, keys.GAUGES, keys.DELAYS} | sums
    assert set(raw.scan_iter()) - forever == {record, message}
    await registry.close()


# Renewal


# Commits and counters


async def counters(reader: RedisReader) -> dict[str, int]:
    return dict((await reader.snapshot()).counters)


async def test_a_cached_item_moves_what_the_wmo_asks_for(
    registry: RedisRegistry, reader: RedisReader
) -> None:
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
    registry: RedisRegistry, reader: RedisReader
) -> None:
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
async def test_what_is_not_cached_moves_its_own_counter_only(
    registry: RedisRegistry,
    reader: RedisReader,
    outcome: Literal["uncached", "override", "deleted"],
    expected: dict[str, int],
) -> None:
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
    [
        (-5.0, 0, 0.0),
        (0.01, 0, 0.01),
        (0.0101, 1, 0.0101),
        (600.0, 14, 600.0),
        (1e12, 16, 86_400.0),
    ],
)
async def test_delays_fall_into_the_bucket_whose_bound_they_do_not_exceed(
    registry: RedisRegistry, reader: RedisReader, delay_s: float, bucket: int, total: float
) -> None:
    lease = await granted(registry, FIRST)
    await registry.commit(lease, replace(CACHED, delay_s=delay_s))
    snapshot = await reader.snapshot()
    assert [at for at, n in enumerate(snapshot.delay_buckets) if n] == [bucket]
    assert snapshot.delay_sum_s == pytest.approx(total)


async def test_a_lost_lease_commits_nothing(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    lost = await granted(registry, FIRST)
    end_lease(raw, lost)
    newest = await granted(registry, FIRST, worker="worker-2")
    assert not await registry.commit(lost, CACHED)
    assert not await registry.fail(lost, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    assert await registry.release(lost, cause=SLOW, parked_seen=0, is_final=True) == "lost"
    assert await counters(reader) == {}
    assert await registry.commit(newest, CACHED)
    assert not await registry.commit(lost, CACHED)
    assert (await counters(reader))[field(DOWNLOADED, CENTRE)] == 1


async def test_a_commit_resent_after_the_next_version_was_claimed_is_still_true(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert await registry.commit(lease, CACHED)
    assert (await counters(reader))[field(DOWNLOADED, CENTRE)] == 1


async def test_after_a_failover_that_loses_claims_a_stale_commit_hides_no_newer_item(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await registry.commit(await granted(registry, FIRST), CACHED)
    record = keys.record_key(keys.item_record(*ITEM))
    before = cast("dict[FieldT, EncodableT]", raw.hgetall(record))
    update: dict[str, Any] = {"pubtime_ns": P1 + 1, "rel": "update"}
    lost = await granted(registry, another("id-2", **update))
    raw.delete(record)
    raw.hset(record, mapping=before)  # what the replica has
    newest = await granted(registry, another("id-3", **update))
    assert not await registry.commit(lost, CACHED)
    assert await registry.commit(newest, CACHED)
    assert (await counters(reader))[field(DOWNLOADED, CENTRE)] == 2
    assert not await registry.commit(lost, CACHED)
    assert await registry.release(lost, cause=None, parked_seen=0, is_final=False) == "lost"


# Failures


async def test_a_notification_counts_as_failed_once_however_often_it_is_tried(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    failure = Failure("download", "id-1", CENTRE, HOST, "timeout")
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, failure)
    assert await registry.fail(lease, failure)  # a resend: the same answer
    assert (await counters(reader))[field(SOURCE_FAILURES, "timeout")] == 1
    await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False)

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


async def test_each_notification_of_an_item_counts_its_own_failure(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, Failure("integrity", "id-1", CENTRE, HOST, "integrity"))
    assert await registry.fail(lease, Failure("download", "id-2", "b", "host-b", "not_found"))
    found = await counters(reader)
    assert found[field(INTEGRITY_FAILED, CENTRE)] == 1
    assert found[field(DOWNLOADED_ERRORS, "b")] == 1
    assert field(DOWNLOADED_ERRORS, CENTRE) not in found


async def test_a_failure_sets_the_flag_to_0_and_a_success_to_1_again(
    registry: RedisRegistry, reader: RedisReader
) -> None:
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


async def test_the_labels_that_strangers_make_up_are_bounded(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    lease = await granted(registry, FIRST)
    raw.hset(keys.SERIES, mapping={CENTRE: 100, "|hosts": 100})
    await registry.fail(lease, Failure("download", "a", CENTRE, "new-host", "timeout"))
    await registry.fail(lease, Failure("download", "b", "z-fresh", "host", "timeout"))
    raw.hset(keys.SERIES, "|hosts", 1000)
    await registry.fail(lease, Failure("download", "c", "z-fresh", "host-2", "timeout"))
    await registry.fail(lease, Failure("download", "c2", "z-fresh", "host", "timeout"))
    raw.hset(keys.SERIES, "|unknown", 600)
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


async def test_labels_hold_no_separator_and_are_of_bounded_length(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, FIRST)
    await registry.fail(lease, Failure("download", "a", CENTRE, "a|b" * 42, "what is this"))
    await registry.fail(lease, Failure("download", "b", CENTRE, "a|b" * 43, "timeout"))
    await registry.fail(lease, Failure("download", "c", "x" * 65, "host", "timeout"))
    snapshot = await reader.snapshot()
    assert set(snapshot.gauges) == {
        field(DATASERVER_STATUS, CENTRE, "a|b" * 42),
        field(DATASERVER_STATUS, CENTRE, "other"),
        field(DATASERVER_STATUS, "other", "other"),
    }
    assert snapshot.counters[field(SOURCE_FAILURES, "unexpected")] == 1


# Release


async def test_after_a_failed_attempt_the_same_notification_may_try_again(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, FIRST)
    for _ in range(2):
        assert (
            await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False) == "released"
        )
    item = await reader.item(ITEM)
    assert item is not None
    assert (item.state, item.attempts, item.last_error) == ("failed", 1, "timeout: 5 s")
    assert (await claim(registry, FIRST)).decision is Decision.NEW
    item = await reader.item(ITEM)
    assert item is not None
    assert (item.state, item.attempts) == ("running", 2)


async def test_an_item_given_up_is_on_record_once(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    for _ in range(2):
        assert await registry.release(lease, cause=GONE, parked_seen=1, is_final=True) == "released"
    assert (await counters(reader)) == {field(GIVEN_UP, "not_found"): 1}
    (failure,) = await reader.failures(10)
    assert abs(failure.at_s - time.time()) < 60
    assert (failure.data_id, failure.centre_id, failure.pubtime_ns) == ("wis2/item", CENTRE, P1)
    assert (failure.error, failure.attempts) == ("not_found: 404", 1)
    assert not raw.exists(keys.parked_key(lease.record, P1))
    assert (await claim(registry, another("id-9"))).decision is Decision.NEW


async def test_a_version_is_given_up_once_of_however_many_notifications(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    for number in range(3):
        notice = another(f"id-{number}")
        lease = await granted(registry, notice)
        answer = await registry.release(lease, cause=GONE, parked_seen=0, is_final=True)
        assert answer == "released"
    assert (await counters(reader)) == {field(GIVEN_UP, "not_found"): 1}
    assert len(await reader.failures(10)) == 1
    newer = await granted(registry, another("id-9", pubtime_ns=P1 + 1))
    await registry.release(newer, cause=SLOW, parked_seen=0, is_final=True)
    assert (await counters(reader))[field(GIVEN_UP, "timeout")] == 1
    assert len(await reader.failures(10)) == 2


async def test_only_the_newest_1000_failures_are_kept(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    old = json.dumps({"data_id": "old", "centre_id": "c", "pubtime_ns": 1, "error": ""})
    raw.rpush(keys.FAILURES, *[f"{n} 1 {old}" for n in range(1000)])
    lease = await granted(registry, replace(FIRST, data_id="ä\n\0 | "))
    await registry.release(lease, cause=LONG, parked_seen=0, is_final=True)
    assert raw.llen(keys.FAILURES) == 1000
    newest, *_ = await reader.failures(5000)
    assert newest.data_id == "ä\n\0 | "
    assert newest.error == str(LONG)[:200]
    assert await reader.failures(0) == []
    assert len(await reader.failures(3)) == 3


async def test_a_commit_after_the_release_of_its_lease_is_refused(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.release(lease, cause=None, parked_seen=0, is_final=False) == "released"
    assert not await registry.commit(lease, CACHED)
    assert await counters(reader) == {}


# Looking and reading


def listener_look(
    url: str, items: Sequence[ItemKey], deletions: Mapping[ItemKey, int] | None = None
) -> Looked:
    listener = RedisListenerRegistry(url, retention_hours=24)
    try:
        return listener.look(items, deletions=deletions or {})
    finally:
        listener.close()


async def test_a_look_tells_finished_running_failed_and_unknown_items_apart(
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
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
    await registry.release(failed, cause=SLOW, parked_seen=0, is_final=True)
    names = ["done", "deleted", "updating", "running", "dead", "failed", "unknown"]
    done_ms = {
        name: int(raw.hget(keys.record_key(keys.item_record(CENTRE, name)), "z") or 0)
        for name in names
    }
    assert all(abs(done_ms[name] - time.time() * 1000) < 60_000 for name in names[:3])
    expected = [
        Held("done", P1, done_ms["done"]),
        Held("deleted", P1, done_ms["deleted"]),
        Held("done", P1, done_ms["updating"], running_pubtime_ns=P1 + 1),
        Held(None, running_pubtime_ns=P1),
        Held(None),
        Held(None),
        None,
    ]
    items = [ItemKey(CENTRE, name) for name in names]
    looked = await registry.look(items)
    assert looked.held == expected
    assert abs(looked.now_ms - time.time() * 1000) < 60_000
    assert (await asyncio.to_thread(listener_look, redis_url, items)).held == expected
    assert (await asyncio.to_thread(listener_look, redis_url, [])).held == []


async def test_what_overtakes_a_deletion_in_the_queue_is_not_a_repeat(
    registry: RedisRegistry, redis_url: str
) -> None:
    await registry.commit(await granted(registry, FIRST), CACHED)
    # The listener has seen the deletion; the queue hands out what came after it first.
    looked = await asyncio.to_thread(listener_look, redis_url, [ITEM], {ITEM: P1 + 1})
    assert [held and held.deleting_ns for held in looked.held] == [P1 + 1]
    newer = await claim(registry, another("id-3", pubtime_ns=P1 + 2))
    assert newer.decision is Decision.NEW
    assert newer.lease is not None
    await registry.commit(newer.lease, CACHED)
    deletion = another("id-2", pubtime_ns=P1 + 1, rel="deletion")
    assert (await claim(registry, deletion)).decision is Decision.STALE
    assert (await claim(registry, another("id-4", pubtime_ns=P1 + 3))).decision is Decision.REPEAT


async def test_a_deletion_is_noted_also_where_nothing_is_held_yet(
    registry: RedisRegistry, reader: RedisReader, redis_url: str, raw: Redis
) -> None:
    looked = await asyncio.to_thread(listener_look, redis_url, [ITEM], {ITEM: P1 + 1})
    assert looked.held == [Held(None, deleting_ns=P1 + 1)]
    (key,) = raw.scan_iter()
    assert 26 * 3600 - 60 < raw.ttl(key) <= 26 * 3600
    assert await reader.item(ITEM) is None
    await registry.commit(await granted(registry, FIRST), CACHED)
    newer = another("id-3", pubtime_ns=P1 + 2)
    assert (await claim(registry, newer)).decision is Decision.NEW


async def test_a_deletion_that_is_of_no_effect_is_not_noted(
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
    lease = await granted(registry, another("id-1", pubtime_ns=P1 + 5))
    await registry.commit(lease, CACHED)
    for pubtime_ns in (P1 + 4, P1 + 5):
        await asyncio.to_thread(listener_look, redis_url, [ITEM], {ITEM: pubtime_ns})
    assert not raw.hexists(keys.record_key(lease.record), "d")
    await asyncio.to_thread(listener_look, redis_url, [ITEM], {ITEM: P1 + 7})
    await asyncio.to_thread(listener_look, redis_url, [ITEM], {ITEM: P1 + 6})
    assert raw.hget(keys.record_key(lease.record), "d") == str(P1 + 7)


async def test_a_deletion_of_another_centre_makes_no_repeat_new(
    registry: RedisRegistry, redis_url: str
) -> None:
    await registry.commit(await granted(registry, FIRST), CACHED)
    stranger = ItemKey("xx-stranger", FIRST.data_id)
    await asyncio.to_thread(listener_look, redis_url, [stranger], {stranger: P1 + 1})
    assert (await claim(registry, another("id-3", pubtime_ns=P1 + 2))).decision is Decision.REPEAT


async def test_an_items_history_shows_the_finished_version_beside_the_running_one(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    assert await reader.item(ITEM) is None
    await registry.commit(await granted(registry, FIRST), CACHED)
    await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"))
    item = await reader.item(ITEM)
    assert item is not None
    assert (item.state, item.object_key) == ("running", KEY)
    assert (item.held.state, item.held.pubtime_ns) == ("done", P1)
    assert item.held.running_pubtime_ns == P1 + 1
    assert abs(item.held.finished_ms - time.time() * 1000) < 60_000
    assert (item.attempts, item.parked) == (1, 1)


async def test_operational_counters_add_up_from_both_sides(
    registry: RedisRegistry, reader: RedisReader, redis_url: str
) -> None:
    received, dropped = field(RECEIVED, "fr"), field(DROPPED, "fr", "duplicate")
    await registry.count({received: 3, dropped: 1})
    await registry.count({received: 2})
    await registry.count({})

    def from_the_listener() -> None:
        listener = RedisListenerRegistry(redis_url, retention_hours=24)
        listener.count({received: 10})
        listener.count({})
        listener.close()

    await asyncio.to_thread(from_the_listener)
    assert await counters(reader) == {received: 15, dropped: 1}


async def test_invalid_notifications_count_for_600_centres_and_together_beyond(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    raw.hset(keys.SEEN, "xx-7", 0)
    raw.hset(keys.SERIES, "|unknown", 599)
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
    registry: RedisRegistry, reader: RedisReader, redis_url: str, raw: Redis
) -> None:
    manager = ProcessStatus("manager", "m-1", True, facts={"in_flight": 3})
    await registry.heartbeat(manager)

    def from_the_listener() -> None:
        listener = RedisListenerRegistry(redis_url, retention_hours=24)
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


def test_a_session_is_one_listeners_until_he_lets_it_go_or_is_heard_of_no_more(
    redis_url: str, raw: Redis
) -> None:
    listener = RedisListenerRegistry(redis_url, retention_hours=24)
    try:
        assert listener.hold_session("fr", "pod-1/1", lease_s=5)
        assert not listener.hold_session("fr", "pod-2/1", lease_s=5)
        assert listener.hold_session("br", "pod-2/1", lease_s=5)
        assert 4_000 < raw.pttl(keys.session_key("fr")) <= 5_000
        assert listener.hold_session("fr", "pod-1/1", lease_s=60)
        assert 59_000 < raw.pttl(keys.session_key("fr")) <= 60_000
        listener.leave_session("fr", "pod-2/1")
        assert not listener.hold_session("fr", "pod-2/1", lease_s=5)
        listener.leave_session("fr", "pod-1/1")
        assert listener.hold_session("fr", "pod-2/1", lease_s=5)
        raw.delete(keys.session_key("fr"))  # what time does
        assert listener.hold_session("fr", "pod-1/1", lease_s=5)
    finally:
        listener.close()


async def test_an_empty_registry_reads_as_nothing(reader: RedisReader) -> None:
    snapshot = await reader.snapshot()
    assert (snapshot.counters, snapshot.gauges, snapshot.processes) == ({}, {}, [])
    assert list(snapshot.delay_buckets) == [0] * (len(DELAY_BUCKETS_S) + 1)
    assert snapshot.delay_sum_s == 0


# Price


class CountedConnections(Connections):
    exchanges = 0

    async def exchange(self, commands: Sequence[Any]) -> list[Any]:
        CountedConnections.exchanges += 1
        return await super().exchange(commands)


async def test_a_hundred_claims_at_once_are_one_round_trip(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_manager, "Connections", CountedConnections)
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    await claim(registry, FIRST)  # loads the script
    monkeypatch.setattr(CountedConnections, "exchanges", 0)
    notices = [replace(FIRST, data_id=f"item {n}", message_id=f"m{n}") for n in range(100)]
    claims = await asyncio.gather(*(claim(registry, notice) for notice in notices))
    assert CountedConnections.exchanges == 1
    assert [c.lease.notice for c in claims if c.lease] == notices
    await registry.close()


def test_the_server_of_these_tests_refuses_what_cluster_mode_forbids(raw: Redis) -> None:
    with pytest.raises(redis.ResponseError, match="same slot"):
        raw.mget("{gc}a", "{other}a")
    with pytest.raises(redis.ResponseError, match="same slot"):
        raw.eval("return 1", 2, "{gc}a", "{other}a")
    pipeline = raw.pipeline()
    pipeline.set("{gc}a", 1)
    pipeline.set("{other}a", 1)
    with pytest.raises(redis.ResponseError, match="same slot"):
        pipeline.execute()


async def test_a_finished_item_takes_no_more_than_about_300_bytes(
    registry: RedisRegistry, raw: Redis
) -> None:
    assert len(KEY) == 150
    lease = await granted(registry, FIRST, owner="o" * 32)
    await registry.commit(lease, CACHED)
    record = keys.record_key(lease.record)
    assert raw.object("encoding", record) == "listpack"
    # In cluster mode, as here, each key costs 16 bytes more: the list of what is in its slot.
    message = keys.message_key(keys.message_digest(CENTRE, "id-1"))
    for key, at_most in ((record, 300 + 16), (message, 72 + 16)):
        used = raw.memory_usage(key)
        assert used is not None
        assert used <= at_most
