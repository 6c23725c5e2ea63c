"""What a centre may hold in the registry and the store, on a real Redis."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

from testkit.servers.redis import number_in
from wis2_gc_common.errors import Cause, Reason
from wis2_gc_common.metrics import (
    HELD_BYTES,
    HELD_ITEMS,
    OTHER_CENTRES,
    field,
)
from wis2_gc_common.ports.registry import UNBOUNDED, Claimed, Commit, Failure, ItemKey, Notice
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.wis2.decision import Decision

if TYPE_CHECKING:
    import redis
    from redis.client import Redis

    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.redis.registry_manager import RedisRegistry
    from wis2_gc_common.redis.registry_reader import RedisReader
    from wis2_gc_common.wis2.decision import Rel

pytest_plugins = ("testkit.servers.redis", "testkit.fakes.redis_registry")

CENTRE = "de-dwd"
numbers = itertools.count(1)


async def claimed(
    registry: RedisRegistry, centre: str = CENTRE, data_id: str = "", rel: Rel = "canonical"
) -> Claimed:
    number = next(numbers)
    notice = Notice(data_id or f"item-{number}", number, rel, centre, f"id-{number}")
    return await registry.claim(notice, owner=f"{number}", worker="w", attempt=number, source=b"s")


async def cached(registry: RedisRegistry, centre: str = CENTRE, *, size_bytes: int = 1) -> None:
    claim = await claimed(registry, centre)
    assert claim.lease is not None
    commit = Commit("cached", "another-global-cache", False, "", "key", size_bytes)
    for _ in range(2):
        assert await registry.commit(claim.lease, commit)


def age(raw: redis.Redis, slots: int) -> None:
    """Make all that is held older."""
    raw.hincrby(keys.HELD, "slot", -slots)
    for name, amount in cast("dict[str, str]", raw.hgetall(keys.HELD_SLOTS)).items():
        slot, _, rest = name.partition("|")
        raw.hdel(keys.HELD_SLOTS, name)
        raw.hset(keys.HELD_SLOTS, f"{int(slot) - slots}|{rest}", amount)


async def test_an_item_beyond_the_quota_leaves_nothing_behind(
    registry: RedisRegistry, raw: Redis
) -> None:
    await registry.keep_quotas(items=2, bytes_=None)
    answers = [await claimed(registry) for _ in range(2)]
    assert [answer.items_left for answer in answers] == [2, 1]
    before = set(raw.scan_iter())
    held = raw.hgetall(keys.HELD)
    for _ in range(3):
        answer = await claimed(registry)
        assert (answer.decision, answer.lease) == (Decision.OVER_QUOTA, None)
    assert (await claimed(registry, rel="deletion")).decision is Decision.OVER_QUOTA
    assert set(raw.scan_iter()) == before
    assert raw.hgetall(keys.HELD) == held
    assert (await claimed(registry, "fr-meteofrance")).decision is Decision.NEW


async def test_what_is_held_is_updated_and_deleted_beyond_the_quota(
    registry: RedisRegistry,
) -> None:
    first = await claimed(registry, data_id="item")
    assert first.lease is not None
    assert await registry.commit(first.lease, Commit("cached", CENTRE, False, "", "key", 1))
    await registry.keep_quotas(items=1, bytes_=None)
    update = await claimed(registry, data_id="item", rel="update")
    assert (update.decision, update.items_left) == (Decision.UPDATE, 0)
    assert update.lease is not None
    assert await registry.commit(update.lease, Commit("override", CENTRE, False))
    deletion = await claimed(registry, data_id="item", rel="deletion")
    assert deletion.decision is Decision.DELETE


async def test_a_retry_begins_no_further_item(registry: RedisRegistry) -> None:
    await registry.keep_quotas(items=1, bytes_=None)
    first = await claimed(registry)
    assert first.lease is not None
    await registry.release(
        first.lease, cause=Cause(Reason.TIMEOUT, "5 s"), parked_seen=0, is_final=False
    )
    again = await registry.claim(first.lease.notice, owner="o", worker="w", attempt=7, source=b"s")
    assert (again.decision, again.items_left) == (Decision.NEW, UNBOUNDED)


async def test_stored_bytes_count_once_in_blocks_for_the_centre_of_the_topic(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    await registry.keep_quotas(items=None, bytes_=20_000)
    await cached(registry, size_bytes=1)
    await cached(registry, size_bytes=4097)
    held = (await reader.snapshot()).held
    assert held[field(HELD_BYTES, CENTRE)] == 3 * 4096
    assert held[field(HELD_ITEMS, CENTRE)] == 2
    assert (await claimed(registry)).bytes_left == 20_000 - 3 * 4096
    await cached(registry, size_bytes=10**15)
    assert (await claimed(registry)).bytes_left < 0


async def test_unlisted_centres_share_one_quota_half_as_large(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    await registry.keep_labels({CENTRE})
    await registry.keep_quotas(items=4, bytes_=40_000)
    answers = [await claimed(registry, f"xx-{number}") for number in range(3)]
    assert [answer.items_left for answer in answers[:2]] == [2, 1]
    assert answers[0].bytes_left == 20_000
    assert answers[2].decision is Decision.OVER_QUOTA
    assert (await claimed(registry)).items_left == 4
    held = (await reader.snapshot()).held
    assert held[field(HELD_ITEMS, OTHER_CENTRES)] == 2


async def test_made_up_centres_have_a_bounded_number_of_quotas(
    registry: RedisRegistry, raw: Redis
) -> None:
    await cached(registry)
    for number in range(1500):
        await claimed(registry, f"xx-{number}")
    await claimed(registry, "x" * 65)
    assert raw.hlen(keys.HELD) < 1210
    assert number_in(raw, keys.HELD, field(HELD_ITEMS, OTHER_CENTRES)) > 300
    assert raw.hget(keys.HELD, field(HELD_ITEMS, CENTRE)) == "1"


async def test_what_has_left_the_registry_and_the_store_is_held_no_more(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    async def held(metric: Metric, centre: str = CENTRE) -> float:
        await registry.keep_quotas(items=3, bytes_=None)
        return (await reader.snapshot()).held.get(field(metric, centre), 0)

    assert await held(HELD_ITEMS) == 0
    await cached(registry)
    await cached(registry, "fr-meteofrance")
    age(raw, 20)
    assert await held(HELD_ITEMS) == 1
    await cached(registry)
    age(raw, 6)
    # The first is 26 slots old, and a slot is an hour: it may have been made at its end.
    assert await held(HELD_ITEMS) == 2
    assert await held(HELD_BYTES) == 2 * 4096
    age(raw, 1)
    assert await held(HELD_ITEMS) == 1
    assert await held(HELD_BYTES) == 4096
    assert await held(HELD_ITEMS, "fr-meteofrance") == 0
    assert (await claimed(registry)).items_left == 2
    # No manager was there to look: what came last is held one slot more.
    age(raw, 27)
    assert await held(HELD_ITEMS) == 1
    age(raw, 1)
    assert await held(HELD_ITEMS) == 0
    assert raw.hlen(keys.HELD_SLOTS) == 0


async def test_sums_that_are_lost_are_never_negative(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await registry.keep_quotas(items=3, bytes_=None)
    await cached(registry)
    age(raw, 1)
    await registry.keep_quotas(items=3, bytes_=None)
    raw.hdel(keys.HELD, field(HELD_ITEMS, CENTRE))
    await cached(registry)
    age(raw, 1)
    await registry.keep_quotas(items=3, bytes_=None)
    held = (await reader.snapshot()).held
    assert held[field(HELD_ITEMS, CENTRE)] == 1
    raw.delete(keys.HELD_SLOTS)
    age(raw, 1)
    await registry.keep_quotas(items=3, bytes_=None)
    assert (await reader.snapshot()).held[field(HELD_ITEMS, CENTRE)] == 1


async def test_many_failing_notifications_of_one_item_count_as_items(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    claim = await claimed(registry)
    assert claim.lease is not None
    for number in range(40):
        failure = Failure("download", f"id-{number}", CENTRE, "", "timeout")
        assert await registry.fail(claim.lease, failure)
    held = (await reader.snapshot()).held[field(HELD_ITEMS, CENTRE)]
    assert held == 1 + 40 * 2 // 8


async def test_a_deletion_of_what_is_not_held_is_not_noted_beyond_the_quota(
    registry: RedisRegistry, redis_url: str, raw: Redis
) -> None:
    held, unknown = ItemKey(CENTRE, "held"), ItemKey(CENTRE, "unknown")
    assert (await claimed(registry, data_id=held.data_id)).lease is not None
    await registry.keep_quotas(items=1, bytes_=None)
    listener = RedisListenerRegistry(redis_url, retention_hours=24)
    listener.look([], deletions={held: 10**18, unknown: 10**18})
    listener.close()
    assert raw.hexists(keys.record_key(keys.item_record(*held)), "d")
    assert not raw.exists(keys.record_key(keys.item_record(*unknown)))


async def test_a_quota_is_lifted_again(registry: RedisRegistry) -> None:
    await registry.keep_quotas(items=0, bytes_=0)
    assert (await claimed(registry)).decision is Decision.OVER_QUOTA
    await registry.keep_quotas(items=None, bytes_=None)
    answer = await claimed(registry)
    assert (answer.items_left, answer.bytes_left) == (UNBOUNDED, UNBOUNDED)


async def test_the_registry_says_how_much_memory_it_may_take(
    registry: RedisRegistry, raw: Redis
) -> None:
    assert await registry.memory_bytes() == 0
    raw.config_set("maxmemory", "100mb")
    assert await registry.memory_bytes() == 100 * 1024 * 1024
    raw.config_set("maxmemory", 0)
