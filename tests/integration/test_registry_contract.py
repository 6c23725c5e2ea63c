"""The registry: what every one of them does, the fakes of the unit tests too.

What only Redis does (keys, TTLs, counters, several processes) is in `test_registry.py`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

import pytest
import redis

from testkit.fakes.claims import (
    CACHED,
    CENTRE,
    FAR,
    FIRST,
    GONE,
    HOST,
    KEY,
    P1,
    SLOW,
    another,
    claim,
    granted,
    hour_now,
)
from testkit.fakes.listener import FakeListenerRegistry
from testkit.fakes.manager import Traps
from testkit.fakes.registry import FakeRegistry
from wis2_gc_common.metrics import DATASERVER_STATUS, GIVEN_UP, split_field
from wis2_gc_common.ports.registry import UNBOUNDED, Commit, Failure, ItemKey, Renewed
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import MAX_PARKED, RedisRegistry
from wis2_gc_common.wis2.decision import Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.registry import Lease, ListenerRegistry, Registry

pytest_plugins = ("testkit.servers.redis",)


class Adapter(Protocol):
    """One kind of registry."""

    def connect(self) -> Registry: ...

    def end_lease(self, lease: Lease) -> None:
        """What time does, at once."""

    def connect_listener(self) -> ListenerRegistry: ...

    def forget_session(self, broker_name: str) -> None:
        """What time does, at once."""

    def given_up(self) -> dict[str, int]:
        """Items by reason."""

    def flags(self) -> dict[tuple[str, str], int]:
        """By centre and data server."""


class RedisAdapter:
    def __init__(self, url: str, raw: redis.Redis) -> None:
        self._url = url
        self._raw = raw

    def connect(self) -> RedisRegistry:
        return RedisRegistry(self._url, retention_hours=24, lease_s=30)

    def end_lease(self, lease: Lease) -> None:
        self._raw.hset(keys.record_key(lease.record), "l", 0)

    def connect_listener(self) -> RedisListenerRegistry:
        return RedisListenerRegistry(self._url, retention_hours=24)

    def forget_session(self, broker_name: str) -> None:
        self._raw.delete(keys.session_key(broker_name))

    def given_up(self) -> dict[str, int]:
        return {labels[0]: value for labels, value in self._read(keys.COUNTERS, GIVEN_UP)}

    def flags(self) -> dict[tuple[str, str], int]:
        found = self._read(keys.GAUGES, DATASERVER_STATUS)
        return {(centre, host): value for (centre, host), value in found}

    def _read(self, key: str, metric: Metric) -> list[tuple[tuple[str, ...], int]]:
        fields = cast("dict[str, str]", self._raw.hgetall(key))
        read = [(split_field(field), int(float(value))) for field, value in fields.items()]
        return [(labels, value) for (name, labels), value in read if name == metric.name]


class FakeAdapter:
    def __init__(self) -> None:
        self._registry = FakeRegistry(Traps())
        self._listeners = FakeListenerRegistry()

    def connect(self) -> FakeRegistry:
        return self._registry

    def end_lease(self, lease: Lease) -> None:
        self._registry.end_lease(lease)

    def connect_listener(self) -> FakeListenerRegistry:
        return self._listeners

    def forget_session(self, broker_name: str) -> None:
        del self._listeners.holders[broker_name]

    def given_up(self) -> dict[str, int]:
        return dict(self._registry.given_up)

    def flags(self) -> dict[tuple[str, str], int]:
        return self._registry.flags


@pytest.fixture(params=["fake", "redis"])
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    if request.param == "fake":
        yield FakeAdapter()
        return
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url, decode_responses=True) as raw:
        yield RedisAdapter(url, raw)


@pytest.fixture
async def registry(adapter: Adapter) -> AsyncIterator[Registry]:
    registry = adapter.connect()
    yield registry
    await registry.close()


async def test_a_new_item_is_granted_with_the_hour_it_goes_to(registry: Registry) -> None:
    before = hour_now()
    claimed = await claim(registry, FIRST)
    assert claimed.decision is Decision.NEW
    assert claimed.hour in {before, hour_now()}
    assert claimed.lease is not None
    assert claimed.lease.notice == FIRST
    assert (claimed.object_key, claimed.parked) == (None, 0)


async def test_a_worker_that_was_started_again_takes_its_own_item_over_at_once(
    registry: Registry,
) -> None:
    dead = await granted(registry, FIRST)
    lease = await granted(registry, FIRST)
    assert not await registry.commit(dead, CACHED)
    assert await registry.commit(lease, CACHED)


async def test_a_redelivery_to_another_worker_waits_for_the_rest_of_the_lease(
    registry: Registry,
) -> None:
    await claim(registry, FIRST)
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert claimed.decision is Decision.WAIT
    assert 25 < claimed.retry_after_s <= 30
    assert claimed.lease is None
    assert claimed.parked == 0


async def test_another_version_waits_for_the_running_one(registry: Registry) -> None:
    await claim(registry, FIRST)
    claimed = await claim(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert claimed.decision is Decision.WAIT
    assert 25 < claimed.retry_after_s <= 30


async def test_the_same_version_from_elsewhere_is_parked_once_per_notification(
    registry: Registry,
) -> None:
    lease = await granted(registry, FIRST)
    for _ in range(2):
        busy = await claim(registry, another("id-2"), source=b"second")
        assert (busy.decision, busy.parked) == (Decision.BUSY, 1)
    busy = await claim(registry, another("id-3"), owner="x", source=b"third")
    assert busy.parked == 2
    assert await registry.parked(lease) == [b"second", b"third"]


@pytest.mark.parametrize("pubtime_ns", [0, FAR])
async def test_a_centre_cannot_silence_another_by_announcing_its_item_first(
    registry: Registry, pubtime_ns: int
) -> None:
    notice = another("id-2", pubtime_ns=pubtime_ns, centre_id="xx-rogue")
    assert await registry.commit(
        await granted(registry, notice), Commit("uncached", "xx-rogue", False)
    )
    assert (await claim(registry, FIRST)).decision is Decision.NEW


async def test_a_copy_of_the_holders_own_notification_is_not_parked(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    busy = await claim(registry, FIRST, owner="the same over another broker")
    assert (busy.decision, busy.parked) == (Decision.BUSY, 0)
    assert await registry.parked(lease) == []


async def test_at_most_16_sources_are_parked_in_the_order_of_their_arrival(
    registry: Registry,
) -> None:
    lease = await granted(registry, FIRST)
    for n in range(MAX_PARKED + 3):
        busy = await claim(registry, another(f"other-{n}"), source=b"%d" % n)
        assert busy.decision is Decision.BUSY
    assert await registry.parked(lease) == [b"%d" % n for n in range(MAX_PARKED)]


async def test_sources_of_at_most_32_kibibytes_are_parked(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    parked = 0
    for n, size in enumerate((8192, 8192, 8192, 8193, 8192, 1)):
        busy = await claim(registry, another(f"other-{n}"), source=b"%d" % n * size)
        assert busy.decision is Decision.BUSY
        parked = busy.parked
    assert parked == 4
    assert await registry.parked(lease) == [b"%d" % n * 8192 for n in (0, 1, 2, 4)]


async def test_who_takes_over_a_dead_holders_item_finds_the_parked_sources(
    registry: Registry, adapter: Adapter
) -> None:
    dead = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    adapter.end_lease(dead)
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert (claimed.decision, claimed.parked) == (Decision.NEW, 1)
    assert claimed.lease is not None
    assert await registry.parked(claimed.lease) == [b"second"]
    assert await registry.parked(dead) == []


async def test_a_repeat_takes_no_source_from_who_works_on_the_same_version(
    registry: Registry,
) -> None:
    first = await granted(registry, FIRST)
    assert await registry.commit(first, CACHED)
    update = await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    busy = await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"), source=b"second")
    assert busy.decision is Decision.BUSY
    # The same version without its update link is a repeat of what is done.
    repeat = await claim(registry, another("id-4", pubtime_ns=P1 + 1))
    assert repeat.decision is Decision.REPEAT
    assert await registry.parked(update) == [b"second"]


async def test_sources_of_one_version_are_not_offered_for_another(
    registry: Registry, adapter: Adapter
) -> None:
    dead = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    adapter.end_lease(dead)
    newer = await claim(registry, another("id-3", pubtime_ns=P1 + 1, rel="update"))
    assert (newer.decision, newer.parked) == (Decision.NEW, 0)
    assert newer.lease is not None
    assert await registry.parked(newer.lease) == []
    assert await registry.commit(newer.lease, CACHED)
    assert (await claim(registry, FIRST)).decision is Decision.STALE


async def test_an_update_names_the_object_it_replaces(registry: Registry) -> None:
    long_key = KEY + "/" + "x" * 1200
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, replace(CACHED, object_key=long_key))
    update = await claim(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert update.decision is Decision.UPDATE
    assert update.object_key == long_key
    # A shorter key leaves nothing of the longer one behind.
    assert update.lease is not None
    assert await registry.commit(update.lease, replace(CACHED, object_key="short"))
    deletion = await claim(registry, another("id-3", pubtime_ns=P1 + 2, rel="deletion"))
    assert deletion.decision is Decision.DELETE
    assert deletion.object_key == "short"


async def test_what_was_deleted_can_be_published_again_but_only_later(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    deletion = await granted(registry, another("id-2", pubtime_ns=P1 + 5, rel="deletion"))
    assert await registry.commit(deletion, Commit("deleted", CENTRE, False))
    assert (await claim(registry, another("id-3", pubtime_ns=P1 + 4))).decision is Decision.STALE
    assert (await claim(registry, another("id-4", pubtime_ns=P1 + 5))).decision is (
        Decision.DUPLICATE
    )
    again = await claim(registry, another("id-5", pubtime_ns=P1 + 6))
    assert again.decision is Decision.NEW
    assert again.object_key is None


async def test_pubtimes_are_compared_to_the_last_nanosecond_and_beyond_64_bits(
    registry: Registry,
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, another("a", pubtime_ns=P1 - 1))).decision is Decision.STALE
    later = another("b", pubtime_ns=P1 + 1, rel="update")
    update = await granted(registry, later)
    assert await registry.commit(update, CACHED)
    far = await claim(registry, another("c", pubtime_ns=9 * 10**20, rel="update"))
    assert far.decision is Decision.UPDATE


async def test_a_deletion_of_the_future_locks_nothing(registry: Registry) -> None:
    deletion = another("id-1", pubtime_ns=FAR, rel="deletion")
    assert await registry.commit(
        await granted(registry, deletion), Commit("deleted", CENTRE, False)
    )
    right = another("id-2", pubtime_ns=time.time_ns() + 60 * 10**9)
    assert (await claim(registry, right)).decision is Decision.NEW


async def test_a_deletion_of_the_future_that_waits_makes_no_repeats_of_later_items(
    registry: Registry,
) -> None:
    running = await granted(registry, FIRST)
    deletion = another("id-2", pubtime_ns=FAR, rel="deletion")
    assert (await claim(registry, deletion)).decision is Decision.WAIT
    assert await registry.commit(running, CACHED)
    right = another("id-3", pubtime_ns=time.time_ns() + 60 * 10**9)
    assert (await claim(registry, right)).decision is Decision.NEW


async def test_a_message_id_is_processed_for_one_item_only(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    other = replace(FIRST, data_id="wis2/other")
    assert (await claim(registry, other)).decision is Decision.DUPLICATE_ID
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, other)).decision is Decision.DUPLICATE_ID
    newer = replace(FIRST, pubtime_ns=P1 + 1, rel="update")
    assert (await claim(registry, newer)).decision is Decision.DUPLICATE_ID
    assert (await claim(registry, FIRST)).decision is Decision.DUPLICATE


async def test_a_released_item_frees_its_message_id(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    other = replace(FIRST, data_id="wis2/other")
    await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False)
    assert (await claim(registry, other)).decision is Decision.NEW


async def test_renewing_restarts_the_lease_and_tells_lost_ones_apart(
    registry: Registry, adapter: Adapter
) -> None:
    kept = await granted(registry, FIRST)
    lost = await granted(registry, replace(FIRST, data_id="b", message_id="b"))
    await claim(registry, another("id-2"))
    adapter.end_lease(kept)
    adapter.end_lease(lost)
    await granted(registry, lost.notice, owner="thief")
    assert await registry.renew([kept, lost]) == [
        Renewed(is_held=True, parked=1),
        Renewed(is_held=False, parked=0),
    ]
    assert (await claim(registry, FIRST, owner="z")).decision is Decision.BUSY
    assert await registry.renew([]) == []


async def test_many_leases_are_renewed_at_once(registry: Registry) -> None:
    notices = [replace(FIRST, data_id=f"item {n}", message_id=f"m{n}") for n in range(300)]
    leases = await asyncio.gather(*(granted(registry, notice) for notice in notices))
    renewed = await registry.renew(leases)
    assert renewed == [Renewed(is_held=True, parked=0)] * 300


async def test_a_lease_that_ran_out_but_was_taken_by_nobody_may_commit(
    registry: Registry, adapter: Adapter
) -> None:
    lease = await granted(registry, FIRST)
    adapter.end_lease(lease)
    assert await registry.commit(lease, CACHED)
    assert (await claim(registry, another("id-2"))).decision is Decision.DUPLICATE


async def test_a_second_failure_of_a_notification_is_not_the_first_however_often_it_is_sent(
    registry: Registry,
) -> None:
    lease = await granted(registry, FIRST)
    inline = Failure("integrity", "id-1", CENTRE, HOST, "content_size")
    link = Failure("download", "id-1", CENTRE, HOST, "not_found")
    for _ in range(2):
        assert await registry.fail(lease, inline)
        assert not await registry.fail(lease, link)


async def test_sources_parked_meanwhile_keep_the_item_with_its_holder(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    for _ in range(2):
        assert await registry.release(lease, cause=SLOW, parked_seen=0, is_final=True) == "more"
    assert (await registry.renew([lease]))[0].is_held
    assert await registry.release(lease, cause=None, parked_seen=0, is_final=False) == "released"
    # On a drain the sources stay for the next attempt, and the attempt did not count.
    claimed = await claim(registry, FIRST, worker="worker-2")
    assert claimed.parked == 1


async def test_after_a_commit_a_release_says_lost(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    await registry.commit(lease, CACHED)
    answer = await registry.release(lease, cause=SLOW, parked_seen=0, is_final=True)
    assert answer == "lost"


async def test_what_overtakes_a_deletion_that_waits_is_not_a_repeat_of_what_is_to_be_deleted(
    registry: Registry,
) -> None:
    running = await granted(registry, FIRST)
    deletion = another("id-2", pubtime_ns=P1 + 1, rel="deletion")
    assert (await claim(registry, deletion)).decision is Decision.WAIT
    await registry.commit(running, CACHED)
    newer = await granted(registry, another("id-3", pubtime_ns=P1 + 2))
    await registry.commit(newer, CACHED)
    assert (await claim(registry, deletion)).decision is Decision.STALE


async def test_of_two_deletions_that_wait_the_newer_counts(registry: Registry) -> None:
    running = await granted(registry, FIRST)
    for message_id, pubtime_ns in (("id-2", P1 + 20), ("id-3", P1 + 10)):
        deletion = another(message_id, pubtime_ns=pubtime_ns, rel="deletion")
        assert (await claim(registry, deletion)).decision is Decision.WAIT
    await registry.commit(running, CACHED)
    update = another("id-4", pubtime_ns=P1 + 15, rel="update")
    await registry.commit(await granted(registry, update), CACHED)
    assert (await claim(registry, another("id-5", pubtime_ns=P1 + 25))).decision is Decision.NEW


async def test_a_claim_that_is_sent_again_gets_the_same_answer(registry: Registry) -> None:
    assert await claim(registry, FIRST, attempt=7) == await claim(registry, FIRST, attempt=7)


async def test_a_lost_lease_moves_nothing(registry: Registry, adapter: Adapter) -> None:
    lost = await granted(registry, FIRST)
    adapter.end_lease(lost)
    newest = await granted(registry, FIRST, worker="worker-2")
    assert not await registry.commit(lost, CACHED)
    assert not await registry.fail(lost, Failure("download", "id-1", CENTRE, HOST, "timeout"))
    assert await registry.release(lost, cause=SLOW, parked_seen=0, is_final=True) == "lost"
    assert await registry.commit(newest, CACHED)
    assert not await registry.commit(lost, CACHED)


async def test_a_commit_may_be_sent_again_also_after_the_next_version_is_claimed(
    registry: Registry,
) -> None:
    lease = await granted(registry, FIRST)
    for _ in range(2):
        assert await registry.commit(lease, CACHED)
    await granted(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert await registry.commit(lease, CACHED)


async def test_a_release_may_be_sent_again_and_ends_the_lease(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    for _ in range(2):
        answer = await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False)
        assert answer == "released"
    assert not await registry.commit(lease, CACHED)
    assert await registry.renew([lease]) == [Renewed(is_held=False, parked=0)]
    assert (await claim(registry, FIRST)).decision is Decision.NEW


async def test_a_retry_of_a_notification_is_not_its_first_failure(registry: Registry) -> None:
    failure = Failure("download", "id-1", CENTRE, HOST, "timeout")
    lease = await granted(registry, FIRST)
    for _ in range(2):
        assert await registry.fail(lease, failure)
    await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False)
    again = await granted(registry, FIRST)
    assert not await registry.fail(again, failure)
    assert await registry.fail(again, replace(failure, message_id="id-2"))


async def test_who_gives_an_item_up_forgets_its_parked_sources(registry: Registry) -> None:
    lease = await granted(registry, FIRST)
    await claim(registry, another("id-2"), source=b"second")
    assert await registry.release(lease, cause=GONE, parked_seen=1, is_final=True) == "released"
    claimed = await claim(registry, another("id-3"))
    assert (claimed.decision, claimed.parked) == (Decision.NEW, 0)


async def test_an_item_is_given_up_once_however_many_notifications_and_repeats(
    registry: Registry, adapter: Adapter
) -> None:
    # The same notification of two brokers, and another cache's, each after the item was given up.
    for message_id, cause in (("id-1", GONE), ("id-1", SLOW), ("id-2", SLOW)):
        lease = await granted(registry, another(message_id))
        for _ in range(2):
            answer = await registry.release(lease, cause=cause, parked_seen=0, is_final=True)
            assert answer == "released"
        assert adapter.given_up() == {"not_found": 1}
    newer = await granted(registry, another("id-3", pubtime_ns=P1 + 1))
    await registry.release(newer, cause=SLOW, parked_seen=0, is_final=True)
    assert adapter.given_up() == {"not_found": 1, "timeout": 1}


async def test_an_item_that_is_cached_after_all_stays_counted_as_given_up(
    registry: Registry, adapter: Adapter
) -> None:
    lease = await granted(registry, FIRST)
    await registry.release(lease, cause=GONE, parked_seen=0, is_final=True)
    assert await registry.commit(await granted(registry, another("id-2")), CACHED)
    assert (await claim(registry, another("id-3"))).decision is Decision.DUPLICATE
    assert adapter.given_up() == {"not_found": 1}


async def test_an_item_that_will_be_tried_again_is_not_given_up(
    registry: Registry, adapter: Adapter
) -> None:
    for cause in (SLOW, None):
        lease = await granted(registry, FIRST)
        await registry.release(lease, cause=cause, parked_seen=0, is_final=False)
    lost = await granted(registry, FIRST)
    adapter.end_lease(lost)
    await granted(registry, FIRST, worker="worker-2")
    assert await registry.release(lost, cause=SLOW, parked_seen=0, is_final=True) == "lost"
    assert adapter.given_up() == {}


async def test_a_failure_sets_the_flag_of_the_server_that_it_names(
    registry: Registry, adapter: Adapter
) -> None:
    lease = await granted(registry, FIRST)
    assert await registry.fail(lease, Failure("download", "id-1", CENTRE, "", "forbidden_port"))
    assert adapter.flags() == {}
    await registry.fail(lease, Failure("download", "id-2", CENTRE, HOST, "timeout"))
    assert adapter.flags() == {(CENTRE, HOST): 0}
    await registry.commit(lease, CACHED)
    assert adapter.flags() == {(CENTRE, HOST): 1}


async def test_beyond_its_quota_a_centre_begins_no_item_and_others_do(registry: Registry) -> None:
    await registry.keep_quotas(items=1, bytes_=None)
    first = await claim(registry, FIRST)
    assert first.items_left == 1
    other = another("id-2", data_id="wis2/other")
    for rel in ("canonical", "deletion"):
        refused = await claim(registry, replace(other, rel=rel))
        assert (refused.decision, refused.lease) == (Decision.OVER_QUOTA, None)
    assert (await claim(registry, replace(other, centre_id="fr-m"))).decision is Decision.NEW
    await registry.keep_quotas(items=None, bytes_=None)
    assert (await claim(registry, other)).items_left == UNBOUNDED


async def test_what_is_held_is_updated_and_tried_again_beyond_the_quota(registry: Registry) -> None:
    await registry.keep_quotas(items=1, bytes_=None)
    lease = await granted(registry, FIRST)
    await registry.release(lease, cause=SLOW, parked_seen=0, is_final=False)
    again = await claim(registry, FIRST)
    assert (again.decision, again.items_left) == (Decision.NEW, UNBOUNDED)
    assert again.lease is not None
    assert await registry.commit(again.lease, CACHED)
    update = await claim(registry, another("id-2", pubtime_ns=P1 + 1, rel="update"))
    assert (update.decision, update.items_left) == (Decision.UPDATE, 0)


async def test_of_all_that_ask_one_may_send_an_event_about_a_centre(registry: Registry) -> None:
    for centre in (CENTRE, "fr-meteofrance"):
        assert await registry.admit_event(centre, interval_s=60)
        assert not await registry.admit_event(centre, interval_s=60)


# The listener's side


@pytest.fixture
def listener(adapter: Adapter) -> Iterator[ListenerRegistry]:
    listener = adapter.connect_listener()
    yield listener
    listener.close()


def test_a_session_is_one_listeners_until_he_lets_it_go_or_is_heard_of_no_more(
    adapter: Adapter, listener: ListenerRegistry
) -> None:
    assert listener.hold_session("fr", "pod-1/1", lease_s=60)
    assert not listener.hold_session("fr", "pod-2/1", lease_s=60)
    assert listener.hold_session("br", "pod-2/1", lease_s=60)
    assert listener.hold_session("fr", "pod-1/1", lease_s=60)
    listener.leave_session("fr", "pod-2/1")
    assert not listener.hold_session("fr", "pod-2/1", lease_s=60)
    listener.leave_session("fr", "pod-1/1")
    assert listener.hold_session("fr", "pod-2/1", lease_s=60)
    adapter.forget_session("fr")
    assert listener.hold_session("fr", "pod-1/1", lease_s=60)


def test_of_what_nobody_knows_nothing_is_held(listener: ListenerRegistry) -> None:
    items = [ItemKey(CENTRE, "a"), ItemKey("fr-m", "a")]
    assert listener.look(items, deletions={}).held == [None, None]
    assert listener.look([], deletions={}).held == []
